"""The witness's answer to one `add-checkpoint` request."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tacit.privacy.add_checkpoint import AddCheckpoint, check_extends
from tacit.privacy.checkpoint import Checkpoint, read_checkpoint, verify_checkpoint
from tacit.privacy.cosignature import Witness, cosign
from tacit.privacy.errors import BadDocument, BadProof, BadSignature, RollbackDetected
from tacit.privacy.signed_note import split_note
from tacit.server.witness.config import WitnessConfig
from tacit.server.witness.memory import WitnessMemory

PLAIN = "text/plain; charset=utf-8"
SIZE = "text/x.tlog.size"


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back over HTTP.

    Attributes:
        status: HTTP status code, as https://c2sp.org/tlog-witness gives it a meaning.
        content: body.
        content_type: media type of the body.
    """

    status: int
    content: bytes
    content_type: str = PLAIN


class WitnessNode:
    """Cosign what extends the history this witness remembers, and nothing else.

    Attributes:
        witness: its name and public key, for whoever wants to trust it.
    """

    def __init__(self, config: WitnessConfig, *, now_s: Callable[[], float] = time.time) -> None:
        """Open the memory; raises `BadConfig` or `StateCorrupt`."""
        self._key = config.read_signing_key()
        self._logs = config.log_keys()
        self._now_s = now_s
        self.witness = Witness(config.name, self._key.public_key)
        self._memory = WitnessMemory(Path(config.state_file))

    def add_checkpoint(self, body: bytes) -> Answer:
        """Answer one request; what is cosigned is remembered before this returns."""
        try:
            request = AddCheckpoint.parse(body)
            text, _ = split_note(request.checkpoint)
            stated = read_checkpoint(text)
        except (BadDocument, BadSignature) as error:
            return _refuse(400, error)
        log_key = self._logs.get(stated.origin)
        if log_key is None:
            return _refuse(404, "this witness does not watch a log of this origin")
        try:
            checkpoint = verify_checkpoint(
                request.checkpoint, stated.origin, stated.origin, log_key
            )
        except BadSignature as error:
            return _refuse(403, error)

        def check(known: Checkpoint | None) -> None:
            check_extends(known, request, checkpoint)

        try:
            self._memory.advance(checkpoint, check)
        except BadDocument as error:
            return _refuse(400, error)
        except RollbackDetected:
            known = self._memory.known(checkpoint.origin)
            return Answer(409, b"%d\n" % (known.size if known else 0), SIZE)
        except BadProof as error:
            return _refuse(422, error)
        line = cosign(text, self._key, self.witness.name, int(self._now_s()))
        return Answer(200, line.to_bytes())

    def close(self) -> None:
        """Close the memory."""
        self._memory.close()


def _refuse(status: int, reason: object) -> Answer:
    return Answer(status, f"{reason}\n".encode())
