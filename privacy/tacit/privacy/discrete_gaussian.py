"""Draw from the discrete Gaussian on the integers, exactly, from the caller's random bytes.

The distribution with parameter sigma has ``P(z) proportional to exp(-z^2 / (2 sigma^2))`` over all
integers z. Added to an integer sum of l2 sensitivity L with sigma = z * L on every coordinate, it
gives ``1/(2 z^2)``-zCDP, the same as the continuous Gaussian (Canonne, Kamath, Steinke 2020,
arXiv:2004.00010, Theorem 4, and its multivariate form), under the assumption that the bytes are
uniform and independent: in production ``os.urandom``.

**Exactness.** No float takes part. ``2 sigma^2`` becomes the fraction ``D / 2^s``, rounded up: the
parameter drawn with is never below the one asked for and exceeds it by less than 2^-49 of it. With
``k = max(1, floor(sigma / 64))`` a magnitude is built as ``k x + y`` (the two-level sampler of
Ducas, Durmus, Lepoint, Lyubashevsky 2013, Algorithm 11, with every part exact):

1. x >= 0 from weights ``exp(-k^2 x^2 2^s / D)``, by comparing a uniform real with the cumulative
   table. The table holds the true first 64 bits of each entry (certified by interval arithmetic in
   big integers). Where the uniform's first 64 bits equal an entry's, more bits of both are taken
   until they differ, so the comparison is that of the real numbers. Expected once in 2^53 draws.
2. y uniform on 0..k-1, by rejection.
3. Keep with probability ``exp(-y (y + 2 k x) 2^s / D)``, on integers (Canonne, Kamath, Steinke
   2020, Algorithm 1). About 99% are kept.
4. A fair sign; minus zero is rejected.

Kept magnitudes then have weight ``exp(-(k x + y)^2 2^s / D)``: total-variation error zero, nothing
to add to delta. Running time varies slightly with the candidates drawn, so callers should not let
a requester time the draw.
"""

from bisect import bisect_left
from collections.abc import Callable
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from math import ceil

import numpy as np
import numpy.typing as npt

from tacit.privacy._parameters import natural, positive_real
from tacit.privacy.errors import BadParameter

RandomBytes = Callable[[int], bytes]
"""Returns that many fresh uniform bytes; ``os.urandom`` in production."""

MIN_SIGMA = 0.1
MAX_SIGMA = float(1 << 24)

_BASE_SIGMA = 64
_DENOMINATOR_BITS = 50
_WORD_BITS = 64
_WORD_LIMIT = (1 << _WORD_BITS) - 1
_CHUNK = 1 << 16


def sample_discrete_gaussian(
    sigma: float, size: int, random_bytes: RandomBytes
) -> npt.NDArray[np.int64]:
    """Draw `size` independent integers, ``(size,)``.

    The draws are a function of `sigma`, `size` and the bytes alone: no global generator is read,
    so seeding ``random``, ``numpy`` or ``torch`` changes nothing.

    Args:
        sigma: Parameter of the distribution in integer units, in ``[0.1, 2^24]``. The standard
            deviation equals it closely from 1 up and is smaller below.
        size: Number of draws, zero or more.
        random_bytes: Source of randomness.

    Raises:
        BadParameter: `sigma` or `size` is out of range, or the source returned too few bytes.
    """
    positive_real("sigma", sigma, maximum=MAX_SIGMA)
    if sigma < MIN_SIGMA:
        raise BadParameter(f"sigma: expected at least {MIN_SIGMA}, got {sigma!r}")
    scale, denominator, shift = _decompose(float(sigma))
    out = np.empty(natural("size", size), dtype=np.int64)
    filled = 0
    while filled < len(out):
        missing = len(out) - filled
        candidates = min(_CHUNK, missing + missing // 50 + 16)
        kept = _candidates(candidates, scale, denominator, shift, random_bytes)[:missing]
        out[filled : filled + len(kept)] = kept
        filled += len(kept)
    return out


def _decompose(sigma: float) -> tuple[int, int, int]:
    """Return (k, D, s) with ``D / 2^s >= 2 sigma^2`` and D of about 50 bits."""
    doubled = 2 * Fraction(sigma) ** 2
    shift = _DENOMINATOR_BITS - (doubled.numerator.bit_length() - doubled.denominator.bit_length())
    return max(1, int(sigma) // _BASE_SIGMA), ceil(doubled * Fraction(2) ** shift), shift


def _candidates(
    n: int, scale: int, denominator: int, shift: int, random_bytes: RandomBytes
) -> npt.NDArray[np.int64]:
    """Return those of `n` candidates that are kept, in the order drawn."""
    base = _base(n, scale, denominator, shift, random_bytes)
    signs = np.unpackbits(np.frombuffer(_take(random_bytes, (n + 7) // 8), np.uint8))[:n]
    if scale == 1:
        magnitude, keep = base, np.ones(n, dtype=np.bool_)
    else:
        words = np.frombuffer(_take(random_bytes, 4 * n), "<u4")
        multiple = ((1 << 32) - 1) // scale
        offset = (words // np.uint32(multiple)).astype(np.int64)
        keep = offset < scale
        magnitude = base * scale + offset
        # Below 2^50 for any x in the table; int64 would wrap only beyond x = 2^19, whose
        # probability is under exp(-2^23).
        exponent = (offset * (magnitude + scale * base)) << shift
        exponent[~keep] = 0
        keep &= _bernoulli_exp(exponent, denominator, random_bytes)
    keep &= (magnitude != 0) | (signs == 0)
    return np.where(signs == 0, magnitude, -magnitude)[keep]


def _base(
    n: int, scale: int, denominator: int, shift: int, random_bytes: RandomBytes
) -> npt.NDArray[np.int64]:
    """Draw x >= 0 with weights ``exp(-scale^2 x^2 2^shift / denominator)``."""
    words = np.frombuffer(_take(random_bytes, 8 * n), "<u8")
    table = _table(scale, denominator, shift)
    found = np.searchsorted(table, words, side="left")
    for index in np.flatnonzero(table[found] == words).tolist():
        found[index] = _resolve(int(words[index]), scale, denominator, shift, random_bytes)
    return found.astype(np.int64, copy=False)


def _resolve(word: int, scale: int, denominator: int, shift: int, random_bytes: RandomBytes) -> int:
    """Return x for a uniform whose first 64 bits, `word`, do not tell it from a table entry."""
    bits = _WORD_BITS
    while True:
        bits += _WORD_BITS
        word = word << _WORD_BITS | int.from_bytes(_take(random_bytes, 8), "little")
        floors = _cumulative(scale, denominator, shift, bits)
        place = bisect_left(floors, word)
        if floors[place] != word:
            return place


@lru_cache(maxsize=64)
def _table(scale: int, denominator: int, shift: int) -> npt.NDArray[np.uint64]:
    """Return the 64-bit cumulative table as an array."""
    table = np.array(_cumulative(scale, denominator, shift, _WORD_BITS), dtype=np.uint64)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=64)
def _cumulative(scale: int, denominator: int, shift: int, bits: int) -> tuple[int, ...]:
    """Return ``floor(2^bits P(X <= x))`` for x = 0, 1, ... up to the first that is ``2^bits - 1``.

    Each floor is certain: it is taken of both ends of an interval that holds the true value, and
    computed again with more digits where the two differ.
    """
    digits = bits * 3 // 10 + 25
    while True:
        weights, error = _weights(scale, denominator, shift, digits)
        total = sum(weights)
        floors: list[int] = []
        partial = 0
        for weight in weights:
            partial += weight
            low = ((partial - error) << bits) // (total + error)
            high = ((partial + error) << bits) // (total - error)
            if low != high:
                break
            floors.append(low)
            if low == (1 << bits) - 1:
                return tuple(floors)
        digits += 20


def _weights(scale: int, denominator: int, shift: int, digits: int) -> tuple[list[int], int]:
    """Return weights times ``10^digits`` and a bound on the error of any sum of them.

    `Decimal.exp` is correctly rounded, so with 10 spare digits each integer is within 1 of its
    true value. Terms left out start below 2 units and sum to at most ``2 (1 + v)`` units, where
    ``v = D / (2^(s+1) k^2)`` is the variance parameter of x.
    """
    context = Context(prec=digits + 10)
    unit = Decimal(10) ** digits
    rate = Fraction(scale * scale, denominator) * Fraction(2) ** shift
    weights: list[int] = []
    while not weights or weights[-1] > 0:
        exponent = rate * len(weights) ** 2
        quotient = context.divide(Decimal(-exponent.numerator), Decimal(exponent.denominator))
        weights.append(int(context.multiply(context.exp(quotient), unit)))
    return weights, len(weights) + 2 * (1 + ceil(1 / (2 * rate)))


def _bernoulli_exp(
    numerator: npt.NDArray[np.int64], denominator: int, random_bytes: RandomBytes
) -> npt.NDArray[np.bool_]:
    """Draw Bernoulli(exp(-numerator / denominator)) for each non-negative numerator.

    Canonne, Kamath, Steinke 2020, Algorithm 1: for rates above 1, as many draws of
    Bernoulli(exp(-1)) as it takes must all succeed.
    """
    success = np.ones(len(numerator), dtype=np.bool_)
    rest = numerator
    while (above := np.flatnonzero(rest > denominator)).size:
        ones = np.full(above.size, denominator, dtype=np.int64)
        success[above] &= _bernoulli_exp_unit(ones, denominator, random_bytes)
        rest = rest.copy()
        rest[above] -= denominator
    return success & _bernoulli_exp_unit(rest, denominator, random_bytes)


def _bernoulli_exp_unit(
    numerator: npt.NDArray[np.int64], denominator: int, random_bytes: RandomBytes
) -> npt.NDArray[np.bool_]:
    """Draw Bernoulli(exp(-rate)) for rates in [0, 1]: succeed when the first failing K is odd."""
    success = np.ones(len(numerator), dtype=np.bool_)
    active = np.arange(len(numerator))
    trial = 1
    while active.size:
        active = active[_bernoulli(numerator[active], denominator * trial, random_bytes)]
        success[active] ^= True
        trial += 1
    return success


def _bernoulli(
    numerator: npt.NDArray[np.int64], denominator: int, random_bytes: RandomBytes
) -> npt.NDArray[np.bool_]:
    """Draw Bernoulli(numerator / denominator) for numerators in ``[0, denominator]``."""
    multiple = _WORD_LIMIT // denominator
    threshold = numerator.astype(np.uint64) * np.uint64(multiple)
    words = np.frombuffer(_take(random_bytes, 8 * len(numerator)), "<u8").copy()
    # Words from the incomplete last multiple are drawn again: fewer than one in 2^13.
    while (again := np.flatnonzero(words >= np.uint64(denominator * multiple))).size:
        words[again] = np.frombuffer(_take(random_bytes, 8 * again.size), "<u8")
    return words < threshold


def _take(random_bytes: RandomBytes, n: int) -> bytes:
    """Return `n` bytes from the source, or raise if it returned another number."""
    taken = random_bytes(n)
    if len(taken) != n:
        raise BadParameter(f"random_bytes: expected {n} bytes, got {len(taken)}")
    return taken
