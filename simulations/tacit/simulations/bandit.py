"""The bandit experiment: learn from logged decisions under a budget, then choose for others."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tacit.client.decide.linear import LinearModel, best_probabilities
from tacit.client.statistics.targets import bandit
from tacit.privacy.accounting import EpsilonClaim
from tacit.simulations.bandit_environment import (
    ACTIONS,
    Environment,
    log_uniform,
    make_contexts,
    make_environment,
)
from tacit.simulations.errors import BadExperiment
from tacit.simulations.memory import peak_rss_bytes
from tacit.simulations.prediction import DROWNED, privacy_json, raw_ridge, train_linear
from tacit.simulations.prediction_metrics import FloatArray, mean_interval

EVALUATED = 1000
"""Users, none of whom took part in learning, for whom the policies choose."""

_HELD_OUT_SEED = 1_000_003  # added to the population's seed


@dataclass(frozen=True, slots=True)
class BanditReport:
    """Hold what the experiment found.

    Attributes:
        users: who took part in learning.
        parameters: of the task.
        claim: what was spent; `None` without noise.
        noise_multiplier: of the one round.
        payload_bytes: bytes one device sends.
        rewards: mean chance of a reward by policy, with a 95% interval.
        regrets: mean of the best action's chance minus the policy's, with a 95% interval.
        drowned: actions whose regression fell back to the mean.
        wall_s, cpu_s, peak_rss_bytes: cost.
    """

    users: int
    parameters: dict[str, float]
    claim: EpsilonClaim | None
    noise_multiplier: float
    payload_bytes: int
    rewards: dict[str, tuple[float, float, float]]
    regrets: dict[str, tuple[float, float, float]]
    drowned: int
    wall_s: float
    cpu_s: float
    peak_rss_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON document (`docs/linear.md`)."""
        own = "linear/1 greedy"
        return {
            "dataset": {"name": "generated bandit", "users": self.users},
            "target": {"name": "bandit", **self.parameters},
            "privacy": privacy_json(self.claim, self.noise_multiplier),
            "metrics": {"reward": self.rewards[own][0], "regret": self.regrets[own][0]},
            "intervals": {"reward": self.rewards[own][1:], "regret": self.regrets[own][1:]},
            "baselines": {
                name: {
                    "reward": self.rewards[name][0],
                    "regret": self.regrets[name][0],
                    "intervals": {
                        "reward": self.rewards[name][1:],
                        "regret": self.regrets[name][1:],
                    },
                }
                for name in self.rewards
                if name != own
            },
            "cost": {
                "payload_bytes_per_device_round": [self.payload_bytes],
                "wall_s": self.wall_s,
                "cpu_s": self.cpu_s,
                "peak_rss_bytes": self.peak_rss_bytes,
            },
            "learner": "linear/1",
            "split": {"kind": "new users", "users_evaluated": EVALUATED},
            "notes": [f"{self.drowned} of {ACTIONS} actions: {DROWNED}"] if self.drowned else [],
        }


def play_bandit(
    n_users: int,
    epsilon_total: float,
    delta: float,
    *,
    seed: int = 0,
    on_users: Callable[[int], None] | None = None,
) -> BanditReport:
    """Learn from decisions that were logged under a uniform policy, and choose for new users.

    Every policy is scored by the true chances of the environment, so no reward is drawn and the
    regret of the oracle is exactly 0.

    Args:
        n_users: who take part in learning.
        epsilon_total: budget, above zero; infinity trains without noise.
        delta: target delta.
        seed: public seed of environment and population.
        on_users: called with the number of users done after each chunk.

    Raises:
        BadExperiment: the size or the budget is out of range.
    """
    if n_users < 1:
        raise BadExperiment(f"expected at least 1 user, got {n_users}")
    started, cpu_started = time.perf_counter(), time.process_time()
    environment = make_environment(seed)
    logged = log_uniform(environment, n_users, seed)
    model, claim, noise_multiplier, payload = train_linear(
        logged.histories, "bandit", logged.parameters, epsilon_total, delta, on_users
    )
    contexts = make_contexts(EVALUATED, seed + _HELD_OUT_SEED)
    raw = raw_ridge(bandit.rows(logged.histories, logged.parameters), ACTIONS)
    policies = {
        "linear/1 greedy": _greedy(model, contexts),
        "linear/1 thompson": np.stack([best_probabilities(model, x) for x in contexts]),
        "ridge greedy, not private": _greedy(raw, contexts),
        "best single action, not private": _constant(int(np.argmax(raw.base_rate))),
        "uniform": np.full((EVALUATED, ACTIONS), 1.0 / ACTIONS),
    }
    rewards, regrets = _score(environment, contexts, policies)
    return BanditReport(
        users=n_users,
        parameters=logged.parameters,
        claim=claim,
        noise_multiplier=noise_multiplier,
        payload_bytes=payload,
        rewards=rewards,
        regrets=regrets,
        drowned=int(np.sum(model.drowned)),
        wall_s=time.perf_counter() - started,
        cpu_s=time.process_time() - cpu_started,
        peak_rss_bytes=peak_rss_bytes(),
    )


def _greedy(model: LinearModel, contexts: FloatArray) -> FloatArray:
    """Choose the highest score: one-hot rows, `(m, ACTIONS)`."""
    return np.asarray(np.eye(ACTIONS)[np.argmax(contexts @ model.coefficients.T, axis=1)])


def _constant(action: int) -> FloatArray:
    return np.tile(np.eye(ACTIONS)[action], (EVALUATED, 1))


def _score(
    environment: Environment, contexts: FloatArray, policies: dict[str, FloatArray]
) -> tuple[dict[str, tuple[float, float, float]], dict[str, tuple[float, float, float]]]:
    """Compute mean reward and regret of each policy, with intervals over users."""
    chances = environment.chances(contexts)
    best: FloatArray = np.asarray(np.max(chances, axis=1), dtype=np.float64)
    rewards: dict[str, tuple[float, float, float]] = {}
    regrets: dict[str, tuple[float, float, float]] = {}
    for name, policy in policies.items():
        gained: FloatArray = np.asarray(np.sum(policy * chances, axis=1), dtype=np.float64)
        rewards[name] = (float(np.mean(gained)), *mean_interval(gained))
        regrets[name] = (float(np.mean(best - gained)), *mean_interval(best - gained))
    return rewards, regrets
