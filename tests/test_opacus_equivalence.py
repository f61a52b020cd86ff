"""Our devices' integer sum is Opacus' clipped, summed per-sample gradient, up to quantisation.

The torch module is a linear auto-encoder with loss `-1/2 ||V^T y_u||^2`, one user per sample. Its
gradient for one user is `-y_u (V^T y_u)^T`; Opacus computes it per sample and clips it to C.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tacit.client.statistics import Profiles, build_profiles
from tacit.privacy.quantize import decode_sum, integer_target
from tacit.privacy.task import RoundPlan
from tacit.simulations.engine import integer_round_sum

N_USERS, N_ITEMS, WIDTH = 64, 90, 6
CLIPPING_NORM, INTEGER_NORM = 0.4, 4096


def cohort() -> Profiles:
    rng = np.random.default_rng(11)
    counts = rng.integers(3, 40, N_USERS)
    users = np.repeat(np.arange(N_USERS), counts)
    items = np.concatenate([rng.permutation(N_ITEMS)[:c] for c in counts.tolist()])
    return build_profiles(
        users,
        items,
        rng.choice((1.0, 1.5, 2.0), size=len(items)),
        n_users=N_USERS,
        n_items=N_ITEMS,
    )


def context() -> dict[str, npt.NDArray[np.float32]]:
    rng = np.random.default_rng(12)
    return {
        "basis": rng.normal(0.0, 0.2, (N_ITEMS, WIDTH)).astype(np.float32),
        "item_weights": rng.uniform(0.5, 1.5, N_ITEMS).astype(np.float32),
    }


def opacus_clipped_sum(
    rows: npt.NDArray[np.float64], basis: npt.NDArray[np.float64], bound: float
) -> tuple[npt.NDArray[np.float64], int]:
    """Return Opacus' summed clipped gradient as `(n_items, width)`, and how many it clipped."""
    import torch
    from opacus.grad_sample import GradSampleModule  # pyright: ignore[reportMissingTypeStubs]
    from opacus.optimizers import DPOptimizer  # pyright: ignore[reportMissingTypeStubs]

    layer = torch.nn.Linear(N_ITEMS, WIDTH, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(basis.T))
    module: Any = GradSampleModule(layer, loss_reduction="sum")
    optimizer: Any = DPOptimizer(
        torch.optim.SGD(module.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=bound,
        expected_batch_size=None,
        loss_reduction="sum",
    )
    loss: Any = -0.5 * module(torch.tensor(rows)).square().sum()
    loss.backward()
    weight: Any = layer.weight
    clipped = int((weight.grad_sample.reshape(N_USERS, -1).norm(dim=1) > bound).sum())
    optimizer.clip_and_accumulate()
    summed: npt.NDArray[np.float64] = weight.summed_grad.numpy()
    return np.asarray(-summed.T, dtype=np.float64), clipped


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_integer_sum_equals_opacus_up_to_quantisation() -> None:
    """Bound: each coordinate of each user is rounded by less than one integer unit `C / t`.

    Opacus divides by `norm + 1e-6`, a relative difference below `1e-6 / C` in a clipped user.
    """
    profiles, arrays = cohort(), context()
    matrix = np.zeros((N_USERS, N_ITEMS))
    matrix[profiles.users, profiles.items] = profiles.weights
    weighted = matrix * arrays["item_weights"].astype(np.float64)
    rows = weighted / np.linalg.norm(weighted, axis=1, keepdims=True)
    wanted, clipped = opacus_clipped_sum(rows, arrays["basis"].astype(np.float64), CLIPPING_NORM)
    assert 5 < clipped < N_USERS - 5  # the comparison covers clipped and unclipped users

    length = N_ITEMS * WIDTH
    plan = RoundPlan(1, "subspace/1", length, CLIPPING_NORM, INTEGER_NORM, 1.0, {})
    secrets = [bytes([user]) * 32 for user in range(N_USERS)]
    total = integer_round_sum(profiles, plan, arrays, secrets, b"d" * 32)
    got = decode_sum(total, CLIPPING_NORM, INTEGER_NORM, length).reshape(N_ITEMS, WIDTH)

    unit = CLIPPING_NORM / integer_target(INTEGER_NORM, length)
    holders = np.bincount(profiles.items, minlength=N_ITEMS)[:, np.newaxis]
    bound = holders * (unit + 1e-6)
    assert np.all(np.abs(got - wanted) <= bound)
    # Rounding is unbiased, so the sum is far closer than the worst case: its error per coordinate
    # has a standard deviation of at most `unit / 2 * sqrt(holders)`, here tested at 6 of them.
    assert np.all(np.abs(got - wanted) <= 3.0 * unit * np.sqrt(holders) + 1e-5)
    assert np.max(np.abs(wanted)) > 100 * unit  # and the sum itself is not small
