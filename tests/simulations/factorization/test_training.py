"""The factorization learner in simulation: three ways to train it, and what each guarantees."""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats  # pyright: ignore[reportMissingTypeStubs]

from tacit.client.statistics import Profiles
from tacit.simulations.errors import BadExperiment
from tacit.simulations.factorization.grid_noise import noised_on_grid
from tacit.simulations.factorization.interactions import InteractionNoise, LocalTrainer
from tacit.simulations.factorization.poisson import poisson_draw, take
from tacit.simulations.factorization.sampled_accounting import (
    SampledRelease,
    account,
    calibrate_sampled,
)
from tacit.simulations.population import generate
from tacit.simulations.report import SimulationReport
from tacit.simulations.simulate import SimulationOptions, simulate


def report(learner: str, epsilon: float = 8.0) -> SimulationReport:
    return simulate(generate(), SimulationOptions(learner=learner, epsilon=epsilon))


@pytest.mark.parametrize("learner", ["factorization", "factorization-opacus"])
def test_beats_exact_popularity_at_epsilon_8(learner: str) -> None:
    found = report(learner)
    (guarantee,) = found.trained.guarantees
    assert 7.9 < guarantee.epsilon <= 8.0
    assert guarantee.unit == "user"
    assert found.evaluation.means["ndcg@100"] > 1.1 * found.popularity.means["ndcg@100"]


def test_poisson_claims_name_their_draws() -> None:
    found = report("factorization-opacus")
    (guarantee,) = found.trained.guarantees
    assert guarantee.sampling.startswith("Poisson sampling q=0.5, T=")
    assert "opacus-prv" in guarantee.accountant
    assert "dp-accounting" in guarantee.accountant
    assert "cannot prove its draws" in found.trained.notes[-1]


def test_local_noise_reports_both_guarantees_in_the_json() -> None:
    document = json.loads(json.dumps(report("factorization-local").to_json()))
    user, interaction = document["guarantees"]
    assert (user["unit"], user["trust"]) == ("user", "central")
    assert (interaction["unit"], interaction["trust"]) == ("interaction", "local")
    assert 7.9 < interaction["epsilon"] <= 8.0
    assert all(z > 0 for z in interaction["noise_multipliers"])
    assert "popularity and feature rounds" in document["notes"][-1]


@pytest.mark.parametrize("learner", ["factorization", "factorization-opacus"])
def test_without_noise_claims_nothing_and_learns_more(learner: str) -> None:
    found = report(learner, math.inf)
    assert found.trained.guarantees == ()
    assert found.evaluation.means["ndcg@100"] > 1.2 * found.popularity.means["ndcg@100"]


# The sampled learner cannot spend less in the rounds it has; now and then noise passes for a taste.
@pytest.mark.parametrize(
    ("learner", "users", "epsilon", "draws"),
    [("factorization", 60, 0.05, 1), ("factorization-opacus", 600, 0.35, 4)],
)
def test_says_when_noise_drowned_the_signal(
    learner: str, users: int, epsilon: float, draws: int
) -> None:
    options = SimulationOptions(learner=learner, epsilon=epsilon)
    found = (simulate(generate(users), options) for _ in range(draws))
    notes = (note for one in found for note in one.trained.notes)
    assert any("fell back to the popularity ranking" in note for note in notes)


@pytest.mark.parametrize("learner", ["factorization-opacus", "factorization-local"])
def test_refuses_a_budget_or_rounds_that_cannot_be(learner: str) -> None:
    for options in (
        SimulationOptions(learner=learner, epsilon=1e-9),
        SimulationOptions(learner=learner, rounds=1),
    ):
        with pytest.raises(BadExperiment):
            simulate(generate(40, 40), options)


def test_draws_are_poisson_and_cannot_be_seeded() -> None:
    """Sizes and single users over 400 draws; bounds at 5 standard deviations."""
    draws = [poisson_draw(200, 0.3, os.urandom) for _ in range(400)]
    sizes = np.array([len(draw) for draw in draws])
    assert abs(sizes.mean() - 60.0) < 5 * math.sqrt(42.0 / 400)
    assert 0.6 < sizes.var() / 42.0 < 1.5  # not a fixed batch size
    each = np.bincount(np.concatenate(draws), minlength=200) / 400
    assert np.all(np.abs(each - 0.3) < 5 * math.sqrt(0.21 / 400))

    def seeded() -> list[int]:
        random.seed(1)
        np.random.seed(1)
        return [int(user) for user in poisson_draw(200, 0.5, os.urandom)]

    assert seeded() != seeded()
    for rate in (0.0, 1.0, math.nan):
        with pytest.raises(BadExperiment, match="sampling rate"):
            poisson_draw(10, rate, os.urandom)


def test_takes_the_profiles_of_the_users_drawn() -> None:
    profiles = generate(30, 40).profiles()
    drawn = take(profiles, np.array([2, 5, 11]))
    for place, user in enumerate((2, 5, 11)):
        got, wanted = drawn.slice(place, place + 1), profiles.slice(user, user + 1)
        np.testing.assert_array_equal(got.items, wanted.items)
        np.testing.assert_array_equal(got.weights, wanted.weights)
    assert take(profiles, np.array([], dtype=np.intp)).n_users == 0


def fixed_bytes(seed: int) -> Callable[[int], bytes]:
    return np.random.default_rng(seed).bytes


def test_grid_noise_is_gaussian_of_the_stated_scale_and_covers_the_rounding() -> None:
    """One Kolmogorov-Smirnov test with a fixed seed; it would fail by chance once in 10^4."""
    total = np.linspace(-3.0, 3.0, 20_000)
    noised, std = noised_on_grid(total, 2.0, 1.5, fixed_bytes(3))
    assert 1.5 * 2.0 < std < 1.5 * 2.0 * 1.01  # z times C, and a little for the rounding
    kolmogorov_smirnov: Any = stats
    assert kolmogorov_smirnov.kstest((noised - total) / std, "norm").pvalue > 1e-4
    again, _ = noised_on_grid(total, 2.0, 1.5, os.urandom)
    assert np.any(noised != again)


def test_sampled_accounting_is_amplified_but_never_below_the_tight_figure() -> None:
    full = account([SampledRelease(2.0, 1.0, 4)], 1e-5)
    half = account([SampledRelease(2.0, 0.5, 4)], 1e-5)
    assert half.epsilon < full.epsilon
    for claim in (full, half):
        assert claim.epsilon_prv < claim.epsilon < 1.5 * claim.epsilon_prv
    paid = [SampledRelease(3.0, 1.0, 1)]
    z = calibrate_sampled(4.0, 1e-5, paid, 0.5, 6)
    spent = account([*paid, SampledRelease(z, 0.5, 6)], 1e-5).epsilon
    assert 3.999 < spent <= 4.0
    with pytest.raises(BadExperiment, match="larger one"):
        calibrate_sampled(0.5, 1e-5, [SampledRelease(1.0, 1.0, 1)], 0.5, 6)


def local_context() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    rng = np.random.default_rng(4)
    factors = rng.normal(0.0, 0.3, (50, 5))
    factors[:, 0] = rng.uniform(0.05, 0.6, 50)
    return {
        "item_factors": factors,
        "gramian": 0.3 * factors.T @ factors + 5.0 * np.eye(5),
        "item_weights": np.ones(50),
        "factor_weights": np.ones(4),
    }


def one_user(*items: int) -> Profiles:
    held = np.array(items, dtype=np.int64)
    return Profiles(np.array([0, len(items)]), held, np.ones(len(items)), 50)


def test_one_interaction_moves_each_local_release_by_at_most_its_bound() -> None:
    """The sums before noise: with and without one interaction, at the same protected factor."""
    trainer = LocalTrainer(local_context(), 0.3, InteractionNoise(0.0, 0.0), os.urandom)
    with_it, without = one_user(1, 4, 9, 20, 33), one_user(1, 4, 20, 33)
    moved = np.linalg.norm(
        trainer._normal  # pyright: ignore[reportPrivateUsage]
        @ (
            trainer._own_factor(with_it)  # pyright: ignore[reportPrivateUsage]
            - trainer._own_factor(without)  # pyright: ignore[reportPrivateUsage]
        )
    )
    bound = trainer._factor_bound  # pyright: ignore[reportPrivateUsage]
    assert 0.0 < moved <= bound * (1 + 1e-9)
    taste = trainer._own_factor(with_it)  # pyright: ignore[reportPrivateUsage]
    first = trainer._table_gradient(with_it, taste, taste[1:])  # pyright: ignore[reportPrivateUsage]
    second = trainer._table_gradient(without, taste, taste[1:])  # pyright: ignore[reportPrivateUsage]
    assert 0.0 < np.linalg.norm(first - second) <= np.linalg.norm(taste[1:]) * (1 + 1e-9)


def test_local_noise_hides_which_items_are_held() -> None:
    quiet = LocalTrainer(local_context(), 0.3, InteractionNoise(0.0, 0.0), os.urandom)
    loud = LocalTrainer(local_context(), 0.3, InteractionNoise(1.0, 1.0), os.urandom)
    profile = one_user(3, 7)
    held = np.flatnonzero(np.any(quiet.answer(profile).values[:50] != 0, axis=1))
    assert held.tolist() == [3, 7]
    assert np.all(np.any(loud.answer(profile).values[:50] != 0, axis=1))
    assert loud.answer(one_user()).values.shape == (55, 4)  # an empty profile answers too
    with pytest.raises(BadExperiment, match="one user"):
        quiet.answer(generate(5, 50).profiles())
