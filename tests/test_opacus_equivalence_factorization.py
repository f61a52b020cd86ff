"""Devices' integer sum of `factorization/1` is Opacus' clipped, summed per-sample gradient.

The torch module is the two-tower model of `tacit.simulations.factorization`, one user per sample.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tacit.client.statistics import Profiles, build_profiles
from tacit.privacy.quantize import decode_sum, integer_target
from tacit.privacy.task import RoundPlan
from tacit.simulations.engine import integer_round_sum

N_USERS, N_ITEMS, SIZE = 60, 80, 6
CLIPPING_NORM, INTEGER_NORM, GRAM_WEIGHT = 1.0, 4096, 0.3


def cohort() -> Profiles:
    rng = np.random.default_rng(11)
    counts = rng.integers(0, 40, N_USERS)
    counts[7] = 0
    users = np.repeat(np.arange(N_USERS), counts)
    items = np.concatenate([rng.permutation(N_ITEMS)[:c] for c in counts.tolist()])
    weights = rng.choice((1.0, 1.5, 2.0), size=len(items))
    return build_profiles(users, items, weights, n_users=N_USERS, n_items=N_ITEMS)


def context() -> dict[str, npt.NDArray[np.float32]]:
    rng = np.random.default_rng(12)
    factors = rng.normal(0.0, 0.3, (N_ITEMS, SIZE)).astype(np.float32)
    return {
        "item_factors": factors,
        "gramian": (0.3 * factors.T @ factors + 4.0 * np.eye(SIZE)).astype(np.float32),
        "item_weights": rng.uniform(0.5, 1.5, N_ITEMS).astype(np.float32),
        "factor_weights": rng.uniform(1.0, 2.0, SIZE - 1).astype(np.float32),
    }


def test_integer_sum_equals_opacus_up_to_quantisation() -> None:
    """Bound: each coordinate of each user is rounded by less than one integer unit `C / t`.

    Opacus divides by `norm + 1e-6`, a relative difference below `1e-6 / C` in a clipped user.
    """
    from tacit.simulations.factorization.clipped_sums import clipped_sum

    profiles, arrays = cohort(), context()
    wanted = clipped_sum(profiles, arrays, GRAM_WEIGHT, CLIPPING_NORM)
    unclipped = clipped_sum(profiles, arrays, GRAM_WEIGHT, 1e6)
    assert np.linalg.norm(wanted) < 0.9 * np.linalg.norm(unclipped)  # clipping does bite

    length = (N_ITEMS + SIZE) * (SIZE - 1)
    plan = RoundPlan(
        1, "factorization/1", length, CLIPPING_NORM, INTEGER_NORM, 1.0, {"gram_weight": GRAM_WEIGHT}
    )
    secrets = [bytes([user]) * 32 for user in range(N_USERS)]
    total = integer_round_sum(profiles, plan, arrays, secrets, b"d" * 32)
    got = decode_sum(total, CLIPPING_NORM, INTEGER_NORM, length)

    unit = CLIPPING_NORM / integer_target(INTEGER_NORM, length)
    assert np.all(np.abs(got - wanted) <= N_USERS * (unit + 1e-6))
    # Rounding is unbiased: a standard deviation of at most `unit / 2 * sqrt(users)`, here at 6.
    assert np.all(np.abs(got - wanted) <= 3.0 * unit * np.sqrt(N_USERS) + 1e-5)
    assert np.max(np.abs(wanted)) > 100 * unit  # and the sum itself is not small


@pytest.mark.parametrize("bound", [0.2, 1.0, 1e6])
def test_ghost_clipping_equals_hooks(bound: float) -> None:
    from tacit.simulations.factorization.clipped_sums import clipped_sum

    profiles, arrays = cohort(), context()
    ghost = clipped_sum(profiles, arrays, GRAM_WEIGHT, bound)
    hooks = clipped_sum(profiles, arrays, GRAM_WEIGHT, bound, ghost=False)
    np.testing.assert_allclose(ghost, hooks, rtol=1e-9, atol=1e-12)
    assert np.any(ghost)


def test_one_user_moves_the_sum_by_at_most_the_bound() -> None:
    from tacit.simulations.factorization.clipped_sums import clipped_sum

    profiles, arrays = cohort(), context()
    whole = clipped_sum(profiles, arrays, GRAM_WEIGHT, 0.5)
    without = clipped_sum(profiles.slice(1, N_USERS), arrays, GRAM_WEIGHT, 0.5)
    moved = float(np.linalg.norm(whole - without))
    assert 0.4 < moved <= 0.5 * (1 + 1e-9)
