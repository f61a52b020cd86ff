"""Where an account stands: terms in force, current window, what counts in it, alerts given.

A window begins only by an approved refresh, never by a clock. It counts

    every reservation made since it began, and
    every reservation that was open (neither committed nor aborted) when it began,

because the noise of an open one may still be drawn and released in the new window. So nothing can
be reserved under one window's cap and released under the next one's. A reservation that is open
over several refreshes counts in each of these windows. Lifetime epsilon composes all of them once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tacit.privacy.account_documents import terms_to_json
from tacit.privacy.budget import BudgetAccount, Reservation, ReservationState, reached_alerts
from tacit.privacy.budget_account import AccountTerms
from tacit.privacy.canonical import canonical_json


@dataclass(frozen=True, slots=True)
class LedgerIdentity:
    """Which ledger an account stands on: what officers sign holds on this one alone.

    Attributes:
        origin: Of its governance log, as its checkpoints state it.
        public_key: 32 bytes of the key that signs them.
    """

    origin: str
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Alert:
    """A threshold that a reservation made its account reach.

    Attributes:
        threshold: Fraction of the cap.
        cap_epsilon: The cap then in force.
        epsilon: Of the window, that reservation included.
        reservation_id: Which one.
    """

    threshold: float
    cap_epsilon: float
    epsilon: float
    reservation_id: str

    def sentence(self) -> str:
        """Return one line for people; it names no user."""
        return (
            f"epsilon {self.epsilon!r} has reached {self.threshold:.6g} of the cap of "
            f"{self.cap_epsilon!r} with {self.reservation_id}"
        )


@dataclass(frozen=True, slots=True)
class AccountStanding:
    """An account between two entries of the governance log.

    Attributes:
        ledger: Where it was opened.
        account: The terms in force.
        revision: Number of changes that took effect.
        window: 1, 2, 3, …; one more with every refresh.
        window_started_at_ms: Recorded time of the opening or of the refresh's approval.
        reserved_before: Number of the account's reservations when the window began.
        carried: Names of those among them that were open then.
        alerts: Given in this window, in order.
        decided_at_ms: Latest recorded time of the opening and of changes that took effect.
    """

    ledger: LedgerIdentity
    account: BudgetAccount
    revision: int
    window: int
    window_started_at_ms: int
    reserved_before: int
    carried: frozenset[str]
    alerts: tuple[Alert, ...]
    decided_at_ms: int

    @classmethod
    def opened(
        cls, account: BudgetAccount, recorded_at_ms: int, ledger: LedgerIdentity
    ) -> AccountStanding:
        """Return the standing of an account just opened on a ledger."""
        return cls(
            ledger=ledger,
            account=account,
            revision=0,
            window=1,
            window_started_at_ms=recorded_at_ms,
            reserved_before=0,
            carried=frozenset(),
            alerts=(),
            decided_at_ms=recorded_at_ms,
        )

    def digest(self) -> str:
        """Return what a change refers to: hex SHA-256 over ledger, terms, revision and window.

        Every change that takes effect gives another one, so a change holds for one standing only;
        and so does every ledger, so what officers agreed on a test ledger holds on no other.
        """
        document = {
            "type": "tacit.account.standing/2",
            "origin": self.ledger.origin,
            "ledger_key": self.ledger.public_key.hex(),
            "account_id": self.account.account_id,
            "population": self.account.population,
            "revision": self.revision,
            "window": self.window,
            "terms": terms_to_json(self.account.terms),
        }
        return hashlib.sha256(canonical_json(document)).hexdigest()

    def in_window(self, reservations: Sequence[Reservation]) -> list[Reservation]:
        """Return those that belong to the current window, aborted ones included.

        Args:
            reservations: Every reservation of the account, in order of reservation.
        """
        return [
            one
            for place, one in enumerate(reservations)
            if place >= self.reserved_before or one.reservation_id in self.carried
        ]

    def alerted(self, epsilon: float, reservation_id: str) -> AccountStanding:
        """Return the standing after a reservation that brought the window to `epsilon`.

        Each threshold is alerted once per window, and again only where another cap makes it
        another amount; an abort in between does not make it ring twice.
        """
        rung = {(one.threshold, one.cap_epsilon) for one in self.alerts}
        cap = self.account.cap_epsilon
        new = tuple(
            Alert(threshold, cap, epsilon, reservation_id)
            for threshold in reached_alerts(self.account, epsilon)
            if (threshold, cap) not in rung
        )
        return replace(self, alerts=self.alerts + new) if new else self

    def alerts_of(self, reservation_id: str) -> tuple[Alert, ...]:
        """Return the alerts of this window that one reservation gave."""
        return tuple(one for one in self.alerts if one.reservation_id == reservation_id)

    def with_terms(self, terms: AccountTerms, recorded_at_ms: int) -> AccountStanding:
        """Return the standing under new terms; the window goes on.

        Without a window the cap bounds everything ever spent, earlier windows included.
        """
        old = self.account
        standing = replace(
            self,
            account=BudgetAccount.under(old.account_id, old.population, terms),
            revision=self.revision + 1,
            decided_at_ms=max(self.decided_at_ms, recorded_at_ms),
        )
        if terms.window_days is None:
            return replace(standing, reserved_before=0, carried=frozenset())
        return standing

    def refreshed(
        self, reservations: Sequence[Reservation], recorded_at_ms: int
    ) -> AccountStanding:
        """Return the standing in a new window.

        Args:
            reservations: Every reservation of the account, in order.
            recorded_at_ms: Of the approval.
        """
        still_open = (one for one in reservations if one.state is ReservationState.RESERVED)
        return replace(
            self,
            revision=self.revision + 1,
            window=self.window + 1,
            window_started_at_ms=recorded_at_ms,
            reserved_before=len(reservations),
            carried=frozenset(one.reservation_id for one in still_open),
            alerts=(),
            decided_at_ms=max(self.decided_at_ms, recorded_at_ms),
        )
