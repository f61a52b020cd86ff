"""Statistic `factorization/1`: its definition, independence of the batch, and what it refuses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tacit.client.statistics import STATISTICS, BadContext, Profiles, build_profiles, contributions
from tacit.client.statistics.linear_solve import solve_each
from tacit.privacy.quantize import dense
from tacit.privacy.task import RoundPlan

N_ITEMS, SIZE = 50, 5
NAME, PARAMETERS = "factorization/1", {"gram_weight": 0.3}
RIDGE, UNSEEN = 2.0, 0.3


def cohort(n_users: int = 19, seed: int = 4) -> Profiles:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 25, n_users)
    counts[3] = 0
    users = np.repeat(np.arange(n_users), counts)
    items = np.concatenate([rng.permutation(N_ITEMS)[:c] for c in counts.tolist()])
    weights = rng.choice((1.0, 1.5, 2.0), size=len(items))
    return build_profiles(users, items, weights, n_users=n_users, n_items=N_ITEMS)


def context() -> dict[str, npt.NDArray[np.float64]]:
    rng = np.random.default_rng(5)
    factors = rng.normal(0.0, 0.5, (N_ITEMS, SIZE))
    return {
        "item_factors": factors,
        "gramian": UNSEEN * factors.T @ factors + RIDGE * np.eye(SIZE),
        "item_weights": rng.uniform(0.5, 1.5, N_ITEMS),
        "factor_weights": rng.uniform(1.0, 2.0, SIZE - 1),
    }


def vectors(profiles: Profiles) -> npt.NDArray[np.float64]:
    blocks = STATISTICS[NAME](profiles, context(), PARAMETERS)
    out = np.zeros((profiles.n_users, blocks.n_rows, blocks.width))
    users = np.repeat(np.arange(profiles.n_users), np.diff(blocks.indptr))
    out[users, blocks.rows] = blocks.values
    return out


def test_is_the_gradient_of_the_whole_loss_in_the_item_factors() -> None:
    """Central differences of the loss, minimised over the user's factor at every point."""
    given, profiles = context(), cohort(6)
    got = vectors(profiles)
    scales, weights = given["factor_weights"], given["item_weights"]

    def loss(x: npt.NDArray[np.float64], factors: npt.NDArray[np.float64]) -> float:
        normal = UNSEEN * factors.T @ factors + factors.T @ (factors * x[:, None])
        normal += RIDGE * np.eye(SIZE)
        user = np.linalg.solve(normal, factors.T @ x)
        fit = factors @ user
        misfit = x @ (1.0 - fit) ** 2 + UNSEEN * fit @ fit + RIDGE * user @ user
        return float(0.5 * misfit)

    rng, step = np.random.default_rng(8), 1e-5
    for user in range(profiles.n_users):
        x = np.zeros(N_ITEMS)
        mine = slice(int(profiles.indptr[user]), int(profiles.indptr[user + 1]))
        x[profiles.items[mine]] = profiles.weights[mine]
        moments = got[user, N_ITEMS:] / 0.3
        downhill = got[user, :N_ITEMS] / weights[:, None]
        downhill = (downhill - UNSEEN * given["item_factors"] @ moments) / scales
        for item, column in zip(
            rng.integers(0, N_ITEMS, 12), rng.integers(1, SIZE, 12), strict=True
        ):
            up, down = given["item_factors"].copy(), given["item_factors"].copy()
            up[item, column] += step
            down[item, column] -= step
            slope = (loss(x, up) - loss(x, down)) / (2 * step)
            assert downhill[item, column - 1] == pytest.approx(-slope, rel=1e-4, abs=1e-8)


def test_one_user_is_bit_identical_alone_and_in_a_batch() -> None:
    profiles = cohort()
    length = (N_ITEMS + SIZE) * (SIZE - 1)
    plan = RoundPlan(3, NAME, length, 1.0, 4096, 1.0, PARAMETERS)
    secrets = [bytes([user]) * 32 for user in range(profiles.n_users)]

    def send(part: Profiles, keys: list[bytes]) -> list[npt.NDArray[np.int64]]:
        blocks = contributions(part, context(), plan, task_digest=b"t" * 32, device_secrets=keys)
        return [dense(blocks, user) for user in range(part.n_users)]

    together = send(profiles, secrets)
    for user, whole in enumerate(together):
        alone = send(profiles.slice(user, user + 1), [secrets[user]])[0]
        np.testing.assert_array_equal(alone, whole)
        assert int(np.dot(whole, whole)) <= 4096**2
    assert not np.any(together[3])  # the empty profile contributes nothing
    assert all(np.any(vector) for user, vector in enumerate(together) if user != 3)


def test_a_user_with_the_whole_of_a_large_catalogue_stays_within_the_norm() -> None:
    n_items = 100_000
    rng = np.random.default_rng(1)
    factors = rng.normal(0.0, 0.1, (n_items, 3))
    given = {
        "item_factors": factors,
        "gramian": UNSEEN * factors.T @ factors + RIDGE * np.eye(3),
        "item_weights": np.ones(n_items),
        "factor_weights": np.ones(2),
    }
    every = np.arange(n_items, dtype=np.int64)
    profile = Profiles(np.array([0, n_items]), every, np.full(n_items, 2.0), n_items)
    plan = RoundPlan(3, NAME, (n_items + 3) * 2, 1.0, 32767, 1.0, PARAMETERS)
    sent = contributions(profile, given, plan, task_digest=b"t" * 32, device_secrets=[b"s" * 32])
    assert 32000**2 < int(np.sum(sent.values**2)) <= 32767**2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"item_factors": None}, "item_factors"),
        ({"item_factors": np.ones((N_ITEMS - 1, SIZE))}, "shape"),
        ({"item_factors": np.ones((N_ITEMS, 1))}, "2 to 128 factors"),
        ({"item_factors": np.ones((N_ITEMS, 200))}, "2 to 128 factors"),
        ({"item_factors": np.full((N_ITEMS, SIZE), np.nan)}, "finite"),
        ({"gramian": np.eye(SIZE - 1)}, "shape"),
        ({"gramian": -1e6 * np.eye(SIZE)}, "positive definite"),
        ({"item_weights": np.zeros(N_ITEMS)}, "above zero"),
        ({"factor_weights": -np.ones(SIZE - 1)}, "above zero"),
    ],
)
def test_refuses_a_context_that_does_not_fit(
    change: dict[str, npt.NDArray[np.float64] | None], message: str
) -> None:
    given = {k: v for k, v in {**context(), **change}.items() if v is not None}
    with pytest.raises(BadContext, match=message):
        STATISTICS[NAME](cohort(), given, PARAMETERS)


@pytest.mark.parametrize("weight", [None, 0.0, float("nan"), -1.0])
def test_refuses_a_missing_or_bad_parameter(weight: float | None) -> None:
    with pytest.raises(BadContext, match="gram_weight"):
        STATISTICS[NAME](cohort(), context(), {} if weight is None else {"gram_weight": weight})


def test_solves_each_system_like_lapack() -> None:
    rng = np.random.default_rng(2)
    half = rng.normal(size=(40, 7, 7))
    matrices = half @ half.transpose(0, 2, 1) + np.eye(7)
    right = rng.normal(size=(40, 7))
    wanted = np.linalg.solve(matrices, right[:, :, None])[:, :, 0]
    np.testing.assert_allclose(solve_each(matrices.copy(), right), wanted, rtol=1e-9)
