"""From profiles to the integers that leave a device: the one path for devices and simulations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tacit.client.statistics.errors import BadContext
from tacit.client.statistics.profiles import Profiles
from tacit.client.statistics.registry import STATISTICS
from tacit.privacy.quantize import IntegerBlocks, RoundingStream, clip, quantize

_ROUND_BYTES = 8


def rounding_info(task_digest: bytes, round_id: int) -> bytes:
    """Name the rounding stream of one round: task digest, then the round as 8 big-endian bytes."""
    return task_digest + round_id.to_bytes(_ROUND_BYTES, "big")


def contributions(
    profiles: Profiles,
    context: Mapping[str, npt.NDArray[np.floating]],
    *,
    statistic: str,
    parameters: Mapping[str, float | int],
    length: int,
    clipping_norm: float,
    integer_norm: int,
    round_id: int,
    task_digest: bytes,
    device_secrets: Sequence[bytes],
) -> IntegerBlocks:
    """Compute, clip and quantise the contribution of every user of a batch.

    Post-condition: each user's integers have Euclidean norm at most `integer_norm`, and are bit
    for bit the same whatever else is in the batch.

    Args:
        profiles: the batch; a device passes one user.
        context: public arrays of the round.
        statistic: name and version, a key of `STATISTICS`.
        parameters: public parameters of the statistic.
        length: coordinates the round expects.
        clipping_norm: Euclidean bound in units of the statistic.
        integer_norm: Euclidean bound of the integers.
        round_id: the round, part of the rounding stream's name.
        task_digest: digest of the task's manifest, likewise.
        device_secrets: one 32-byte secret per user, in order.

    Raises:
        BadContext: the statistic is unknown, or the context does not yield `length` coordinates.
    """
    compute = STATISTICS.get(statistic)
    if compute is None:
        raise BadContext(f"expected one of {sorted(STATISTICS)}, got {statistic!r}")
    blocks = compute(profiles, context, parameters)
    if blocks.length != length:
        raise BadContext(f"expected {length} coordinates, got {blocks.length}")
    info = rounding_info(task_digest, round_id)
    streams = [RoundingStream(secret, info) for secret in device_secrets]
    return quantize(clip(blocks, clipping_norm), clipping_norm, integer_norm, streams)
