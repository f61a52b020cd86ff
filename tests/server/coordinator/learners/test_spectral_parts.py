"""The parts of the spectral learner, each against an independent route."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tacit.client.decide import Model, scores
from tacit.server.coordinator.learners import BadPlan, NoisedSum, SpectralLearner
from tacit.server.coordinator.learners.earlier import EarlierRelease
from tacit.server.coordinator.learners.geometry import Geometry
from tacit.server.coordinator.learners.item_popularity import item_distribution
from tacit.server.coordinator.learners.kernel import TasteKernel, popularity_bins, soft_bins
from tacit.server.coordinator.learners.rules import spectral_plan
from tacit.server.coordinator.learners.shrinkage import growing_groups, shrink_symmetric_blocks
from tacit.server.coordinator.learners.sketches import Sketch, Spectrum, combine
from tacit.server.coordinator.learners.taste_gram import taste_covariance

FloatArray = npt.NDArray[np.float64]
N_ITEMS = 60


def geometry(seed: int = 0) -> Geometry:
    shares = np.random.default_rng(seed).dirichlet(np.full(N_ITEMS, 1.5)) + 1e-5
    return Geometry.of(shares / shares.sum())


def features(seed: int = 1) -> FloatArray:
    return (np.random.default_rng(seed).random((N_ITEMS, 5)) < 0.4).astype(np.float64)


# --- the kernel ----------------------------------------------------------------------------------


def test_soft_bins_spread_each_value_over_its_two_knots() -> None:
    hats = soft_bins(np.array([-1.0, 0.0, 0.25, 1.0, 4.0, 9.0]), np.array([0.0, 1.0, 5.0]))
    expected = [[1, 0, 0], [1, 0, 0], [0.75, 0.25, 0], [0, 1, 0], [0, 0.25, 0.75], [0, 0, 1]]
    np.testing.assert_allclose(hats, np.array(expected))
    assert soft_bins(np.array([3.0, 4.0]), np.array([1.0])).tolist() == [[1.0], [1.0]]
    np.testing.assert_allclose(popularity_bins(geometry().distribution).sum(axis=1), 1.0)


@pytest.mark.parametrize("given", [True, False], ids=["features", "none"])
def test_kernel_is_an_orthonormal_basis_without_the_mean_profile(given: bool) -> None:
    coordinates = geometry()
    kernel = TasteKernel.of(coordinates, features() if given else None, 30)
    assert kernel.directions.shape == (N_ITEMS, 30)
    np.testing.assert_allclose(kernel.directions.T @ kernel.directions, np.eye(30), atol=1e-8)
    # Centred: an average profile has no row in it.
    totals = (1.0 / coordinates.weights) @ kernel.directions
    np.testing.assert_allclose(totals, 0.0, atol=1e-7)
    assert kernel.variances[0] == 1.0
    assert np.all(np.diff(kernel.variances) <= 0.0)
    assert kernel.variances[-1] > 0.0


def test_kernel_expresses_tastes_for_features_and_for_their_products() -> None:
    coordinates, given = geometry(), features()
    kernel = TasteKernel.of(coordinates, given, N_ITEMS - 1)
    narrow = TasteKernel.of(coordinates, given, 12)
    product = given[:, :1] * given[:, 1:2]
    for wanted in (given[:, :1], product):
        direction = coordinates.taste_directions(wanted)
        direction /= np.linalg.norm(direction)
        assert np.linalg.norm(kernel.directions.T @ direction) == pytest.approx(1.0, abs=1e-6)
    # The few strongest directions hold single features better than a random direction.
    direction = coordinates.taste_directions(given)
    direction /= np.linalg.norm(direction, axis=0)
    assert np.linalg.norm(narrow.directions.T @ direction, axis=0).min() > 0.75


def test_an_earlier_release_leads_the_kernel() -> None:
    coordinates = geometry()
    taste = (
        np.random.default_rng(3).standard_normal((N_ITEMS, 1)) * coordinates.distribution[:, None]
    )
    earlier = EarlierRelease(coordinates.distribution, taste)
    kernel = TasteKernel.of(coordinates, features(), 10, earlier)
    wanted = coordinates.centred_rows(coordinates.weights[:, np.newaxis] * taste)
    cosine = float(np.abs(kernel.directions[:, 0] @ wanted[:, 0])) / float(np.linalg.norm(wanted))
    assert cosine > 0.95


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"loadings": None}, "without loadings"),
        ({"popularity": np.ones(3)}, "catalogue of 60 items"),
        ({"loadings": np.full((N_ITEMS, 2), np.nan)}, "finite"),
        ({"prior_variance": np.zeros(2)}, "above zero"),
    ],
)
def test_refuses_an_earlier_release_that_does_not_fit(change: dict[str, Any], line: str) -> None:
    arrays: dict[str, Any] = {
        "popularity": np.full(N_ITEMS, 1.0 / N_ITEMS),
        "loadings": np.zeros((N_ITEMS, 2)),
        "prior_variance": np.ones(2),
    }
    arrays = {name: a for name, a in (arrays | change).items() if a is not None}
    with pytest.raises(BadPlan, match=line):
        EarlierRelease.from_arrays(arrays, N_ITEMS)


# --- popularity ----------------------------------------------------------------------------------


def test_predictions_of_popularity_sharpen_it() -> None:
    rng = np.random.default_rng(5)
    group = np.arange(600) % 3
    sums = np.array([1.0, 8.0, 40.0])[group] * rng.uniform(0.7, 1.3, 600)
    released = NoisedSum(1, "popularity/1", sums + 8.0 * rng.standard_normal(600), 8.0)
    shown = np.eye(3)[group]

    def error(got: FloatArray) -> float:
        return float(np.sum((got - sums / sums.sum()) ** 2))

    plain = error(item_distribution(released))
    assert error(item_distribution(released, shown)) < 0.8 * plain
    assert error(item_distribution(released, None, sums / sums.sum())) < 0.8 * plain
    # Features that say nothing must not make it much worse.
    useless = rng.random((600, 3))
    assert error(item_distribution(released, useless)) < 1.15 * plain


# --- the Gram round and the sketches -------------------------------------------------------------


def population(n_users: int = 8000) -> tuple[Geometry, FloatArray, FloatArray]:
    """Draw profiles with tastes for two features; return coordinates, unit rows and features."""
    rng, given = np.random.default_rng(8), features()
    odds = np.exp(
        rng.normal(0.0, 1.2, (n_users, 2)) @ given[:, :2].T + rng.normal(-3.5, 0.6, N_ITEMS)
    )
    profiles = (rng.random(odds.shape) < odds / (1.0 + odds)).astype(np.float64)
    profiles = profiles[profiles.sum(axis=1) > 1]
    shares = profiles / np.linalg.norm(profiles, axis=1, keepdims=True)
    coordinates = Geometry.of(shares.sum(axis=0) / shares.sum())
    rows = profiles * coordinates.weights
    return coordinates, rows / np.linalg.norm(rows, axis=1, keepdims=True), given


def gram_round(rows: FloatArray, basis: FloatArray, noise: float, norm: float) -> NoisedSum:
    projected = rows @ basis
    if noise > 0.0:
        lengths = np.linalg.norm(projected, axis=1, keepdims=True)
        projected = projected / np.maximum(lengths, 1e-12) * math.sqrt(norm)
    gram = projected.T @ projected
    upper, lower = np.triu_indices(len(gram))
    values = gram[upper, lower] * np.where(upper == lower, 1.0, math.sqrt(2.0))
    std = noise * norm
    values = values + std * np.random.default_rng(2).standard_normal(len(values))
    return NoisedSum(2, "feature_gram/1", values, std)


def test_covariance_of_tastes_is_recovered_from_a_noisy_gram() -> None:
    coordinates, rows, given = population()
    kernel = TasteKernel.of(coordinates, given, 24)
    basis = coordinates.centred_basis(kernel.directions)
    exact = taste_covariance(gram_round(rows, basis, 0.0, 1.0), 1.0, kernel, coordinates, len(rows))
    noisy = taste_covariance(
        gram_round(rows, basis, 4.0, 0.01), 0.01, kernel, coordinates, len(rows)
    )
    wanted = np.linalg.eigh(exact)[1][:, -2:]
    found = np.linalg.eigh(noisy)[1][:, -2:]
    assert np.linalg.svd(wanted.T @ found)[1].min() > 0.95
    # Its scale is right within a factor of 2.5, about what the read-out does not notice: users are
    # weighed alike here and by length in `exact`, and weak directions are not all accident.
    ratio = np.trace(wanted.T @ noisy @ wanted) / np.trace(wanted.T @ exact @ wanted)
    assert 0.4 < ratio < 2.5


def test_pure_noise_in_the_gram_round_gives_no_tastes() -> None:
    """Each of 200 draws has a false-alarm probability below 1e-3, so 3 alarms have below 2e-3."""
    coordinates = geometry()
    kernel = TasteKernel.of(coordinates, features(), 24)
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(200):
        released = NoisedSum(2, "feature_gram/1", 500.0 * rng.standard_normal(300), 500.0)
        alarms += bool(np.any(taste_covariance(released, 0.01, kernel, coordinates, 100)))
    assert alarms < 3


def test_exact_sketches_give_the_leading_eigenpairs() -> None:
    coordinates, kernel = geometry(), TasteKernel.of(geometry(), None, 10)
    rng = np.random.default_rng(4)
    factor = coordinates.centred_rows(rng.standard_normal((N_ITEMS, 3)))
    moment = factor @ factor.T * 100.0
    bases = [np.linalg.qr(rng.standard_normal((N_ITEMS, 4)))[0] for _ in range(2)]
    sketches = [Sketch(basis, moment @ basis, 0.0) for basis in bases]
    spectrum = combine(sketches, np.zeros((10, 10)), kernel, coordinates)
    values, vectors = np.linalg.eigh(moment)
    np.testing.assert_allclose(spectrum.strengths[:3], values[::-1][:3], rtol=1e-6)
    assert np.linalg.svd(vectors[:, -3:].T @ spectrum.directions[:, :3])[1].min() > 1 - 1e-6


def test_sketches_are_brought_to_one_scale() -> None:
    coordinates, rows, given = population()
    basis = TasteKernel.of(coordinates, given, 6).directions
    centred = coordinates.centred_basis(basis)
    projected = rows @ centred
    exact = Sketch.of((rows.T @ projected).ravel(), 0.0, 1.0, basis, coordinates, len(rows))
    unit = projected / np.linalg.norm(projected, axis=1, keepdims=True)
    values = 0.01 * (rows.T @ unit).ravel()
    clipped = Sketch.of(values, 1e-9, 0.01, basis, coordinates, len(rows))
    ratio = float(np.sum(clipped.rows * exact.rows) / np.sum(exact.rows**2))
    assert ratio == pytest.approx(1.0, rel=0.4)
    cosine = float(np.sum(clipped.rows * exact.rows)) / float(
        np.linalg.norm(clipped.rows) * np.linalg.norm(exact.rows)
    )
    assert cosine > 0.9


def test_a_sketch_of_pure_noise_is_no_signal() -> None:
    """A false alarm, a total of four standard deviations, has a probability of 3e-5 a draw."""
    coordinates, rng = geometry(), np.random.default_rng(7)
    kernel = TasteKernel.of(coordinates, features(), 8)
    for std in (1.0, 1e3, 1e6):
        values = 0.01 * std * rng.standard_normal(N_ITEMS * 4)
        basis = kernel.directions[:, :4]
        sketch = Sketch.of(values, 0.01 * std, 0.01, basis, coordinates, 10)
        assert len(combine([sketch], np.zeros((8, 8)), kernel, coordinates).strengths) == 0


def test_what_the_gram_round_saw_joins_what_sketches_saw() -> None:
    coordinates = geometry()
    kernel = TasteKernel.of(coordinates, features(), 8)
    covariance = np.diag([9.0, 4.0, 1.0, 0, 0, 0, 0, 0])
    spectrum = combine([], covariance, kernel, coordinates)
    np.testing.assert_allclose(spectrum.strengths[:3], [9.0, 4.0, 1.0])
    sketch = Sketch(kernel.directions[:, :1], 9.0 * kernel.directions[:, :1], 1e-3)
    both = combine([sketch], covariance, kernel, coordinates)
    np.testing.assert_allclose(both.strengths[:3], [9.0, 4.0, 1.0], rtol=1e-2)
    assert Spectrum.of_factor(np.zeros((N_ITEMS, 0))).strengths.shape == (0,)


def test_blocks_keep_signal_and_lose_noise() -> None:
    rng, groups = np.random.default_rng(6), np.repeat([0, 1], 20)
    signal = np.zeros((40, 40))
    signal[:20, :20] = 6.0 * rng.standard_normal((20, 20))
    signal = (signal + signal.T) / 2.0
    noise = rng.standard_normal((40, 40))
    noise = np.triu(noise, 1) + np.triu(noise, 1).T
    shrunk = shrink_symmetric_blocks(signal + noise, 1.0, groups)
    np.testing.assert_array_equal(shrunk, shrunk.T)
    assert np.sum((shrunk - signal) ** 2) < 0.5 * np.sum(noise**2)
    assert np.sum(shrunk[20:, 20:] ** 2) < 0.05 * np.sum(noise[20:, 20:] ** 2)


@pytest.mark.parametrize(("n", "first"), [(0, 6), (3, 6), (6, 6), (7, 6), (1000, 8)])
def test_growing_groups_cover_everything_once(n: int, first: int) -> None:
    groups = growing_groups(n, first, 8)
    assert all(len(group) >= min(first, n) for group in groups)
    assert np.concatenate([np.zeros(0, dtype=np.intp), *groups]).tolist() == list(range(n))


# --- the rules -----------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0, 8.0, 100.0])
@pytest.mark.parametrize("n_items", [2, 30, 240, 1682, 3883, 20_000])
@pytest.mark.parametrize("cohort", [1, 100, 943, 6040, 10**6])
def test_rules_stay_within_the_upload_and_the_rounds(
    n_items: int, cohort: int, epsilon: float
) -> None:
    plan = spectral_plan(n_items, cohort, epsilon)
    assert 1 <= plan.kernel_width < n_items
    assert 1 <= plan.width <= n_items
    left = 1.0 - plan.popularity_share - plan.gram_share
    assert left >= 0.15 - 1e-12
    triangle = plan.kernel_width * (plan.kernel_width + 1) // 2
    coordinates = n_items + triangle + plan.subspace_rounds * n_items * plan.width
    assert 2 + plan.subspace_rounds <= 6
    assert 2 * coordinates <= 500_000 or plan.width == 4


# --- what it is for ------------------------------------------------------------------------------


def test_items_nobody_touched_are_ranked_by_their_features() -> None:
    """Untouched items of a user's own kind must come before untouched ones of another kind."""
    rng, n_items, n_new = np.random.default_rng(9), 160, 24
    kind = np.arange(n_items) % 2
    mixes = rng.random((3000, 1)) < 0.5
    chances = np.where((kind == 0) == mixes, 0.3, 0.03)
    chances[:, :n_new] = 0.0  # new items of either kind: in the catalogue, untouched
    profiles = (rng.random(chances.shape) < chances).astype(np.float64)
    learner = SpectralLearner(n_items, 3000, 3.0, features=np.eye(2)[kind])
    history: list[NoisedSum] = []
    for spec in learner.rounds():
        context = learner.context(spec.round_id, history)
        rows = profiles * context.get("item_weights", np.ones(n_items))
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        if spec.statistic == "popularity/1":
            total = rows.sum(axis=0)
        else:
            projected = rows @ context["basis"].astype(np.float64)
            lengths = np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-12)
            if spec.statistic == "subspace/1":
                total = (rows.T @ (projected / lengths)).ravel() * spec.clipping_norm
            elif spec.statistic == "cross_gram/1":
                turned = projected @ context["turn"].astype(np.float64)
                turned /= np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12)
                total = ((projected / lengths).T @ turned).ravel() * spec.clipping_norm
            else:
                unit = projected / lengths
                gram, (upper, lower) = unit.T @ unit, np.triu_indices(projected.shape[1])
                total = gram[upper, lower] * np.where(upper == lower, 1.0, math.sqrt(2.0))
                total = total * spec.clipping_norm
        std = 2.0 * spec.clipping_norm
        noise = std * rng.standard_normal(len(total))
        history.append(NoisedSum(spec.round_id, spec.statistic, total + noise, std))
    model = Model.from_arrays(learner.model(history))
    own_kind = np.flatnonzero(kind == 0)[20:30]
    ranked = scores(model, own_kind, np.ones(len(own_kind)))[:n_new]
    mine, other = ranked[kind[:n_new] == 0], ranked[kind[:n_new] == 1]
    assert np.mean(mine[:, np.newaxis] > other[np.newaxis, :]) > 0.95
