"""The ledger as pages show it: read and replayed once for each state it is in."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import cached_property

from tacit.privacy.accounting_quick import epsilon_without_libraries
from tacit.privacy.errors import PrivacyError
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.merkle import MerkleTree, leaf_hash
from tacit.server.budget.accountant import Accountant
from tacit.server.budget.facts import ReleaseFacts, release_facts
from tacit.server.budget.statement import AccountStatement, stated
from tacit.server.console.errors import NoFigures
from tacit.server.console.source import LedgerSource
from tacit.server.console.steady_clock import system_ms
from tacit.server.errors import BadConfig, ServerError, VerificationFailed
from tacit.server.ledger.contents import LedgerContents
from tacit.server.ledger.log import GOVERNANCE
from tacit.server.ledger.replay import GovernanceHistory
from tacit.server.ledger.verify import available_accountant

_LEAST_S = 1.0
_MOST_TIMES = 20


@dataclass(frozen=True)
class Snapshot:
    """One state of a ledger, whose governance log broke no rule.

    Attributes:
        contents: What it published.
        entries: Its governance log, parsed.
        history: What that establishes.
        statements: Its budget accounts, in order of opening.
        read_at_ms: When it was read.
        accountant: Confirms the figures of releases by independent libraries.
    """

    contents: LedgerContents
    entries: tuple[GovernanceEntry, ...]
    history: GovernanceHistory
    statements: tuple[AccountStatement, ...]
    read_at_ms: int
    accountant: Accountant

    @cached_property
    def cards(self) -> tuple[ReleaseFacts, ...]:
        """The privacy facts of every release; takes seconds the first time."""
        return release_facts(self.contents, self.accountant)

    @cached_property
    def trees(self) -> dict[str, MerkleTree]:
        """Log name to the Merkle tree over its leaves, as they were read."""
        return {
            name: MerkleTree(leaf_hash(data) for data in log.entries)
            for name, log in self.contents.logs.items()
        }

    def index_of(self, kind: str, **fields: object) -> int | None:
        """Return where the governance log has an entry of a kind with these fields, or None."""
        for index, entry in enumerate(self.entries):
            if entry.kind == kind and all(entry.body.get(k) == v for k, v in fields.items()):
                return index
        return None

    def signer(self, key_id: str) -> str:
        """Return what the ledger's keys call the holder of a key, or its id."""
        found = self.contents.keys.principal(key_id)
        return found.holder if found is not None else key_id


class Snapshots:
    """Give the newest snapshot, reading the ledger again once it changed. Thread-safe.

    A ledger that changes all the time is read again at most every second, and as often as reading
    it takes a twentieth of the time; between, everybody gets the one before, which says of when it
    is. Only one thread reads; others wait only while there is nothing to show yet.
    """

    def __init__(self, source: LedgerSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._fingerprint: tuple[object, ...] | None = None
        self._held: Snapshot | NoFigures | None = None
        self._not_before_s = 0.0
        self._quick = Accountant(epsilon_without_libraries)
        self._confirmed: Accountant | None = None

    def current(self) -> Snapshot:
        """Return the ledger as it is, or was a moment ago.

        Raises:
            NoFigures: It cannot be read, or its governance log breaks a rule.
        """
        held = self._held
        if self._lock.acquire(blocking=held is None):
            try:
                held = self._refreshed()
            finally:
                self._lock.release()
        if isinstance(held, NoFigures):
            raise NoFigures(held.findings)
        if held is None:
            raise NoFigures(("the ledger was not read yet",))
        return held

    def expire(self) -> None:
        """Look at the ledger again at the next call: something was just sent to it."""
        self._not_before_s = 0.0

    def warm(self) -> None:
        """Read the ledger and load the accountants in the background."""
        threading.Thread(target=self._warm, name="snapshot", daemon=True).start()

    def _warm(self) -> None:
        try:
            _ = self.current().cards
        except (ServerError, PrivacyError):
            return  # who asks is told

    def _refreshed(self) -> Snapshot | NoFigures:
        if self._held is not None and time.monotonic() < self._not_before_s:
            return self._held
        try:
            fingerprint = self._source.fingerprint()
        except BadConfig as error:
            return NoFigures((str(error),))
        if self._held is None or fingerprint != self._fingerprint:
            started_s = time.monotonic()
            self._held, self._fingerprint = self._read(), fingerprint
            took_s = time.monotonic() - started_s
            self._not_before_s = time.monotonic() + max(_LEAST_S, _MOST_TIMES * took_s)
        return self._held

    def _read(self) -> Snapshot | NoFigures:
        try:
            read_at_ms = system_ms()
            contents = self._source.read()
            history, statements = stated(contents, self._quick)
            data = contents.logs[GOVERNANCE].entries
            if self._confirmed is None:
                self._confirmed = Accountant(available_accountant())
            return Snapshot(
                contents,
                tuple(GovernanceEntry.parse(one) for one in data),
                history,
                statements,
                read_at_ms,
                self._confirmed,
            )
        except VerificationFailed as error:
            return NoFigures(error.findings)
        except (ServerError, PrivacyError) as error:
            return NoFigures((str(error),))
