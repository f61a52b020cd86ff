"""Opacus DP-SGD on one device: interactions are the samples, and noise is added before sending.

A device with torch can answer `factorization/1` this way instead of exactly. Two steps, each a sum
of per-interaction gradients that Opacus clips and the operating system's noise covers:

1. its own factor: one Newton step from the public average user, towards the device's history;
2. the table: the gradient in the item factors at that already protected factor, noised in every
   row, so that neither a row's value nor whether it is zero tells whether the item is there.

Everything else in the answer follows from these two. It is then clipped and rounded like any other,
so the user-level guarantee of the release is untouched.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from opacus.grad_sample import (  # pyright: ignore[reportMissingTypeStubs]
    GradSampleModuleFastGradientClipping,
)
from opacus.optimizers.optimizer_fast_gradient_clipping import (  # pyright: ignore[reportMissingTypeStubs]
    DPOptimizerFastGradientClipping,
)
from opacus.utils.fast_gradient_clipping_utils import (  # pyright: ignore[reportMissingTypeStubs]
    DPTensorFastGradientClipping,
)

from tacit.client.statistics import Profiles
from tacit.privacy.discrete_gaussian import RandomBytes
from tacit.privacy.quantize import RowBlocks
from tacit.server.coordinator.learners.factorization_rules import UNSEEN_WEIGHT
from tacit.simulations.errors import BadExperiment
from tacit.simulations.factorization.grid_noise import noised_on_grid

FloatArray = npt.NDArray[np.float64]

FACTOR_SHARE = 0.3
"""Of the zCDP budget of a round, for the device's own factor; the rest is for the table."""

_MOST_RATE = 0.95
_MOST_INTERACTIONS = 1024  # of one batch: its outputs hold this many times the catalogue


@dataclass(frozen=True, slots=True)
class InteractionNoise:
    """State the noise of one round on a device, over the clipped gradient of one interaction.

    Attributes:
        factor: noise multiplier of step 1; 0 for none.
        table: noise multiplier of step 2; 0 for none.
    """

    factor: float
    table: float


class LocalTrainer:
    """Answers one round for one device after another.

    Guarantee: for adding or removing one interaction, an answer composes two Gaussian releases
    with these noise multipliers, against everyone who sees it, the operator included.

    Args:
        context: public arrays of a round of `factorization/1`.
        gram_weight: parameter of the statistic.
        noise: multipliers.
        random_bytes: the operating system's CSPRNG in production.
    """

    def __init__(
        self,
        context: Mapping[str, npt.NDArray[np.floating]],
        gram_weight: float,
        noise: InteractionNoise,
        random_bytes: RandomBytes,
    ) -> None:
        given = {name: np.asarray(array, dtype=np.float64) for name, array in context.items()}
        self._factors, self._gramian = given["item_factors"], given["gramian"]
        self._weights, self._scales = given["item_weights"], given["factor_weights"]
        self._gram_weight, self._noise, self._random_bytes = gram_weight, noise, random_bytes
        n_items, size = self._factors.shape
        popular = self._factors[:, 0]
        rates = np.clip(UNSEEN_WEIGHT * popular / np.maximum(1.0 - popular, 0.05), 0.0, _MOST_RATE)
        self._normal = self._gramian + (self._factors * rates[:, np.newaxis]).T @ self._factors
        lengths = np.linalg.norm(self._factors, axis=1)
        self._factor_bound = float(rates @ lengths / rates.sum())
        self._usual_weight = float(rates @ self._weights / rates.sum())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._own = _Clipped(torch.nn.Linear(size, 1, bias=False, dtype=torch.float64))
            self._table = _Clipped(
                torch.nn.Linear(size - 1, n_items, bias=False, dtype=torch.float64)
            )

    def answer(self, profile: Profiles) -> RowBlocks:
        """Compute a device's answer, every row of it: `n_items + d` rows of width `d - 1`.

        Raises:
            BadExperiment: the batch is not one user.
        """
        if profile.n_users != 1:
            raise BadExperiment(f"expected the profile of one user, got {profile.n_users}")
        taste = self._own_factor(profile)
        step = taste[1:] * self._scales
        attraction = self._table_gradient(profile, taste, step)
        moments = self._gram_weight * np.outer(taste, step)
        values = np.vstack([attraction, moments])
        rows = np.arange(len(values), dtype=np.int64)
        return RowBlocks(np.array([0, len(values)]), rows, values, len(values))

    def _own_factor(self, profile: Profiles) -> FloatArray:
        """Take the step of the device's own factor, `(d,)`, from the public average user."""
        average = np.zeros(self._factors.shape[1])
        average[0] = 1.0
        items = torch.tensor(self._factors[profile.items])
        weights = torch.tensor(profile.weights)
        self._own.set(torch.tensor(average[np.newaxis, :]))

        def losses(answers: torch.Tensor, part: slice) -> torch.Tensor:
            return 0.5 * weights[part] * (1.0 - answers[:, 0]).square()

        pulled = -self._own.summed(items, losses, self._factor_bound).reshape(-1)
        pulled = self._covered(pulled, self._factor_bound, self._noise.factor)
        moved = np.linalg.solve(self._normal, pulled - self._gramian @ average)
        return np.asarray(average + moved, dtype=np.float64)

    def _table_gradient(self, profile: Profiles, taste: FloatArray, step: FloatArray) -> FloatArray:
        """Compute the downhill direction of the table at a protected factor, `(n_items, k)`."""
        bound = max(float(np.linalg.norm(step)) * self._usual_weight, 1e-9)
        inputs = torch.tensor(np.tile(step, (len(profile.items), 1)))
        predicted = torch.tensor(self._factors[profile.items] @ taste)
        weights, scales = torch.tensor(profile.weights), torch.tensor(self._weights[profile.items])
        items = torch.tensor(profile.items)
        self._table.set(torch.zeros(self._factors.shape[0], len(step), dtype=torch.float64))

        def losses(answers: torch.Tensor, part: slice) -> torch.Tensor:
            own = answers[torch.arange(len(answers)), items[part]]
            return 0.5 * weights[part] * (1.0 - predicted[part] - scales[part] * own).square()

        pulled = -self._table.summed(inputs, losses, bound)
        covered = self._covered(pulled.reshape(-1), bound, self._noise.table)
        return covered.reshape(pulled.shape)

    def _covered(self, total: FloatArray, bound: float, noise_multiplier: float) -> FloatArray:
        if noise_multiplier == 0.0:
            return total
        return noised_on_grid(total, bound, noise_multiplier, self._random_bytes)[0]


class _Clipped:
    """Sums a linear layer's per-sample gradients, clipped by Opacus' ghost clipping."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        self._layer = layer
        wrap: Any = GradSampleModuleFastGradientClipping
        self._module = wrap(layer, loss_reduction="sum", max_grad_norm=1.0, use_ghost_clipping=True)
        self._optimizer: Any = DPOptimizerFastGradientClipping(
            torch.optim.SGD(layer.parameters(), lr=1.0),
            noise_multiplier=0.0,
            max_grad_norm=1.0,
            expected_batch_size=None,
            loss_reduction="sum",
        )

    def set(self, weight: torch.Tensor) -> None:
        """Set the layer's weight."""
        with torch.no_grad():
            self._layer.weight.copy_(weight)

    def summed(self, inputs: torch.Tensor, losses: Any, bound: float) -> FloatArray:
        """Return the sum of the clipped gradients of all samples, in the weight's shape."""
        self._module.max_grad_norm = bound
        total = np.zeros(tuple(self._layer.weight.shape))
        for start in range(0, len(inputs), _MOST_INTERACTIONS):
            part = slice(start, start + _MOST_INTERACTIONS)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                each = losses(self._module(inputs[part]), part)
                DPTensorFastGradientClipping(self._module, self._optimizer, each, "sum").backward()
            grad: Any = self._layer.weight.grad
            total += grad.detach().numpy()
            self._optimizer.zero_grad()
        return total
