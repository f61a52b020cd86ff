"""Level `local`: the noise that a device draws itself, and the 2L that it is drawn for.

There the noise is in what one device sends, and one contribution replaces another. So what is
tested is `local_noise.add_local_noise`, on the integers a device would send: its scale against the
sensitivity that the account is charged for (`TaskManifest.event`), and what two users of one
device can differ by. The canaries of single reports are in `audit_rounds`.
"""

from __future__ import annotations

import math
import os

import numpy as np
import numpy.typing as npt

from tacit.client.statistics import StatisticError, contributions
from tacit.privacy import local_noise
from tacit.privacy.accounting_modes import LOCAL_SENSITIVITY
from tacit.privacy.audit import noise_test
from tacit.privacy.errors import PrivacyError
from tacit.privacy.quantize import dense
from tacit.privacy.task import RoundPlan
from tacit.privacy.trust import LOCAL
from tacit.simulations.audit_population import Columns, StatisticCase, statistic_case
from tacit.simulations.audit_report import ALPHA, NoiseResult
from tacit.simulations.audit_sensitivity import SensitivityTest

_INTEGER_NORMS = (1024, 4096, 32_767)
_CLIPPING_NORMS = (1e-6, 1e-3, 1e-2, 1.0, 30.0)
_SECRET_BYTES = 32
_DIGEST = b"audit of replacement".ljust(32, b"\0")
_NEARLY = 0.9  # of L
_LEAST_CLIPPED = 0.2


def local_noise_result(
    noise_multiplier: float, integer_norm: int, n_coordinates: int
) -> NoiseResult:
    """Test what a device adds to a contribution of zeros, at one setting.

    The scale it must have is z times 2L, twice that of a coordinator at the same z and L.
    """
    half = RoundPlan(1, "popularity/1", n_coordinates // 2, 1.0, integer_norm, noise_multiplier, {})
    zeros = np.zeros(half.length, dtype=np.int64)
    # Two reports, interleaved: noise that repeats from one to the next shows as correlation.
    drawn = [local_noise.add_local_noise(zeros, half, os.urandom) for _ in range(2)]
    noise = np.stack(drawn, axis=1).reshape(-1).astype(np.int64)
    sigma = noise_multiplier * LOCAL_SENSITIVITY * integer_norm
    return NoiseResult(noise_multiplier, integer_norm, noise_test(noise, sigma, ALPHA), LOCAL)


def replacement_test(statistic: str, n_trials: int, seed: int) -> SensitivityTest:
    """Compare what two users would send from one device: at most 2L apart, and neither beyond L.

    Exact, in integers, so a correct build never fails. A build fails too where nothing in the
    trials would have shown a missing clip. `largest_change` is over L, and 2 the bound.

    Args:
        statistic: a registered name.
        n_trials: pairs of users, at least 1.
        seed: public; draws users and settings. Rounding secrets come from the operating system.

    Raises:
        BadExperiment: this audit knows no context for the statistic.
    """
    rng = np.random.default_rng([seed, 8, *statistic.encode()])
    n_clipped = n_refused = n_over = 0
    farthest = longest = 0.0
    for _ in range(n_trials):
        case = statistic_case(statistic, rng)
        pair = [case.draw(rng), case.draw(rng)]
        clipping_norm = float(rng.choice(_CLIPPING_NORMS))
        integer_norm = int(rng.choice(_INTEGER_NORMS))
        try:
            exceeds = any(
                float(np.linalg.norm(case.compute([user]).values)) > clipping_norm for user in pair
            )
            one, other = (_sent(case, user, clipping_norm, integer_norm) for user in pair)
        except (PrivacyError, StatisticError):
            n_refused += 1
            continue
        apart = _squared([a - b for a, b in zip(one, other, strict=True)])
        norms = _squared(one), _squared(other)
        n_clipped += exceeds
        n_over += apart > (LOCAL_SENSITIVITY * integer_norm) ** 2 or max(norms) > integer_norm**2
        farthest = max(farthest, math.sqrt(apart) / integer_norm)
        longest = max(longest, math.sqrt(max(norms)) / integer_norm)
    findings: list[str] = []
    if n_over:
        findings.append(
            f"{statistic}: a device's contributions lay beyond L or 2L apart in {n_over} of "
            f"{n_trials} trials, by up to {farthest:.3g} L"
        )
    if longest < _NEARLY or n_clipped < _LEAST_CLIPPED * n_trials:
        findings.append(
            f"{statistic}: no power at level local: {n_clipped} of {n_trials} trials needed "
            f"clipping ({n_refused} were refused) and the longest contribution was {longest:.3g} L"
        )
    return SensitivityTest(statistic, n_trials, n_clipped, n_refused, farthest, tuple(findings))


def _sent(case: StatisticCase, user: Columns, clipping_norm: float, integer_norm: int) -> list[int]:
    """Return one user's integers, before any noise, by the device path."""
    length = case.compute([user]).length
    plan = RoundPlan(1, case.name, length, clipping_norm, integer_norm, 1.0, dict(case.parameters))
    blocks = contributions(
        case.batch([user]),
        case.context,
        plan,
        task_digest=_DIGEST,
        device_secrets=[os.urandom(_SECRET_BYTES)],
    )
    vector: npt.NDArray[np.integer] = dense(blocks, 0)
    found: list[int] = vector.tolist()
    return found


def _squared(values: list[int]) -> int:
    return sum(value * value for value in values)
