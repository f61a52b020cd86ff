"""Predictions and the bandit: what they gain, and that the past alone is read."""

from __future__ import annotations

import dataclasses
import math
import pathlib

import numpy as np
import pytest

from tacit.client.statistics.targets import churn, intent
from tacit.simulations.bandit import play_bandit
from tacit.simulations.datasets import Dataset, load
from tacit.simulations.errors import BadExperiment, DatasetError
from tacit.simulations.journeys import generate_journeys
from tacit.simulations.prediction import predict_target
from tacit.simulations.prediction_metrics import auc, log_loss
from tacit.simulations.timelines import dataset_histories


def test_auc_is_the_share_of_ordered_pairs() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random(60) < 0.4).astype(np.float64)
    scores, weights = np.round(rng.random(60), 1), rng.integers(0, 3, 60).astype(np.float64)
    won = total = 0.0
    for i in np.flatnonzero(targets == 1):
        for j in np.flatnonzero(targets == 0):
            mass = weights[i] * weights[j]
            won += mass * (float(scores[i] > scores[j]) + 0.5 * float(scores[i] == scores[j]))
            total += mass
    assert auc(targets, scores, weights) == pytest.approx(won / total)
    assert auc(np.ones(3), np.ones(3), np.ones(3)) == 0.5
    assert log_loss(np.array([1.0]), np.array([0.25]), np.ones(1)) == pytest.approx(math.log(4))


@pytest.mark.parametrize(("target", "gain"), [("churn", 0.75), ("intent", 0.7)])
def test_predicts_at_epsilon_8_nearly_as_well_as_without_privacy(target: str, gain: float) -> None:
    report = predict_target(generate_journeys(1500), target, 8.0, 1e-5)
    own, ridge, base = (report.measured[name] for name in ("linear/1", "ridge", "base_rate"))
    assert report.claim is not None
    assert 7.9 < report.claim.epsilon <= 8.0
    assert own.means["auc"] > gain
    assert own.means["auc"] > ridge.means["auc"] - 0.03
    assert own.means["log_loss"] < base.means["log_loss"]
    assert not report.drowned
    document = report.to_json()
    assert document["privacy"]["epsilon"] == report.claim.epsilon
    assert document["notes"] == []


def test_noise_that_drowns_the_signal_is_said() -> None:
    report = predict_target(generate_journeys(60), "churn", 0.2, 1e-5)
    assert report.drowned
    assert report.measured["linear/1"].means["auc"] == 0.5
    assert report.to_json()["notes"]


@pytest.mark.parametrize("target", ["churn", "intent"])
def test_training_does_not_read_the_test_period(target: str) -> None:
    """Whatever happens after the split, every training row stays the same, bit for bit."""
    data = generate_journeys(200)
    report = predict_target(data, target, math.inf, 1e-5)
    later = data.timestamps >= report.parameters["as_of_s"]
    later[int(np.argmax(data.timestamps))] = False  # keeps the end of time where it is
    other = _without(data, later & (data.users % 2 == 0))
    again = predict_target(other, target, math.inf, 1e-5)
    assert again.parameters == report.parameters
    assert again.positive_share != report.positive_share  # what is tested did change
    rows_of = churn.rows if target == "churn" else intent.rows
    before, after = (rows_of(dataset_histories(one), report.parameters) for one in (data, other))
    assert before.features.tobytes() == after.features.tobytes()
    assert before.targets.tobytes() == after.targets.tobytes()


def test_bandit_beats_uniform_and_no_policy_beats_the_oracle() -> None:
    report = play_bandit(2000, 8.0, 1e-5)
    own, uniform = report.regrets["linear/1 greedy"], report.regrets["uniform"]
    assert own[2] < uniform[1]
    assert own[0] < 0.4 * uniform[0]
    assert all(low >= 0.0 for _, low, _ in report.regrets.values())


def test_real_data_with_timestamps(shared_data: pathlib.Path) -> None:
    report = predict_target(load(shared_data / "ml-100k"), "churn", math.inf, 1e-5)
    assert report.measured["linear/1"].means["auc"] > 0.7
    with pytest.raises(DatasetError, match="carts or purchases"):
        predict_target(load(shared_data / "ml-100k"), "intent", 8.0, 1e-5)


def test_refuses_what_cannot_be_predicted() -> None:
    data = generate_journeys(50)
    with pytest.raises(BadExperiment, match="target"):
        predict_target(data, "mood", 8.0, 1e-5)
    with pytest.raises(BadExperiment, match="epsilon"):
        predict_target(data, "churn", 1e-9, 1e-5)
    positions = dataclasses.replace(data, timestamps=np.arange(len(data.users), dtype=np.float64))
    with pytest.raises(DatasetError, match="Unix seconds"):
        predict_target(positions, "churn", 8.0, 1e-5)
    with pytest.raises(BadExperiment, match="user"):
        play_bandit(0, 8.0, 1e-5)
    with pytest.raises(BadExperiment):
        generate_journeys(0)


def _without(data: Dataset, dropped: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Dataset:
    kept = ~dropped
    return dataclasses.replace(
        data,
        users=data.users[kept],
        items=data.items[kept],
        signals=data.signals[kept],
        values=data.values[kept],
        timestamps=data.timestamps[kept],
    )
