"""Contributions: from a permitted profile or history to the one vector that leaves the device."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tacit.client.errors import OfferRefused
from tacit.client.offers import Offer
from tacit.client.statistics import Batch, StatisticError, contributions
from tacit.privacy.arrays import unpack_arrays
from tacit.privacy.errors import PrivacyError
from tacit.privacy.local_noise import add_local_noise
from tacit.privacy.quantize import check_contribution, dense

FloatArrays = Mapping[str, npt.NDArray[np.floating]]


def read_context(offer: Offer, context: bytes, max_bytes: int) -> FloatArrays:
    """Check a round's public context against the signed header and decode it.

    Raises:
        OfferRefused: if it is too large, not what the header names, or not finite numbers.
    """
    if len(context) > max_bytes:
        raise OfferRefused(f"context: expected at most {max_bytes} bytes, got {len(context)}")
    if hashlib.sha256(context).hexdigest() != offer.header.context_sha256:
        raise OfferRefused("context: its digest is not the one in the round header")
    try:
        arrays = unpack_arrays(context, max_bytes)
    except PrivacyError as error:
        raise OfferRefused(f"context: {error}") from None
    floats = {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()}
    if not all(bool(np.isfinite(array).all()) for array in floats.values()):
        raise OfferRefused("context: expected finite numbers, got NaN or infinity")
    return floats


def compute(
    batch: Batch, offer: Offer, context: FloatArrays, device_secret: bytes
) -> npt.NDArray[np.int64]:
    """Compute one user's contribution, `(plan.length,)`, by the path the simulator runs too.

    Guarantee: the integers' l2 norm is at most `plan.integer_norm`, whatever the profile and the
    context hold; checked on the very integers that are returned.

    Args:
        batch: profile or history of one user.
        offer: the accepted round.
        context: decoded public arrays.
        device_secret: 32 bytes; makes rounding unpredictable to others and repeatable here.

    Raises:
        OfferRefused: if the context does not fit the catalogue or the statistic has another
            length than the manifest says.
    """
    plan = offer.plan
    try:
        blocks = contributions(
            batch,
            context,
            plan,
            task_digest=offer.task_sha256,
            device_secrets=[device_secret],
        )
        vector = dense(blocks, 0)
        check_contribution(vector, plan.length, plan.integer_norm)
    except (PrivacyError, StatisticError) as error:
        raise OfferRefused(f"statistic: {error}") from None
    return vector


def noised(vector: npt.NDArray[np.int64], offer: Offer) -> npt.NDArray[np.int32]:
    """Noise one user's contribution on this device, from the operating system's CSPRNG.

    Guarantee: that of `tacit.privacy.local_noise.add_local_noise`, whatever any server does.

    Raises:
        OfferRefused: if the plan's noise cannot be drawn or leaves 32 bits.
    """
    try:
        return add_local_noise(vector, offer.plan, os.urandom)
    except PrivacyError as error:
        raise OfferRefused(f"noise: {error}") from None
