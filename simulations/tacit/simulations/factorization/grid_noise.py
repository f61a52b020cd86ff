"""Discrete Gaussian noise from the operating system on a float64 sum, by way of a fine grid.

Opacus draws its noise from torch's seedable generator, and its `secure_mode` is unsafe (Opacus
issue 616), so no noise of Opacus is used. The sum is rounded to multiples of a grid g; adding one
user moves the rounded sum by at most `C/g + sqrt(n)` in Euclidean norm (each coordinate's rounding
moves by less than 1), and that is the integer sensitivity the noise is calibrated to.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tacit.privacy.discrete_gaussian import RandomBytes, sample_discrete_gaussian

FloatArray = npt.NDArray[np.float64]

_SLACK = 1.0 / 256.0
"""Part of the sensitivity spent on rounding; also covers float64 summation, about 1e-10 of C."""


def noised_on_grid(
    total: FloatArray, bound: float, noise_multiplier: float, random_bytes: RandomBytes
) -> tuple[FloatArray, float]:
    """Round a sum to a grid and add noise of `noise_multiplier` times its sensitivity there.

    Args:
        total: `(n,)` sum of vectors of norm at most `bound`.
        bound: C.
        noise_multiplier: z, at most about 170 for vectors of 10^5 coordinates.
        random_bytes: the operating system's CSPRNG in production.

    Returns:
        The noised sum `(n,)` in the units of `total`, and the noise's standard deviation.

    Raises:
        BadParameter: the noise is out of range of the sampler.
    """
    root = math.sqrt(len(total))
    grid = bound * _SLACK / root
    sensitivity = bound / grid * (1.0 + 1e-6) + root  # 1e-6: clipping in floats
    scale = noise_multiplier * sensitivity
    integers = np.rint(total / grid).astype(np.int64)
    integers += sample_discrete_gaussian(scale, len(total), random_bytes)
    return integers.astype(np.float64) * grid, scale * grid
