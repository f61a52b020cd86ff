"""What canaries refute: three lower bounds on epsilon, and the claim they are held to."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.privacy.accounting import GaussianEvent, epsilon_bound, epsilon_lower
from tacit.privacy.accounting_closed_form import LATTICE
from tacit.privacy.audit import (
    f_dp_refutes,
    independent_trials_mu,
    one_run_epsilon,
    one_run_mu,
    one_run_p_value,
)

CONFIDENCE = 0.99
DELTA = 1e-6

ONE_RUN = "one-run"
F_DP = "one-run f-DP"
INDEPENDENT = "independent trials"

_SHARES = (0.05, 0.1, 0.2, 0.4)
_PILOT_RUNS = 5
_PILOT_SEED = 20230515  # of simulations that protect nobody

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Claim:
    """What is claimed of the rounds that canaries went through.

    Attributes:
        noise_multipliers: z of each round.
        mu: of the composition: no coin of a canary turns the output by more than mu-GDP allows.
        epsilon: what the accountant claims at `delta`.
        delta: of both.
    """

    noise_multipliers: tuple[float, ...]
    mu: float
    epsilon: float
    delta: float

    @classmethod
    def of(cls, noise_multipliers: Sequence[float]) -> Claim:
        """Compose rounds that every user may be in.

        The discrete Gaussian at ``z^2`` is within 1e-15 of post-processing of the Gaussian at
        ``z^2 - LATTICE`` (`accounting_closed_form`), and Gaussians compose by adding ``mu^2``.
        """
        events = [GaussianEvent(z) for z in noise_multipliers]
        mu = math.sqrt(math.fsum(1.0 / (z * z - LATTICE) for z in noise_multipliers))
        return cls(tuple(noise_multipliers), mu, epsilon_bound(events, DELTA), DELTA)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the guesses refute at `CONFIDENCE`; 0 where they refute nothing.

    Attributes:
        n_canaries: canaries, each in by a fair coin.
        n_guesses, n_correct: guesses, their number fixed beforehand, and those that were right.
        refuted_epsilon: bound → largest epsilon refuted at `DELTA`.
        refuted_mu: bound → largest mu refuted; the one-run bound knows no mu.
    """

    n_canaries: int
    n_guesses: int
    n_correct: int
    refuted_epsilon: dict[str, float]
    refuted_mu: dict[str, float]

    def refuting(self, claim: Claim) -> tuple[str, ...]:
        """Name the bounds that refute a claim."""
        return tuple(
            name
            for name, epsilon in self.refuted_epsilon.items()
            if (self.refuted_mu[name] > claim.mu if name in self.refuted_mu else False)
            or (name not in self.refuted_mu and epsilon > claim.epsilon)
        )


def bounds(
    scores: FloatArray, coins: BoolArray, n_guesses: int, threshold: float | None = None
) -> Bounds:
    """Guess from scores and bound what was there from below.

    Args:
        scores: ``(m,)`` higher where a canary seems to be in; a function of the output and of
            what does not depend on the coins.
        coins: ``(m,)`` whether it is.
        n_guesses: even, fixed before anything was drawn: that many guesses of the surest.
        threshold: above it "in" is guessed for the bound from independent trials, which is taken
            only where one is given: the caller vouches that scores are independent.
    """
    n_canaries = len(coins)
    n_correct = correct_guesses(scores, coins, n_guesses)
    mu = {F_DP: _one_run_mu(n_canaries, n_guesses, n_correct)}
    if threshold is not None:
        mu[INDEPENDENT] = independent_mu(scores, coins, threshold)
    epsilon = {ONE_RUN: _one_run_epsilon(n_canaries, n_guesses, n_correct)}
    epsilon |= {name: epsilon_of(value) for name, value in mu.items()}
    return Bounds(n_canaries, n_guesses, n_correct, epsilon, mu)


def refuting(
    scores: FloatArray,
    coins: BoolArray,
    n_guesses: int,
    claim: Claim,
    threshold: float | None = None,
) -> tuple[str, ...]:
    """Name the bounds that refute a claim, as ``bounds(…).refuting(claim)`` does but quickly."""
    n_canaries, n_correct = len(coins), correct_guesses(scores, coins, n_guesses)
    found: list[str] = []
    level = 1.0 - CONFIDENCE
    if one_run_p_value(n_canaries, n_guesses, n_correct, claim.epsilon, DELTA) < level:
        found.append(ONE_RUN)
    if f_dp_refutes(n_canaries, n_guesses, n_correct, claim.mu, CONFIDENCE):
        found.append(F_DP)
    if threshold is not None and independent_mu(scores, coins, threshold) > claim.mu:
        found.append(INDEPENDENT)
    return tuple(found)


def independent_mu(scores: FloatArray, coins: BoolArray, threshold: float) -> float:
    """Bound mu from scores that are independent given the coins; "in" is above the threshold."""
    said_in = scores > threshold
    return independent_trials_mu(
        int(coins.sum()),
        int((coins & ~said_in).sum()),
        int((~coins).sum()),
        int((~coins & said_in).sum()),
        CONFIDENCE,
    )


def correct_guesses(scores: FloatArray, coins: BoolArray, n_guesses: int) -> int:
    """Guess "in" for the highest half of `n_guesses` scores, "out" for the lowest; count the right.

    Args:
        scores: ``(m,)`` higher where a canary seems to be in.
        coins: ``(m,)`` whether it is.
        n_guesses: even, at most m.
    """
    order = np.argsort(scores, kind="stable")
    half = n_guesses // 2
    return int(coins[order[-half:]].sum() + (~coins[order[:half]]).sum())


def epsilon_of(mu: float) -> float:
    """Return the epsilon at `DELTA` below which no mu-GDP mechanism that is Gaussian can go."""
    return epsilon_lower([GaussianEvent(1.0 / mu)], DELTA) if mu > 0.0 else 0.0


@functools.cache
def n_guesses_for(n_canaries: int, mu: float) -> int:
    """Choose how many guesses to make, from the claim alone and before anything is drawn.

    The number that refutes most, in the median of simulations, where noise is half of what the
    claim needs: few and sure guesses suit weak noise badly, for all of them are right then.
    """
    best, most = 0, -1.0
    for share in _SHARES:
        n_guesses = 2 * round(n_canaries * share / 2)
        rng = np.random.default_rng(_PILOT_SEED)
        found = [
            _one_run_mu(n_canaries, n_guesses, _pilot_correct(n_canaries, n_guesses, 2.0 * mu, rng))
            for _ in range(_PILOT_RUNS)
        ]
        if (median := float(np.median(found))) > most:
            best, most = n_guesses, median
    return best


def fair_coins(count: int, random_bytes: bytes) -> BoolArray:
    """Turn bytes into `count` coins, one a bit."""
    return np.unpackbits(np.frombuffer(random_bytes, np.uint8))[:count].astype(np.bool_)


def _pilot_correct(n_canaries: int, n_guesses: int, mu: float, rng: np.random.Generator) -> int:
    coins = rng.random(n_canaries) < 0.5
    return correct_guesses(coins + rng.normal(size=n_canaries) / mu, coins, n_guesses)


@functools.cache
def _one_run_mu(n_canaries: int, n_guesses: int, n_correct: int) -> float:
    return one_run_mu(n_canaries, n_guesses, n_correct, CONFIDENCE)


@functools.cache
def _one_run_epsilon(n_canaries: int, n_guesses: int, n_correct: int) -> float:
    return one_run_epsilon(n_canaries, n_guesses, n_correct, DELTA, CONFIDENCE)
