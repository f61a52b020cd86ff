"""Learner `factorization/1`: implicit-feedback matrix factorisation by private gradient steps.

1. `popularity/1` gives how many users have each item: the popularity column of the factors.
2. `feature_gram/1` gives the factors that the kernel of public facts explains (`item_tower`).
3. `factorization/1`, once or a few times: devices fold themselves in and send the gradient of the
   item factors; the server takes a Newton step from the noised sum.
4. The model is the item factors; a device folds its history in (`tacit.client.decide.factors`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tacit.server.coordinator.learners.errors import BadHistory
from tacit.server.coordinator.learners.factorization_rules import (
    CLIPPING_NORM,
    GRAM_WEIGHT,
    RIDGE,
    UNSEEN_WEIGHT,
    FactorizationPlan,
    factorization_plan,
)
from tacit.server.coordinator.learners.geometry import Geometry
from tacit.server.coordinator.learners.item_popularity import (
    POPULARITY,
    effective_history,
    item_distribution,
)
from tacit.server.coordinator.learners.item_tower import ItemTower, factor_weights, gramian
from tacit.server.coordinator.learners.kernel import TasteKernel, checked_features
from tacit.server.coordinator.learners.popularity import popularity_model
from tacit.server.coordinator.learners.protocol import (
    FloatArray,
    NoisedSum,
    PublicArrays,
    RoundSpec,
    check_history,
)
from tacit.server.coordinator.learners.sketches import shrink_rows
from tacit.server.coordinator.learners.taste_gram import taste_covariance

FEATURE_GRAM = "feature_gram/1"
FACTORIZATION = "factorization/1"

_WEAKEST = 0.02  # of the largest eigenvalue of `sum u u^T`, or a step would divide by noise
_MARGIN = 4.0


@dataclass(frozen=True, slots=True)
class _Progress:
    """What a history amounts to.

    Attributes:
        tower: what is public about items.
        trained: `(n_items, k)` trained factors.
        learnt: whether any round rose above its noise.
    """

    tower: ItemTower
    trained: FloatArray
    learnt: bool


class FactorizationLearner:
    """Learn item factors from a handful of noised sums.

    Args:
        n_items: size of the public catalogue, at least 2.
        expected_cohort: public expected number of contributing users; never a private count.
        epsilon: total budget, which decides the hyper-parameters; infinity for no noise.
        features: `(n_items, f)` public item features, finite, or `None`.
        rounds: total number of rounds; `None` applies the rule.

    Raises:
        BadPlan: an argument is out of range or the features do not fit the catalogue.
    """

    name = "factorization/1"

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
            features = checked_features(features, n_items)
        self._n_items = n_items
        self._cohort = expected_cohort
        self._features = features
        self.plan: FactorizationPlan = factorization_plan(
            n_items,
            expected_cohort,
            epsilon,
            rounds=rounds,
        )
        self._specs = self._plan_rounds()
        # The popularity round last seen, with what follows from it alone: it is the costly part.
        self._prepared: tuple[bytes, ItemTower] | None = None

    def rounds(self) -> tuple[RoundSpec, ...]:
        """Plan every round from public quantities alone."""
        return self._specs

    def context(self, round_id: int, history: Sequence[NoisedSum]) -> PublicArrays:
        """Compute the public arrays devices need for a round, float32.

        Returns:
            Empty for the popularity round; `basis` and `item_weights` for the Gram round; else
            `item_factors`, `gramian`, `item_weights` and `factor_weights`.

        Raises:
            BadHistory: the round is not planned, or the history is not exactly the rounds before.
        """
        if not 1 <= round_id <= len(self._specs):
            raise BadHistory(f"expected a round from 1 to {len(self._specs)}, got {round_id}")
        check_history(self._specs, history, expected=round_id - 1)
        if round_id == 1:
            return {}
        if self._specs[round_id - 1].statistic == FEATURE_GRAM:
            tower = self._tower(history[0])
            padded = np.zeros((self._n_items, self.plan.kernel_width))
            padded[:, : len(tower.content.variances)] = tower.content.directions
            basis = tower.geometry.centred_basis(padded)
            return {
                "basis": basis.astype(np.float32),
                "item_weights": tower.geometry.weights.astype(np.float32),
            }
        progress = self._replay(history)
        factors = progress.tower.factors(progress.trained)
        return {
            "item_factors": factors.astype(np.float32),
            "gramian": gramian(factors).astype(np.float32),
            "item_weights": progress.tower.item_weights.astype(np.float32),
            "factor_weights": factor_weights(progress.trained).astype(np.float32),
        }

    def model(self, history: Sequence[NoisedSum]) -> PublicArrays:
        """Compute the model from the rounds so far.

        Returns:
            `popularity` `(n_items,)`, `item_factors` `(n_items, k + 1)`, `ridge` and
            `unseen_weight` `(1,)`, float32. The popularity ranking instead, as arrays of the other
            read-out, after the popularity round alone and when no round rose above its noise.

        Raises:
            BadHistory: the history is empty or does not fit the plan.
        """
        check_history(self._specs, history)
        progress = self._replay(history)
        distribution = progress.tower.geometry.distribution
        if not progress.learnt:
            return popularity_model(distribution)
        return {
            "popularity": distribution.astype(np.float32),
            "item_factors": progress.tower.factors(progress.trained).astype(np.float32),
            "ridge": np.array([RIDGE], dtype=np.float32),
            "unseen_weight": np.array([UNSEEN_WEIGHT], dtype=np.float32),
        }

    def _plan_rounds(self) -> tuple[RoundSpec, ...]:
        plan = self.plan
        triangle = plan.kernel_width * (plan.kernel_width + 1) // 2
        specs = [
            RoundSpec(1, POPULARITY, self._n_items, 1.0, plan.popularity_share, {}),
            RoundSpec(2, FEATURE_GRAM, triangle, plan.gram_clipping_norm, plan.gram_share, {}),
        ]
        each = (1.0 - math.fsum(spec.budget_share for spec in specs)) / plan.gradient_rounds
        parameters = {"gram_weight": GRAM_WEIGHT}
        length = (self._n_items + plan.width + 1) * plan.width
        for _ in range(plan.gradient_rounds):
            specs.append(
                RoundSpec(len(specs) + 1, FACTORIZATION, length, CLIPPING_NORM, each, parameters)
            )
        return tuple(specs)

    def _tower(self, released: NoisedSum) -> ItemTower:
        key = released.values.tobytes() + np.float64(released.noise_std).tobytes()
        if self._prepared is None or self._prepared[0] != key:
            geometry = Geometry.of(item_distribution(released, self._features))
            content = TasteKernel.of(geometry, self._features, self.plan.kernel_width)
            typical = effective_history(released, self._cohort)
            self._prepared = (key, ItemTower.of(geometry, content, typical))
        return self._prepared[1]

    def _replay(self, history: Sequence[NoisedSum]) -> _Progress:
        """Run over a checked history from its start."""
        tower, covariance, learnt = self._tower(history[0]), None, False
        if len(history) > 1:
            covariance = taste_covariance(
                history[1],
                self.plan.gram_clipping_norm,
                tower.content,
                tower.geometry,
                self._cohort,
            )
            learnt = bool(np.any(covariance))
        exact = all(released.noise_std == 0.0 for released in history)
        trained = tower.start(covariance, self._cohort, self.plan.width, exact=exact)
        done = history[2:]
        for released in done:
            trained, rose = _step(tower, trained, released)
            learnt = learnt or rose
        return _Progress(tower, trained, learnt)


def _step(tower: ItemTower, trained: FloatArray, released: NoisedSum) -> tuple[FloatArray, bool]:
    """Take one Newton step from a noised gradient; also tell whether it rose above the noise.

    With `M = sum_u c_u t_u t_u^T` (c the users' scales), the loss has curvature about
    `(r_i + a) M` in the factor of item i, of which a share r_i of the users has the item.

    Args:
        tower: what is public about items.
        trained: `(n_items, k)` factors the devices saw, without the popularity column.
        released: the noised sum of `factorization/1`.
    """
    n_items, width = trained.shape
    scales = factor_weights(trained)
    rows = released.values.reshape(n_items + width + 1, width)
    attraction, moments = rows[:n_items], rows[n_items:] / GRAM_WEIGHT  # sum c u (D t)^T
    weights = tower.item_weights[:, np.newaxis]
    repulsion = UNSEEN_WEIGHT * (tower.factors(trained) @ moments) * weights
    downhill = attraction - repulsion
    # The repulsion multiplies the noise of the moments: only the rows sent are noise of known size.
    rose = _rises(attraction, released.noise_std)
    if released.noise_std > 0.0:
        noise = released.noise_std
        downhill = noise * shrink_rows(downhill / noise, tower.content, tower.geometry)
    second = moments[1:] / scales
    values, axes = np.linalg.eigh((second + second.T) / 2.0)
    floor = max(_WEAKEST * float(values[-1]), released.noise_std / GRAM_WEIGHT, 1e-12)
    turned = (downhill / weights / scales) @ axes
    curvature = (tower.rates + UNSEEN_WEIGHT)[:, np.newaxis] * np.maximum(values, floor)
    moved = trained + (turned / curvature) @ axes.T
    # The loss does not change under rotation; by falling strength the columns can be weighed.
    left, strengths, _ = np.linalg.svd(moved, full_matrices=False)
    return np.asarray(left * strengths, dtype=np.float64), rose


def _rises(rows: FloatArray, noise_std: float) -> bool:
    """Tell whether rows hold more than noise.

    The largest singular value of an `(n, m)` Gaussian matrix exceeds
    `noise (sqrt(n) + sqrt(m) + t)` with probability at most `exp(-t^2 / 2)` (Davidson and Szarek
    2001, Theorem II.13), which is 3.4e-4 here.
    """
    n, m = rows.shape
    return float(np.linalg.norm(rows, ord=2)) > noise_std * (math.sqrt(n) + math.sqrt(m) + _MARGIN)
