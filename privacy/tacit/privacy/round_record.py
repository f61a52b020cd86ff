"""Rounds that spend no budget, on record: at trust level `consent-only` a round reserves nothing.

Rounds of other levels stand in the governance log as reservations and commits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tacit.privacy.canonical import Fields, Json
from tacit.privacy.errors import BadDocument

TYPE = "tacit.round-record/1"


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """States that a round was summed, before its sum is used (kind `round`).

    No digest of the sum stands in it: sums of this level are exact, and a digest of one would let
    anybody confirm a guess.

    Attributes:
        task_sha256: hex digest of the task.
        round_id: the round.
        context_sha256: hex digest of the public context devices answered under.
    """

    task_sha256: str
    round_id: int
    context_sha256: str

    def to_json(self) -> dict[str, Json]:
        """Return the body of the entry."""
        return {
            "type": TYPE,
            "task_sha256": self.task_sha256,
            "round_id": self.round_id,
            "context_sha256": self.context_sha256,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> RoundRecord:
        """Parse and validate; raises `BadDocument`."""
        fields = Fields(document, "round record")
        if fields.text("type") != TYPE:
            raise BadDocument(f"round record.type: expected {TYPE!r}")
        record = cls(
            task_sha256=fields.text("task_sha256", max_length=64),
            round_id=fields.integer("round_id", 1, 10_000),
            context_sha256=fields.text("context_sha256", max_length=64),
        )
        fields.done()
        return record
