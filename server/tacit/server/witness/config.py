"""The witness's configuration: one JSON file, unknown keys refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tacit.privacy.cosignature import Witness
from tacit.privacy.errors import BadParameter
from tacit.privacy.signatures import SigningKey
from tacit.privacy.signed_note import read_verifier_key
from tacit.server.config_file import load_config
from tacit.server.errors import BadConfig
from tacit.server.key_file import read_key_file


@dataclass(frozen=True, slots=True)
class WitnessConfig:
    """Who a witness is, where it listens, and which logs it watches.

    Attributes:
        name: its key name, by convention a URL without scheme.
        address: host:port; port 0 takes a free one.
        state_file: SQLite file of what it cosigned last.
        signing_key: file with its 32 private bytes in hexadecimal; for cosignatures only.
        logs: verifier keys of the logs, `origin+hash+base64`; the key's name is the origin.
        tls_certificate, tls_key: PEM files; both empty for plain HTTP, which gives away nothing:
            checkpoints are public, and both sides check signatures.
    """

    name: str
    address: str
    state_file: str
    signing_key: str
    logs: Sequence[str]
    tls_certificate: str = ""
    tls_key: str = ""

    def __post_init__(self) -> None:
        for key in ("name", "address", "state_file", "signing_key"):
            value = getattr(self, key)
            if not isinstance(value, str) or not value:
                raise BadConfig(f"witness: {key}: expected text")
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise BadConfig("witness: expected both of tls_certificate and tls_key, or neither")
        if isinstance(self.logs, str) or not self.logs:
            raise BadConfig("witness: logs: expected a list of at least one verifier key")
        self.log_keys()

    @classmethod
    def load(cls, path: Path) -> WitnessConfig:
        """Read a configuration file; raises `BadConfig`."""
        return load_config(cls, path, "witness")

    def log_keys(self) -> Mapping[str, bytes]:
        """Return origin → 32-byte public key of every log it watches; raises `BadConfig`."""
        keys: dict[str, bytes] = {}
        for text in cast("Sequence[object]", self.logs):
            try:
                origin, public_key = read_verifier_key(text if isinstance(text, str) else "")
            except BadParameter as error:
                raise BadConfig(f"witness: logs: {error}") from None
            if origin in keys:
                raise BadConfig(f"witness: logs: expected {origin} once")
            keys[origin] = public_key
        return keys

    def read_signing_key(self) -> SigningKey:
        """Read the witness's key, and check that its name can stand in a note.

        Raises:
            BadConfig: if either cannot be used.
        """
        key = read_key_file(Path(self.signing_key), "signing_key")
        try:
            Witness(self.name, key.public_key)
        except BadParameter as error:
            raise BadConfig(f"witness: name: {error}") from None
        return key
