"""What an account's reservations compose to, kept in step with its rows, rebuilt from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tacit.privacy.accounting import GaussianEvent
from tacit.privacy.budget import Reservation, ReservationState
from tacit.privacy.budget_standing import AccountStanding
from tacit.server.errors import StateCorrupt

_NO_DIGEST = "-"
_Counted = tuple[str, GaussianEvent]
"""Purpose, and an event with count 1."""


@dataclass(frozen=True, slots=True)
class ReservationRow:
    """What of a stored reservation its account's composition depends on.

    Attributes:
        reservation: as its signed body and its state have it.
        position: governance leaf that reserved it.
        settled_at: governance leaf that committed or aborted it, None while it is open.

    Raises:
        StateCorrupt: the state contradicts the leaves.
    """

    reservation: Reservation
    position: int
    settled_at: int | None

    def __post_init__(self) -> None:
        is_open = self.reservation.state is ReservationState.RESERVED
        early = self.settled_at is not None and self.settled_at <= self.position
        if is_open != (self.settled_at is None) or early:
            name = self.reservation.reservation_id
            raise StateCorrupt(f"reservation {name}: its row contradicts itself")


class Composition:
    """Events of one account, counted by purpose and event, over its life and in its window.

    It is never stored and decides nothing: `tacit.privacy.budget` does, from `folded_window` as
    from the single reservations, of which it is the sum. It may only be used, and changed, inside
    the transactions that read and write the rows; whoever owns it forgets it when one of them
    fails, or when the account's terms or window change.

    Attributes:
        revision: of the standing it was counted under.
    """

    def __init__(self, standing: AccountStanding, rows: Iterable[ReservationRow]) -> None:
        """Count an account's rows, in the order in which the governance log moved them.

        Args:
            standing: terms and window of the account.
            rows: all of its rows.
        """
        self.revision = standing.revision
        self._account_id = standing.account.account_id
        self._lifetime = Counter[_Counted]()
        self._window = Counter[_Counted]()
        self._as_reserved: dict[str, tuple[GaussianEvent, ...]] = {}
        kept = sorted(rows, key=lambda row: row.position)
        for held in standing.in_window([row.reservation for row in kept]):
            if held.counts:
                _count(self._window, held, 1)
        moves: list[tuple[int, Reservation, bool]] = []
        for row in kept:
            held = row.reservation
            moves.append((row.position, held, True))
            if not held.counts and row.settled_at is not None:
                moves.append((row.settled_at, held, False))
        for _, held, reserves in sorted(moves, key=lambda move: move[0]):
            if not reserves:
                _count(self._lifetime, held, -1)
                continue
            _count(self._lifetime, held, 1)
            if held.state is ReservationState.RESERVED:
                self._as_reserved[held.reservation_id] = self.events()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Composition)
            and self.revision == other.revision
            and self._lifetime == other._lifetime
            and self._window == other._window
            and self._as_reserved == other._as_reserved
        )

    __hash__ = None  # type: ignore[assignment]

    def events(self) -> tuple[GaussianEvent, ...]:
        """Return what counts over the account's life, equal events counted together."""
        return _events(self._lifetime)

    def window_events(self) -> tuple[GaussianEvent, ...]:
        """Return what counts in the current window, equal events counted together."""
        return _events(self._window)

    def folded_window(self) -> list[Reservation]:
        """Return reservations that compose to all that counts in the window, one a purpose."""
        by_purpose: dict[str, Counter[_Counted]] = {}
        for (purpose, event), count in self._window.items():
            by_purpose.setdefault(purpose, Counter())[purpose, event] = count
        return [
            Reservation(
                # With a space in it, no reservation of a caller can have this name or key.
                reservation_id=f"all for {purpose}",
                account_id=self._account_id,
                purpose=purpose,
                idempotency_key=f"all for {purpose}",
                body_sha256=_NO_DIGEST,
                events=_events(counts),
            )
            for purpose, counts in sorted(by_purpose.items())
        ]

    def as_reserved(self, reservation_id: str) -> tuple[GaussianEvent, ...] | None:
        """Return what counted when an open reservation had just been made; None if it is settled.

        The account may have moved on since; this does not change while the reservation is open.
        """
        return self._as_reserved.get(reservation_id)

    def reserved(self, new: Reservation) -> None:
        """Count a reservation just made."""
        for counts in (self._lifetime, self._window):
            _count(counts, new, 1)
        self._as_reserved[new.reservation_id] = self.events()

    def settled(self, moved: Reservation) -> None:
        """Take note that an open reservation was committed or aborted.

        An open one always counts in the window: it was made in it, or carried into it.
        """
        del self._as_reserved[moved.reservation_id]
        if not moved.counts:
            for counts in (self._lifetime, self._window):
                _count(counts, moved, -1)


def _count(counts: Counter[_Counted], held: Reservation, sign: int) -> None:
    for event in held.events:
        key = held.purpose, replace(event, count=1)
        counts[key] += sign * event.count
        if not counts[key]:
            del counts[key]


def _events(counts: Counter[_Counted]) -> tuple[GaussianEvent, ...]:
    total = Counter[GaussianEvent]()
    for (_, event), count in counts.items():
        total[event] += count
    ordered = sorted(total.items(), key=lambda one: repr(one[0]))
    return tuple(replace(event, count=count) for event, count in ordered)
