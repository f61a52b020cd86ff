"""Learner `spectral/3`: private subspace iteration, started from what the public catalogue says.

1. `popularity/1` gives the item distribution, hence the coordinates (`geometry`) and the prior
   covariance of tastes (`kernel`).
2. `feature_gram/1` measures the covariance of tastes on the kernel's leading directions
   (`taste_gram`).
3. `cross_gram/1`: how many more directions of the kernel go with the strongest tastes so far; read
   together with the Gram round (`cross_grams`, `taste_factors`). Where users are many, or without
   noise, `subspace/1` instead, once or more: devices sketch the second moment of taste on the
   strongest directions so far, rows are items, and everything released is combined into the next
   ones (`sketches`).
4. The model is what a device's factor-analysis read-out needs: popularity, loadings, variances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tacit.server.coordinator.learners.cross_grams import CrossGram
from tacit.server.coordinator.learners.earlier import EarlierRelease
from tacit.server.coordinator.learners.errors import BadHistory
from tacit.server.coordinator.learners.geometry import Geometry
from tacit.server.coordinator.learners.item_popularity import (
    POPULARITY,
    effective_history,
    item_distribution,
)
from tacit.server.coordinator.learners.kernel import TasteKernel, checked_features
from tacit.server.coordinator.learners.next_directions import complete, magnified, padded
from tacit.server.coordinator.learners.popularity import popularity_model
from tacit.server.coordinator.learners.protocol import (
    FloatArray,
    NoisedSum,
    PublicArrays,
    RoundSpec,
    check_history,
)
from tacit.server.coordinator.learners.rules import SpectralPlan, spectral_plan
from tacit.server.coordinator.learners.sketches import Sketch, Spectrum, combine
from tacit.server.coordinator.learners.taste_factors import taste_factor
from tacit.server.coordinator.learners.taste_gram import MeasuredGram, accidental_moment, shrunk

FEATURE_GRAM = "feature_gram/1"
CROSS_GRAM = "cross_gram/1"
SUBSPACE = "subspace/1"

_NOISE_EXPONENT = 0.7  # item noise grows slower than pi: rare items' loadings are uncertain too
_TAIL_EXPONENT = 0.1  # popular items are over-served by a linear read-out: divide by pi^0.1
_MOST_DIRECTIONS = 128
_LEAST_STRENGTH = 1e-4  # of the strongest


@dataclass(frozen=True, slots=True)
class _Progress:
    """What a history amounts to: coordinates, the next round's directions, the spectrum so far."""

    geometry: Geometry
    next_basis: FloatArray
    next_turn: FloatArray | None
    spectrum: Spectrum


class SpectralLearner:
    """Learn loadings of items on taste directions from a handful of noised sums.

    Args:
        n_items: size of the public catalogue, at least 2.
        expected_cohort: public expected number of contributing users; never a private count.
        epsilon: total budget, which decides the hyper-parameters; infinity for no noise.
        features: `(n_items, f)` public item features, finite, or `None`.
        rounds: total number of rounds; `None` applies the rule.
        earlier: arrays of an earlier release of the same catalogue to start from, or `None`. Its
            budget has been spent; starting from it spends none.

    Raises:
        BadPlan: an argument is out of range, or features or release do not fit the catalogue.
    """

    name = "spectral/3"

    def __init__(
        self,
        n_items: int,
        expected_cohort: int,
        epsilon: float,
        *,
        features: FloatArray | None = None,
        rounds: int | None = None,
        earlier: PublicArrays | None = None,
    ) -> None:
        if features is not None:
            features = checked_features(features, n_items)
        self._n_items = n_items
        self._expected_cohort = expected_cohort
        self._features = features
        self._earlier = None if earlier is None else EarlierRelease.from_arrays(earlier, n_items)
        self.plan: SpectralPlan = spectral_plan(n_items, expected_cohort, epsilon, rounds=rounds)
        self._specs = self._plan_rounds()
        # The popularity round last seen, with what follows from it alone: it is the costly part.
        self._prepared: tuple[bytes, Geometry, TasteKernel] | None = None

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
        context = {
            "basis": progress.geometry.centred_basis(progress.next_basis).astype(np.float32),
            "item_weights": progress.geometry.weights.astype(np.float32),
        }
        if progress.next_turn is not None:
            context["turn"] = progress.next_turn.astype(np.float32)
        return context

    def model(self, history: Sequence[NoisedSum]) -> PublicArrays:
        """Compute the model from the rounds so far.

        Returns:
            `popularity`, `item_variance` and `item_scale` `(n_items,)`, `loadings` `(n_items, r)`
            and `prior_variance` `(r,)`, float32. The popularity ranking after the first round, and
            when no direction rises above the noise.

        Raises:
            BadHistory: the history is empty or does not fit the plan.
        """
        check_history(self._specs, history)
        progress = self._replay(history)
        geometry, spectrum = progress.geometry, progress.spectrum
        strengths = spectrum.strengths[:_MOST_DIRECTIONS]
        if len(history) == 1 or len(strengths) == 0 or float(strengths[0]) <= 0.0:
            return popularity_model(geometry.distribution)
        strengths = strengths[strengths > _LEAST_STRENGTH * strengths[0]]
        loadings = spectrum.directions[:, : len(strengths)] / geometry.weights[:, np.newaxis]
        typical = effective_history(history[0], self._expected_cohort)
        noise = geometry.distribution**_NOISE_EXPONENT
        noise *= np.sum(geometry.distribution**2) / np.sum(geometry.distribution * noise)
        scale = (geometry.distribution / np.max(geometry.distribution)) ** -_TAIL_EXPONENT
        return {
            "popularity": geometry.distribution.astype(np.float32),
            "loadings": loadings.astype(np.float32),
            "prior_variance": (strengths / (self._expected_cohort * typical)).astype(np.float32),
            "item_variance": noise.astype(np.float32),
            "item_scale": scale.astype(np.float32),
        }

    def _plan_rounds(self) -> tuple[RoundSpec, ...]:
        plan = self.plan
        triangle = plan.kernel_width * (plan.kernel_width + 1) // 2
        each = (1.0 - plan.popularity_share - plan.gram_share) / plan.subspace_rounds
        statistic = CROSS_GRAM if plan.row_width else SUBSPACE
        length = (plan.row_width or self._n_items) * plan.width
        subspace = (statistic, length, plan.clipping_norm, each)
        kinds = [
            (POPULARITY, self._n_items, 1.0, plan.popularity_share),
            (FEATURE_GRAM, triangle, plan.gram_clipping_norm, plan.gram_share),
            *[subspace] * plan.subspace_rounds,
        ]
        return tuple(
            RoundSpec(
                round_id=position,
                statistic=statistic,
                length=length,
                clipping_norm=clipping_norm,
                budget_share=share,
                parameters={},
            )
            for position, (statistic, length, clipping_norm, share) in enumerate(kinds, start=1)
        )

    def _prepare(self, popularity: NoisedSum) -> tuple[Geometry, TasteKernel]:
        """Derive coordinates and kernel from the popularity round."""
        key = popularity.values.tobytes() + np.float64(popularity.noise_std).tobytes()
        if self._prepared is None or self._prepared[0] != key:
            known = None if self._earlier is None else self._earlier.popularity
            geometry = Geometry.of(item_distribution(popularity, self._features, known))
            width = self.plan.row_width or self.plan.kernel_width
            kernel = TasteKernel.of(geometry, self._features, width, self._earlier)
            self._prepared = (key, geometry, kernel)
        return self._prepared[1], self._prepared[2]

    def _replay(self, history: Sequence[NoisedSum]) -> _Progress:
        """Run over a checked history from its start."""
        geometry, whole = self._prepare(history[0])
        kernel = whole.leading(self.plan.kernel_width)
        if len(history) == 1:
            basis = padded(kernel.directions, self.plan.kernel_width)
            return _Progress(geometry, basis, None, Spectrum(basis, np.zeros(0)))
        measured = MeasuredGram.of(
            history[1], self.plan.gram_clipping_norm, kernel, geometry, self._expected_cohort
        )
        if self.plan.row_width:
            return self._replay_cross_grams(history[2:], measured, geometry, whole)
        covariance = shrunk(measured, kernel)
        spectrum = combine([], covariance, kernel, geometry)
        sketches: list[Sketch] = []
        for released in history[2:]:
            sketches.append(
                Sketch.of(
                    released.values,
                    released.noise_std,
                    self.plan.clipping_norm,
                    self._next_basis(spectrum, kernel, geometry),
                    geometry,
                    self._expected_cohort,
                )
            )
            spectrum = combine(sketches, covariance, kernel, geometry)
        return _Progress(geometry, self._next_basis(spectrum, kernel, geometry), None, spectrum)

    def _replay_cross_grams(
        self,
        releases: Sequence[NoisedSum],
        measured: MeasuredGram,
        geometry: Geometry,
        kernel: TasteKernel,
    ) -> _Progress:
        """Run over the rounds whose rows are directions of the kernel."""
        q = len(measured.values)
        start = shrunk(measured, kernel.leading(q))
        accident = accidental_moment(kernel, geometry)
        factor = taste_factor(measured, start, kernel.variances)
        sketches: list[CrossGram] = []
        for released in releases:
            sketch = CrossGram.of(
                released,
                self.plan.clipping_norm,
                self._next_turn(factor[:q]),
                factor[:q] @ factor[:q].T + measured.accident,
                accident,
                self._expected_cohort,
            )
            if sketch is not None:
                sketches.append(sketch)
                factor = taste_factor(measured, start, kernel.variances, sketches)
        turn = padded(self._next_turn(factor[:q]).T, self.plan.row_width).T
        basis = padded(kernel.directions, self.plan.row_width)
        return _Progress(geometry, basis, turn, Spectrum.of_factor(kernel.directions @ factor))

    def _next_turn(self, leading: FloatArray) -> FloatArray:
        """Choose the strong combinations of the next round, `(q, k)`; see `_next_basis`.

        Args:
            leading: `(q, r)` factor of the tastes on the leading directions.
        """
        turn = np.eye(len(leading), self.plan.width)
        strengths = np.zeros(self.plan.width)
        if leading.shape[1]:
            values, axes = np.linalg.eigh(leading @ leading.T)
            found = min(len(values), self.plan.width)
            turn[:, :found] = axes[:, ::-1][:, :found]
            strengths[:found] = values[::-1][:found]
        return magnified(turn, strengths)

    def _next_basis(
        self, spectrum: Spectrum, kernel: TasteKernel, geometry: Geometry
    ) -> FloatArray:
        """Choose the directions of the next round, `(n_items, width)`.

        Where nothing has been found yet, the kernel's own directions are tried.
        """
        width = self.plan.width
        found = min(len(spectrum.strengths), width)
        known = spectrum.directions if found else kernel.directions
        basis = complete(known, width, geometry)
        strengths = np.zeros(width)
        strengths[:found] = spectrum.strengths[:found]
        return magnified(basis, strengths)
