"""The device read-out: its posterior, and attribution that is exact arithmetic."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tacit.client.decide import (
    BadHistory,
    BadModel,
    Model,
    attribution,
    base_score,
    deletion_deltas,
    scores,
)

N_ITEMS, RANK = 40, 4


def released(seed: int = 1) -> dict[str, npt.NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    popularity = rng.dirichlet(np.full(N_ITEMS, 2.0)) + 1e-4
    loadings = popularity[:, np.newaxis] * rng.normal(size=(N_ITEMS, RANK))
    return {
        "popularity": popularity.astype(np.float32),
        "loadings": loadings.astype(np.float32),
        "prior_variance": np.array([1.0, 0.5, 0.2, 0.1], dtype=np.float32),
        "item_variance": (popularity**0.7 * 0.3).astype(np.float32),
    }


def history(seed: int = 2, size: int = 12) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return rng.choice(N_ITEMS, size=size, replace=False), rng.choice((1.0, 1.5, 2.0), size=size)


def test_scores_are_the_posterior_mean_of_the_stated_model() -> None:
    model = Model.from_arrays(released())
    items, weights = history()
    profile = np.zeros(N_ITEMS)
    profile[items] = weights
    total = weights.sum()
    # Independent route: the posterior mean through the marginal covariance of the observations,
    # E[u | x] = V (nW)^T (n^2 W V W^T + n Pi)^-1 (x - n pi), not through the k-by-k precision.
    variance = np.diag(model.prior_variance)
    loadings = total * model.loadings
    marginal = loadings @ variance @ loadings.T + total * np.diag(model.item_variance)
    surprise = profile - total * model.popularity
    solved = np.asarray(np.linalg.solve(marginal, surprise), dtype=np.float64)
    taste = variance @ loadings.T @ solved
    expected = model.popularity + model.loadings @ taste
    np.testing.assert_allclose(scores(model, items, weights), expected, rtol=1e-9)


def test_attribution_sums_exactly_to_the_score() -> None:
    model = Model.from_arrays(released())
    items, weights = history()
    whole = scores(model, items, weights)
    for target in range(N_ITEMS):
        shares = attribution(model, items, weights, target)
        assert shares.shape == items.shape
        assert model.popularity[target] + shares.sum() == pytest.approx(
            whole[target], rel=1e-12, abs=1e-15
        )


def test_a_released_scale_changes_scores_and_keeps_attribution_exact() -> None:
    plain = Model.from_arrays(released())
    scale = np.linspace(0.5, 2.0, N_ITEMS)
    model = Model.from_arrays(released() | {"item_scale": scale})
    items, weights = history()
    np.testing.assert_allclose(
        scores(model, items, weights), scale * scores(plain, items, weights), rtol=1e-12
    )
    for target in range(N_ITEMS):
        shares = attribution(model, items, weights, target)
        assert base_score(model, target) + shares.sum() == pytest.approx(
            scores(model, items, weights)[target], rel=1e-12, abs=1e-15
        )
    for broken in (scale[:-1], -scale, np.full(N_ITEMS, np.inf)):
        with pytest.raises(BadModel, match="item_scale"):
            Model.from_arrays(released() | {"item_scale": broken})


def test_attribution_of_an_event_is_what_its_absence_costs_at_fixed_total() -> None:
    model = Model.from_arrays(released())
    items, weights = history()
    shares = attribution(model, items, weights, 7)
    total = float(weights.sum())
    posterior = total * model.precision + np.diag(1.0 / model.prior_variance)
    for event in range(len(items)):
        kept = np.arange(len(items)) != event
        evidence = model.loadings[items[kept]] / model.item_variance[items[kept], np.newaxis]
        taste = np.linalg.solve(posterior, (evidence - model.drift).T @ weights[kept])
        without = model.popularity[7] + model.loadings[7] @ taste
        drop = scores(model, items, weights)[7] - without
        assert drop == pytest.approx(shares[event], rel=1e-9, abs=1e-14)


def test_deletion_deltas_are_real_deletions_and_agree_with_the_strongest_reason() -> None:
    model = Model.from_arrays(released())
    items, weights = history()
    target = int(np.argmax(scores(model, items, weights) - model.popularity))
    deltas = deletion_deltas(model, items, weights, target)
    for event in range(len(items)):
        kept = np.arange(len(items)) != event
        without = scores(model, items[kept], weights[kept])[target]
        drop = scores(model, items, weights)[target] - without
        assert deltas[event] == pytest.approx(drop, rel=1e-9, abs=1e-14)
    strongest = int(np.argmax(attribution(model, items, weights, target)))
    assert deltas[strongest] > 0.0


def test_more_history_means_less_shrinkage() -> None:
    model = Model.from_arrays(released())
    items, weights = history()
    once = scores(model, items, weights) - model.popularity
    often = scores(model, items, 50.0 * weights) - model.popularity
    assert np.linalg.norm(often) > 1.2 * np.linalg.norm(once)


def test_no_history_scores_popularity() -> None:
    model = Model.from_arrays(released())
    nothing = np.zeros(0, dtype=np.int64), np.zeros(0)
    np.testing.assert_array_equal(scores(model, *nothing), model.popularity)
    assert attribution(model, *nothing, 3).shape == (0,)
    assert deletion_deltas(model, *nothing, 3).shape == (0,)


def test_order_of_history_does_not_matter() -> None:
    model = Model.from_arrays(released())
    items, weights = history()
    np.testing.assert_allclose(
        scores(model, items[::-1], weights[::-1]), scores(model, items, weights), rtol=1e-12
    )


def test_arrays_round_trip() -> None:
    model = Model.from_arrays(released())
    again = Model.from_arrays(model.to_arrays())
    items, weights = history()
    np.testing.assert_array_equal(scores(again, items, weights), scores(model, items, weights))


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("popularity", None),
        ("popularity", np.zeros(N_ITEMS)),
        ("popularity", np.full(N_ITEMS, np.nan)),
        ("popularity", np.ones((N_ITEMS, 1))),
        ("loadings", np.ones((N_ITEMS - 1, RANK))),
        ("loadings", np.full((N_ITEMS, RANK), np.inf)),
        ("loadings", np.ones((N_ITEMS, RANK + 1))),
        ("prior_variance", np.array([1.0, 1.0, 1.0, 0.0])),
        ("item_variance", np.zeros(N_ITEMS)),
        ("item_variance", np.ones(N_ITEMS - 1)),
    ],
)
def test_refuses_arrays_that_are_no_model(name: str, array: npt.NDArray[np.float64] | None) -> None:
    arrays: dict[str, npt.NDArray[np.floating]] = {**released()}
    del arrays[name]
    if array is not None:
        arrays[name] = array
    with pytest.raises(BadModel):
        Model.from_arrays(arrays)


@pytest.mark.parametrize(
    ("items", "weights"),
    [
        ([N_ITEMS], [1.0]),
        ([-1], [1.0]),
        ([1, 1], [1.0, 1.0]),
        ([1], [0.0]),
        ([1], [np.nan]),
        ([1, 2], [1.0]),
    ],
)
def test_refuses_a_history_that_does_not_fit(items: list[int], weights: list[float]) -> None:
    model = Model.from_arrays(released())
    with pytest.raises(BadHistory):
        scores(model, np.array(items), np.array(weights))
    with pytest.raises(BadHistory):
        attribution(model, np.array(items), np.array(weights), 0)


def test_refuses_a_target_outside_the_catalogue() -> None:
    model = Model.from_arrays(released())
    with pytest.raises(BadHistory):
        attribution(model, *history(), N_ITEMS)
