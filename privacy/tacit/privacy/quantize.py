"""Clip a batch of statistics in l2 and round it to integers with a norm that holds exactly.

    statistic --clip--> ||v|| <= C --scale--> ||v|| <= t < L --round--> integers, ||q|| <= L

`clipping_norm` C is in units of the statistic; `integer_norm` L bounds the integers that are sent
and is what the noise is calibrated to (sigma = z * L). The float steps need no trust: the last step
checks the integer norm in exact arithmetic, so sensitivity under add/remove is L whatever the
floats did. The result for one user is bit-identical whether the user is alone or in a batch: every
float is the outcome of element-wise operations and of sums whose order depends on that user only.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tacit.privacy._parameters import positive_integer, positive_real
from tacit.privacy.blocks import IntegerBlocks, RowBlocks, dense, integer_sum
from tacit.privacy.errors import BadContribution, BadParameter
from tacit.privacy.rounding import RoundingStream

__all__ = [
    "MAX_INTEGER_NORM",
    "IntegerBlocks",
    "RoundingStream",
    "RowBlocks",
    "check_contribution",
    "clip",
    "decode_sum",
    "dense",
    "integer_sum",
    "integer_target",
    "quantize",
]

MAX_INTEGER_NORM = 1 << 20
"""Largest integer norm accepted; 32767 is the largest whose vectors fit int16."""

_ATTEMPTS = 8
_FRACTION_BITS = 16
_CHUNK_VALUES = 1 << 19
# sqrt(2 ln(1 / beta)) with beta = 2^-16, the chance that one attempt exceeds the norm.
_DEVIATION = math.sqrt(2.0 * 16.0 * math.log(2.0))


def integer_target(integer_norm: int, length: int) -> float:
    """Return the l2 norm t that a vector of norm C is scaled to before rounding.

    Rounding a vector of norm t to integers stays within
    ``t^2 + n/4 + sqrt(2 ln(1/beta)) (t + sqrt(n)/2)`` in squared norm with probability at least
    ``1 - beta`` (Kairouz, Liu, Steinke 2021, arXiv:2102.06387, Theorem 1 Eq. 2 and Section 4.1,
    granularity 1). With ``t <= L`` on the right and ``beta = 2^-16`` this gives
    ``t^2 = L^2 - n/4 - 4.71 (L + sqrt(n)/2)``.

    Args:
        integer_norm: L, l2 bound on the integers sent, at most `MAX_INTEGER_NORM`.
        length: n, coordinates of the whole vector.

    Raises:
        BadParameter: An argument is out of range, or rounding would leave less than half of the
            norm (``t < L / 2``): choose a larger L or a shorter vector.
    """
    norm = positive_integer("integer_norm", integer_norm, maximum=MAX_INTEGER_NORM)
    n = positive_integer("length", length)
    if (norm + 1) ** 2 * n >= 1 << 63:
        raise BadParameter(f"length {n}: squared norms at integer_norm {norm} overflow int64")
    squared = norm**2 - n / 4.0 - _DEVIATION * (norm + math.sqrt(n) / 2.0)
    if squared < norm**2 / 4.0:
        raise BadParameter(f"length {n} is too large for integer_norm {norm}: rounding dominates")
    return math.sqrt(squared)


def clip(blocks: RowBlocks, clipping_norm: float) -> RowBlocks:
    """Scale every user's vector down to l2 norm `clipping_norm`; shorter vectors stay as they are.

    Post-condition: each norm is at most ``clipping_norm * (1 + 1e-12)``. Exactness is not needed
    here: `quantize` checks the integers.

    Args:
        blocks: Statistics of a batch, any finite values.
        clipping_norm: C, in units of the statistic.

    Raises:
        BadParameter: The norm is not a positive finite number.
        BadContribution: A value is NaN or infinite, or a squared norm overflows float64.
    """
    bound = positive_real("clipping_norm", clipping_norm)
    factor = bound / np.maximum(_norms(blocks), bound)
    values = blocks.values * np.repeat(factor, np.diff(blocks.indptr))[:, None]
    return RowBlocks(blocks.indptr, blocks.rows, values, blocks.n_rows)


def quantize(
    blocks: RowBlocks,
    clipping_norm: float,
    integer_norm: int,
    keystream: Sequence[RoundingStream],
) -> IntegerBlocks:
    """Round clipped vectors to integers by conditional stochastic rounding.

    Each coordinate x is scaled to ``x t / C`` and rounded up with probability equal to its
    fraction (kept to 16 bits, so the mean is exact to 2^-17), down otherwise; an attempt whose
    exact norm exceeds L is drawn again, at most 8 times, and then truncated toward zero
    (Kairouz, Liu, Steinke 2021, arXiv:2102.06387, Algorithm 1; the fallback is ours and has
    probability below 2^-128). Zero stays zero.

    Args:
        blocks: Output of `clip` with the same `clipping_norm`.
        clipping_norm: C, in units of the statistic.
        integer_norm: L, l2 bound on the integers. Up to 32767 the values fit int16.
        keystream: One stream for each user, in order.

    Raises:
        BadParameter: A parameter is out of range, or there is not one stream a user.
        BadContribution: A user's vector was not clipped to C, or holds NaN or infinity.

    Guarantee: every user's integer vector has l2 norm at most L, unconditionally.
    """
    scale = integer_target(integer_norm, blocks.length) / positive_real(
        "clipping_norm", clipping_norm
    )
    if len(keystream) != blocks.n_users:
        raise BadParameter(f"expected {blocks.n_users} rounding streams, got {len(keystream)}")
    out = np.empty(blocks.values.shape, dtype=np.int64)
    limit = float(integer_norm << _FRACTION_BITS)
    for users in _chunks(blocks.indptr, blocks.width):
        bounds = blocks.indptr[users.start : users.stop + 1]
        held = slice(int(bounds[0]), int(bounds[-1]))
        scaled = blocks.values[held] * scale * float(1 << _FRACTION_BITS)
        if scaled.size and not max(scaled.max(), -scaled.min()) <= limit:
            raise BadContribution("expected vectors clipped to clipping_norm, got a larger value")
        fixed = np.rint(scaled, out=scaled).astype(np.int64)
        _round(
            fixed, bounds - bounds[0], integer_norm, keystream[users.start : users.stop], out[held]
        )
    return IntegerBlocks(blocks.indptr, blocks.rows, out, blocks.n_rows)


def check_contribution(vector: npt.NDArray[np.integer], length: int, integer_norm: int) -> None:
    """Raise unless a received vector may enter the sum.

    The norm is computed in exact integer arithmetic for any integer dtype.

    Args:
        vector: ``(length,)`` integers as received.
        length: Coordinates that the task states.
        integer_norm: L that the task states.

    Raises:
        BadParameter: `length` or `integer_norm` is out of range.
        BadContribution: Wrong dtype or shape, or l2 norm above `integer_norm`.
    """
    integer_target(integer_norm, length)
    if vector.dtype.kind not in "iu":
        raise BadContribution(f"expected integers, got dtype {vector.dtype}")
    if vector.shape != (length,):
        raise BadContribution(f"expected shape ({length},), got {vector.shape}")
    # As Python integers: the smallest int64 has no magnitude in int64, the largest uint64 no place.
    if int(vector.max()) > integer_norm or int(vector.min()) < -integer_norm:
        raise BadContribution(f"expected l2 norm at most {integer_norm}, got a larger coordinate")
    wide = vector.astype(np.int64, copy=False)
    if int(np.dot(wide, wide)) > integer_norm**2:
        raise BadContribution(f"expected l2 norm at most {integer_norm}, got a larger norm")


def decode_sum(
    total: npt.NDArray[np.integer], clipping_norm: float, integer_norm: int, length: int
) -> npt.NDArray[np.float64]:
    """Convert a (noised) integer sum back to units of the statistic, ``(length,)``.

    Noise of standard deviation sigma on the integers becomes ``sigma * C / t``.

    Raises:
        BadParameter: A parameter is out of range.
        BadContribution: The sum has the wrong dtype or shape.
    """
    bound = positive_real("clipping_norm", clipping_norm)
    target = integer_target(integer_norm, length)
    if total.dtype.kind not in "iu" or total.shape != (length,):
        raise BadContribution(
            f"expected ({length},) integers, got {total.shape} of dtype {total.dtype}"
        )
    return total.astype(np.float64) * (bound / target)


def _norms(blocks: RowBlocks) -> npt.NDArray[np.float64]:
    """Compute l2 norms ``(n_users,)``, each from that user's values in an order of its own."""
    squares = np.empty(len(blocks.rows), dtype=np.float64)
    step = max(1, _CHUNK_VALUES // blocks.width)
    for start in range(0, len(squares), step):
        held = blocks.values[start : start + step]
        with np.errstate(over="ignore"):
            squares[start : start + step] = _row_sums(held * held)
    users = np.repeat(np.arange(blocks.n_users), np.diff(blocks.indptr))
    with np.errstate(over="ignore"):
        # bincount adds one weight after another, in order: no pairwise blocking, no SIMD lanes.
        sums = np.bincount(users, weights=squares, minlength=blocks.n_users)
    if not np.isfinite(sums).all():
        raise BadContribution("expected finite values with a finite squared norm, got others")
    return np.sqrt(sums)


def _row_sums(squares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Add up each row by a fixed halving tree of element-wise additions; overwrites its input."""
    width = squares.shape[1]
    while width > 1:
        half = width // 2
        squares[:, :half] += squares[:, width - half : width]
        width -= half
    return squares[:, 0]


def _chunks(indptr: npt.NDArray[np.int64], width: int) -> Iterator[slice]:
    """Yield ranges of whole users that hold about `_CHUNK_VALUES` values, at least one user."""
    start, n_users = 0, len(indptr) - 1
    while start < n_users:
        room = int(indptr[start]) + _CHUNK_VALUES // width
        stop = max(start + 1, int(np.searchsorted(indptr, room, side="right")) - 1)
        yield slice(start, stop)
        start = stop


def _round(
    fixed: npt.NDArray[np.int64],
    indptr: npt.NDArray[np.int64],
    integer_norm: int,
    keystream: Sequence[RoundingStream],
    out: npt.NDArray[np.int64],
) -> None:
    """Round fixed-point blocks ``(nnz, width)`` with 16 fraction bits into `out`."""
    width = fixed.shape[1]
    uniforms = np.empty(fixed.shape, dtype=np.uint16)
    for user, stream in enumerate(keystream):
        mine = slice(int(indptr[user]), int(indptr[user + 1]))
        flat = stream.uniform16((mine.stop - mine.start) * width, 0)
        uniforms[mine] = flat.reshape(-1, width)
    np.add(fixed, uniforms, out=out)
    np.right_shift(out, _FRACTION_BITS, out=out)
    sums = np.concatenate(([0], np.cumsum(np.einsum("ij,ij->i", out, out))))
    squared = sums[indptr[1:]] - sums[indptr[:-1]]
    for user in np.flatnonzero(squared > integer_norm**2).tolist():
        mine = slice(int(indptr[user]), int(indptr[user + 1]))
        out[mine] = _round_again(fixed[mine], integer_norm, keystream[user])


def _round_again(
    fixed: npt.NDArray[np.int64], integer_norm: int, stream: RoundingStream
) -> npt.NDArray[np.int64]:
    """Round one user's blocks whose first attempt exceeded the norm."""
    for attempt in range(1, _ATTEMPTS):
        rounded = (fixed + stream.uniform16(fixed.size, attempt).reshape(fixed.shape)) >> (
            _FRACTION_BITS
        )
        if int(np.sum(rounded * rounded)) <= integer_norm**2:
            return rounded
    truncated: npt.NDArray[np.int64] = np.sign(fixed) * (np.abs(fixed) >> _FRACTION_BITS)
    if int(np.sum(truncated * truncated)) > integer_norm**2:
        raise BadContribution("expected vectors clipped to clipping_norm, got a larger norm")
    return truncated
