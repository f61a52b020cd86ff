"""The gateway's configuration: one JSON file, unknown keys refused."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import re
from dataclasses import dataclass
from typing import cast

from tacit.server.config_file import load_config
from tacit.server.errors import BadConfig

_KEY = re.compile("[0-9a-f]{64}")
_KINDS: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float)}


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
        quiet_s: a round with enough contributions closes when none came for this long; 0 for never.
            Above 0 one device can decide whether others get in (`round.Round`), so this is for
            populations whose arrivals do not depend on one another.
        max_workers: threads that serve requests, at least 2; half of them may serve listeners.
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
    quiet_s: float = 0.0
    max_workers: int = 16

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, kinds = getattr(self, field.name), _KINDS[cast(str, field.type)]
            if isinstance(value, bool) or not isinstance(value, kinds):
                raise BadConfig(
                    f"gateway: {field.name}: expected {field.type}, got {type(value).__name__}"
                )
        if not (math.isfinite(self.round_timeout_s) and self.round_timeout_s > 0):
            raise BadConfig(
                f"gateway: round_timeout_s: expected a number above 0, got {self.round_timeout_s}"
            )
        if not (math.isfinite(self.quiet_s) and self.quiet_s >= 0):
            raise BadConfig(f"gateway: quiet_s: expected a number of 0 or more, got {self.quiet_s}")
        if self.max_workers < 2:
            raise BadConfig(f"gateway: max_workers: expected at least 2, got {self.max_workers}")
        if not _KEY.fullmatch(self.coordinator_key):
            raise BadConfig("gateway: coordinator_key: expected 64 lower-case hex digits")

    @classmethod
    def load(cls, path: pathlib.Path) -> GatewayConfig:
        """Read a configuration file.

        Raises:
            BadConfig: if it cannot be read, or a key is unknown, missing or out of range.
        """
        return load_config(cls, path, "gateway configuration")
