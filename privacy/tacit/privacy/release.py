"""Releases: noised results that left the trust boundary, with what paid for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tacit.privacy.canonical import Fields, Json, encode_real
from tacit.privacy.errors import BadDocument

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
        reservations: the budget reservations whose noised sums it was computed from.
        epsilon: ε of those reservations together at `target_delta`, rounded up.
        target_delta: δ.
        created_at_ms: Unix milliseconds.
        kind: one of `KINDS`. The document leaves "ranking" out, so releases from before there were
            kinds keep their bytes and their digests.
    """

    population: str
    version: int
    task_sha256: str
    model_sha256: str
    model_bytes: int
    catalogue_sha256: str
    reservations: tuple[str, ...]
    epsilon: float
    target_delta: float
    created_at_ms: int
    kind: str = RANKING

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
            "epsilon": encode_real(self.epsilon),
            "target_delta": encode_real(self.target_delta),
            "created_at_ms": self.created_at_ms,
        }
        if self.kind != RANKING:
            document["kind"] = self.kind
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> ReleaseManifest:
        """Parse and validate; raises `BadDocument`."""
        fields = Fields(document, "release")
        if fields.text("type") != "tacit.release/1":
            raise BadDocument("release.type: expected 'tacit.release/1'")
        manifest = cls(
            population=fields.text("population"),
            version=fields.integer("version", 1),
            task_sha256=fields.text("task_sha256", max_length=64),
            model_sha256=fields.text("model_sha256", max_length=64),
            model_bytes=fields.integer("model_bytes", 1),
            catalogue_sha256=fields.text("catalogue_sha256", max_length=64),
            reservations=fields.texts("reservations"),
            epsilon=fields.real("epsilon", above=0.0),
            target_delta=fields.real("target_delta", above=0.0, at_most=0.5),
            created_at_ms=fields.integer("created_at_ms", 0),
            kind=_kind(fields) if "kind" in document else RANKING,
        )
        fields.done()
        return manifest


def _kind(fields: Fields) -> str:
    """Take the kind; "ranking" spelled out would give one release two encodings."""
    kind = fields.text("kind")
    if kind not in KINDS or kind == RANKING:
        raise BadDocument(f"release.kind: expected one of {', '.join(KINDS[1:])}, or no kind")
    return kind
