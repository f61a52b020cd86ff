"""Predictions: what the installed linear releases expect of this device's user right now."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.client.decide import BadModel, DecideError, LinearModel
from tacit.client.decide.linear import attribution, predict
from tacit.client.decision import FeatureShare, TargetPrediction
from tacit.client.events import EventLog
from tacit.client.installed import InstalledRelease
from tacit.client.statistics import HISTORY_SIGNALS, Histories
from tacit.client.statistics.targets import bandit, churn, intent
from tacit.client.timeline import permitted_history
from tacit.privacy.arrays import unpack_arrays
from tacit.privacy.errors import PrivacyError

_DAY_S = 86_400
_TARGETS: Mapping[str, ModuleType] = {"churn": churn, "intent": intent, "bandit": bandit}
_NEEDED: Mapping[str, tuple[str, int, int]] = {
    "churn": ("horizon_days", 1, 365),
    "intent": ("window_s", 1, _DAY_S),
    "bandit": ("actions", 2, bandit.MAX_ACTIONS),
}
"""Kind → the parameter its features or its meaning need, with its least and greatest value."""


@dataclass(frozen=True, slots=True)
class TargetModel:
    """A released linear model, and the target it was trained on.

    Attributes:
        kind: `churn`, `intent` or `bandit`.
        linear: the regression, or one an action; features as in the target's `FEATURES`.
        parameter: `horizon_days`, `window_s` or `actions` of the training.
    """

    kind: str
    linear: LinearModel
    parameter: int

    @classmethod
    def from_arrays(cls, kind: str, arrays: Mapping[str, npt.NDArray[Any]]) -> TargetModel:
        """Check released arrays against what this client knows of the target.

        Raises:
            BadModel: the target is unknown, the arrays form no linear model of its features, or
                its parameter is missing or out of range.
        """
        if kind not in _TARGETS:
            raise BadModel(f"expected a target among {', '.join(_TARGETS)}, got {kind!r}")
        name, least, greatest = _NEEDED[kind]
        held = np.asarray(arrays.get(f"parameter_{name}", np.nan), dtype=np.float64)
        value = float(held) if held.shape == () else np.nan
        if not (least <= value <= greatest and value == int(value)):
            raise BadModel(f"expected a whole parameter_{name} from {least} to {greatest}")
        linear = LinearModel.from_arrays(arrays)
        n_features, n_blocks = len(_TARGETS[kind].FEATURES), int(value) if kind == "bandit" else 1
        if linear.coefficients.shape != (n_blocks, n_features):
            raise BadModel(
                f"expected coefficients of shape {(n_blocks, n_features)} for {kind}, "
                f"got {linear.coefficients.shape}"
            )
        if not bool(np.all(np.abs(linear.means) <= 1.0)):
            raise BadModel("expected means in [-1, 1]")
        return cls(kind, linear, int(value))


def predict_now(
    log: EventLog,
    installed: Mapping[str, InstalledRelease],
    permitted: Collection[str],
    now_ms: int,
    max_model_bytes: int,
) -> dict[str, TargetPrediction]:
    """Predict every installed target that has something to say about now, by kind.

    Churn is predicted for who was active in the last four horizons, intent during a session that
    has not reached a cart or a purchase; both as in training. A bandit chooses, it predicts
    nothing.

    Guarantee: the result is the same as if every event outside `permitted` had never been
    recorded. A feature that needs a signal which is not permitted takes the mean of the model's
    population, so it adds exactly nothing, and is not listed.

    Args:
        log: the event log.
        installed: kind → installed release.
        permitted: signals that may be read.
        now_ms: Unix milliseconds.
        max_model_bytes: the largest model this device takes.
    """
    wanted = [kind for kind in ("churn", "intent") if kind in installed]
    if not wanted:
        return {}
    histories = permitted_history(log, permitted, HISTORY_SIGNALS, linked=True)
    predictions: dict[str, TargetPrediction] = {}
    for kind in wanted:
        release = installed[kind]
        try:
            arrays = unpack_arrays(release.model_blob, max_model_bytes)
            model = TargetModel.from_arrays(kind, arrays)
        except (PrivacyError, DecideError):
            # It was checked when it was installed, by a client of another version than this one.
            continue
        predicted = _predict(model, release.manifest.version, histories, now_ms)
        if predicted is not None:
            predictions[kind] = predicted
    return predictions


def _predict(
    model: TargetModel, version: int, histories: Histories, now_ms: int
) -> TargetPrediction | None:
    if model.kind == "churn":
        within_s = model.parameter * _DAY_S
        # Features read what lies before the moment: one past now, so that now itself counts.
        users, found = churn.features(histories, now_ms + 1, within_s * 1000)
        known = churn.known(histories)
    else:
        within_s = model.parameter
        users, found = intent.present(histories, now_ms)
        known = intent.known(histories)
    if len(users) == 0:
        return None
    names: tuple[str, ...] = _TARGETS[model.kind].FEATURES
    linear = model.linear
    features = np.asarray(np.where(known[0], found[0], linear.means[0]), dtype=np.float64)
    told, shares = predict(linear, features), attribution(linear, features)
    order = np.argsort(-np.abs(shares), kind="stable")
    return TargetPrediction(
        kind=model.kind,
        version=version,
        within_s=within_s,
        probability=told.probability,
        score=told.score,
        low=told.low,
        high=told.high,
        base_rate=float(linear.base_rate[0]),
        drowned=bool(linear.drowned[0]),
        features=tuple(
            FeatureShare(names[place], float(features[place]), float(shares[place]))
            for place in map(int, order)
            if shares[place] != 0.0
        ),
    )
