"""Tasks: what devices are asked, declared in full before the first round.

A device runs declarative tasks whose statistics are compiled into the installed client; no code
is ever shipped to it. Everything that decides what a contribution reveals stands in the manifest,
which is signed by the coordinator and included in the governance log.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

from tacit.privacy.canonical import Fields, Json, canonical_json, encode_real
from tacit.privacy.discrete_gaussian import MAX_SIGMA
from tacit.privacy.errors import BadDocument
from tacit.privacy.gaussian_event import MIN_SENSITIVITY, GaussianEvent
from tacit.privacy.trust import CENTRAL, CONSENT_ONLY, LEVELS, LOCAL

TRUST_LEVELS = LEVELS
"""Levels this version can run; the ladder itself is in SECURITY.md."""

NEIGHBOURS = {CONSENT_ONLY: "", CENTRAL: "add_remove", LOCAL: "replace"}
"""Level → neighbouring relation a task of that level states; none where nothing is claimed."""

TASK_PURPOSES = ("learn", "measure")
"""Purposes under which anything may leave a device. Never `decide`: that is for what a device does
with its own data, and the one purpose for which consent may be implied."""

MAX_INTEGER_NORM = 32_767
"""Contributions without noise travel as 16-bit integers, so no coordinate may exceed this."""

MAX_LOCAL_COHORT = 1 << 31
"""Sums of so many noised contributions of 32-bit integers stay within 64 bits."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """One round of a task.

    Attributes:
        round_id: 1, 2, 3, … in order.
        statistic: name and version of a statistic in `tacit.client.statistics`.
        length: length d of the contribution.
        clipping_norm: ℓ2 bound C on the statistic, in its own units, > 0.
        integer_norm: ℓ2 bound L on the integers that are sent, in [1024, 32767].
        noise_multiplier: z, discrete Gaussian noise per coordinate over the sensitivity. At level
            `central` the coordinator adds noise of scale z·L to the sum; at `local` each device
            adds noise of scale z·2L to its own contribution; 0 at `consent-only`, for none.
        parameters: public scalars of the statistic.
    """

    round_id: int
    statistic: str
    length: int
    clipping_norm: float
    integer_norm: int
    noise_multiplier: float
    parameters: Mapping[str, float]

    def to_json(self) -> dict[str, Json]:
        """Return the plan as it stands in the manifest."""
        document: dict[str, Json] = {
            "round_id": self.round_id,
            "statistic": self.statistic,
            "length": self.length,
            "clipping_norm": encode_real(self.clipping_norm),
            "integer_norm": self.integer_norm,
            "parameters": {k: encode_real(v) for k, v in self.parameters.items()},
        }
        if self.noise_multiplier:
            document["noise_multiplier"] = encode_real(self.noise_multiplier)
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> RoundPlan:
        """Parse and validate; raises `BadDocument`."""
        fields = Fields(document, "round")
        plan = cls(
            round_id=fields.integer("round_id", 1, 10_000),
            statistic=fields.text("statistic"),
            length=fields.integer("length", 1, 2**31 - 1),
            clipping_norm=fields.real("clipping_norm", above=0.0),
            integer_norm=fields.integer("integer_norm", MIN_SENSITIVITY, MAX_INTEGER_NORM),
            noise_multiplier=fields.real("noise_multiplier", above=0.0)
            if "noise_multiplier" in document
            else 0.0,
            parameters=fields.reals("parameters"),
        )
        fields.done()
        return plan


@dataclass(frozen=True, slots=True)
class TaskManifest:
    """The whole of a task.

    Attributes:
        task_id: unique name.
        population: the set of devices asked.
        purpose: the consent purpose the task needs, one of `TASK_PURPOSES`; `learn` for training.
        learner: name and version of the learner that consumes the sums.
        signals: signal name → weight > 0; a device reads only those also consented to.
        rounds: at least one, with consecutive ids from 1.
        trust_level: one of `TRUST_LEVELS`.
        cohort_min: a round with fewer contributions is aborted, nothing is released.
        cohort_max: a round to which more devices come is aborted, nothing is released; at least
            the population, or one device would take another's place.
        cohort_expected: the public cohort size that the learner's rules use.
        participation_bound: most rounds one user may contribute to; the accountant charges all.
        unit: the privacy unit; `user`.
        neighboring_relation: the one of the level in `NEIGHBOURS`.
        epsilon: ε of all rounds together at `target_delta`, rounded up; None at `consent-only`.
        target_delta: δ, below 1 / cohort_max; None at `consent-only`.
        budget_account: the account that pays. At `consent-only` nothing is paid: it is the account
            of the population, which must allow that level, or empty where the population has none.
        catalogue_sha256: hex digest of the public catalogue whose item order indexes the vectors.
        issued_at_ms, expires_at_ms: Unix milliseconds.
        base_release: version of the release this task continues from; 0 for none.
        retrains: hex digest of the retraining (`tacit.privacy.retraining`) that this task carries
            out; empty for any other task.
    """

    task_id: str
    population: str
    purpose: str
    learner: str
    signals: Mapping[str, float]
    rounds: tuple[RoundPlan, ...]
    trust_level: str
    cohort_min: int
    cohort_max: int
    cohort_expected: int
    participation_bound: int
    unit: str
    neighboring_relation: str
    epsilon: float | None
    target_delta: float | None
    budget_account: str
    catalogue_sha256: str
    issued_at_ms: int
    expires_at_ms: int
    base_release: int
    retrains: str = ""

    def to_json(self) -> dict[str, Json]:
        """Return the manifest as the governance log holds it; what a level lacks is left out."""
        document: dict[str, Json] = {
            "type": "tacit.task/1",
            "task_id": self.task_id,
            "population": self.population,
            "purpose": self.purpose,
            "learner": self.learner,
            "signals": {k: encode_real(v) for k, v in self.signals.items()},
            "rounds": cast(Json, [plan.to_json() for plan in self.rounds]),
            "trust_level": self.trust_level,
            "cohort_min": self.cohort_min,
            "cohort_max": self.cohort_max,
            "cohort_expected": self.cohort_expected,
            "participation_bound": self.participation_bound,
            "unit": self.unit,
            "catalogue_sha256": self.catalogue_sha256,
            "issued_at_ms": self.issued_at_ms,
            "expires_at_ms": self.expires_at_ms,
            "base_release": self.base_release,
        }
        if self.neighboring_relation:
            document["neighboring_relation"] = self.neighboring_relation
        if self.epsilon is not None:
            document["epsilon"] = encode_real(self.epsilon)
        if self.target_delta is not None:
            document["target_delta"] = encode_real(self.target_delta)
        if self.budget_account:
            document["budget_account"] = self.budget_account
        if self.retrains:
            document["retrains"] = self.retrains
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> TaskManifest:
        """Parse and validate; raises `BadDocument` saying what was expected."""
        fields = Fields(document, "task")
        if fields.text("type") != "tacit.task/1":
            raise BadDocument("task.type: expected 'tacit.task/1'")
        charged = document.get("trust_level") != CONSENT_ONLY
        manifest = cls(
            task_id=fields.text("task_id"),
            population=fields.text("population"),
            purpose=fields.text("purpose"),
            learner=fields.text("learner"),
            signals=fields.reals("signals", above=0.0),
            rounds=tuple(RoundPlan.from_json(plan) for plan in fields.objects("rounds")),
            trust_level=fields.text("trust_level"),
            cohort_min=fields.integer("cohort_min", 1),
            cohort_max=fields.integer("cohort_max", 1),
            cohort_expected=fields.integer("cohort_expected", 1),
            participation_bound=fields.integer("participation_bound", 1),
            unit=fields.text("unit"),
            neighboring_relation=fields.text("neighboring_relation") if charged else "",
            epsilon=fields.real("epsilon", above=0.0) if charged else None,
            target_delta=fields.real("target_delta", above=0.0, at_most=0.5) if charged else None,
            budget_account=fields.text("budget_account")
            if charged or "budget_account" in document
            else "",
            catalogue_sha256=fields.text("catalogue_sha256", max_length=64),
            issued_at_ms=fields.integer("issued_at_ms", 0),
            expires_at_ms=fields.integer("expires_at_ms", 0),
            base_release=fields.integer("base_release", 0),
            retrains=fields.text("retrains", max_length=64) if "retrains" in document else "",
        )
        fields.done()
        manifest.check()
        return manifest

    def check(self) -> None:
        """Check the conditions that tie fields together.

        Raises:
            BadDocument: naming the field, what was expected and what came.
        """
        ids = [plan.round_id for plan in self.rounds]
        if not ids or ids != list(range(1, len(ids) + 1)):
            raise BadDocument("task.rounds: expected at least one round, ids 1, 2, 3, … in order")
        if self.purpose not in TASK_PURPOSES:
            raise BadDocument(f"task.purpose: expected one of {', '.join(TASK_PURPOSES)}")
        if self.trust_level not in TRUST_LEVELS:
            raise BadDocument(f"task.trust_level: expected one of {', '.join(TRUST_LEVELS)}")
        self._check_level()
        if not self.cohort_min <= self.cohort_expected <= self.cohort_max:
            raise BadDocument("task: expected cohort_min <= cohort_expected <= cohort_max")
        if self.participation_bound < len(self.rounds):
            raise BadDocument("task.participation_bound: expected at least the number of rounds")
        if self.expires_at_ms <= self.issued_at_ms:
            raise BadDocument("task.expires_at_ms: expected a time after issued_at_ms")
        if not self.signals:
            raise BadDocument("task.signals: expected at least one signal")
        if self.retrains and not _DIGEST.fullmatch(self.retrains):
            raise BadDocument("task.retrains: expected 64 lower-case hex digits, or no such field")

    def _check_level(self) -> None:
        """Check what a trust level asks of the figures, or forbids."""
        level, relation = self.trust_level, NEIGHBOURS[self.trust_level]
        if self.unit != "user" or self.neighboring_relation != relation:
            raise BadDocument(
                f"task: expected unit 'user' and neighboring_relation {relation!r} at trust level "
                f"{level!r}"
            )
        if level == CONSENT_ONLY:
            if any(plan.noise_multiplier for plan in self.rounds):
                raise BadDocument("task.rounds: expected no noise at trust level 'consent-only'")
            if self.epsilon is not None or self.target_delta is not None:
                raise BadDocument("task: expected no epsilon at trust level 'consent-only'")
            return
        if not all(plan.noise_multiplier > 0.0 for plan in self.rounds):
            raise BadDocument(
                f"task.rounds: expected a noise_multiplier above 0 at trust level {level!r}"
            )
        if self.epsilon is None or self.target_delta is None or not self.budget_account:
            raise BadDocument(
                f"task: expected epsilon, target_delta and budget_account at trust level {level!r}"
            )
        if self.target_delta >= 1 / self.cohort_max:
            raise BadDocument("task.target_delta: expected delta < 1 / cohort_max")
        if level == LOCAL:
            self._check_local()

    def _check_local(self) -> None:
        """Check that noised contributions fit the integers they travel and are summed in."""
        if any(2 * plan.noise_multiplier * plan.integer_norm > MAX_SIGMA for plan in self.rounds):
            raise BadDocument(
                f"task.rounds: expected noise of a scale z·2L of at most {MAX_SIGMA:.0f} at trust "
                "level 'local'"
            )
        if self.cohort_max > MAX_LOCAL_COHORT:
            raise BadDocument(
                f"task.cohort_max: expected at most {MAX_LOCAL_COHORT} at trust level 'local'"
            )

    def event(self, plan: RoundPlan) -> GaussianEvent | None:
        """Return what one round costs every user who may be in it; None at `consent-only`.

        Raises:
            BadParameter: if the noise is outside what can be accounted for.
        """
        if self.trust_level == CONSENT_ONLY:
            return None
        if self.trust_level == LOCAL:
            return GaussianEvent(plan.noise_multiplier, 1, 2 * plan.integer_norm, LOCAL)
        return GaussianEvent(plan.noise_multiplier)

    def events(self) -> tuple[GaussianEvent, ...]:
        """Return what all rounds cost; empty at `consent-only`, which costs no budget.

        Raises:
            BadParameter: if the noise is outside what can be accounted for.
        """
        found = (self.event(plan) for plan in self.rounds)
        return tuple(event for event in found if event is not None)

    def round_plan(self, round_id: int) -> RoundPlan:
        """Return the plan of one round.

        Raises:
            BadDocument: if the task has no such round.
        """
        if not 1 <= round_id <= len(self.rounds):
            raise BadDocument(f"expected a round from 1 to {len(self.rounds)}, got {round_id}")
        return self.rounds[round_id - 1]

    def digest(self) -> bytes:
        """SHA-256 of the canonical manifest: the name every other message uses for the task."""
        return hashlib.sha256(canonical_json(self.to_json())).digest()


@dataclass(frozen=True, slots=True)
class RoundHeader:
    """What opens one round: signed by the coordinator, checked by every device.

    Attributes:
        task_sha256: hex digest of the manifest.
        round_id: the round.
        context_sha256: hex digest of the public context blob the statistic needs.
        opened_at_ms, closes_at_ms: Unix milliseconds.
    """

    task_sha256: str
    round_id: int
    context_sha256: str
    opened_at_ms: int
    closes_at_ms: int

    SIGNING_CONTEXT: ClassVar[str] = "round"

    def to_bytes(self) -> bytes:
        """Return the canonical bytes that are signed in context `"round"`."""
        return canonical_json(
            {
                "type": "tacit.round/1",
                "task_sha256": self.task_sha256,
                "round_id": self.round_id,
                "context_sha256": self.context_sha256,
                "opened_at_ms": self.opened_at_ms,
                "closes_at_ms": self.closes_at_ms,
            }
        )

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> RoundHeader:
        """Parse and validate; raises `BadDocument`."""
        fields = Fields(document, "round header")
        if fields.text("type") != "tacit.round/1":
            raise BadDocument("round header.type: expected 'tacit.round/1'")
        header = cls(
            task_sha256=fields.text("task_sha256", max_length=64),
            round_id=fields.integer("round_id", 1, 10_000),
            context_sha256=fields.text("context_sha256", max_length=64),
            opened_at_ms=fields.integer("opened_at_ms", 0),
            closes_at_ms=fields.integer("closes_at_ms", 0),
        )
        fields.done()
        return header
