"""Releases: noised results that left the trust boundary, with what paid for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tacit.privacy.canonical import Fields, Json, encode_real
from tacit.privacy.errors import BadDocument


@dataclass(frozen=True, slots=True)
class ReleaseManifest:
    """One model release, signed by the coordinator and included in the governance log.

    Attributes:
        population: whose devices may install it.
        version: 1, 2, 3, …; a device never installs a version below the one it has.
        task_sha256: hex digest of the manifest of the task that trained it.
        model_sha256: hex digest of the model blob.
        model_bytes: size of the blob.
        catalogue_sha256: hex digest of the catalogue it ranks.
        reservations: the budget reservations whose noised sums it was computed from.
        epsilon: ε of those reservations together at `target_delta`, rounded up.
        target_delta: δ.
        created_at_ms: Unix milliseconds.
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

    def to_json(self) -> dict[str, Json]:
        """Return the manifest as the governance log holds it."""
        return {
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
        )
        fields.done()
        return manifest
