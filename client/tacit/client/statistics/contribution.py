"""From profiles to the integers that leave a device: the one path for devices and simulations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tacit.client.statistics.errors import BadContext
from tacit.client.statistics.histories import Histories
from tacit.client.statistics.profiles import Profiles
from tacit.client.statistics.registry import HISTORY_STATISTICS, STATISTICS
from tacit.privacy.quantize import IntegerBlocks, RoundingStream, RowBlocks, clip, quantize
from tacit.privacy.task import RoundPlan

_ROUND_BYTES = 8

Batch = Profiles | Histories
"""What a statistic is computed from; each statistic takes one of the two."""


def rounding_info(task_digest: bytes, round_id: int) -> bytes:
    """Name the rounding stream of one round: task digest, then the round as 8 big-endian bytes."""
    return task_digest + round_id.to_bytes(_ROUND_BYTES, "big")


def contributions(
    batch: Batch,
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
        batch: profiles or histories, as the statistic takes them; a device passes one user.
        context: public arrays of the round.
        plan: the round, as the task's manifest states it.
        task_digest: digest of the manifest; with the round's id it names the rounding stream.
        device_secrets: one 32-byte secret per user, in order.

    Raises:
        BadContext: the statistic is unknown or takes the other kind of batch, or the context does
            not yield `plan.length` coordinates.
    """
    blocks = _compute(batch, context, plan)
    if blocks.length != plan.length:
        raise BadContext(f"expected {plan.length} coordinates, got {blocks.length}")
    info = rounding_info(task_digest, plan.round_id)
    streams = [RoundingStream(secret, info) for secret in device_secrets]
    clipped = clip(blocks, plan.clipping_norm)
    return quantize(clipped, plan.clipping_norm, plan.integer_norm, streams)


def _compute(
    batch: Batch, context: Mapping[str, npt.NDArray[np.floating]], plan: RoundPlan
) -> RowBlocks:
    """Compute the statistic a round names, from the kind of batch it takes."""
    if isinstance(batch, Profiles):
        of_profiles = STATISTICS.get(plan.statistic)
        if of_profiles is None:
            raise BadContext(f"expected one of {sorted(STATISTICS)}, got {plan.statistic!r}")
        return of_profiles(batch, context, plan.parameters)
    of_histories = HISTORY_STATISTICS.get(plan.statistic)
    if of_histories is None:
        raise BadContext(f"expected one of {sorted(HISTORY_STATISTICS)}, got {plan.statistic!r}")
    return of_histories(batch, context, plan.parameters)
