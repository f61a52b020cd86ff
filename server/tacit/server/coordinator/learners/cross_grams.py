"""From a noised cross-Gram matrix to what it says of tastes, in the units of the Gram round.

A cross-Gram round holds `Z = sum_u p_u (R^T p_u)^T / (||p_u|| ||R^T p_u||) + noise` for projections
`p_u` of profiles on many directions of the kernel, and `R` a few strong combinations of the leading
ones. In expectation it is a multiple of `M R`, `M` the second moment of the projections; the Gram
round has measured the leading rows of `M`, which gives the multiple.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tacit.server.coordinator.learners.protocol import FloatArray, NoisedSum
from tacit.server.coordinator.learners.taste_gram import CAUTION

_MARGIN = 4.0  # standard deviations: a false alarm has probability 3e-5


@dataclass(frozen=True, slots=True)
class CrossGram:
    """Hold one cross-Gram matrix in units of `sum_u y_u y_u^T` over the expected cohort.

    Attributes:
        turn: `(q, k)` the combinations R of the kernel's leading directions.
        rows: `(p, k)` `A R` for tastes `A` on p directions, those q first; accident taken out.
        noise_std: standard deviation of the noise on each coordinate.
    """

    turn: FloatArray
    rows: FloatArray
    noise_std: float

    @classmethod
    def of(
        cls,
        released: NoisedSum,
        clipping_norm: float,
        turn: FloatArray,
        moment: FloatArray,
        accident: FloatArray,
        cohort: int,
    ) -> CrossGram | None:
        """Bring a released sum into the common units.

        The clipping norm is far below what profiles reach, so everyone contributed a vector of
        that length.

        Args:
            released: the sum; it may have more rows than `accident`, then the last are empty.
            clipping_norm: C of the round.
            turn: `(q, k)` R.
            moment: `(q, q)` second moment on the leading directions over the cohort, accident
                included, as estimated so far.
            accident: `(p, p)` second moment of one user without any taste.
            cohort: public expected number of users.

        Returns:
            `None` if not even the part that the moment foretells rises above the noise.
        """
        q, k = turn.shape
        rows = released.values.reshape(-1, k)[: len(accident)] / clipping_norm
        noise = released.noise_std / clipping_norm
        foretold = moment @ turn
        length = float(np.linalg.norm(foretold))
        along = float(np.sum(foretold * rows[:q])) / length
        if along <= _MARGIN * noise:
            return None
        back = length / along
        taste = rows * back - CAUTION * cohort * accident[:, :q] @ turn
        return cls(turn, taste, noise * back)
