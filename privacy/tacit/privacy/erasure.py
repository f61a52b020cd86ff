"""Erasure: what a device asks for, and what the ledger answers when it is done.

The device signs an `ErasureRequest` (context `"erasure"`). The ledger destroys what it holds,
answers with an `ErasureStatement` signed by its own key (context `"erasure-statement"`), and
commits to that statement in an opaque leaf of the consent log whose commitment key it does not
keep: `tacit.privacy.receipt` then proves to the device, and to whoever the device shows it, that
the erasure is on record. Nobody else can tell that leaf from any other.

Labels of a past contribution, in the words of LEDGER.md:

    stopped      it is in no released model: its round was given up
    dp-bounded   it is, or may be, in a noised sum; what that says of a person is bounded by (ε, δ)
    unbounded    it is, or may be, in a sum without noise (trust level consent-only): nothing bounds
                 what that says
    retrained-exact  no release in force is a function of it: what rested on it was superseded by a
                 release trained without the person (`tacit.privacy.retraining`)

The first statement never says the last: it is what a device concludes later, from entries of the
governance log that it has verified. What the statement said stays true of its time.

The ledger does not know who took part in a round, and does not learn to remember it: the device
lists its rounds in the request, and they leave no trace but in the statement it gets back. A round
without a reservation yet counts as dp-bounded, because its sum may exist already.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

from tacit.privacy.canonical import Fields, Json, canonical_json, encode_real
from tacit.privacy.errors import BadDocument

STOPPED = "stopped"
DP_BOUNDED = "dp-bounded"
UNBOUNDED = "unbounded"
RETRAINED_EXACT = "retrained-exact"
LABELS = (STOPPED, DP_BOUNDED, UNBOUNDED)
MAX_ROUNDS = 10_000
"""Most past rounds one request may list."""

_STATEMENT_TYPE = "tacit.erasure-statement/2"
_FIRST_STATEMENT_TYPE = "tacit.erasure-statement/1"  # names no population and no releases
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """What a device asks.

    Attributes:
        record_id: 32 hex digits of randomness.
        device_id: who asks; the key that signs.
        requested_at_ms: Unix milliseconds.
        rounds: (task digest in hex, round) of every contribution it ever sent.
    """

    record_id: str
    device_id: str
    requested_at_ms: int
    rounds: tuple[tuple[str, int], ...]

    SIGNING_CONTEXT: ClassVar[str] = "erasure"

    def to_bytes(self) -> bytes:
        """Return the canonical bytes that the device signs."""
        rounds: list[Json] = [
            {"task_sha256": task, "round_id": number} for task, number in self.rounds
        ]
        return canonical_json(
            {
                "type": "tacit.erasure/1",
                "record_id": self.record_id,
                "device_id": self.device_id,
                "requested_at_ms": self.requested_at_ms,
                "rounds": rounds,
            }
        )

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> ErasureRequest:
        """Parse and validate; raises `BadDocument`."""
        fields = Fields(document, "erasure")
        if fields.text("type") != "tacit.erasure/1":
            raise BadDocument("erasure.type: expected 'tacit.erasure/1'")
        rounds: list[tuple[str, int]] = []
        for one in fields.objects("rounds"):
            inner = Fields(one, "erasure.rounds")
            rounds.append((_digest(inner, "task_sha256"), inner.integer("round_id", 1, 10_000)))
            inner.done()
        request = cls(
            record_id=fields.text("record_id", max_length=32),
            device_id=fields.text("device_id", max_length=64),
            requested_at_ms=fields.integer("requested_at_ms", 0),
            rounds=tuple(rounds),
        )
        fields.done()
        if not re.fullmatch(r"[0-9a-f]{32}", request.record_id):
            raise BadDocument("erasure.record_id: expected 32 lower-case hex digits")
        if len(rounds) > MAX_ROUNDS or len(set(rounds)) != len(rounds):
            raise BadDocument(f"erasure.rounds: expected at most {MAX_ROUNDS} rounds, each once")
        return request


@dataclass(frozen=True, slots=True)
class LabelledRound:
    """What becomes of one past contribution.

    Attributes:
        task_sha256, round_id: the round.
        label: one of `LABELS`.
    """

    task_sha256: str
    round_id: int
    label: str


@dataclass(frozen=True, slots=True)
class ErasureStatement:
    """What the ledger states when it is done.

    Attributes:
        request_sha256: hex digest of the request's bytes.
        erased_at_ms: Unix milliseconds.
        rounds: the request's rounds, labelled, in their order.
        epsilon, target_delta: what all dp-bounded rounds together can say of the person, per user,
            every round in full; ε is 0 where there are none. The neighbours
            are add/remove where all are of level `central`, replace where all are of level `local`,
            zero-out where there are both (`tacit.privacy.trust.level_and_relation`).
        population: whose tasks these rounds are of; empty where there are none, and in statements
            from before it was part of them (`tacit.erasure-statement/1`).
        releases: versions in force, at the time, that rest on rounds not stopped: what a retraining
            would supersede.
    """

    request_sha256: str
    erased_at_ms: int
    rounds: tuple[LabelledRound, ...]
    epsilon: float
    target_delta: float
    population: str = ""
    releases: tuple[int, ...] = ()

    SIGNING_CONTEXT: ClassVar[str] = "erasure-statement"

    def to_json(self) -> dict[str, Json]:
        """Return the statement as a document."""
        return {
            "type": _STATEMENT_TYPE,
            "request_sha256": self.request_sha256,
            "erased_at_ms": self.erased_at_ms,
            "rounds": cast(
                Json,
                [
                    {
                        "task_sha256": one.task_sha256,
                        "round_id": one.round_id,
                        "label": one.label,
                    }
                    for one in self.rounds
                ],
            ),
            "from_now_on": STOPPED,
            "epsilon": encode_real(self.epsilon),
            "target_delta": encode_real(self.target_delta),
            "population": self.population,
            "releases": list(self.releases),
        }

    def to_bytes(self) -> bytes:
        """Return the canonical bytes that the ledger signs."""
        return canonical_json(self.to_json())

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> ErasureStatement:
        """Parse and validate; raises `BadDocument`."""
        fields = Fields(document, "erasure statement")
        version = fields.text("type")
        if version not in (_STATEMENT_TYPE, _FIRST_STATEMENT_TYPE):
            raise BadDocument(f"erasure statement.type: expected {_STATEMENT_TYPE!r}")
        rounds: list[LabelledRound] = []
        for one in fields.objects("rounds"):
            inner = Fields(one, "erasure statement.rounds")
            rounds.append(
                LabelledRound(
                    _digest(inner, "task_sha256"),
                    inner.integer("round_id", 1, 10_000),
                    inner.text("label"),
                )
            )
            inner.done()
        if any(one.label not in LABELS for one in rounds) or fields.text("from_now_on") != STOPPED:
            raise BadDocument(f"erasure statement: expected labels among {', '.join(LABELS)}")
        statement = cls(
            request_sha256=_digest(fields, "request_sha256"),
            erased_at_ms=fields.integer("erased_at_ms", 0),
            rounds=tuple(rounds),
            epsilon=fields.real("epsilon", above=-1.0),
            target_delta=fields.real("target_delta", above=-1.0, at_most=1.0),
            population=fields.text("population") if version == _STATEMENT_TYPE else "",
            releases=fields.integers("releases", 1) if version == _STATEMENT_TYPE else (),
        )
        fields.done()
        return statement


def _digest(fields: Fields, name: str) -> str:
    value = fields.text(name, max_length=64)
    if not _DIGEST.fullmatch(value):
        raise BadDocument(f"erasure.{name}: expected 64 lower-case hex digits")
    return value
