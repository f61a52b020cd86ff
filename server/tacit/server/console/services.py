"""What handlers work with, made once for a console."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tacit.privacy.cosignature import NO_QUORUM, Quorum
from tacit.server.budget.statement import AccountStatement
from tacit.server.console.access_log import AccessLog, latest_time_ms
from tacit.server.console.attempts import Attempts
from tacit.server.console.database import Database
from tacit.server.console.errors import TooManyAttempts
from tacit.server.console.people import People
from tacit.server.console.remembered import Remembered
from tacit.server.console.sessions import Sessions
from tacit.server.console.snapshot import Snapshots
from tacit.server.console.source import LedgerSource
from tacit.server.console.steady_clock import SteadyClock, system_ms
from tacit.server.errors import BadConfig, ServerError, VerificationFailed
from tacit.server.ledger.verification_report import VerificationReport


class Planner(Protocol):
    """Answers a what-if question; `tacit.simulations`, which lies above this, has the answer."""

    def __call__(
        self,
        statement: AccountStatement | None,
        *,
        epsilon: float | None,
        noise_multiplier: float | None,
        rounds: int | None,
        n_users: int | None,
        purpose: str,
    ) -> Mapping[str, object]:
        """Return the answer as a document; raises `BadParameter`."""
        ...


@dataclass(frozen=True, slots=True)
class ConsoleConfig:
    """How a console runs.

    Attributes:
        source: The ledger.
        directory: Where it keeps people, sessions, its access log and its certificate.
        port: Of the loopback interface; 0 takes a free one.
        idle_s: A session nobody used for so long ends; seconds, above 0.
        ledger_key: The ledger's public key, known beforehand; None to go by the first one seen.
        quorum: Witnesses that must have cosigned; by default all that the node's configuration
            names, where it is known.

    Raises:
        BadConfig: A field is out of range.
    """

    source: LedgerSource
    directory: Path
    port: int = 8443
    idle_s: float = 900.0
    ledger_key: bytes | None = None
    quorum: Quorum | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise BadConfig(f"console: port: expected 0 to 65535, got {self.port}")
        if not 0 < self.idle_s <= 86_400:
            raise BadConfig(f"console: idle: expected seconds in (0, 86400], got {self.idle_s}")


@dataclass(frozen=True, slots=True)
class Verified:
    """Outcome of one verification.

    Attributes:
        at_ms: When, by the system's clock.
        findings: What is wrong; empty where nothing is.
        report: What was re-derived; None where something is wrong.
    """

    at_ms: int
    findings: tuple[str, ...]
    report: VerificationReport | None


class Console:
    """The console's services. Thread-safe."""

    def __init__(self, config: ConsoleConfig, planner: Planner) -> None:
        """Open the console's own database.

        Raises:
            BadConfig, StateCorrupt: As `Database`.
        """
        self.config = config
        self.planner = planner
        self.database = Database(config.directory)
        self.clock = SteadyClock(latest_time_ms(self.database))
        self.attempts = Attempts(self.database, self.clock)
        self.people = People(self.database, self.clock, self.attempts)
        self.sessions = Sessions(self.database, self.clock, int(config.idle_s * 1000))
        self.log = AccessLog(self.database, self.clock)
        self.snapshots = Snapshots(config.source)
        self.remembered = Remembered(self.database)
        self.verified: Verified | None = None
        self._verifying = threading.Lock()

    @property
    def quorum(self) -> Quorum:
        """Witnesses without which the ledger does not verify."""
        if self.config.quorum is not None:
            return self.config.quorum
        named = self.config.source.witnesses
        return Quorum(named, len(named)) if named else NO_QUORUM

    def verify(self) -> Verified:
        """Read the ledger anew and verify everything, as `tacit ledger verify` does.

        Besides, its key must be the one known or first seen, and both logs must extend the
        checkpoints that verified last, so a ledger that went back is found.

        Raises:
            TooManyAttempts: A verification is under way.
        """
        if not self._verifying.acquire(blocking=False):
            raise TooManyAttempts("a verification is under way; look again in a moment")
        try:
            self.verified = self._verify()
            return self.verified
        finally:
            self._verifying.release()

    def _verify(self) -> Verified:
        at_ms = system_ms()
        try:
            key = self.config.ledger_key or self.remembered.key(
                self.config.source.read().keys.ledger_key
            )
            contents, report = self.config.source.verify(
                key, self.remembered.checkpoints(), self.quorum
            )
        except VerificationFailed as error:
            return Verified(at_ms, error.findings, None)
        except ServerError as error:
            return Verified(at_ms, (str(error),), None)
        for name, log in contents.logs.items():
            if log.notes:
                self.remembered.keep(name, log.notes[-1])
        return Verified(at_ms, (), report)

    def close(self) -> None:
        """Close the database."""
        self.database.close()
