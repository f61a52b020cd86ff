"""Canary users: a lower bound on epsilon from one run of the real engine.

Each canary is a user whose whole profile is one item that nobody else has. That is the strongest
user there is for `popularity/1`: the whole norm lies in one coordinate, and canaries do not disturb
one another. Fair coins of the operating system say who takes part; the auditor then sees the
noised sum alone and guesses.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.client.statistics import Profiles, build_profiles
from tacit.privacy.accounting import GaussianEvent, epsilon_bound
from tacit.privacy.audit import one_run_epsilon
from tacit.server.coordinator import noise
from tacit.server.coordinator.learners import RoundSpec
from tacit.server.coordinator.plan import plan_round
from tacit.simulations.engine import integer_round_sum

N_CANARIES = 20_000
N_GUESSES = 1000
"""Fixed before anything is drawn, as the bound requires: the surest 5% of the canaries."""

CONFIDENCE = 0.99
DELTA = 1e-6

_ORDINARY_ITEMS = 200
_ORDINARY_USERS = 300
_POWER_RUNS = 40
_SECRET_BYTES = 32
_DIGEST = b"audit with canaries".ljust(32, b"\0")


@dataclass(frozen=True, slots=True)
class CanaryTest:
    """What the canaries showed.

    Attributes:
        noise_multiplier: z of the round.
        n_canaries, n_guesses, n_correct: canaries, guesses fixed beforehand, and those right.
        claimed_epsilon: what the accountant claims for the round, at `delta`.
        refuted_epsilon: largest epsilon that the guesses refute at `confidence`.
        delta, confidence: of the bound.
        power: chance of refuting the claim, simulated, by the scale of the noise that is really
            there over what it must be (1/2, 1/4 and 1/8).
        findings: one line where the claim is refuted; empty where no violation was detected.
    """

    noise_multiplier: float
    n_canaries: int
    n_guesses: int
    n_correct: int
    claimed_epsilon: float
    refuted_epsilon: float
    delta: float
    confidence: float
    power: dict[str, float]
    findings: tuple[str, ...]


def canary_test(
    noise_multiplier: float, seed: int, on_run: Callable[[], None] | None = None
) -> CanaryTest:
    """Run one round with canaries on the engine and bound its epsilon from below.

    Guarantee: a correct build fails with probability at most ``1 - CONFIDENCE``.

    Args:
        noise_multiplier: z.
        seed: public; draws the ordinary users and the simulations behind `power`. Coins, rounding
            secrets and noise come from the operating system.
        on_run: called after each simulated run.
    """
    coins = np.unpackbits(np.frombuffer(os.urandom(N_CANARIES // 8), np.uint8)).astype(np.bool_)
    cohort = _cohort(coins, np.random.default_rng([seed, 1]))
    spec = RoundSpec(1, "popularity/1", cohort.n_items, 1.0, 1.0, {})
    plan = plan_round(spec, noise_multiplier)
    secrets = [os.urandom(_SECRET_BYTES) for _ in range(cohort.n_users)]
    total = integer_round_sum(cohort, plan, {}, secrets, _DIGEST)
    noised = noise.noised(total, plan, os.urandom)
    n_correct = correct_guesses(noised[:N_CANARIES].astype(np.float64), coins, N_GUESSES)
    claimed = epsilon_bound([GaussianEvent(noise_multiplier)], DELTA)
    refuted = one_run_epsilon(N_CANARIES, N_GUESSES, n_correct, DELTA, CONFIDENCE)
    findings = (
        (
            f"canaries refute epsilon {claimed:.4g} at noise multiplier {noise_multiplier:.4g}: "
            f"at {CONFIDENCE:.0%} confidence it is above {refuted:.4g}",
        )
        if refuted > claimed
        else ()
    )
    power: dict[str, float] = {}
    for name, scale in (("1/2", 0.5), ("1/4", 0.25), ("1/8", 0.125)):
        caught = 0
        for run in range(_POWER_RUNS):
            rng = np.random.default_rng([seed, 2, run])
            bound = gaussian_bound(noise_multiplier * scale, rng)
            caught += bound > claimed
            if on_run is not None:
                on_run()
        power[name] = caught / _POWER_RUNS
    return CanaryTest(
        noise_multiplier,
        N_CANARIES,
        N_GUESSES,
        n_correct,
        claimed,
        refuted,
        DELTA,
        CONFIDENCE,
        power,
        findings,
    )


N_POWER_RUNS = 3 * _POWER_RUNS
"""How often `canary_test` calls `on_run`."""


def correct_guesses(
    scores: npt.NDArray[np.float64], coins: npt.NDArray[np.bool_], n_guesses: int
) -> int:
    """Guess "in" for the highest half of `n_guesses` scores, "out" for the lowest; count the right.

    Args:
        scores: ``(m,)`` higher where a canary seems to be in.
        coins: ``(m,)`` whether it is.
        n_guesses: even, at most m.
    """
    order = np.argsort(scores)
    half = n_guesses // 2
    return int(coins[order[-half:]].sum() + (~coins[order[:half]]).sum())


def gaussian_bound(noise_multiplier: float, rng: np.random.Generator) -> float:
    """Audit a plain Gaussian mechanism of known epsilon with the strongest canaries, once.

    The bound is taken as `canary_test` takes it: same canaries, guesses, delta and confidence.
    """
    coins = rng.random(N_CANARIES) < 0.5
    scores = coins + noise_multiplier * rng.normal(size=N_CANARIES)
    n_correct = correct_guesses(scores, coins, N_GUESSES)
    return one_run_epsilon(N_CANARIES, N_GUESSES, n_correct, DELTA, CONFIDENCE)


def _cohort(coins: npt.NDArray[np.bool_], rng: np.random.Generator) -> Profiles:
    """Return the canaries that are in, each with its own item, and ordinary users after them."""
    canaries = np.flatnonzero(coins)
    n_events = 20 * _ORDINARY_USERS
    users = rng.integers(0, _ORDINARY_USERS, n_events) + len(canaries)
    items = rng.integers(0, _ORDINARY_ITEMS, n_events) + N_CANARIES
    return build_profiles(
        np.concatenate([np.arange(len(canaries)), users]),
        np.concatenate([canaries, items]),
        np.ones(len(canaries) + n_events),
        n_users=len(canaries) + _ORDINARY_USERS,
        n_items=N_CANARIES + _ORDINARY_ITEMS,
    )
