"""Learner `spectral/1`: private subspace iteration, warm-started by public item features.

1. `popularity/1` gives the item distribution, hence the coordinates (`geometry`).
2. `feature_gram/1` gives the strongest directions that public features can express.
3. `subspace/1`, a few times: devices sketch the second moment of taste on the current directions;
   all sketches so far are combined into the next ones (`sketches`).
4. The model is what a device's factor-analysis read-out needs: popularity, loadings, variances.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tacit.server.coordinator.learners.errors import BadHistory, BadPlan
from tacit.server.coordinator.learners.features import FeatureSpace, feature_pairs
from tacit.server.coordinator.learners.geometry import Geometry
from tacit.server.coordinator.learners.item_popularity import (
    POPULARITY,
    effective_history,
    item_distribution,
)
from tacit.server.coordinator.learners.popularity import popularity_model
from tacit.server.coordinator.learners.protocol import (
    FloatArray,
    NoisedSum,
    PublicArrays,
    RoundSpec,
    check_history,
)
from tacit.server.coordinator.learners.rules import SpectralPlan, spectral_plan
from tacit.server.coordinator.learners.sketches import Spectrum, combine

FEATURE_GRAM = "feature_gram/1"
SUBSPACE = "subspace/1"

_START_SEED = 20210607  # of the public random start; no protection rests on it
_PRIOR_SCALE = 3.0  # clipping shortens projections, so sketches understate the variance of taste
_NOISE_EXPONENT = 0.7  # item noise grows slower than pi: rare items' loadings are uncertain too
_MAGNIFICATION = 0.25
_WEAKEST = 0.02
_UNMEASURED = 0.3  # of the variance of feature directions that no sketch measured


@dataclass(frozen=True, slots=True)
class _Progress:
    """What a history amounts to: coordinates, the next basis and the spectrum so far."""

    geometry: Geometry
    next_basis: FloatArray
    spectrum: Spectrum | None


class SpectralLearner:
    """Learn loadings of items on taste directions from a handful of noised sums.

    Args:
        n_items: size of the public catalogue, at least 2.
        expected_cohort: public expected number of contributing users; never a private count.
        epsilon: total budget, which decides the hyper-parameters; infinity for no noise.
        features: `(n_items, f)` public item features, finite, or `None`.
        rounds: total number of rounds; `None` applies the rule.

    Raises:
        BadPlan: an argument is out of range or the features do not fit the catalogue.
    """

    name = "spectral/1"

    def __init__(
        self,
        n_items: int,
        expected_cohort: int,
        epsilon: float,
        *,
        features: FloatArray | None = None,
        rounds: int | None = None,
    ) -> None:
        if features is not None:
            features = _check_features(features, n_items)
        self._n_items = n_items
        self._expected_cohort = expected_cohort
        self._features = features
        self._pairs = feature_pairs(features, n_items)
        self.plan: SpectralPlan = spectral_plan(
            n_items,
            expected_cohort,
            epsilon,
            feature_width=self._feature_width(),
            rounds=rounds,
        )
        self._specs = self._plan_rounds()

    def rounds(self) -> tuple[RoundSpec, ...]:
        """Plan every round from public quantities alone."""
        return self._specs

    def context(self, round_id: int, history: Sequence[NoisedSum]) -> PublicArrays:
        """Compute the public arrays devices need for a round.

        Args:
            round_id: the round about to run, from 1.
            history: the noised sums of all earlier rounds, in order.

        Returns:
            Empty for the popularity round, else `basis` and `item_weights`, float32.

        Raises:
            BadHistory: the round is not planned, or the history is not exactly the rounds before.
        """
        if not 1 <= round_id <= len(self._specs):
            raise BadHistory(f"expected a round from 1 to {len(self._specs)}, got {round_id}")
        check_history(self._specs, history, expected=round_id - 1)
        if round_id == 1:
            return {}
        progress = self._replay(history)
        return {
            "basis": progress.geometry.centred_basis(progress.next_basis).astype(np.float32),
            "item_weights": progress.geometry.weights.astype(np.float32),
        }

    def model(self, history: Sequence[NoisedSum]) -> PublicArrays:
        """Compute the model from the rounds so far.

        Returns:
            `popularity` and `item_variance` `(n_items,)`, `loadings` `(n_items, r)` and
            `prior_variance` `(r,)`, float32. The popularity ranking before the first subspace
            round, and when no direction rises above the noise.

        Raises:
            BadHistory: the history is empty or does not fit the plan.
        """
        check_history(self._specs, history)
        progress = self._replay(history)
        geometry, spectrum = progress.geometry, progress.spectrum
        if spectrum is None or not bool(np.any(spectrum.strengths > 0.0)):
            return popularity_model(geometry.distribution)
        typical = effective_history(history[0], self._expected_cohort)
        strengths = np.maximum(spectrum.strengths, 1e-6 * float(spectrum.strengths[0]))
        variance = _PRIOR_SCALE * strengths / (self._expected_cohort * typical)
        loadings = spectrum.directions / geometry.weights[:, np.newaxis]
        noise = geometry.distribution**_NOISE_EXPONENT
        noise *= np.sum(geometry.distribution**2) / np.sum(geometry.distribution * noise)
        return {
            "popularity": geometry.distribution.astype(np.float32),
            "loadings": loadings.astype(np.float32),
            "prior_variance": variance.astype(np.float32),
            "item_variance": noise.astype(np.float32),
        }

    def _plan_rounds(self) -> tuple[RoundSpec, ...]:
        plan = self.plan
        kinds = [(POPULARITY, self._n_items, 1.0, plan.popularity_share)]
        if self._features is not None:
            width = self._feature_width()
            length = width * (width + 1) // 2
            kinds.append((FEATURE_GRAM, length, plan.feature_clipping_norm, plan.feature_share))
        each = (1.0 - sum(kind[3] for kind in kinds)) / plan.subspace_rounds
        subspace = (SUBSPACE, self._n_items * plan.width, plan.clipping_norm, each)
        return tuple(
            RoundSpec(
                round_id=position,
                statistic=statistic,
                length=length,
                clipping_norm=clipping_norm,
                budget_share=share,
                parameters={},
            )
            for position, (statistic, length, clipping_norm, share) in enumerate(
                kinds + [subspace] * plan.subspace_rounds, start=1
            )
        )

    def _feature_width(self) -> int:
        """Give the width the feature round is planned with: fixed before popularity is known."""
        if self._features is None:
            return 0
        return int(min(self._features.shape[1] + self._pairs.shape[1], self._n_items))

    def _replay(self, history: Sequence[NoisedSum]) -> _Progress:
        """Run over a checked history from its start: no state is kept between calls."""
        geometry = Geometry.of(item_distribution(history[0]))
        features = FeatureSpace.of(geometry, self._features, self._pairs)
        directions, strengths = features.all, np.zeros(0)
        done = history[1:]
        if self._features is not None:
            if len(history) == 1:
                padded = np.zeros((self._n_items, self._feature_width()))
                padded[:, : directions.shape[1]] = directions
                return _Progress(geometry, padded, None)
            axes, strengths = self._feature_axes(history[1], directions.shape[1])
            directions = directions @ axes
            done = history[2:]
        spectrum = None
        bases = [self._next_basis(Spectrum(directions, strengths), geometry)]
        sketches: list[FloatArray] = []
        for released in done:
            sketch = released.values.reshape(self._n_items, self.plan.width)
            if self.plan.clipping_norm >= 1.0:  # nothing was clipped: self-products are known
                own = geometry.self_products(self._expected_cohort)
                sketch = sketch - own[:, np.newaxis] * geometry.centred_basis(bases[-1])
            sketches.append(geometry.centred_rows(sketch))
            spectrum = combine(bases, sketches, released.noise_std, geometry, features)
            bases.append(self._next_basis(spectrum, geometry))
        if (
            spectrum is not None
            and len(sketches) == 1
            and len(strengths)
            and done[0].noise_std > 0.0
        ):
            spectrum = self._beyond_sketch(spectrum, directions, strengths, history[1])
        return _Progress(geometry, bases[-1], spectrum)

    def _feature_axes(self, released: NoisedSum, rank: int) -> tuple[FloatArray, FloatArray]:
        """Find the axes and strengths of the noised feature Gram matrix, strongest first."""
        width = self._feature_width()
        upper, lower = np.triu_indices(width)
        gram = np.zeros((width, width))
        gram[upper, lower] = released.values / np.where(upper == lower, 1.0, math.sqrt(2.0))
        gram[lower, upper] = gram[upper, lower]
        strengths, axes = np.linalg.eigh(gram[:rank, :rank])
        return axes[:, ::-1], np.maximum(strengths[::-1], 0.0)

    def _beyond_sketch(
        self,
        spectrum: Spectrum,
        directions: FloatArray,
        strengths: FloatArray,
        released: NoisedSum,
    ) -> Spectrum:
        """Add the feature directions that a single sketch was too narrow to measure.

        They rise above the noise of the feature round, but nothing is known about how items depart
        from their features along them, so they count for less.

        Args:
            spectrum: from the sketch on the first `width` of `directions`.
            directions: `(n_items, r)` feature directions, strongest first.
            strengths: `(r,)` their strengths in the feature round.
            released: the feature round.
        """
        width = self.plan.width
        clear = np.flatnonzero(strengths > released.noise_std * math.sqrt(len(strengths)))
        clear = clear[clear >= width]
        if len(clear) == 0 or len(spectrum.strengths) == 0:
            return spectrum
        # Both rounds saw the first directions: their ratio turns one clipping into the other.
        scale = min(1.0, float(np.sum(spectrum.strengths) / np.sum(strengths[:width])))
        known = spectrum.directions
        further = directions[:, clear]
        return Spectrum(
            np.hstack([known, further - known @ (known.T @ further)]),
            np.concatenate([spectrum.strengths, _UNMEASURED * scale * strengths[clear]]),
        )

    def _next_basis(self, spectrum: Spectrum, geometry: Geometry) -> FloatArray:
        """Choose the directions of the next round, `(n_items, width)`.

        Weak directions are magnified by `strength^-1/4`: a clipped projection then spends less of
        its norm on strong directions, which stand far above the noise anyway.
        """
        known = spectrum.directions[:, : self.plan.width]
        basis = _complete(known, self.plan.width, geometry)
        strengths = np.zeros(self.plan.width)
        found = min(len(spectrum.strengths), self.plan.width)
        strengths[:found] = spectrum.strengths[:found]
        strongest = float(np.max(strengths))
        if strongest == 0.0:
            return basis
        return basis * np.maximum(strengths / strongest, _WEAKEST) ** -_MAGNIFICATION


def _complete(known: FloatArray, width: int, geometry: Geometry) -> FloatArray:
    """Take the first `width` directions, filled up with public pseudo-random ones if too few.

    Returns:
        `(n_items, width)` with orthonormal columns.
    """
    known = known[:, :width]
    missing = width - known.shape[1]
    if missing > 0:
        # random_raw is the one stream numpy promises never to change between versions.
        seed = np.random.PCG64(_START_SEED + known.shape[1])
        raw = np.asarray(seed.random_raw(len(known) * missing), dtype=np.uint64)
        signs = np.where(raw >> np.uint64(63), 1.0, -1.0).reshape(len(known), missing)
        spread = geometry.weights * np.sqrt(geometry.distribution)
        fresh = geometry.centred_rows(spread[:, np.newaxis] * signs)
        known = np.hstack([known, fresh - known @ (known.T @ fresh)])
    basis, turn = np.linalg.qr(known)
    return np.asarray(basis * np.sign(np.diag(turn)), dtype=np.float64)


def _check_features(features: FloatArray, n_items: int) -> FloatArray:
    """Check public item features and return them as float64."""
    if features.ndim != 2 or features.shape[0] != n_items or features.shape[1] < 1:
        raise BadPlan(f"expected features of shape ({n_items}, f), got {features.shape}")
    if not bool(np.all(np.isfinite(features))):
        raise BadPlan("expected finite item features")
    return features.astype(np.float64)
