"""Hyper-parameters of the spectral learner as rules of public quantities.

Nothing here looks at data: a search on private data would itself have to be paid for. The inputs
are the public expected cohort size N, the public catalogue size I and epsilon. Each rule states
its reason; the constants were fixed once on MovieLens and then frozen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tacit.privacy.quantize import integer_target
from tacit.server.coordinator.learners.errors import BadPlan

_SMALLEST_NORM, _LARGEST_NORM = 4096, 32767

_UPLOAD_BYTES = 500_000  # of one device over the whole training
_BYTES_PER_COORDINATE = 2
_EVERYONE_CLIPPED = 0.01  # far below what a real profile projects on any basis
_PREPARING_ROUNDS = 2
_WIDEST_ROWS = 800  # wider, what devices download would outgrow what it is worth
_ROWS_ARE_ITEMS = 1e5
_EXACT_WIDTH, _EXACT_ROUNDS = 64, 4


@dataclass(frozen=True, slots=True)
class SpectralPlan:
    """State the hyper-parameters of one run.

    Attributes:
        kernel_width: directions of the Gram round, q.
        row_width: directions of the kernel that are the rows of a sketch; 0 where items are.
        width: directions a device reports for each row of a sketch, k.
        subspace_rounds: number of subspace rounds.
        clipping_norm: bound on `||V^T y_u||` in a subspace round.
        gram_clipping_norm: bound on `||Q^T y_u||^2` in the Gram round.
        popularity_share: part of the zCDP budget for the popularity round.
        gram_share: part for the Gram round.
    """

    kernel_width: int
    row_width: int
    width: int
    subspace_rounds: int
    clipping_norm: float
    gram_clipping_norm: float
    popularity_share: float
    gram_share: float


def spectral_plan(
    n_items: int, expected_cohort: int, epsilon: float, *, rounds: int | None = None
) -> SpectralPlan:
    """Choose the hyper-parameters of a run.

    Two numbers decide: `N epsilon`, the strength of a direction of taste over the noise, and the
    hardness `h = I / (N epsilon)`, the noise of an average item's popularity relative to the users
    who could have raised it.

    - Popularity gets `0.45 h^0.6` of the zCDP budget, within 3% and 60%: every loading is a
      multiple of it, so where it is noise nothing else can be learned.
    - The Gram round gets 25%, or 15% where several subspace rounds follow it, on
      `q = 0.1 sqrt(I) (N epsilon)^0.35` directions, within 24 and 320 and an eighth of the
      catalogue: the noise grows with `sqrt(q)`, the tastes a kernel adds fall off, and a larger
      catalogue takes more directions to tell its items apart.
    - Subspace rounds share the rest. One is enough up to `N epsilon = 10^5`, because the Gram round
      has found the strong directions; two up to 10^6, then three: a second look at rows pays only
      when rows rise clearly above the noise.
    - Up to `N epsilon = 10^5` the rows of a sketch are `6 sqrt(N epsilon)` directions of the
      kernel, at most 800, not items: what a profile has outside them is one person's picks in the
      tail, which so small a cohort cannot tell from noise, and it would take up half of the norm.
    - `k = 0.12 sqrt(N epsilon)`, within 4 and 64 and what 500 kB of upload leave: taste spectra
      fall off, so usable directions grow with about the square root of signal over noise.
    - Both clipping norms are 0.01, far below what profiles project, so that in effect everyone's
      contribution has the same length and only its direction counts: light users are heard as
      loudly as heavy ones, and no part of the sensitivity is left unused.

    Without noise nothing is clipped, and four rounds of 64 directions come close to the exact
    spectrum; the limit on uploads does not apply, as nothing private could be deployed that way.

    Args:
        n_items: size of the public catalogue, at least 2.
        expected_cohort: public expected number of contributing users, at least 1.
        epsilon: total privacy budget; infinity for no noise.
        rounds: total number of rounds, all kinds together; `None` applies the rule.

    Raises:
        BadPlan: an argument is out of range, or `rounds` leaves no subspace round.
    """
    if n_items < 2:
        raise BadPlan(f"expected at least 2 items, got {n_items}")
    if expected_cohort < 1:
        raise BadPlan(f"expected a cohort of at least 1, got {expected_cohort}")
    if not epsilon > 0.0:
        raise BadPlan(f"expected epsilon above zero, got {epsilon}")
    if rounds is not None and rounds < _PREPARING_ROUNDS + 1:
        raise BadPlan(f"expected at least {_PREPARING_ROUNDS + 1} rounds, got {rounds}")
    noiseless = math.isinf(epsilon)
    signal = expected_cohort * epsilon
    usual = _EXACT_ROUNDS if noiseless else 1 if signal < 1e5 else 2 if signal < 1e6 else 3
    subspace_rounds = usual if rounds is None else rounds - _PREPARING_ROUNDS
    kernel_width = 256 if noiseless else _within(0.1 * math.sqrt(n_items) * signal**0.35, 24, 320)
    kernel_width = min(
        n_items - 1, kernel_width if noiseless else min(kernel_width, max(1, n_items // 8))
    )
    hardness = n_items / signal
    return SpectralPlan(
        kernel_width=kernel_width,
        row_width=_row_width(n_items, signal, kernel_width),
        width=_width(n_items, signal, subspace_rounds, kernel_width),
        subspace_rounds=subspace_rounds,
        clipping_norm=1.0 if noiseless else _EVERYONE_CLIPPED,
        gram_clipping_norm=1.0 if noiseless else _EVERYONE_CLIPPED,
        popularity_share=min(0.6, max(0.03, 0.45 * hardness**0.6)),
        gram_share=0.25 if usual == 1 else 0.15,
    )


def _width(n_items: int, signal: float, subspace_rounds: int, kernel_width: int) -> int:
    """Choose the directions reported in a subspace round."""
    if math.isinf(signal):
        return min(n_items, _EXACT_WIDTH)
    prepared = n_items + kernel_width * (kernel_width + 1) // 2
    room = _UPLOAD_BYTES // _BYTES_PER_COORDINATE - prepared
    bearable = room // (n_items * subspace_rounds)
    return min(n_items, max(4, min(_within(0.12 * math.sqrt(signal), 4, 64), bearable)))


def _row_width(n_items: int, signal: float, kernel_width: int) -> int:
    """Choose the directions that are the rows of a sketch, 0 for items."""
    if signal >= _ROWS_ARE_ITEMS:
        return 0
    return min(n_items - 1, _within(6.0 * math.sqrt(signal), kernel_width, _WIDEST_ROWS))


def _within(value: float, smallest: int, largest: int) -> int:
    return int(min(max(round(value), smallest), largest))


def integer_norm_for(length: int) -> int:
    """Choose the Euclidean bound of the integers a device sends.

    Rounding costs `length / 4` of the squared norm at worst; the smallest power of two from 4096
    that keeps 99% of the norm for the signal is taken, at most 32767 so that int16 holds a value.

    Raises:
        BadPlan: the contribution is too long for any norm that fits int16.
    """
    norm = _SMALLEST_NORM
    while norm <= _LARGEST_NORM:
        if length <= norm * norm // 16 and integer_target(norm, length) >= 0.99 * norm:
            return norm
        norm = min(2 * norm, _LARGEST_NORM) if norm < _LARGEST_NORM else _LARGEST_NORM + 1
    raise BadPlan(f"expected a contribution that int16 can carry, got {length} coordinates")
