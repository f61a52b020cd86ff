"""Estimated scores with bounds, and the few of them that decide who is on top made exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.client.decide.top import best

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
RealArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ScoreEstimate:
    """Scores of a catalogue for one user.

    Attributes:
        values: `(n_items,)`; `settle` puts exact scores into it.
        errors: `(n_items,)` how far each may be from the exact score; None if all are exact.
        exact: items → their exact scores.
    """

    values: RealArray
    errors: RealArray | None
    exact: Callable[[IntArray], FloatArray]

    def settle(self, allowed: BoolArray, count: int) -> None:
        """Make the scores exact among which the best `count` allowed items are.

        Post-condition: the best `count` allowed items by `values`, and their order, are those by
        exact scores (rounded to the precision of `values`).

        Why: let `T` be the least of `value - error` among the best `count` by estimate. At least
        `count` items have exact scores of `T` or more. An item with `value + error < T` has less,
        so it is not among the best, and neither its estimate nor its score puts it there.
        """
        if self.errors is None:
            return
        top = best(self.values, allowed, count)
        if len(top) == 0:
            return
        least = float(np.min(self.values[top] - self.errors[top]))
        if len(top) < count:
            least = -np.inf
        near = np.flatnonzero(self.values >= np.float32(least - float(self.errors.max())))
        near = near[allowed[near]]
        near = near[self.values[near] + self.errors[near] >= least]
        self.values[near] = self.exact(near)
        # What was made exact has no error left, so settling again for other items stays right.
        self.errors[near] = 0.0
