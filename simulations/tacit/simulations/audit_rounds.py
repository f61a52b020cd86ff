"""Canaries of single rounds: the noised sums that everything trained is computed from.

A model is post-processing of the noised sums of its rounds, so nothing tells more of a user than
those do. One trial is one round of a statistic, run anew: one canary user, whose contribution
through the device path has the whole norm, a fair coin of the operating system, noise of its own.
The auditor sees what is released, knows what all others sent, and projects the rest on the
canary's direction: the strongest test there is against Gaussian noise (Neyman, Pearson 1933).
Trials are independent, so the bound is that of independent trials, and it stays near the truth
however few coordinates a statistic has.

At level `central` the coin says whether the canary is in the sum (add/remove). At level `local`
what is released is the device's own report, and the coin turns the contribution into its opposite:
the two that lie furthest apart among those the norm allows, 2L, which its ε is stated against.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.client.statistics import StatisticError, contributions
from tacit.privacy import local_noise
from tacit.privacy.errors import PrivacyError
from tacit.privacy.quantize import dense
from tacit.privacy.task import RoundPlan, TaskManifest
from tacit.privacy.trust import CENTRAL, CONSENT_ONLY, LOCAL
from tacit.server.coordinator import noise
from tacit.simulations.audit_bounds import (
    CONFIDENCE,
    INDEPENDENT,
    Claim,
    epsilon_of,
    fair_coins,
    independent_mu,
)
from tacit.simulations.audit_canaries import WRONG_SCALES, Power
from tacit.simulations.audit_population import Columns, StatisticCase, statistic_case
from tacit.simulations.engine import integer_round_sum
from tacit.simulations.errors import BadExperiment

N_ROUND_TRIALS = 4_000

_POWER_RUNS = 200
_CANDIDATES = 40
_ORDINARY_USERS = 20
_SECRET_BYTES = 32
_DIGEST = b"audit of a round".ljust(32, b"\0")
_THRESHOLD = 0.5

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RoundSetting:
    """What of a planned round decides what it reveals.

    Attributes:
        statistic: its registered name.
        trust_level: `central` or `local`.
        noise_multiplier: z, against the sensitivity of the level.
        integer_norm: L.
    """

    statistic: str
    trust_level: str
    noise_multiplier: float
    integer_norm: int


@dataclass(frozen=True, slots=True)
class RoundCanaries:
    """What canaries of one kind of round showed.

    Attributes:
        setting: the round.
        claim: of one such round.
        n_trials: rounds run, one canary each.
        strength: share of the claim's ``mu^2`` that the canary's contribution could shift.
        refuted_mu, refuted_epsilon: the most that the guesses refute; 0 where nothing.
        confidence: of the bound.
        power: by the scale of the noise that is really there over what it must be.
        findings: one line where the claim is refuted, or where nothing could have refuted it.
    """

    setting: RoundSetting
    claim: Claim
    n_trials: int
    strength: float
    refuted_mu: float
    refuted_epsilon: float
    confidence: float
    power: Power
    findings: tuple[str, ...]


def round_settings(tasks: Sequence[TaskManifest]) -> tuple[RoundSetting, ...]:
    """Return one setting for each statistic and level that tasks plan, at its least noise.

    Canaries see most there. Every other multiplier of a plan has its white-box noise test.
    """
    least: dict[tuple[str, str], RoundSetting] = {}
    for task in tasks:
        if task.trust_level == CONSENT_ONLY:
            continue
        for plan in task.rounds:
            key = task.trust_level, plan.statistic
            known = least.get(key)
            if known is None or plan.noise_multiplier < known.noise_multiplier:
                least[key] = RoundSetting(
                    plan.statistic, task.trust_level, plan.noise_multiplier, plan.integer_norm
                )
    return tuple(least.values())


def round_canaries(setting: RoundSetting, seed: int) -> RoundCanaries:
    """Run a round over and over, each time with one canary, and bound its epsilon from below.

    Guarantee: the bound refutes a correct build with probability at most ``1 - CONFIDENCE``.

    Args:
        setting: which round.
        seed: public; draws the context, the users and the simulations behind `power`. Coins,
            rounding secrets and noise come from the operating system.

    Raises:
        BadExperiment: this audit knows no context for the statistic.
    """
    rng = np.random.default_rng([seed, 6, *setting.statistic.encode()])
    case, user, plan = _strongest(setting, rng)
    coins = fair_coins(N_ROUND_TRIALS, os.urandom(-(-N_ROUND_TRIALS // 8)))
    secrets = [os.urandom(_SECRET_BYTES) for _ in range(N_ROUND_TRIALS)]
    sent = contributions(
        case.batch([user] * N_ROUND_TRIALS),
        case.context,
        plan,
        task_digest=_DIGEST,
        device_secrets=secrets,
    )
    others = _ordinary_sum(case, plan, rng)
    scores, shares = np.empty(N_ROUND_TRIALS), np.empty(N_ROUND_TRIALS)
    for trial in range(N_ROUND_TRIALS):
        vector = dense(sent, trial)
        length = float(np.dot(vector.astype(np.float64), vector.astype(np.float64)))
        seen = _released(vector, bool(coins[trial]), others, plan, setting.trust_level)
        scores[trial] = float(np.dot(seen, vector.astype(np.float64))) / length
        shares[trial] = length / plan.integer_norm**2
    if setting.trust_level == LOCAL:
        scores = (scores + 1.0) / 2.0  # from -1 and 1 to 0 and 1
    claim, strength = Claim.of([setting.noise_multiplier]), float(np.mean(shares))
    mu = independent_mu(scores, coins, _THRESHOLD)
    power = _power(setting, strength, claim, seed)
    name = f"canaries of {setting.statistic} at level {setting.trust_level}"
    findings: list[str] = []
    if mu > claim.mu:
        findings.append(
            f"{name} refute epsilon {claim.epsilon:.4g} at noise multiplier "
            f"{setting.noise_multiplier:.4g}: at {CONFIDENCE:.0%} confidence it is above "
            f"{epsilon_of(mu):.4g}"
        )
    return RoundCanaries(
        setting,
        claim,
        N_ROUND_TRIALS,
        strength,
        mu,
        epsilon_of(mu),
        CONFIDENCE,
        power,
        tuple(findings),
    )


def _strongest(
    setting: RoundSetting, rng: np.random.Generator
) -> tuple[StatisticCase, Columns, RoundPlan]:
    """Draw a public context and users, and take the one with most to clip as the canary.

    Its round clips at half of that, so that the contribution has the whole norm.
    """
    case = statistic_case(setting.statistic, rng)
    best, largest, length = None, 0.0, 0
    for _ in range(_CANDIDATES):
        user = case.draw(rng)
        try:
            blocks = case.compute([user])
        except (PrivacyError, StatisticError):
            continue
        norm = float(np.linalg.norm(blocks.values))
        if largest < norm < 1e6:  # the magnitudes that a device sees, not those that it refuses
            best, largest, length = user, norm, blocks.length
    if best is None:
        raise BadExperiment(f"{setting.statistic}: expected a user with anything to send")
    plan = RoundPlan(
        1,
        setting.statistic,
        length,
        largest / 2.0,
        setting.integer_norm,
        setting.noise_multiplier,
        dict(case.parameters),
    )
    return case, best, plan


def _ordinary_sum(case: StatisticCase, plan: RoundPlan, rng: np.random.Generator) -> IntArray:
    """Sum what ordinary users send, by the engine; those whose device refuses send nothing."""
    total = np.zeros(plan.length, dtype=np.int64)
    for _ in range(_ORDINARY_USERS):
        secret = [os.urandom(_SECRET_BYTES)]
        try:
            batch = case.batch([case.draw(rng)])
            total += integer_round_sum(batch, plan, case.context, secret, _DIGEST)
        except (PrivacyError, StatisticError):
            continue
    return total


def _released(
    vector: npt.NDArray[np.integer], coin: bool, others: IntArray, plan: RoundPlan, trust_level: str
) -> FloatArray:
    """Release a round, less what the auditor knows of it."""
    if trust_level == LOCAL:
        held = vector if coin else -vector
        return local_noise.add_local_noise(held, plan, os.urandom).astype(np.float64)
    total = others + vector if coin else others.copy()
    return (noise.noised(total, plan, os.urandom) - others).astype(np.float64)


def _power(setting: RoundSetting, strength: float, claim: Claim, seed: int) -> Power:
    """Simulate the guesses on noise of too small a scale."""
    power: Power = {}
    deviation = setting.noise_multiplier / float(np.sqrt(strength))
    for name, scale in WRONG_SCALES.items():
        rng = np.random.default_rng([seed, 7, round(1 / scale)])
        refuted = 0
        for _ in range(_POWER_RUNS):
            coins = rng.random(N_ROUND_TRIALS) < 0.5
            scores = coins + scale * deviation * rng.normal(size=N_ROUND_TRIALS)
            refuted += independent_mu(scores, coins, _THRESHOLD) > claim.mu
        power[name] = {INDEPENDENT: refuted / _POWER_RUNS}
    return power


DEFAULT_LOCAL_SETTINGS = (
    RoundSetting("popularity/1", LOCAL, 1.0, 4096),
    RoundSetting("churn_moments/1", LOCAL, 2.0, 4096),
)
"""Rounds of level `local` that stand in where no deployment is given."""

DEFAULT_LINEAR_SETTINGS = tuple(
    RoundSetting(f"{name}_moments/1", CENTRAL, 1.0, 4096) for name in ("churn", "intent", "bandit")
)
"""Rounds of `linear/1`, one for each target."""
