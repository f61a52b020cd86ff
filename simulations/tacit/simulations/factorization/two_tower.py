"""The two-tower model of learner `factorization/1` as a torch module, one user per sample.

The user tower folds a profile into the public item factors and is not trained; the item tower is
`z_j + w_j D V_j` with the trained table V starting at zero, so the gradient in V is the gradient in
the item factors, in the scales devices use (`tacit.client.statistics.factorization`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch


class TwoTower(torch.nn.Module):
    """Predict what a user has, from the user's own profile.

    Args:
        context: public arrays of a round of `factorization/1`.
        gram_weight: scale of the head that reports `u u^T`.
    """

    def __init__(self, context: Mapping[str, npt.NDArray[np.floating]], gram_weight: float) -> None:
        super().__init__()
        given = {name: torch.tensor(array, dtype=torch.float64) for name, array in context.items()}
        self.factors: torch.Tensor = given["item_factors"]
        self.gramian: torch.Tensor = given["gramian"]
        self.item_weights: torch.Tensor = given["item_weights"]
        self.scales: torch.Tensor = given["factor_weights"]
        self.gram_weight = gram_weight
        n_items, size = self.factors.shape
        # One table for both heads: items, then the d rows of the moment of the user factor.
        self.table = torch.nn.Linear(size - 1, n_items + size, bias=False, dtype=torch.float64)
        torch.nn.init.zeros_(self.table.weight)

    def user_tower(self, profiles: torch.Tensor) -> torch.Tensor:
        """Fold profiles `(n, n_items)` into user factors `(n, d)` by ridge regression."""
        size = self.factors.shape[1]
        squares = (self.factors[:, :, None] * self.factors[:, None, :]).reshape(-1, size * size)
        normal = self.gramian + (profiles @ squares).reshape(-1, size, size)
        algebra: Any = torch.linalg
        users: torch.Tensor = algebra.solve(normal, profiles @ self.factors)
        return users

    def forward(self, users: torch.Tensor) -> torch.Tensor:
        """Return the table's answer to user factors, `(n, n_items + d)`."""
        out: torch.Tensor = self.table(users[:, 1:] * self.scales)
        return out

    def losses(
        self, answers: torch.Tensor, users: torch.Tensor, profiles: torch.Tensor
    ) -> torch.Tensor:
        """Compute each user's loss, `(n,)`: misfit on own items, minus the moment head.

        The part of the loss over all other items, `a/2 sum_j s_j^2`, is a function of the moments
        and the public factors; the server adds its gradient.
        """
        n_items = len(self.factors)
        predicted = users @ self.factors.T + self.item_weights * answers[:, :n_items]
        misfit = 0.5 * (profiles * (1.0 - predicted).square()).sum(dim=1)
        moment = self.gram_weight * (users * answers[:, n_items:]).sum(dim=1)
        return misfit - moment


def per_user_losses(model: Any, tower: TwoTower, profiles: torch.Tensor) -> torch.Tensor:
    """Run the user tower without gradient and the table, possibly wrapped by Opacus, with it.

    Args:
        model: `tower`, or Opacus' wrapper of it.
        tower: the module itself.
        profiles: `(n, n_items)`.
    """
    with torch.no_grad():
        users = tower.user_tower(profiles)
    return tower.losses(model(users), users, profiles)
