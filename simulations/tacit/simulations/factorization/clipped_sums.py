"""Sums of clipped per-user gradients by Opacus, with ghost clipping for large tables."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from opacus.grad_sample import (  # pyright: ignore[reportMissingTypeStubs]
    GradSampleModule,
    GradSampleModuleFastGradientClipping,
)
from opacus.optimizers import DPOptimizer  # pyright: ignore[reportMissingTypeStubs]
from opacus.optimizers.optimizer_fast_gradient_clipping import (  # pyright: ignore[reportMissingTypeStubs]
    DPOptimizerFastGradientClipping,
)
from opacus.utils.fast_gradient_clipping_utils import (  # pyright: ignore[reportMissingTypeStubs]
    DPTensorFastGradientClipping,
)

from tacit.client.statistics import Profiles
from tacit.simulations.factorization.two_tower import TwoTower, per_user_losses

FloatArray = npt.NDArray[np.float64]

_BATCH_VALUES = 1 << 20


def clipped_sum(
    profiles: Profiles,
    context: Mapping[str, npt.NDArray[np.floating]],
    gram_weight: float,
    max_grad_norm: float,
    *,
    ghost: bool = True,
) -> FloatArray:
    """Add up the users' downhill directions, each clipped to `max_grad_norm`, in float64.

    Ghost clipping (Lee, Kifer 2021; Opacus' fast gradient clipping) computes each user's norm from
    the layer's inputs and output gradients and never holds a gradient per user; hooks hold one of
    the table's size for every user of a batch.

    Args:
        profiles: the users drawn; one user is one sample.
        context: public arrays of a round of `factorization/1`.
        gram_weight: parameter of the statistic.
        max_grad_norm: Euclidean bound of one user, over all parameters.
        ghost: use ghost clipping instead of hooks.

    Returns:
        `((n_items + d) * k,)`, row-major as devices send it. Every user's part has norm at most
        `max_grad_norm` up to float64 rounding.
    """
    tower = TwoTower(context, gram_weight)
    total = torch.zeros_like(tower.table.weight)
    step = max(1, _BATCH_VALUES // profiles.n_items)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Opacus on torch's hooks: nothing to act on here
        add = _ghost(tower, max_grad_norm) if ghost else _hooks(tower, max_grad_norm)
        for start in range(0, profiles.n_users, step):
            part = profiles.slice(start, min(start + step, profiles.n_users))
            total += add(torch.tensor(_dense(part)))
    return np.asarray(-total.detach().numpy(), dtype=np.float64).reshape(-1)


def _ghost(tower: TwoTower, bound: float) -> Any:
    wrap: Any = GradSampleModuleFastGradientClipping
    module = wrap(tower, loss_reduction="sum", max_grad_norm=bound, use_ghost_clipping=True)
    optimizer: Any = DPOptimizerFastGradientClipping(
        torch.optim.SGD(tower.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=bound,
        expected_batch_size=None,
        loss_reduction="sum",
    )

    def add(batch: torch.Tensor) -> torch.Tensor:
        losses = per_user_losses(module, tower, batch)
        DPTensorFastGradientClipping(module, optimizer, losses, "sum").backward()
        grad: Any = tower.table.weight.grad
        summed: torch.Tensor = grad.detach().clone()
        optimizer.zero_grad()
        return summed

    return add


def _hooks(tower: TwoTower, bound: float) -> Any:
    module: Any = GradSampleModule(tower, loss_reduction="sum")
    optimizer: Any = DPOptimizer(
        torch.optim.SGD(tower.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=bound,
        expected_batch_size=None,
        loss_reduction="sum",
    )

    def add(batch: torch.Tensor) -> torch.Tensor:
        losses: Any = per_user_losses(module, tower, batch)
        losses.sum().backward()
        optimizer.clip_and_accumulate()
        weight: Any = tower.table.weight
        summed: torch.Tensor = weight.summed_grad.detach().clone()
        optimizer.zero_grad()
        return summed

    return add


def _dense(profiles: Profiles) -> FloatArray:
    rows = np.zeros((profiles.n_users, profiles.n_items))
    rows[profiles.users, profiles.items] = profiles.weights
    return rows
