"""The gateway's configuration: one JSON file, unknown keys refused."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from dataclasses import dataclass

from tacit.server.errors import BadConfig


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Where the gateway listens, whom it trusts, how long a round may take.

    Attributes:
        population: whose releases devices are told of.
        address: host:port of the device service (TLS).
        bridge_socket: path of the unix socket for the Flower ClientApp; made with mode 0600.
        tls_certificate, tls_key: PEM files of the device service.
        ledger_address, ledger_ca: where the ledger listens, and the CA that vouches for it.
        signing_key: file with the gateway's 32 private bytes in hexadecimal.
        coordinator_key: the coordinator's public key, hexadecimal.
        round_timeout_s: a round closes this long after it opened.
        quiet_s: a round with enough contributions closes when none came for this long.
        max_workers: threads that serve requests.
    """

    population: str
    address: str
    bridge_socket: str
    tls_certificate: str
    tls_key: str
    ledger_address: str
    ledger_ca: str
    signing_key: str
    coordinator_key: str
    round_timeout_s: float = 120.0
    quiet_s: float = 3.0
    max_workers: int = 16

    @classmethod
    def load(cls, path: pathlib.Path) -> GatewayConfig:
        """Read a configuration file.

        Raises:
            BadConfig: if it cannot be read, or a key is unknown or missing.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise BadConfig(f"gateway configuration: expected a JSON file, {error}") from None
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(set(document) - known):
            raise BadConfig(f"gateway configuration: unknown key {unknown[0]!r}")
        try:
            return cls(**document)
        except TypeError as error:
            raise BadConfig(f"gateway configuration: {error}") from None
