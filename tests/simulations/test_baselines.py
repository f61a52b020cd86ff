"""Baselines against closed forms and published figures; intervals and slices."""

# Neither scipy nor pyarrow ships types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportOptionalSubscript=false
# pyright: reportAttributeAccessIssue=false, reportUnknownLambdaType=false

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tacit.client.statistics import Profiles
from tacit.simulations import baselines
from tacit.simulations.baselines import count_scorer, ease_scorer, ials_scorer
from tacit.simulations.datasets import load
from tacit.simulations.errors import BadExperiment
from tacit.simulations.holdout import SplitOptions, hold_out
from tacit.simulations.intervals import bootstrap_means, metric_intervals
from tacit.simulations.metrics import evaluate
from tacit.simulations.population import generate
from tacit.simulations.sampled import sampled_metrics
from tacit.simulations.slices import head_items, slices
from tacit.simulations.splits import per_user_split

DATA = generate(150, 120, seed=2)
SPLIT = per_user_split(DATA.profiles())


def dense(profiles: Profiles) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    matrix = np.zeros((profiles.n_users, profiles.n_items))
    matrix[profiles.users, profiles.items] = profiles.weights
    return matrix


def test_ease_solves_its_constrained_least_squares() -> None:
    """At the optimum the gradient vanishes off the diagonal and the diagonal is zero."""
    x = dense(SPLIT.train)
    basis = Profiles(np.arange(121), np.arange(120), np.ones(120), 120)
    weights = ease_scorer(SPLIT)(basis)
    gradient = x.T @ (x @ weights - x) + 6.5 * np.sqrt(150) * weights
    np.testing.assert_allclose(gradient - np.diag(np.diag(gradient)), 0.0, atol=1e-8)
    np.testing.assert_allclose(np.diag(weights), 0.0, atol=1e-12)


def test_ials_rows_are_the_minimum_of_the_objective() -> None:
    rng = np.random.default_rng(0)
    other = rng.normal(size=(120, 5))
    few = SPLIT.train.slice(0, 7)
    solved = baselines.least_squares(baselines.sparse_rows(few).tocsr(), other)
    strength = 0.01 * np.sqrt(192 / 5)
    for user, row in enumerate(dense(few)):
        fit = other.T @ (row * (other @ solved[user] - (row > 0)))
        rest = 0.2 * other.T @ (other @ solved[user])
        ridge = strength * (np.count_nonzero(row) + 0.2 * 120) * solved[user]
        np.testing.assert_allclose(fit + rest + ridge, 0.0, atol=1e-9)


def test_baselines_beat_popularity() -> None:
    floor = evaluate(SPLIT, count_scorer(SPLIT)).means["ndcg@100"]
    for fit in (ease_scorer, ials_scorer):
        assert evaluate(SPLIT, fit(SPLIT)).means["ndcg@100"] > 1.1 * floor


def test_ease_and_ials_reach_the_known_figures(shared_data: Path) -> None:
    split = hold_out(load(shared_data / "ml-100k"), SplitOptions())
    assert evaluate(split, ease_scorer(split)).means["ndcg@100"] == pytest.approx(0.527, abs=0.005)
    assert evaluate(split, ials_scorer(split)).means["ndcg@100"] > 0.525


def test_ease_refuses_a_catalogue_it_cannot_invert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacit.simulations.baselines.EASE_MOST_ITEMS", 100)
    with pytest.raises(BadExperiment, match="at most 100 items"):
        ease_scorer(SPLIT)


def test_bootstrap_has_the_standard_error_of_the_mean() -> None:
    """With 1,000 resamples the spread is within 10% of s / sqrt(n) but for chance below 1e-4."""
    values = np.random.default_rng(1).random((400, 2))
    means = bootstrap_means(values)
    assert means.shape == (1000, 2)
    expected = values.std(axis=0) / 20.0
    np.testing.assert_allclose(means.std(axis=0), expected, rtol=0.1)
    found = metric_intervals(evaluate(SPLIT, ease_scorer(SPLIT)))["ndcg@100"]
    assert found.low < evaluate(SPLIT, ease_scorer(SPLIT)).means["ndcg@100"] < found.high


def test_slices_tell_head_from_tail_and_groups_apart() -> None:
    evaluation = evaluate(SPLIT, count_scorer(SPLIT))
    groups = tuple("A" if user % 3 else "B" for user in range(150))
    got = slices(SPLIT, evaluation, groups)
    values = evaluation.per_user[:, 1]
    in_a = np.array([group == "A" for group in groups])[evaluation.users]
    assert got.groups == pytest.approx({"A": values[in_a].mean(), "B": values[~in_a].mean()})
    assert got.head is not None
    assert got.tail is not None
    assert got.head > got.tail
    assert int(head_items(SPLIT).sum()) == 24
    shown = np.unique(evaluation.shown)
    assert got.coverage == pytest.approx(len(shown) / 120)
    assert got.tail_share == pytest.approx(np.mean(~head_items(SPLIT)[evaluation.shown]))
    lengths = np.diff(SPLIT.train.indptr)[evaluation.users]
    assert got.light == pytest.approx(values[lengths <= np.median(lengths)].mean())


def test_sampled_metrics_of_chance_and_of_a_perfect_scorer() -> None:
    """Chance is 10/100; 600 users put the mean within 0.07 but for chance below 1e-6."""
    split = hold_out(generate(600, 160, seed=1), SplitOptions("leave-one-out"))
    rng = np.random.default_rng(0)
    chance = sampled_metrics(split, lambda p: rng.random((p.n_users, 160)), seed=1)
    assert chance["sampled_hr@10"] == pytest.approx(0.1, abs=0.07)
    table = np.zeros((600, 160))
    table[split.test.users, split.test.items] = 1.0
    turn = iter([table[:256], table[256:512], table[512:]])
    assert sampled_metrics(split, lambda p: next(turn), seed=1) == {
        "sampled_hr@10": 1.0,
        "sampled_ndcg@10": 1.0,
    }
    with pytest.raises(BadExperiment, match="one held-out item"):
        sampled_metrics(SPLIT, count_scorer(SPLIT), seed=1)
