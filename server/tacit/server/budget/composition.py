"""What an account's reservations compose to, kept in step with its rows, rebuilt from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tacit.privacy.accounting import GaussianEvent
from tacit.privacy.budget import Reservation, ReservationState
from tacit.server.errors import StateCorrupt

_NO_DIGEST = "-"


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
    """Events of one account, counted by purpose and noise multiplier.

    It is never stored and decides nothing: `tacit.privacy.budget` does, from `folded` as from the
    single reservations, of which it is the sum. It may only be used, and changed, inside the
    transactions that read and write the rows; whoever owns it forgets it when one of them fails.
    """

    def __init__(self, account_id: str, rows: Iterable[ReservationRow]) -> None:
        """Count an account's rows, in the order in which the governance log moved them."""
        self._account_id = account_id
        self._counts = Counter[tuple[str, float]]()
        self._as_reserved: dict[str, tuple[GaussianEvent, ...]] = {}
        moves: list[tuple[int, Reservation, bool]] = []
        for row in rows:
            held = row.reservation
            moves.append((row.position, held, True))
            if not held.counts and row.settled_at is not None:
                moves.append((row.settled_at, held, False))
        for _, held, reserves in sorted(moves, key=lambda move: move[0]):
            if not reserves:
                self._count(held, -1)
                continue
            self._count(held, 1)
            if held.state is ReservationState.RESERVED:
                self._as_reserved[held.reservation_id] = self.events()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Composition)
            and self._counts == other._counts
            and self._as_reserved == other._as_reserved
        )

    __hash__ = None  # type: ignore[assignment]

    def events(self) -> tuple[GaussianEvent, ...]:
        """Return what counts, one event for each noise multiplier."""
        total = Counter[float]()
        for (_, z), count in self._counts.items():
            total[z] += count
        return _events(total)

    def folded(self, apart: Sequence[Reservation] = ()) -> list[Reservation]:
        """Return reservations that compose to all that counts, one for each purpose.

        Args:
            apart: reservations that stand as they are, and are not in the others.
        """
        by_purpose: dict[str, Counter[float]] = {}
        for (purpose, z), count in self._counts.items():
            by_purpose.setdefault(purpose, Counter())[z] = count
        for held in apart:
            if held.counts:
                by_purpose[held.purpose].subtract(_multipliers(held))
        folded = [
            Reservation(
                # With a space in it, no reservation of a caller can have this name or key.
                reservation_id=f"all others for {purpose}",
                account_id=self._account_id,
                purpose=purpose,
                idempotency_key=f"all others for {purpose}",
                body_sha256=_NO_DIGEST,
                events=events,
            )
            for purpose, counts in sorted(by_purpose.items())
            if (events := _events(counts))
        ]
        return [*folded, *apart]

    def as_reserved(self, reservation_id: str) -> tuple[GaussianEvent, ...] | None:
        """Return what counted when an open reservation had just been made; None if it is settled.

        The account may have moved on since; this does not change while the reservation is open.
        """
        return self._as_reserved.get(reservation_id)

    def reserved(self, new: Reservation) -> None:
        """Count a reservation just made."""
        self._count(new, 1)
        self._as_reserved[new.reservation_id] = self.events()

    def settled(self, moved: Reservation) -> None:
        """Take note that an open reservation was committed or aborted."""
        del self._as_reserved[moved.reservation_id]
        if not moved.counts:
            self._count(moved, -1)

    def _count(self, held: Reservation, sign: int) -> None:
        for z, count in _multipliers(held).items():
            self._counts[held.purpose, z] += sign * count
            if not self._counts[held.purpose, z]:
                del self._counts[held.purpose, z]


def _multipliers(held: Reservation) -> Counter[float]:
    counts = Counter[float]()
    for event in held.events:
        counts[event.noise_multiplier] += event.count
    return counts


def _events(counts: Counter[float]) -> tuple[GaussianEvent, ...]:
    return tuple(GaussianEvent(z, count) for z, count in sorted(counts.items()) if count)
