"""An earlier release as prior knowledge: it is public and has been paid for, so it is free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.server.coordinator.learners.errors import BadPlan
from tacit.server.coordinator.learners.protocol import FloatArray


@dataclass(frozen=True, slots=True)
class EarlierRelease:
    """Hold what a released ranking model says about items and tastes.

    Attributes:
        popularity: `(n_items,)` item distribution, above zero.
        tastes: `(n_items, r)` effect of one standard deviation of each taste on items' shares.
    """

    popularity: FloatArray
    tastes: FloatArray

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]], n_items: int) -> EarlierRelease:
        """Read the arrays of a `spectral` or `popularity` release of the same catalogue.

        Raises:
            BadPlan: an array is missing, misshapen, not finite, or not positive where it must be.
        """
        missing = {"popularity", "loadings", "prior_variance"} - set(arrays)
        if missing:
            raise BadPlan(
                f"expected a spectral or popularity release to start from, got one without "
                f"{', '.join(sorted(missing))}"
            )
        popularity = np.asarray(arrays["popularity"], dtype=np.float64)
        loadings = np.asarray(arrays["loadings"], dtype=np.float64)
        variance = np.asarray(arrays["prior_variance"], dtype=np.float64)
        fits = popularity.shape == (n_items,) and variance.ndim == 1
        if not fits or loadings.shape != (n_items, len(variance)):
            raise BadPlan(
                f"expected an earlier release of a catalogue of {n_items} items, got popularity "
                f"{popularity.shape} and loadings {loadings.shape}"
            )
        finite = all(bool(np.all(np.isfinite(a))) for a in (popularity, loadings, variance))
        if not finite or float(popularity.min()) <= 0.0 or float(variance.min()) <= 0.0:
            raise BadPlan("expected finite arrays in the earlier release, popularity above zero")
        tastes = loadings * np.sqrt(variance)
        return cls(popularity, tastes[:, np.any(tastes != 0.0, axis=0)])
