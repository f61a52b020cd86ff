"""Contributions: from a permitted profile to the one vector that leaves the device."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tacit.client.errors import OfferRefused
from tacit.client.offers import Offer
from tacit.client.statistics import STATISTICS, Profiles, StatisticError
from tacit.privacy.arrays import unpack_arrays
from tacit.privacy.errors import PrivacyError
from tacit.privacy.quantize import check_contribution, clip, dense, quantize
from tacit.privacy.rounding import RoundingStream
from tacit.privacy.task import RoundPlan

FloatArrays = Mapping[str, npt.NDArray[np.floating]]


def rounding_stream(device_secret: bytes, task_sha256: bytes, round_id: int) -> RoundingStream:
    """Return the stream of one device and round: info = task digest ‖ round (u32, big-endian)."""
    return RoundingStream(device_secret, task_sha256 + round_id.to_bytes(4, "big"))


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
    profiles: Profiles, plan: RoundPlan, context: FloatArrays, stream: RoundingStream
) -> npt.NDArray[np.int64]:
    """Compute one user's contribution, `(plan.length,)`.

    Guarantee: the integers' l2 norm is at most `plan.integer_norm`, whatever the profile and the
    context hold; checked on the very integers that are returned.

    Args:
        profiles: one user.
        plan: the round.
        context: decoded public arrays.
        stream: the device's rounding stream for this round.

    Raises:
        OfferRefused: if the context does not fit the catalogue or the statistic has another
            length than the manifest says.
    """
    try:
        blocks = STATISTICS[plan.statistic](profiles, context, plan.parameters)
        if blocks.length != plan.length:
            raise OfferRefused(
                f"statistic: expected {plan.length} coordinates, got {blocks.length}"
            )
        clipped = clip(blocks, plan.clipping_norm)
        integers = quantize(clipped, plan.clipping_norm, plan.integer_norm, [stream])
        vector = dense(integers, 0)
        check_contribution(vector, plan.length, plan.integer_norm)
    except (PrivacyError, StatisticError) as error:
        raise OfferRefused(f"statistic: {error}") from None
    return vector
