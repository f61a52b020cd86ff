"""Random and extreme users, and everything public that a statistic needs, for the audit.

Users are drawn from a public seed: nobody's data is in them. Extremes are what a hostile or broken
store could hold within the invariants of `Profiles` and `Histories`: nothing at all, one event,
everything at once, magnitudes from 1e-150 to 1e150.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.client.statistics import (
    HISTORY_SIGNALS,
    HISTORY_STATISTICS,
    NO_ACTION,
    STATISTICS,
    Batch,
    Events,
    Histories,
    Profiles,
    build_histories,
    build_profiles,
)
from tacit.privacy.quantize import RowBlocks
from tacit.simulations.errors import BadExperiment

N_ITEMS = 40
_FACTORS = 5
_DAYS = 60
_DAY_MS = 86_400_000

Columns = tuple[npt.NDArray[np.float64], ...]


@dataclass(frozen=True, slots=True)
class StatisticCase:
    """One statistic with a public context it accepts.

    Attributes:
        name: its registered name.
        context, parameters: public arrays and scalars.
        draw: draws one user.
        batch: lays users out as the statistic takes them.
        compute: the statistic itself, unclipped.
    """

    name: str
    context: Mapping[str, npt.NDArray[np.float64]]
    parameters: Mapping[str, float]
    draw: Callable[[np.random.Generator], Columns]
    batch: Callable[[Sequence[Columns]], Batch]
    compute: Callable[[Sequence[Columns]], RowBlocks]


def statistic_case(name: str, rng: np.random.Generator) -> StatisticCase:
    """Return a registered statistic with a random public context.

    Raises:
        BadExperiment: this audit knows no context for the statistic; an unaudited statistic must
            not pass for an audited one.
    """
    parameters = _PARAMETERS.get(name)
    if parameters is None:
        raise BadExperiment(f"expected a statistic the audit has a context for, got {name!r}")
    basis = rng.normal(size=(N_ITEMS, _FACTORS))
    context = {
        "basis": basis,
        "turn": rng.normal(size=(_FACTORS, 2)),
        "item_weights": rng.uniform(0.5, 2.0, N_ITEMS),
        "item_factors": basis,
        "gramian": basis.T @ basis + np.eye(_FACTORS),
        "factor_weights": rng.uniform(0.5, 2.0, _FACTORS - 1),
    }
    if name in STATISTICS:
        of_profiles = STATISTICS[name]
        return StatisticCase(
            name,
            context,
            parameters,
            _draw_profile,
            _profiles,
            lambda users: of_profiles(_profiles(users), context, parameters),
        )
    of_histories = HISTORY_STATISTICS[name]
    return StatisticCase(
        name,
        {},
        parameters,
        _draw_history,
        _histories,
        lambda users: of_histories(_histories(users), {}, parameters),
    )


_AS_OF_S = float(_DAYS * 86_400)
_PARAMETERS: Mapping[str, Mapping[str, float]] = {
    "popularity/1": {},
    "feature_gram/1": {},
    "cross_gram/1": {},
    "subspace/1": {},
    "factorization/1": {"gram_weight": 1.0},
    "churn_moments/1": {"as_of_s": _AS_OF_S, "horizon_days": 7.0, "cutoffs": 5.0},
    "intent_moments/1": {"from_s": 0.0, "as_of_s": _AS_OF_S, "window_s": 3600.0},
    "bandit_moments/1": {
        "actions": 3.0,
        "from_s": 0.0,
        "as_of_s": _AS_OF_S,
        "window_s": 3600.0,
    },
}


def _draw_profile(rng: np.random.Generator) -> Columns:
    """Draw items and weights; sizes and magnitudes include both ends."""
    count = int(rng.choice((0, 1, 2, 7, N_ITEMS)))
    items = rng.permutation(N_ITEMS)[:count]
    magnitude = float(rng.choice((1.0, 1.0, 1.0, 1e3, 1e-3, 1e150, 1e-150)))
    return items.astype(np.float64), rng.choice((1.0, 1.5, 2.0), count) * magnitude


def _profiles(users: Sequence[Columns]) -> Profiles:
    owners = np.repeat(np.arange(len(users)), [len(user[0]) for user in users])
    items, weights = (_joined(users, column) for column in range(2))
    return build_profiles(
        owners, items.astype(np.int64), weights, n_users=len(users), n_items=N_ITEMS
    )


def _draw_history(rng: np.random.Generator) -> Columns:
    """Draw times, signals, values, actions and propensities in bursts; sizes include both ends."""
    count = int(rng.choice((0, 1, 5, 40, 200)))
    bursts = rng.integers(0, _DAYS * _DAY_MS, 8)
    times = rng.choice(bursts, count) + rng.integers(0, 3_600_000, count)
    if rng.random() < 0.1:
        times[:] = bursts[0]  # everything at one moment
    magnitude = float(rng.choice((1.0, 60.0, 1e150, -1e150)))
    actions = rng.integers(NO_ACTION, 4, count)
    propensities = np.where(actions >= 0, rng.choice((1e-12, 0.1, 1.0), count), 1.0)
    return (
        times.astype(np.float64),
        rng.integers(0, len(HISTORY_SIGNALS), count).astype(np.float64),
        rng.random(count) * magnitude,
        actions.astype(np.float64),
        propensities,
    )


def _histories(users: Sequence[Columns]) -> Histories:
    owners = np.repeat(np.arange(len(users)), [len(user[0]) for user in users])
    times, signals, values, actions, propensities = (_joined(users, column) for column in range(5))
    events = Events(
        users=owners,
        times_ms=times.astype(np.int64),
        signals=signals.astype(np.int64),
        values=values,
        actions=actions.astype(np.int64),
        propensities=propensities,
    )
    return build_histories(events, np.ones((len(users), len(HISTORY_SIGNALS)), dtype=np.bool_))


def _joined(users: Sequence[Columns], column: int) -> npt.NDArray[np.float64]:
    return np.concatenate([np.zeros(0), *(user[column] for user in users)])
