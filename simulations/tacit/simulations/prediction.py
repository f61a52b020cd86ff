"""Experiments with `linear/1`: train under a budget on the past, predict what came after it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from tacit.client.decide.linear import LinearModel, probabilities
from tacit.client.statistics import BadContext, Histories
from tacit.client.statistics.design import DesignRows
from tacit.client.statistics.targets import churn, intent
from tacit.privacy.accounting import EpsilonClaim, GaussianEvent, calibrate, epsilon
from tacit.privacy.errors import BadParameter
from tacit.privacy.trust import claim_context
from tacit.server.coordinator.learners import BadPlan, LinearLearner, linear_target
from tacit.simulations.datasets import Dataset
from tacit.simulations.engine import run
from tacit.simulations.errors import BadExperiment, DatasetError
from tacit.simulations.memory import peak_rss_bytes
from tacit.simulations.prediction_metrics import FloatArray, Measured, measure
from tacit.simulations.timelines import dataset_histories

PREDICTED = ("churn", "intent")
CUTOFFS = 26
WINDOW_S = 1800
DROWNED = "noise drowned the signal: the model is the mean, at this epsilon and number of users"

_TRAIN_SHARE = 0.8  # of the time line of intent
_DAY_S = 86_400
_RIDGE = 1.0
_OLDEST_S = 100_000_000  # March 1973; what is below is a position or a relative time


@dataclass(frozen=True, slots=True)
class PredictionReport:
    """Hold what an experiment found.

    Attributes:
        dataset: the data.
        target: what was predicted.
        parameters: of the training task.
        claim: what was spent; `None` without noise.
        noise_multiplier: of the one round; 0 without noise.
        payload_bytes: bytes one device sends.
        measured: metrics of the released model, by name: `linear/1` first, then the baselines
            `ridge` (not private, on raw rows) and `base_rate` (not private).
        rows, users: rows and users of the test part.
        positive_share: share of test rows with target 1.
        drowned: whether the model fell back to the mean.
        wall_s, cpu_s, peak_rss_bytes: cost, data already loaded.
    """

    dataset: Dataset
    target: str
    parameters: dict[str, float]
    claim: EpsilonClaim | None
    noise_multiplier: float
    payload_bytes: int
    measured: dict[str, Measured]
    rows: int
    users: int
    positive_share: float
    drowned: bool
    wall_s: float
    cpu_s: float
    peak_rss_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON document (`docs/linear.md`)."""
        own, *baselines = self.measured
        return {
            "dataset": {
                "name": self.dataset.name,
                "users": self.dataset.n_users,
                "items": self.dataset.n_items,
                "interactions": self.dataset.n_interactions,
            },
            "target": {"name": self.target, **self.parameters},
            "privacy": privacy_json(self.claim, self.noise_multiplier),
            "metrics": self.measured[own].means,
            "intervals": {k: list(v) for k, v in self.measured[own].intervals.items()},
            "baselines": {
                name: {
                    **self.measured[name].means,
                    "intervals": {k: list(v) for k, v in self.measured[name].intervals.items()},
                }
                for name in baselines
            },
            "cost": {
                "payload_bytes_per_device_round": [self.payload_bytes],
                "wall_s": self.wall_s,
                "cpu_s": self.cpu_s,
                "peak_rss_bytes": self.peak_rss_bytes,
            },
            "learner": own,
            "split": {
                "kind": "temporal",
                "users_evaluated": self.users,
                "rows_evaluated": self.rows,
                "positive_share": self.positive_share,
            },
            "notes": [DROWNED] if self.drowned else [],
        }


def predict_target(
    dataset: Dataset,
    target: str,
    epsilon_total: float,
    delta: float,
    *,
    horizon_days: int = 7,
    on_users: Callable[[int], None] | None = None,
) -> PredictionReport:
    """Train on everything before a moment, predict what happened after it.

    The split is in time: no training row reads an event, in its features or its target, from the
    test period. Every user of the data takes part in the one round.

    Args:
        dataset: events with timestamps in seconds.
        target: one of `PREDICTED`.
        epsilon_total: budget, above zero; infinity trains without noise.
        delta: target delta.
        horizon_days: of churn.
        on_users: called with the number of users done after each chunk.

    Raises:
        BadExperiment: the target or budget is out of range.
        DatasetError: the data holds no rows, or one class only, for this target.
    """
    started, cpu_started = time.perf_counter(), time.process_time()
    histories = dataset_histories(dataset)
    train_parameters, test_parameters = _periods(histories, target, horizon_days)
    rows_of = churn.rows if target == "churn" else intent.rows
    try:
        train = rows_of(histories, train_parameters)
        test = rows_of(histories, test_parameters)
    except BadContext as error:
        raise DatasetError(f"target {target}: {error}") from None
    _check_rows(train, target, "before")
    _check_rows(test, target, "after")
    model, claim, noise_multiplier, payload = train_linear(
        histories, target, train_parameters, epsilon_total, delta, on_users
    )
    predicted = {
        "linear/1": probabilities(model, test.features),
        "ridge": probabilities(raw_ridge(train), test.features),
        "base_rate": np.full(len(test.targets), float(np.mean(train.targets))),
    }
    return PredictionReport(
        dataset=dataset,
        target=target,
        parameters=train_parameters,
        claim=claim,
        noise_multiplier=noise_multiplier,
        payload_bytes=payload,
        measured={k: measure(test.users, test.targets, p) for k, p in predicted.items()},
        rows=len(test.targets),
        users=len(np.unique(test.users)),
        positive_share=float(np.mean(test.targets)),
        drowned=bool(np.any(model.drowned > 0.0)),
        wall_s=time.perf_counter() - started,
        cpu_s=time.process_time() - cpu_started,
        peak_rss_bytes=peak_rss_bytes(),
    )


def train_linear(
    histories: Histories,
    target: str,
    parameters: dict[str, float],
    epsilon_total: float,
    delta: float,
    on_users: Callable[[int], None] | None = None,
) -> tuple[LinearModel, EpsilonClaim | None, float, int]:
    """Run the one round of `linear/1` through the engine, and account for it.

    Returns:
        The model as a device reads it, the claim (`None` without noise), the noise multiplier and
        the bytes one device sends.

    Raises:
        BadExperiment: the parameters or the budget do not make a task.
    """
    try:
        learner = LinearLearner(linear_target(target, parameters))
        private = math.isfinite(epsilon_total)
        multipliers = calibrate(epsilon_total, delta, [1.0]) if private else (0.0,)
    except (BadPlan, BadParameter) as error:
        raise BadExperiment(str(error)) from None
    done = run(
        histories,
        learner,
        multipliers,
        task_digest=sha256(learner.name.encode()).digest(),
        on_users=on_users,
    )
    claim = epsilon([GaussianEvent(multipliers[0])], delta) if private else None
    if claim is not None and claim.epsilon > epsilon_total:
        raise BadExperiment(f"expected to spend {epsilon_total}, got {claim.epsilon}")
    return LinearModel.from_arrays(done.model), claim, multipliers[0], done.payload_bytes[0]


def raw_ridge(rows: DesignRows, n_blocks: int = 1) -> LinearModel:
    """Fit a ridge regression on raw rows, not private, in the shape of a released model.

    Every row has weight 1 whoever owns it; a ridge of 1 on all but the intercept.
    """
    d = rows.features.shape[1]
    coefficients, means = np.zeros((n_blocks, d)), np.ones((n_blocks, d))
    base, residual = np.full(n_blocks, 0.5), np.full(n_blocks, 0.25)
    for block in range(n_blocks):
        mine = rows.blocks == block
        if not np.any(mine):
            continue
        x, y = rows.features[mine], rows.targets[mine]
        penalty = _RIDGE * np.eye(d)
        penalty[0, 0] = 1e-9
        coefficients[block] = np.linalg.solve(x.T @ x + penalty, x.T @ y)
        means[block], base[block] = np.mean(x, axis=0), float(np.mean(y))
        errors: FloatArray = y - x @ coefficients[block]
        residual[block] = float(errors @ errors) / len(errors)
    return LinearModel.from_arrays(
        {
            "coefficients": coefficients,
            "covariance": np.zeros((n_blocks, d, d)),
            "means": means,
            "base_rate": base,
            "residual_variance": residual,
            "drowned": np.zeros(n_blocks),
        }
    )


def privacy_json(claim: EpsilonClaim | None, noise_multiplier: float) -> dict[str, Any]:
    """Return the privacy part of a report, as `tacit simulate` writes it for every learner."""
    beside = {} if claim is None else claim_context(claim, 1)
    return {
        **beside,
        "epsilon": None if claim is None else claim.epsilon,
        "delta": None if claim is None else claim.target_delta,
        "unit": "user",
        "neighboring_relation": "add_remove",
        "trust": "consent-only" if claim is None else "central",
        "rounds": 1,
        "noise_multiplier": [noise_multiplier],
        "accountant": None if claim is None else f"{claim.accountant} {claim.accountant_version}",
    }


def _periods(
    histories: Histories, target: str, horizon_days: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Give the parameters of the training rows and of the test rows, later in time."""
    if target not in PREDICTED:
        raise BadExperiment(f"expected a target among {PREDICTED}, got {target!r}")
    if len(histories.times_ms) == 0:
        raise DatasetError("expected events of signals that histories hold, got none")
    first_s, end_s = (
        int(histories.times_ms.min()) // 1000,
        int(histories.times_ms.max()) // 1000 + 1,
    )
    if end_s < _OLDEST_S:
        raise DatasetError(
            f"target {target}: expected timestamps in Unix seconds, got a latest one of {end_s}"
        )
    if target == "churn":
        shared = {"horizon_days": float(horizon_days)}
        known_s = float(end_s - horizon_days * _DAY_S)
        return (
            {"as_of_s": known_s, "cutoffs": float(CUTOFFS), **shared},
            {"as_of_s": float(end_s), "cutoffs": 1.0, **shared},
        )
    known_s = float(int(first_s + _TRAIN_SHARE * (end_s - first_s)))
    window = {"window_s": float(WINDOW_S)}
    return (
        {"from_s": 0.0, "as_of_s": known_s, **window},
        {"from_s": known_s, "as_of_s": float(end_s + WINDOW_S + 1), **window},
    )


def _check_rows(rows: DesignRows, target: str, when: str) -> None:
    """Raise unless both outcomes occur: else there is nothing to learn or to measure."""
    reached = int(np.sum(rows.targets))
    if not 0 < reached < len(rows.targets):
        raise DatasetError(
            f"target {target}: expected both outcomes {when} the split, got {reached} of "
            f"{len(rows.targets)} rows; it needs timestamps in seconds"
            + (" and carts or purchases" if target == "intent" else "")
        )
