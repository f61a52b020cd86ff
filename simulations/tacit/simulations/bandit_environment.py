"""A bandit with a known truth: who sees which action, and how often it pays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.client.statistics import (
    HISTORY_SIGNALS,
    NO_ACTION,
    Events,
    Histories,
    build_histories,
)
from tacit.client.statistics.targets import bandit
from tacit.simulations.journeys import generate_journeys
from tacit.simulations.timelines import dataset_histories

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

ACTIONS = 4
WINDOW_S = 600

_DECISIONS = 6
_PERIOD_S = 86_400
_ENDS_S = 1_710_000_000
_REWARD_AFTER_MS = 60_000
_PAGE, _CART = HISTORY_SIGNALS.index("page_view"), HISTORY_SIGNALS.index("add_to_cart")


@dataclass(frozen=True, slots=True)
class Environment:
    """Hold what is true: `P(reward | action a, context x) = 1 / (1 + exp(-x . w_a))`.

    Not linear, so that the linear model is as wrong as it would be in life.

    Attributes:
        weights: `(ACTIONS, d)`.
    """

    weights: FloatArray

    def chances(self, contexts: FloatArray) -> FloatArray:
        """Compute the chance of a reward for each context and action, `(m, ACTIONS)`."""
        return np.asarray(1.0 / (1.0 + np.exp(-contexts @ self.weights.T)), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Logged:
    """Hold what devices have logged under a uniform policy.

    Attributes:
        histories: everyone's events, decisions and rewards among them.
        parameters: of the task that reads them.
    """

    histories: Histories
    parameters: dict[str, float]


def make_environment(seed: int = 0) -> Environment:
    """Draw a truth from a public seed: actions differ in level and in whom they suit."""
    rng = np.random.default_rng([seed, 1])
    weights = rng.normal(0.0, 1.2, (ACTIONS, len(bandit.FEATURES)))
    weights[:, 0] = rng.normal(-1.2, 0.3, ACTIONS)
    return Environment(weights)


def make_contexts(n_users: int, seed: int) -> FloatArray:
    """Give the contexts of users who took no part in learning, `(n_users, d)`."""
    return _contexts(_past(n_users, seed), _moments(n_users, seed)[:, 0])


def log_uniform(environment: Environment, n_users: int, seed: int = 0) -> Logged:
    """Let every user meet six decisions, each action equally often, and log what came of it.

    A context depends on the decisions and rewards before it, as on a device, so decisions are
    played one after another through the device's own featurisation.
    """
    rng = np.random.default_rng([seed, 2])
    histories, moments = _past(n_users, seed), _moments(n_users, seed)
    users = np.arange(n_users, dtype=np.int64)
    for decision in range(_DECISIONS):
        now_ms = moments[:, decision]
        chances = environment.chances(_contexts(histories, now_ms))
        actions = rng.integers(0, ACTIONS, n_users)
        paid = users[rng.random(n_users) < chances[users, actions]]
        histories = _with(histories, users, now_ms, _PAGE, actions)
        none = np.full(len(paid), NO_ACTION, dtype=np.int64)
        histories = _with(histories, paid, now_ms[paid] + _REWARD_AFTER_MS, _CART, none)
    return Logged(
        histories,
        {
            "actions": float(ACTIONS),
            "from_s": 0.0,
            "as_of_s": float(_ENDS_S + (_DECISIONS + 1) * _PERIOD_S),
            "window_s": float(WINDOW_S),
        },
    )


def _past(n_users: int, seed: int) -> Histories:
    """Generate what users did before the first decision."""
    data = generate_journeys(n_users, seed)
    return dataset_histories(data)


def _moments(n_users: int, seed: int) -> IntArray:
    """Draw when each user meets each decision, in milliseconds, one a day: `(n_users, 6)`.

    After the generated past, so that a reward can only come from a decision.
    """
    rng = np.random.default_rng([seed, 3])
    within = rng.integers(0, _PERIOD_S - 2 * WINDOW_S, (n_users, _DECISIONS))
    days = np.arange(_DECISIONS, dtype=np.int64) * _PERIOD_S
    return np.asarray((_ENDS_S + days + within) * 1000, dtype=np.int64)


def _contexts(histories: Histories, now_ms: IntArray) -> FloatArray:
    return bandit.features(histories, now_ms)


def _with(
    histories: Histories, users: IntArray, times_ms: IntArray, signal: int, actions: IntArray
) -> Histories:
    """Add one event for each of some users."""
    added = len(users)
    chance = np.where(actions == NO_ACTION, 1.0, 1.0 / ACTIONS)
    return build_histories(
        Events(
            users=np.concatenate([histories.users, users]),
            times_ms=np.concatenate([histories.times_ms, times_ms]),
            signals=np.concatenate([histories.signals, np.full(added, signal, dtype=np.int64)]),
            values=np.concatenate([histories.values, np.zeros(added)]),
            actions=np.concatenate([histories.actions, actions]),
            propensities=np.concatenate([histories.propensities, chance]),
        ),
        histories.permitted,
    )
