"""Reservations of one account while its log is replayed, and what they compose to after each entry.

Nothing here takes longer because there are many of them: an entry moves one reservation, and only
what that one counted is added or taken away. What comes out is what composing all of them again
would give (`tacit.privacy.accounting_sums`); a test replays histories both ways.
"""

from __future__ import annotations

from tacit.privacy.accounting import RunningComposition
from tacit.privacy.budget import Reservation, ReservationState, composed_events
from tacit.privacy.budget_standing import AccountStanding

_Window = tuple[int, frozenset[str]]


class ReplayedSpends:
    """An account's reservations, in order, with the compositions that rules and reports ask for.

    Attributes:
        held: All of them, in order; only changed from here.
        lifetime: Of all that count.
        released: Of those that are committed.
    """

    def __init__(self, held: list[Reservation], standing: AccountStanding) -> None:
        """Start with none, in the window of this standing.

        Args:
            held: an empty list, to keep them in.
            standing: where the account stands before its first reservation.
        """
        self.held = held
        self.lifetime = RunningComposition()
        self.released = RunningComposition()
        self._places: dict[str, int] = {}
        self._by_key: dict[str, Reservation] = {}
        self._window = RunningComposition()
        self._purposes: dict[str, RunningComposition] = {}
        self._counted_for: _Window = _window_of(standing)

    def get(self, reservation_id: str) -> Reservation:
        """Return a reservation; raises `KeyError` where there is none of this name."""
        return self.held[self._places[reservation_id]]

    def alike(self, new: Reservation) -> list[Reservation]:
        """Return those made before with the same idempotency key."""
        found = self._by_key.get(new.idempotency_key)
        return [] if found is None else [self.get(found.reservation_id)]

    def add(self, new: Reservation, standing: AccountStanding) -> None:
        """Count a reservation just made; its name is one that no other has."""
        self._follow(standing)
        self._places[new.reservation_id] = len(self.held)
        self._by_key.setdefault(new.idempotency_key, new)
        self.held.append(new)
        self._count(new, standing, 1)

    def settle(self, moved: Reservation, standing: AccountStanding) -> None:
        """Take note that an open reservation was committed or aborted."""
        self._follow(standing)
        place = self._places[moved.reservation_id]
        if not moved.counts:
            self._count(self.held[place], standing, -1)
        self.held[place] = moved
        if moved.state is ReservationState.COMMITTED:
            _move(self.released, moved, 1)

    def window(self, standing: AccountStanding) -> RunningComposition:
        """Return what counts in the window of this standing."""
        self._follow(standing)
        return self._window

    def window_of(self, purpose: str, standing: AccountStanding) -> RunningComposition:
        """Return what of this purpose counts in the window of this standing."""
        self._follow(standing)
        return self._purposes.setdefault(purpose, RunningComposition())

    def _follow(self, standing: AccountStanding) -> None:
        """Count anew where a change of terms or a refresh has moved the window."""
        if self._counted_for == (now := _window_of(standing)):
            return
        self._counted_for = now
        self._window, self._purposes = RunningComposition(), {}
        for one in standing.in_window(self.held):
            self._count_in_window(one, 1 if one.counts else 0)

    def _count(self, one: Reservation, standing: AccountStanding, sign: int) -> None:
        _move(self.lifetime, one, sign)
        place = self._places[one.reservation_id]
        if place >= standing.reserved_before or one.reservation_id in standing.carried:
            self._count_in_window(one, sign)

    def _count_in_window(self, one: Reservation, sign: int) -> None:
        for composition in (
            self._window,
            self._purposes.setdefault(one.purpose, RunningComposition()),
        ):
            _move(composition, one, sign)


def _window_of(standing: AccountStanding) -> _Window:
    return standing.reserved_before, standing.carried


def _move(composition: RunningComposition, one: Reservation, sign: int) -> None:
    for event in composed_events([one]) if sign else ():
        if sign > 0:
            composition.add(event)
        else:
            composition.remove(event)
