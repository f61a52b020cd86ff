"""What a learner is: public rounds in, noised sums in, public arrays out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tacit.server.coordinator.learners.errors import BadHistory

FloatArray = npt.NDArray[np.float64]
PublicArrays = dict[str, npt.NDArray[Any]]
"""Arrays by name that may leave the server: functions of public data and noised sums only."""


@dataclass(frozen=True, slots=True)
class NoisedSum:
    """Hold what one round released: the only private input a learner ever sees.

    Attributes:
        round_id: round that released it, from 1.
        statistic: name and version of the summed statistic.
        values: `(length,)` noised sum in units of the statistic.
        noise_std: standard deviation of the noise on each coordinate, same units; 0 for none.
    """

    round_id: int
    statistic: str
    values: FloatArray
    noise_std: float


@dataclass(frozen=True, slots=True)
class RoundSpec:
    """State one round as a learner plans it, before any data is seen.

    Attributes:
        round_id: position in the plan, from 1.
        statistic: name and version, a key of the client's registry.
        length: coordinates of the contribution.
        clipping_norm: Euclidean bound of one user's contribution, in units of the statistic.
        budget_share: part of the task's zCDP budget this round spends; shares sum to 1.
        parameters: public parameters of the statistic.
    """

    round_id: int
    statistic: str
    length: int
    clipping_norm: float
    budget_share: float
    parameters: Mapping[str, float | int]


class Learner(Protocol):
    """Turn noised sums into a model.

    A learner is a pure function of its public configuration and the history: the same history gives
    bit-identical contexts and models, so a coordinator resumes after a crash by replaying it.
    Because it sees nothing but noised sums, whatever it computes is post-processing and costs no
    budget.
    """

    @property
    def name(self) -> str:
        """Give the name and version, for manifests."""
        ...

    def rounds(self) -> tuple[RoundSpec, ...]:
        """Plan every round from public quantities alone."""
        ...

    def context(self, round_id: int, history: Sequence[NoisedSum]) -> PublicArrays:
        """Compute the public arrays devices need for a round, from all earlier rounds."""
        ...

    def model(self, history: Sequence[NoisedSum]) -> PublicArrays:
        """Compute the model from the rounds so far, at least one."""
        ...


def check_history(
    specs: Sequence[RoundSpec], history: Sequence[NoisedSum], expected: int | None = None
) -> None:
    """Check that noised sums are the first rounds of a plan, in order.

    Args:
        specs: the plan.
        history: the sums.
        expected: how many there must be; `None` accepts any number from 1 to all.

    Raises:
        BadHistory: number, order, statistic, length or noise do not fit, or a value is not finite.
    """
    if expected is not None and len(history) != expected:
        raise BadHistory(f"expected {expected} earlier rounds, got {len(history)}")
    if expected is None and not 1 <= len(history) <= len(specs):
        raise BadHistory(f"expected between 1 and {len(specs)} rounds, got {len(history)}")
    for spec, released in zip(specs, history, strict=False):
        if (released.round_id, released.statistic) != (spec.round_id, spec.statistic):
            raise BadHistory(
                f"expected round {spec.round_id} of {spec.statistic}, got round "
                f"{released.round_id} of {released.statistic}"
            )
        if released.values.shape != (spec.length,):
            raise BadHistory(f"expected {spec.length} values, got shape {released.values.shape}")
        if not bool(np.all(np.isfinite(released.values))):
            raise BadHistory("expected finite noised values")
        if not (math.isfinite(released.noise_std) and released.noise_std >= 0.0):
            raise BadHistory(f"expected a noise_std of zero or more, got {released.noise_std}")
