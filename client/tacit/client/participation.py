"""Participation: which rounds this device took part in, and what that exposed it to.

The device keeps its own account and does not take the server's word for it. A round is entered,
and on the disk, before its vector leaves; so the account never understates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tacit.client.store import Store
from tacit.privacy.accounting import GaussianEvent, epsilon_bound
from tacit.privacy.canonical import Fields, canonical_json, encode_real, parse_canonical

_KIND = "participation"


@dataclass(frozen=True, slots=True)
class Participation:
    """One round this device contributed to.

    Attributes:
        task_sha256: hex digest of the task.
        round_id: the round.
        context_sha256: hex digest of the public context it was computed with.
        noise_multiplier: z of the round, as the signed manifest states it.
        signals: the signals the contribution may read, sorted.
        events_through: newest event it may read. Sending it again after a crash reads no other
            signals and no further, so both vectors are the same.
        entered_at_ms: Unix milliseconds.
    """

    task_sha256: str
    round_id: int
    context_sha256: str
    noise_multiplier: float
    signals: tuple[str, ...]
    events_through: int
    entered_at_ms: int

    def to_bytes(self) -> bytes:
        """Encode for sealing."""
        return canonical_json(
            {
                "task_sha256": self.task_sha256,
                "round_id": self.round_id,
                "context_sha256": self.context_sha256,
                "noise_multiplier": encode_real(self.noise_multiplier),
                "signals": list(self.signals),
                "events_through": self.events_through,
                "entered_at_ms": self.entered_at_ms,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Participation:
        """Decode what `to_bytes` wrote and the store authenticated."""
        fields = Fields(parse_canonical(data), "participation")
        return cls(
            fields.text("task_sha256"),
            fields.integer("round_id", 0),
            fields.text("context_sha256"),
            fields.real("noise_multiplier", above=0.0),
            fields.texts("signals"),
            fields.integer("events_through", 0),
            fields.integer("entered_at_ms", 0),
        )


class ParticipationLog:
    """The rounds of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cache: list[Participation] | None = None

    def enter(self, entry: Participation) -> Participation:
        """Enter a round before its vector exists outside; on the disk when this returns.

        Returns:
            The entry that stands: the first one, if the round was entered before.
        """
        found = self.find(entry.task_sha256, entry.round_id)
        if found is not None:
            return found
        entries = self.entries()
        sequence = len(entries) + 1
        sealer = self._store.sealer
        with self._store.power_safe() as connection:
            connection.execute(
                "INSERT INTO participation VALUES (?, ?, ?, ?)",
                (
                    sequence,
                    self._store.epoch,
                    sealer.tag("round", f"{entry.task_sha256}/{entry.round_id}"),
                    sealer.seal(_KIND, sequence, entry.to_bytes()),
                ),
            )
        entries.append(entry)
        return entry

    def find(self, task_sha256: str, round_id: int) -> Participation | None:
        """Return the entry of one round, or None."""
        return next(
            (e for e in self.entries() if e.task_sha256 == task_sha256 and e.round_id == round_id),
            None,
        )

    def entries(self) -> list[Participation]:
        """Return every round entered, oldest first."""
        if self._cache is None:
            with self._store.reading() as connection:
                rows = connection.execute(
                    "SELECT sequence, epoch, sealed FROM participation ORDER BY sequence"
                ).fetchall()
            self._cache = [
                Participation.from_bytes(self._store.unseal(_KIND, row[0], row[1], row[2]))
                for row in rows
            ]
        return self._cache

    def epsilon(self, target_delta: float, extra: Sequence[GaussianEvent] = ()) -> float:
        """Return the ε this device was exposed to, at `target_delta`.

        What it covers: the noised sums of every round entered, and of `extra` rounds if it takes
        part in those too, at trust level `central`, composed in closed form, each in full.
        """
        taken = [GaussianEvent(entry.noise_multiplier) for entry in self.entries()]
        return epsilon_bound([*taken, *extra], target_delta)
