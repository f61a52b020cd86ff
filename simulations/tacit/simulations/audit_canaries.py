"""Canary users in one round of the real engine: lower bounds on its epsilon.

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

from tacit.client.statistics import Profiles, build_profiles
from tacit.privacy.quantize import integer_target
from tacit.server.coordinator import noise
from tacit.server.coordinator.learners import RoundSpec
from tacit.server.coordinator.plan import plan_round
from tacit.simulations.audit_bounds import (
    CONFIDENCE,
    BoolArray,
    Bounds,
    Claim,
    FloatArray,
    bounds,
    fair_coins,
    n_guesses_for,
    refuting,
)
from tacit.simulations.engine import integer_round_sum

N_CANARIES = 20_000
WRONG_SCALES = {"1/2": 0.5, "1/4": 0.25, "1/8": 0.125}
"""Scales of broken noise over what it must be, at which power is stated."""

ORDINARY_ITEMS = 200
ORDINARY_USERS = 300
_POWER_RUNS = 40
_SECRET_BYTES = 32
_DIGEST = b"audit with canaries".ljust(32, b"\0")

N_POWER_RUNS = len(WRONG_SCALES) * _POWER_RUNS
"""How often `canary_test` calls `on_run`."""

Power = dict[str, dict[str, float]]
"""Scale of broken noise → bound → chance, simulated, that the bound refutes the claim."""


@dataclass(frozen=True, slots=True)
class CanaryTest:
    """What the canaries of one round showed.

    Attributes:
        claim: of the round.
        bounds: what the guesses refute.
        confidence: of each bound.
        power: by the scale of the noise that is really there over what it must be.
        findings: one line for each bound that refutes the claim; empty where none does.
    """

    claim: Claim
    bounds: Bounds
    confidence: float
    power: Power
    findings: tuple[str, ...]


def canary_test(
    noise_multiplier: float, seed: int, on_run: Callable[[], None] | None = None
) -> CanaryTest:
    """Run one round with canaries on the engine and bound its epsilon from below.

    Guarantee: each bound refutes a correct build with probability at most ``1 - CONFIDENCE``. The
    canaries' coordinates are their own and noise is drawn for each by itself, so the bound from
    independent trials applies to a correct build.

    Args:
        noise_multiplier: z.
        seed: public; draws the ordinary users and the simulations behind `power`. Coins, rounding
            secrets and noise come from the operating system.
        on_run: called after each simulated run.
    """
    claim = Claim.of([noise_multiplier])
    n_guesses = n_guesses_for(N_CANARIES, claim.mu)
    coins = fair_coins(N_CANARIES, os.urandom(-(-N_CANARIES // 8)))
    cohort = cohort_of(coins, np.random.default_rng([seed, 1]))
    spec = RoundSpec(1, "popularity/1", cohort.n_items, 1.0, 1.0, {})
    plan = plan_round(spec, noise_multiplier)
    secrets = [os.urandom(_SECRET_BYTES) for _ in range(cohort.n_users)]
    total = integer_round_sum(cohort, plan, {}, secrets, _DIGEST)
    noised = noise.noised(total, plan, os.urandom)
    seen = noised[:N_CANARIES] / integer_target(plan.integer_norm, plan.length)
    found = bounds(seen, coins, n_guesses, threshold=0.5)
    power: Power = {}
    for name, scale in WRONG_SCALES.items():
        refuted = dict.fromkeys(found.refuted_epsilon, 0)
        for run in range(_POWER_RUNS):
            rng = np.random.default_rng([seed, 2, run])
            drawn, scores = _gaussian(noise_multiplier * scale, rng)
            for one in refuting(scores, drawn, n_guesses, claim, threshold=0.5):
                refuted[one] += 1
            if on_run is not None:
                on_run()
        power[name] = {one: count / _POWER_RUNS for one, count in refuted.items()}
    return CanaryTest(claim, found, CONFIDENCE, power, refutations("canaries", found, claim))


def refutations(what: str, found: Bounds, claim: Claim) -> tuple[str, ...]:
    """Say in one line for each bound that it refutes the claim."""
    multipliers = ", ".join(f"{z:.4g}" for z in claim.noise_multipliers)
    return tuple(
        f"{what} refute epsilon {claim.epsilon:.4g} at noise multipliers {multipliers}: at "
        f"{CONFIDENCE:.0%} confidence ({name}) it is above {found.refuted_epsilon[name]:.4g}"
        for name in found.refuting(claim)
    )


def gaussian_bounds(noise_multiplier: float, n_guesses: int, rng: np.random.Generator) -> Bounds:
    """Audit a plain Gaussian mechanism of known epsilon with the strongest canaries, once.

    Bounds are taken as `canary_test` takes them: same canaries, delta and confidence.
    """
    coins, scores = _gaussian(noise_multiplier, rng)
    return bounds(scores, coins, n_guesses, threshold=0.5)


def _gaussian(noise_multiplier: float, rng: np.random.Generator) -> tuple[BoolArray, FloatArray]:
    coins = rng.random(N_CANARIES) < 0.5
    return coins, coins + noise_multiplier * rng.normal(size=N_CANARIES)


def cohort_of(coins: BoolArray, rng: np.random.Generator) -> Profiles:
    """Return the canaries that are in, each with its own item, and ordinary users after them."""
    canaries = np.flatnonzero(coins)
    n_events = 20 * ORDINARY_USERS
    users = rng.integers(0, ORDINARY_USERS, n_events) + len(canaries)
    items = rng.integers(0, ORDINARY_ITEMS, n_events) + len(coins)
    return build_profiles(
        np.concatenate([np.arange(len(canaries)), users]),
        np.concatenate([canaries, items]),
        np.ones(len(canaries) + n_events),
        n_users=len(canaries) + ORDINARY_USERS,
        n_items=len(coins) + ORDINARY_ITEMS,
    )
