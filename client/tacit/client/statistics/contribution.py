"""From profiles to the integers that leave a device: the one path for devices and simulations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tacit.client.statistics.errors import BadContext
from tacit.client.statistics.profiles import Profiles
from tacit.client.statistics.registry import STATISTICS
from tacit.privacy.quantize import IntegerBlocks, RoundingStream, clip, quantize
from tacit.privacy.task import RoundPlan

_ROUND_BYTES = 8


def rounding_info(task_digest: bytes, round_id: int) -> bytes:
    """Name the rounding stream of one round: task digest, then the round as 8 big-endian bytes."""
    return task_digest + round_id.to_bytes(_ROUND_BYTES, "big")


def contributions(
    profiles: Profiles,
    context: Mapping[str, npt.NDArray[np.floating]],
    plan: RoundPlan,
    *,
    task_digest: bytes,
    device_secrets: Sequence[bytes],
) -> IntegerBlocks:
    """Compute, clip and quantise the contribution of every user of a batch.

    Post-condition: each user's integers have Euclidean norm at most `plan.integer_norm`, and are
    bit for bit the same whatever else is in the batch.

    Args:
        profiles: the batch; a device passes one user.
        context: public arrays of the round.
        plan: the round, as the task's manifest states it.
        task_digest: digest of the manifest; with the round's id it names the rounding stream.
        device_secrets: one 32-byte secret per user, in order.

    Raises:
        BadContext: the statistic is unknown, or the context does not yield `plan.length`
            coordinates.
    """
    compute = STATISTICS.get(plan.statistic)
    if compute is None:
        raise BadContext(f"expected one of {sorted(STATISTICS)}, got {plan.statistic!r}")
    blocks = compute(profiles, context, plan.parameters)
    if blocks.length != plan.length:
        raise BadContext(f"expected {plan.length} coordinates, got {blocks.length}")
    info = rounding_info(task_digest, plan.round_id)
    streams = [RoundingStream(secret, info) for secret in device_secrets]
    clipped = clip(blocks, plan.clipping_norm)
    return quantize(clipped, plan.clipping_norm, plan.integer_norm, streams)
