"""Releases: noised results that left the trust boundary, with what paid for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tacit.privacy.canonical import Fields, Json, encode_real
from tacit.privacy.errors import BadDocument
from tacit.privacy.trust import CENTRAL, CONSENT_ONLY, LEVELS, exclusions

if TYPE_CHECKING:
    from tacit.privacy.accounting_claim import EpsilonClaim

RANKING = "ranking"
KINDS = (RANKING, "churn", "intent", "bandit")
"""What a release is for; a device keeps the newest of each kind."""

_MOMENTS = "_moments/"


def kind_of(statistics: Iterable[str]) -> str:
    """Tell what is learned from the statistics of a task's rounds.

    `churn_moments/1` teaches to predict churn, and so on for every target in `KINDS`; whatever is
    not the moments of a target teaches to rank.
    """
    for statistic in statistics:
        target, moments, _ = statistic.partition(_MOMENTS)
        if moments and target in KINDS:
            return target
    return RANKING


@dataclass(frozen=True, slots=True)
class ReleaseStatement:
    """What must stand beside the ε of a release, wherever it is shown.

    Attributes:
        unit: the privacy unit.
        neighboring_relation: what neighbouring data sets differ by.
        participation_bound: most of its rounds one user may be in; ε charges them all.
        sampling: amplification that is claimed; `none`.
        accountant: what composed it, name and version.
        exclusions: what ε does not cover.
    """

    unit: str
    neighboring_relation: str
    participation_bound: int
    sampling: str
    accountant: str
    exclusions: tuple[str, ...]

    @classmethod
    def of(cls, claim: EpsilonClaim, participation_bound: int) -> ReleaseStatement:
        """Take from a claim what is to be said beside it."""
        return cls(
            unit=claim.unit,
            neighboring_relation=claim.neighboring_relation,
            participation_bound=participation_bound,
            sampling=claim.sampling,
            accountant=f"{claim.accountant} {claim.accountant_version}",
            exclusions=exclusions(claim),
        )

    def to_json(self) -> dict[str, Json]:
        """Return the fields as they stand in the release."""
        return {
            "unit": self.unit,
            "neighboring_relation": self.neighboring_relation,
            "participation_bound": self.participation_bound,
            "sampling": self.sampling,
            "accountant": self.accountant,
            "exclusions": list(self.exclusions),
        }

    @classmethod
    def take(cls, fields: Fields) -> ReleaseStatement:
        """Take the fields from a release's document; raises `BadDocument`."""
        return cls(
            unit=fields.text("unit"),
            neighboring_relation=fields.text("neighboring_relation"),
            participation_bound=fields.integer("participation_bound", 1),
            sampling=fields.text("sampling"),
            accountant=fields.text("accountant"),
            exclusions=fields.texts("exclusions"),
        )


@dataclass(frozen=True, slots=True)
class ReleaseManifest:
    """One model release, signed by the coordinator and included in the governance log.

    Attributes:
        population: whose devices may install it.
        version: 1, 2, 3, … over all kinds of the population; a device never installs a version
            below the one it has of the same kind.
        task_sha256: hex digest of the manifest of the task that trained it.
        model_sha256: hex digest of the model blob.
        model_bytes: size of the blob.
        catalogue_sha256: hex digest of the catalogue it ranks.
        reservations: the budget reservations whose noised sums it was computed from; none at trust
            level `consent-only`, which pays nothing.
        epsilon: ε of those reservations together at `target_delta`, rounded up; None at
            `consent-only`.
        target_delta: δ; None at `consent-only`.
        created_at_ms: Unix milliseconds.
        kind: one of `KINDS`. The document leaves "ranking" out, so releases from before there were
            kinds keep their bytes and their digests.
        trust_level: the level of its task.
        statement: what is said beside ε; None at `consent-only`, and in releases from before it was
            part of them, whose documents name no level either and are `central`.
        supersedes: versions that this release replaces, because they rest on someone who was erased
            (`tacit.privacy.retraining`); increasing, each below `version`. Devices stop using them.
    """

    population: str
    version: int
    task_sha256: str
    model_sha256: str
    model_bytes: int
    catalogue_sha256: str
    reservations: tuple[str, ...]
    epsilon: float | None
    target_delta: float | None
    created_at_ms: int
    kind: str = RANKING
    trust_level: str = CENTRAL
    statement: ReleaseStatement | None = None
    supersedes: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Return the manifest as the governance log holds it."""
        document: dict[str, Json] = {
            "type": "tacit.release/1",
            "population": self.population,
            "version": self.version,
            "task_sha256": self.task_sha256,
            "model_sha256": self.model_sha256,
            "model_bytes": self.model_bytes,
            "catalogue_sha256": self.catalogue_sha256,
            "reservations": list(self.reservations),
            "created_at_ms": self.created_at_ms,
        }
        if self.epsilon is not None:
            document["epsilon"] = encode_real(self.epsilon)
        if self.target_delta is not None:
            document["target_delta"] = encode_real(self.target_delta)
        if self.statement is not None:
            document |= self.statement.to_json()
        if self.statement is not None or self.trust_level != CENTRAL:
            document["trust_level"] = self.trust_level
        if self.kind != RANKING:
            document["kind"] = self.kind
        if self.supersedes:
            document["supersedes"] = list(self.supersedes)
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> ReleaseManifest:
        """Parse and validate; raises `BadDocument`."""
        fields = Fields(document, "release")
        if fields.text("type") != "tacit.release/1":
            raise BadDocument("release.type: expected 'tacit.release/1'")
        states_level = "trust_level" in document
        level = fields.text("trust_level") if states_level else CENTRAL
        if level not in LEVELS:
            raise BadDocument(f"release.trust_level: expected one of {', '.join(LEVELS)}")
        charged = level != CONSENT_ONLY
        manifest = cls(
            population=fields.text("population"),
            version=fields.integer("version", 1),
            task_sha256=fields.text("task_sha256", max_length=64),
            model_sha256=fields.text("model_sha256", max_length=64),
            model_bytes=fields.integer("model_bytes", 1),
            catalogue_sha256=fields.text("catalogue_sha256", max_length=64),
            reservations=fields.texts("reservations"),
            epsilon=fields.real("epsilon", above=0.0) if charged else None,
            target_delta=fields.real("target_delta", above=0.0, at_most=0.5) if charged else None,
            created_at_ms=fields.integer("created_at_ms", 0),
            kind=_kind(fields) if "kind" in document else RANKING,
            trust_level=level,
            statement=ReleaseStatement.take(fields) if states_level and charged else None,
            supersedes=fields.integers("supersedes", 1) if "supersedes" in document else (),
        )
        fields.done()
        named = [*manifest.supersedes, manifest.version]
        if named != sorted(set(named)) or ("supersedes" in document and len(named) == 1):
            raise BadDocument("release.supersedes: expected increasing versions below its own")
        return manifest


def _kind(fields: Fields) -> str:
    """Take the kind; "ranking" spelled out would give one release two encodings."""
    kind = fields.text("kind")
    if kind not in KINDS or kind == RANKING:
        raise BadDocument(f"release.kind: expected one of {', '.join(KINDS[1:])}, or no kind")
    return kind
