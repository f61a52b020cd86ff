"""Ask one witness for its cosignature."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from tacit.privacy.add_checkpoint import AddCheckpoint
from tacit.privacy.cosignature import Witness, verify_cosignature
from tacit.privacy.errors import BadSignature
from tacit.privacy.signed_note import SignatureLine, read_signature_lines, split_note
from tacit.server.errors import BadConfig, LogRolledBack, WitnessUnavailable

MAX_ANSWER_BYTES = 16_384
_TRIES = 3


@dataclass(frozen=True, slots=True)
class WitnessAddress:
    """A witness and where it listens.

    Attributes:
        witness: its name and key.
        url: submission prefix, `http://…` or `https://…`.
        ca_pem: the authority that vouches for an `https` witness; empty for the system's.

    Raises:
        BadConfig: if the URL is not of that form.
    """

    witness: Witness
    url: str
    ca_pem: str = ""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        try:
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable or parts.query or parts.fragment:
            raise BadConfig(f"witness {self.witness.name}: expected an http or https URL")


class WitnessClient:
    """One witness, over one connection that is kept open.

    Attributes:
        witness: who it is.
    """

    def __init__(self, address: WitnessAddress, timeout_s: float = 2.0) -> None:
        self.witness = address.witness
        self._url = urlsplit(address.url)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._remembers: dict[bytes, int] = {}
        self._tls: ssl.SSLContext | None = None
        if self._url.scheme == "https":
            try:
                self._tls = ssl.create_default_context(cadata=address.ca_pem or None)
            except ssl.SSLError:
                raise BadConfig(f"witness {self.witness.name}: expected a CA in PEM") from None
        self._connection: http.client.HTTPConnection | None = None

    def cosignature(
        self, checkpoint: bytes, size: int, consistency: Callable[[int], Sequence[bytes]]
    ) -> SignatureLine:
        """Get this witness's verified cosignature on a checkpoint.

        Args:
            checkpoint: the signed note.
            size: the tree's size in it.
            consistency: gives the consistency proof from a smaller size to `size`.

        Raises:
            WitnessUnavailable: if it does not answer in time, or answers anything unexpected.
            LogRolledBack: if it remembers a larger tree, or another one: this log's state is older
                than, or not, the one it showed before.
        """
        text, _ = split_note(checkpoint)
        origin = text.partition(b"\n")[0]
        with self._lock:
            for _ in range(_TRIES):
                old = min(self._remembers.get(origin, 0), size)
                proof = tuple(consistency(old)) if 0 < old < size else ()
                status, content = self._post(AddCheckpoint(old, proof, checkpoint).to_bytes())
                if status == 200:
                    line = self._read(text, content)
                    self._remembers[origin] = size
                    return line
                if status == 422:
                    raise LogRolledBack(
                        f"witness {self.witness.name} cosigned {old} entries that this log does "
                        "not extend: the log shows two histories"
                    )
                if status != 409 or not content.strip().isdigit():
                    raise WitnessUnavailable(
                        f"witness {self.witness.name}: expected a cosignature, got HTTP {status}"
                    )
                stated = int(content)
                if stated > size or stated == old:
                    raise LogRolledBack(
                        f"witness {self.witness.name} cosigned {stated} entries of this log, which "
                        f"has {size} now, or another history of them: its state was rolled back"
                    )
                self._remembers[origin] = stated
        raise WitnessUnavailable(f"witness {self.witness.name}: somebody else is asking it too")

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()

    def _read(self, text: bytes, content: bytes) -> SignatureLine:
        try:
            for line in read_signature_lines(content.decode("utf-8")):
                if (line.name, line.key_hash) == (self.witness.name, self.witness.key_hash):
                    verify_cosignature(text, line, self.witness)
                    return line
        except (BadSignature, UnicodeDecodeError):
            pass
        raise WitnessUnavailable(
            f"witness {self.witness.name}: its answer holds no cosignature by its configured key"
        )

    def _post(self, body: bytes) -> tuple[int, bytes]:
        path = self._url.path.rstrip("/") + "/add-checkpoint"
        kept = self._connection is not None
        try:
            return self._exchange(path, body)
        except (OSError, http.client.HTTPException):
            self._drop()
        # A connection that was kept may have been closed by the other side: one new one is fair.
        if kept:
            try:
                return self._exchange(path, body)
            except (OSError, http.client.HTTPException):
                self._drop()
        raise WitnessUnavailable(f"witness {self.witness.name}: does not answer")

    def _exchange(self, path: str, body: bytes) -> tuple[int, bytes]:
        if self._connection is None:
            host, port = self._url.hostname or "", self._url.port
            self._connection = (
                http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)
                if self._tls
                else http.client.HTTPConnection(host, port, timeout=self._timeout_s)
            )
        self._connection.request("POST", path, body, {"Content-Type": "text/plain"})
        reply = self._connection.getresponse()
        content = reply.read(MAX_ANSWER_BYTES + 1)
        if len(content) > MAX_ANSWER_BYTES:
            raise http.client.HTTPException
        return reply.status, content

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
