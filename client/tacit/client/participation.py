"""Participation: which rounds this device took part in, and what that exposed it to.

The device keeps its own account and does not take the server's word for it. A round is entered,
and on the disk, before its vector leaves; so the account never understates. It has no windows and
no clock: every round counts for as long as the profile lives, whatever a server refreshes and
whatever the clock says.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tacit.client.facts import Facts
from tacit.client.store import Store
from tacit.privacy.canonical import Fields, Json, canonical_json, encode_real, parse_canonical
from tacit.privacy.trust import CENTRAL, CONSENT_ONLY

if TYPE_CHECKING:
    from tacit.privacy.gaussian_event import GaussianEvent

_KIND = "participation"
_ANSWER = "local-answer"


@dataclass(frozen=True, slots=True)
class Participation:
    """One round this device contributed to.

    Attributes:
        task_sha256: hex digest of the task.
        round_id: the round.
        context_sha256: hex digest of the public context it was computed with.
        noise_multiplier: z of the round, as the signed manifest states it; 0 for no noise.
        signals: the signals the contribution may read, sorted.
        events_through: newest event it may read. Sending it again after a crash reads no other
            signals and no further, so both vectors are the same.
        entered_at_ms: Unix milliseconds; shown, and in no computation.
        trust_level: the level of the task.
        sensitivity: what z is stated against, in integer units, where it is not the L of the round:
            2L at level `local`; 0 elsewhere.
        purpose, task_id: what it was for. Empty in entries from before they were kept, which are
            all of trust level `central`.
        answer_sha256: hex digest of the bytes it was answered with; empty in older entries.
    """

    task_sha256: str
    round_id: int
    context_sha256: str
    noise_multiplier: float
    signals: tuple[str, ...]
    events_through: int
    entered_at_ms: int
    trust_level: str = CENTRAL
    sensitivity: int = 0
    purpose: str = ""
    task_id: str = ""
    answer_sha256: str = ""

    @property
    def event(self) -> GaussianEvent | None:
        """What this round costs; None at `consent-only`, which nothing bounds."""
        if self.trust_level == CONSENT_ONLY:
            return None
        from tacit.privacy.gaussian_event import GaussianEvent

        return GaussianEvent(self.noise_multiplier, 1, self.sensitivity or None, self.trust_level)

    def to_bytes(self) -> bytes:
        """Encode for sealing."""
        document: dict[str, Json] = {
            "task_sha256": self.task_sha256,
            "round_id": self.round_id,
            "context_sha256": self.context_sha256,
            "noise_multiplier": encode_real(self.noise_multiplier),
            "signals": list(self.signals),
            "events_through": self.events_through,
            "entered_at_ms": self.entered_at_ms,
            "trust_level": self.trust_level,
            "sensitivity": self.sensitivity,
            "purpose": self.purpose,
            "task_id": self.task_id,
            "answer_sha256": self.answer_sha256,
        }
        return canonical_json(document)

    @classmethod
    def from_bytes(cls, data: bytes) -> Participation:
        """Decode what `to_bytes` wrote, now or before it kept levels, and the store authenticated.

        Raises:
            BadDocument: if a field is missing that every entry has.
        """
        document = parse_canonical(data)
        fields, complete = Fields(document, "participation"), "trust_level" in document
        return cls(
            fields.text("task_sha256"),
            fields.integer("round_id", 0),
            fields.text("context_sha256"),
            fields.real("noise_multiplier"),
            fields.texts("signals"),
            fields.integer("events_through", 0),
            fields.integer("entered_at_ms", 0),
            fields.text("trust_level") if complete else CENTRAL,
            fields.integer("sensitivity", 0) if complete else 0,
            fields.text("purpose") if complete else "",
            fields.text("task_id") if complete else "",
            fields.text("answer_sha256") if "answer_sha256" in document else "",
        )


class ParticipationLog:
    """The rounds of one store."""

    def __init__(self, store: Store, facts: Facts) -> None:
        self._store = store
        self._facts = facts
        self._cache: list[Participation] | None = None

    def enter(self, entry: Participation, answer: bytes | None = None) -> Participation:
        """Enter a round before its vector exists outside; on the disk when this returns.

        Args:
            entry: the round.
            answer: the very bytes that will be sent, where they cannot be computed again: at level
                `local`, whose noise is drawn once. They are kept in the same transaction, until the
                next such round, so that no crash can make this device draw twice for one round.

        Returns:
            The entry that stands: the first one, if the round was entered before, be it by another
            thread a moment ago. Only if it is the very object given may what was computed for it
            leave.
        """
        # One hold of the store's lock, from the look to the memory of it: no thread comes between.
        with self._store.reading():
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
                if answer is not None:
                    name = _answer_name(entry.task_sha256, entry.round_id)
                    content = struct.pack("<I", len(name)) + name + answer
                    self._facts.put_within(connection, _ANSWER, content)
            entries.append(entry)
            return entry

    def answer(self, task_sha256: str, round_id: int) -> bytes | None:
        """Return the bytes kept for a round, or None if a later round took their place."""
        content = self._facts.get(_ANSWER)
        if content is None:
            return None
        (length,) = struct.unpack_from("<I", content)
        if content[4 : 4 + length] != _answer_name(task_sha256, round_id):
            return None
        return content[4 + length :]

    def find(self, task_sha256: str, round_id: int) -> Participation | None:
        """Return the entry of one round, or None."""
        return next(
            (e for e in self.entries() if e.task_sha256 == task_sha256 and e.round_id == round_id),
            None,
        )

    def entries(self) -> list[Participation]:
        """Return every round entered, oldest first."""
        if self._cache is not None:
            return self._cache
        with self._store.reading() as connection:
            # Set under the store's lock: set later, it could lack a round entered meanwhile.
            if self._cache is None:
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

        What it covers: the noised sums of every round entered at level `central`, the noised
        contributions of every round entered at `local`, and those of `extra` rounds if it takes
        part in those too, composed in closed form, each in full. What a `local` round shows
        everyone, it shows those who read releases as well, so both kinds compose
        (`tacit.privacy.trust.level_and_relation`). Rounds at `consent-only` are in no ε.
        """
        events = (entry.event for entry in self.entries())
        taken = [event for event in events if event is not None]
        from tacit.privacy.accounting import epsilon_bound

        return epsilon_bound([*taken, *extra], target_delta)


def _answer_name(task_sha256: str, round_id: int) -> bytes:
    return f"{task_sha256}/{round_id}".encode("ascii")
