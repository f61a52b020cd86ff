"""Level `local`: the noise a device adds to its own contribution before it leaves.

    integers, ||v|| <= L  --+ discrete Gaussian, sigma = z * 2L-->  32-bit integers

One contribution is replaced by another, so two of norm L differ by up to 2L, and z is stated
against that. Noised integers may be larger than L; how large decides what carries them:

**Width.** sigma is at most `MAX_SIGMA` = 2^24 (a task beyond it is refused) and L below 2^15, so a
coordinate leaves 32 bits only if its noise exceeds 2^31 - 2^15 > 127 sigma. The discrete Gaussian
is sub-Gaussian with its own sigma (Canonne, Kamath, Steinke 2020, arXiv:2004.00010), so that has
probability below ``2 exp(-127^2 / 2) < 2^-11,600``. It is checked all the same: nothing ever wraps.

**Plausibility in place of the norm check.** A gateway cannot see the norm of what was noised. It
refuses what honest noise does not give: with sub-Gaussian coordinates
``P(||noise||^2 > sigma^2 (d + 2 sqrt(d x) + 2 x)) <= exp(-x)`` (Hsu, Kakade, Zhang 2012,
arXiv:1110.2842, Theorem 1 with the identity), here with x = 64, that is at most 2^-92 a
contribution. Epsilon does not rest on it, for the noise is the device's own; it bounds how far a
lying device can move a sum, which at this level is by about ``sigma sqrt(d)`` instead of L.
"""

import math

import numpy as np
import numpy.typing as npt

from tacit.privacy.accounting_modes import LOCAL_SENSITIVITY
from tacit.privacy.discrete_gaussian import RandomBytes, sample_discrete_gaussian
from tacit.privacy.errors import BadContribution
from tacit.privacy.quantize import check_contribution
from tacit.privacy.task import RoundPlan

NOISED_BYTES = 4
"""Bytes of one noised integer on the wire: little-endian, signed."""

_LARGEST = (1 << 31) - 1
_RARITY = 64.0  # x above: one honest contribution in exp(64) is refused
_FLOAT_SLACK = 1.0 + 1e-9


def local_sigma(plan: RoundPlan) -> float:
    """Return the noise scale of one device and coordinate, in integer units: z times 2L."""
    return plan.noise_multiplier * LOCAL_SENSITIVITY * plan.integer_norm


def add_local_noise(
    vector: npt.NDArray[np.integer], plan: RoundPlan, random_bytes: RandomBytes
) -> npt.NDArray[np.int32]:
    """Noise one device's clipped integers.

    Guarantee: one release of this function is ``1 / (2 z^2)``-zCDP for replacing the contribution
    by any other of norm at most L, against whoever sees the result (Canonne, Kamath, Steinke 2020,
    arXiv:2004.00010, Theorem 14, applied to integer vectors), under the assumption that the bytes
    are uniform and independent. The norm is checked here, on the integers that are noised.

    Args:
        vector: Contribution of one user, ``(plan.length,)``.
        plan: Gives z, L and the length.
        random_bytes: Production passes `os.urandom`.

    Returns:
        ``(plan.length,)``.

    Raises:
        BadParameter: The noise scale is out of range.
        BadContribution: The vector breaks its norm or length, or a noised value left 32 bits.
    """
    check_contribution(vector, plan.length, plan.integer_norm)
    noise = sample_discrete_gaussian(local_sigma(plan), plan.length, random_bytes)
    return _in_32_bits(vector.astype(np.int64) + noise)


def local_noise_sum(
    plan: RoundPlan, n_users: int, random_bytes: RandomBytes
) -> npt.NDArray[np.int64]:
    """Draw the noise of `n_users` devices, each its own, and return its sum, ``(plan.length,)``.

    The same draws, in distribution, as one `add_local_noise` a device.
    """
    sigma, total = local_sigma(plan), np.zeros(plan.length, dtype=np.int64)
    at_once = max(1, (1 << 20) // plan.length)
    for start in range(0, n_users, at_once):
        users = min(at_once, n_users - start)
        drawn = sample_discrete_gaussian(sigma, users * plan.length, random_bytes)
        total += drawn.reshape(users, plan.length).sum(axis=0)
    return total


def largest_noised_norm(plan: RoundPlan) -> float:
    """Return the l2 norm that an honest noised contribution stays below (see above)."""
    d = float(plan.length)
    return plan.integer_norm + local_sigma(plan) * math.sqrt(
        d + 2.0 * math.sqrt(d * _RARITY) + 2.0 * _RARITY
    )


def check_noised(vector: npt.NDArray[np.integer], plan: RoundPlan) -> None:
    """Check that a noised contribution can be one, before it is summed.

    Raises:
        BadContribution: Wrong shape, or a norm that noise of the stated scale does not give.
    """
    if vector.shape != (plan.length,):
        raise BadContribution(f"expected {plan.length} values, got shape {vector.shape}")
    wide = vector.astype(np.float64)
    largest = largest_noised_norm(plan)
    if not float(np.dot(wide, wide)) <= (largest * _FLOAT_SLACK) ** 2:
        raise BadContribution(
            f"expected a noised contribution of l2 norm at most {largest:.0f}, got a larger one"
        )


def _in_32_bits(noised: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    if int(np.max(np.abs(noised))) > _LARGEST:
        raise BadContribution("expected noised values within 32 bits, got a larger one")
    return noised.astype(np.int32)
