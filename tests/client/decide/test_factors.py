"""The item-factor read-out: its ridge regression, and shares that are exact arithmetic."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tacit.client.decide import (
    BadHistory,
    BadModel,
    FactorModel,
    Model,
    attribution,
    base_score,
    deletion_deltas,
    read_model,
    scores,
)

N_ITEMS, SIZE = 40, 4


def released() -> dict[str, npt.NDArray[np.float32]]:
    rng = np.random.default_rng(3)
    return {
        "popularity": rng.dirichlet(np.full(N_ITEMS, 2.0)).astype(np.float32) + np.float32(1e-4),
        "item_factors": rng.normal(0.0, 0.5, (N_ITEMS, SIZE)).astype(np.float32),
        "ridge": np.array([2.0], dtype=np.float32),
        "unseen_weight": np.array([0.3], dtype=np.float32),
    }


def history() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    rng = np.random.default_rng(2)
    return rng.choice(N_ITEMS, size=9, replace=False), rng.choice((1.0, 1.5, 2.0), size=9)


def test_scores_are_the_ridge_regression_of_having_or_not() -> None:
    model = read_model(released())
    assert isinstance(model, FactorModel)
    items, weights = history()
    # Independent route: least squares over stacked rows, one a term of the loss.
    factors = model.item_factors
    root = np.sqrt(weights)[:, None]
    stacked = np.vstack(
        [factors[items] * root, np.sqrt(0.3) * factors, np.sqrt(2.0) * np.eye(SIZE)]
    )
    wanted = np.concatenate([root[:, 0], np.zeros(N_ITEMS + SIZE)])
    user = np.linalg.lstsq(stacked, wanted)[0]
    np.testing.assert_allclose(scores(model, items, weights), factors @ user, rtol=1e-6)


def test_shares_sum_to_the_score_and_are_what_an_event_adds() -> None:
    model = read_model(released())
    assert isinstance(model, FactorModel)
    items, weights = history()
    whole = scores(model, items, weights)
    own = model.item_factors[items]
    normal = model.gramian + own.T @ (own * weights[:, None])
    for target in (0, 7, int(items[0])):
        shares = attribution(model, items, weights, target)
        assert base_score(model, target) + shares.sum() == pytest.approx(whole[target], rel=1e-9)
        kept = np.arange(len(items)) != 2
        user = np.linalg.solve(normal, own[kept].T @ weights[kept])
        drop = whole[target] - model.item_factors[target] @ user
        assert drop == pytest.approx(shares[2], rel=1e-9, abs=1e-14)


def test_deletion_rereads_the_shorter_history() -> None:
    model, (items, weights) = read_model(released()), history()
    deltas = deletion_deltas(model, items, weights, 5)
    kept = np.arange(len(items)) != 4
    fallen = scores(model, items, weights)[5] - scores(model, items[kept], weights[kept])[5]
    assert deltas[4] == pytest.approx(fallen, rel=1e-9, abs=1e-14)


def test_no_history_ranks_by_popularity() -> None:
    model = read_model(released())
    none = np.zeros(0, dtype=np.int64)
    np.testing.assert_array_equal(scores(model, none, np.zeros(0)), model.popularity)
    assert attribution(model, none, np.zeros(0), 1).shape == (0,)


def test_arrays_decide_the_read_out_and_survive_a_round_trip() -> None:
    model = read_model(released())
    again = read_model(model.to_arrays())
    assert isinstance(again, FactorModel)
    np.testing.assert_array_equal(again.gramian, model.gramian)  # type: ignore[union-attr]  # pyright: ignore
    other = {
        "popularity": np.full(3, 1 / 3),
        "loadings": np.ones((3, 1)),
        "prior_variance": np.ones(1),
        "item_variance": np.ones(3),
    }
    assert isinstance(read_model(other), Model)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("ridge", None, "ridge"),
        ("ridge", np.zeros(1), "above zero"),
        ("ridge", np.ones(2), "shape"),
        ("unseen_weight", np.array([np.inf]), "finite"),
        ("popularity", np.zeros(N_ITEMS), "above zero"),
        ("item_factors", np.ones((N_ITEMS + 1, SIZE)), "rows"),
        ("item_factors", np.ones(N_ITEMS), "item_factors"),
        ("item_factors", np.full((N_ITEMS, SIZE), np.nan), "finite"),
    ],
)
def test_refuses_bad_arrays(name: str, array: npt.NDArray[np.float64] | None, message: str) -> None:
    arrays = {k: v for k, v in {**released(), name: array}.items() if v is not None}
    with pytest.raises(BadModel, match=message):
        read_model(arrays)


@pytest.mark.parametrize(
    ("items", "weights"),
    [([1, 1], [1.0, 1.0]), ([N_ITEMS], [1.0]), ([1], [0.0]), ([1], [np.nan]), ([1], [1.0, 2.0])],
)
def test_refuses_bad_histories(items: list[int], weights: list[float]) -> None:
    model = read_model(released())
    with pytest.raises(BadHistory):
        scores(model, np.array(items), np.array(weights))
    with pytest.raises(BadHistory):
        attribution(model, np.array([1]), np.array([1.0]), N_ITEMS)
