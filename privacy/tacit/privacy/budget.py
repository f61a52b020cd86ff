"""Rules of a privacy budget: what may be reserved, and how a reservation may change. No storage.

    reserve --> (noise drawn, noised value made durable) --> commit
       |
       +------> abort, only while the noise provably does not exist

A reservation counts as spent from the moment it is reserved, so the spend is durable before the
noised value exists, and a crash between any two steps can only overstate what was spent. Spends are
composed from their events under one account, never added up as epsilons. Quotas lie inside the cap:
they never admit what the cap refuses. There are no refunds after commit. Which reservations count
in the current window, and how terms change, is in `budget_standing` and `budget_changes`.

Who owns what: these functions decide; a store calls them inside one serialisable transaction over
all reservations of the account, and writes the outcome.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tacit.privacy.accounting import EpsilonClaim, GaussianEvent
from tacit.privacy.budget_account import BudgetAccount, reached_alerts
from tacit.privacy.errors import BadParameter, BudgetConflict, BudgetExceeded

__all__ = [
    "BudgetAccount",
    "EpsilonFunction",
    "Reservation",
    "ReservationState",
    "abort",
    "admit",
    "check_caps",
    "commit",
    "composed_events",
    "find_replay",
    "reached_alerts",
]

EpsilonFunction = Callable[[Sequence[GaussianEvent], float], EpsilonClaim]
"""Composes events at a target delta: `tacit.privacy.accounting.epsilon`, or one that caches it."""


class ReservationState(StrEnum):
    """Where a reservation stands."""

    RESERVED = "reserved"
    COMMITTED = "committed"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class Reservation:
    """One spend on one account.

    Attributes:
        reservation_id: Name of the reservation.
        account_id: Who pays.
        purpose: Whose quota it falls under.
        idempotency_key: Chosen by the caller; the same key never buys two things.
        body_sha256: Digest of the canonical request, which idempotency compares.
        events: What is released under it; never empty.
        state: Reserved on creation.
        release_sha256: Digest of the noised sum it paid for; set exactly when committed.

    Raises:
        BadParameter: A name is empty, there are no events, or state and release contradict.
    """

    reservation_id: str
    account_id: str
    purpose: str
    idempotency_key: str
    body_sha256: str
    events: tuple[GaussianEvent, ...]
    state: ReservationState = ReservationState.RESERVED
    release_sha256: str | None = None

    def __post_init__(self) -> None:
        names = (self.reservation_id, self.account_id, self.purpose, self.idempotency_key)
        if not all(names) or not self.body_sha256:
            raise BadParameter("reservation: expected names, a key and a body digest, got an empty")
        if not self.events:
            raise BadParameter("reservation: expected at least one event, got none")
        if self.state not in tuple(ReservationState):
            raise BadParameter("reservation: expected state reserved, committed or aborted")
        object.__setattr__(self, "state", ReservationState(self.state))
        committed = self.state is ReservationState.COMMITTED
        if committed != bool(self.release_sha256):
            raise BadParameter(f"reservation: state {self.state} contradicts its release digest")

    @property
    def counts(self) -> bool:
        """Return whether it is spent budget: reserved and committed are, aborted is not."""
        return self.state is not ReservationState.ABORTED


def find_replay(existing: Iterable[Reservation], new: Reservation) -> Reservation | None:
    """Return the reservation that `new` repeats, or None where it is new.

    Same account, key and body: the recorded reservation, whatever its state, is the answer.

    Raises:
        BudgetConflict: The key was used with another body, or the id with another key.
    """
    for held in existing:
        if held.account_id != new.account_id:
            continue
        if held.idempotency_key == new.idempotency_key:
            if held.body_sha256 != new.body_sha256:
                raise BudgetConflict("idempotency key: already used with another body")
            return held
        if held.reservation_id == new.reservation_id:
            raise BudgetConflict("reservation id: already used with another idempotency key")
    return None


def admit(
    account: BudgetAccount,
    existing: Sequence[Reservation],
    new: Reservation,
    epsilon: EpsilonFunction,
    window: Sequence[Reservation] | None = None,
) -> EpsilonClaim:
    """Decide whether `new` may be reserved, and return what then counts against the cap.

    A replay (see `find_replay`) is admitted again without being counted twice.

    Args:
        account: The account that pays.
        existing: Every reservation of the account. Leaving one out voids the cap.
        new: The reservation asked for, in state reserved.
        epsilon: Composes events.
        window: Those of `existing` that count in the current window, as
            `AccountStanding.in_window` tells; all of them by default.

    Raises:
        BadParameter: `new` is not in state reserved, or a reservation is of another account.
        BudgetConflict: The key or id was used for something else, or for a spend since aborted.
        BudgetExceeded: The cap or the purpose's quota would be passed.

    Guarantee: if every spend on the account passes here under one lock before its noise is drawn,
    all releases of a window together, those whose noise may have been drawn before it and came out
    in it included, are ``(cap_epsilon, target_delta)``-DP as `epsilon` states it. Without a window
    that is everything ever released. Whoever was there over several windows is exposed to the
    composition of all of them, which is the lifetime epsilon and has no cap.
    """
    if new.state is not ReservationState.RESERVED:
        raise BadParameter(f"reservation: expected state reserved, got {new.state}")
    if any(one.account_id != account.account_id for one in (*existing, new)):
        raise BadParameter(f"reservations: expected all on account {account.account_id!r}")
    replayed = find_replay(existing, new)
    if replayed is not None and not replayed.counts:
        raise BudgetConflict("idempotency key: belongs to an aborted reservation; use a new key")
    counted = existing if window is None else window
    spent = [*counted] if replayed is not None else [*counted, new]
    claim = epsilon(composed_events(spent), account.target_delta)
    if replayed is not None:
        return claim
    check_caps(
        account,
        new.purpose,
        claim.epsilon,
        lambda: (
            epsilon(
                composed_events([one for one in spent if one.purpose == new.purpose]),
                account.target_delta,
            ).epsilon
        ),
    )
    return claim


def check_caps(
    account: BudgetAccount,
    purpose: str,
    spent_epsilon: float,
    purpose_epsilon: Callable[[], float],
) -> None:
    """Check that a spend, counted already, leaves cap and quota as they are.

    Args:
        account: The account that pays.
        purpose: Of the spend.
        spent_epsilon: Of all that counts in the window, the spend included.
        purpose_epsilon: Gives that of this purpose alone.

    Raises:
        BudgetExceeded: The cap or the purpose's quota is passed.
    """
    # Written so that a NaN from a broken accountant refuses.
    if not spent_epsilon <= account.cap_epsilon:
        raise BudgetExceeded(
            f"cap: expected epsilon at most {account.cap_epsilon!r}, got {spent_epsilon!r}"
        )
    quota = account.quotas.get(purpose)
    if quota is None:
        raise BudgetExceeded(f"quota: purpose {purpose!r} has none on this account")
    used = purpose_epsilon()
    if not used <= quota:
        raise BudgetExceeded(
            f"quota of {purpose!r}: expected epsilon at most {quota!r}, got {used!r}"
        )


def composed_events(reservations: Iterable[Reservation]) -> tuple[GaussianEvent, ...]:
    """Return the events of all reservations that count, in order."""
    return tuple(event for one in reservations if one.counts for event in one.events)


def commit(reservation: Reservation, release_sha256: str) -> Reservation:
    """Return the reservation committed to the release it paid for; repeating it changes nothing.

    Raises:
        BudgetConflict: It was aborted, or is committed to another release.
        BadParameter: The digest is empty.
    """
    if not release_sha256:
        raise BadParameter("release digest: expected a digest, got nothing")
    if reservation.state is ReservationState.ABORTED:
        raise BudgetConflict("commit: the reservation was aborted")
    if reservation.state is ReservationState.COMMITTED:
        if reservation.release_sha256 != release_sha256:
            raise BudgetConflict("commit: the reservation already paid for another release")
        return reservation
    return replace(reservation, state=ReservationState.COMMITTED, release_sha256=release_sha256)


def abort(reservation: Reservation) -> Reservation:
    """Return the reservation aborted, which frees its budget; repeating it changes nothing.

    Pre-condition, which only the caller can know: no noise was drawn for it. Where that is in
    doubt, as after a crash, leave it reserved.

    Raises:
        BudgetConflict: It is committed.
    """
    if reservation.state is ReservationState.COMMITTED:
        raise BudgetConflict("abort: the reservation is committed; a spend is never refunded")
    return replace(reservation, state=ReservationState.ABORTED)
