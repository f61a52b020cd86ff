"""Catch training code that knows the test part: give it decoys and see whether it favours them.

Published federated code (PFedRec, GPFedRec, FedRAP) draws training negatives only from items
outside a user's training *and test* parts, so the test item is the one unseen item that is never
pushed down. No look at scores alone tells that from good learning. This does: the test part handed
to the training code is replaced by decoys, each drawn at random from a few items that the user has
never met and that are about equally popular. Code that does not read the test part cannot prefer
the decoy to the others of its draw; code that reads it, does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.client.statistics import Profiles, build_profiles
from tacit.simulations.errors import BadExperiment
from tacit.simulations.metrics import entries_of, take_users
from tacit.simulations.splits import Split
from tacit.simulations.trained import FloatArray, Scorer

IntArray = npt.NDArray[np.int64]

ALTERNATIVES = 20
"""Items a decoy is drawn from, itself among them."""
FALSE_ALARM_RATE = 1e-4
SMALLEST_LEAK = 0.05
"""Shift of the mean place that a stated power refers to; the published leak moves more."""
_FEWEST_USERS = 50
_VARIANCE = (ALTERNATIVES**2 - 1) / 12.0 / (ALTERNATIVES - 1) ** 2  # of one uniform place
_BATCH = 256


@dataclass(frozen=True, slots=True)
class LeakAudit:
    """Hold what an audit found.

    Attributes:
        users: users with a decoy.
        mean_place: mean place of the decoy among its alternatives, 0 for always the best; 0.5 is
            chance.
        p_value: chance of a place this good or better without a leak.
    """

    users: int
    mean_place: float
    p_value: float

    @property
    def leaks(self) -> bool:
        """Say whether the training code favours decoys; wrong on clean code once in 10,000."""
        return self.p_value < FALSE_ALARM_RATE

    @property
    def power(self) -> float:
        """Give the chance of flagging a leak that moves the mean place by `SMALLEST_LEAK`."""
        shift = SMALLEST_LEAK / math.sqrt(_VARIANCE / self.users)
        return NormalDist().cdf(shift + NormalDist().inv_cdf(FALSE_ALARM_RATE))

    @property
    def verdict(self) -> str:
        """Say what was found; never that there is no leak."""
        place = f"mean place of {self.users:,} decoys {self.mean_place:.3f}, chance 0.5"
        if self.leaks:
            return f"LEAK: training reads held-out items ({place}, p = {self.p_value:.1e})"
        return (
            f"no leak detected at power {self.power:.2f} against a leak that moves the mean place "
            f"by {SMALLEST_LEAK:g} ({place}, p = {self.p_value:.2g})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the audit as the JSON report shows it."""
        return {
            "leaks": self.leaks,
            "verdict": self.verdict,
            "users": self.users,
            "mean_place": self.mean_place,
            "p_value": self.p_value,
            "power": self.power,
            "power_against_shift": SMALLEST_LEAK,
            "false_alarm_rate": FALSE_ALARM_RATE,
        }


def audit_leak(split: Split, train: Callable[[Split], Scorer], seed: int = 0) -> LeakAudit:
    """Train on a split whose test part is decoys and test whether the decoys rank too high.

    Under the null hypothesis the place of each decoy is uniform over its alternatives and
    independent of the others, whatever the model, because the draw is independent of everything
    the code may read. Their mean is compared with its normal limit (at least 50 users; ties take
    the middle place, which only lowers the variance), so clean code is flagged with probability
    about `FALSE_ALARM_RATE`. A clean verdict means that no leak was seen with this many users.

    Args:
        split: any split; its own test part is not shown to the code.
        train: trains on a split and returns a scorer.
        seed: public seed of the draw.

    Raises:
        BadExperiment: fewer than 50 users have enough items they have never met.
    """
    users, choices, decoys = _draw(split, np.random.default_rng([seed, 3]))
    planted = build_profiles(
        users,
        decoys,
        np.ones(len(users)),
        n_users=split.test.n_users,
        n_items=split.test.n_items,
    )
    scorer = train(replace(split, test=planted))
    places: list[FloatArray] = []
    for start in range(0, len(users), _BATCH):
        batch = slice(start, start + _BATCH)
        scores = scorer(take_users(split.fold_in, users[batch]))
        own = np.take_along_axis(scores, decoys[batch][:, np.newaxis], axis=1)
        among = np.take_along_axis(scores, choices[batch], axis=1)
        above = np.sum(among > own, axis=1)
        ties = np.sum(among == own, axis=1) - 1  # the decoy ties with itself
        places.append((above + ties / 2.0) / (ALTERNATIVES - 1))
    mean = float(np.mean(np.concatenate(places)))
    z = (mean - 0.5) / math.sqrt(_VARIANCE / len(users))
    return LeakAudit(len(users), mean, 0.5 * math.erfc(-z / math.sqrt(2.0)))


def _draw(split: Split, rng: np.random.Generator) -> tuple[IntArray, IntArray, IntArray]:
    """Draw, for each user, neighbours in popularity that he never met, and a decoy among them."""
    popularity = np.bincount(split.seen.items, minlength=split.seen.n_items)
    ranked = np.argsort(-popularity, kind="stable")
    users: list[int] = []
    choices: list[IntArray] = []
    for user in np.flatnonzero(split.participants).tolist():
        met = np.zeros(split.seen.n_items, dtype=np.bool_)
        for part in (split.seen, split.test):
            met[_items(part, user)] = True
        unmet = ranked[~met[ranked]]
        if len(unmet) >= ALTERNATIVES:
            # Popular neighbourhoods: down in the tail a model may score all items alike.
            start = int(rng.integers(0, max(1, min(len(unmet) // 4, len(unmet) - ALTERNATIVES))))
            users.append(user)
            choices.append(unmet[start : start + ALTERNATIVES].astype(np.int64))
    if len(users) < _FEWEST_USERS:
        raise BadExperiment(
            f"expected at least {_FEWEST_USERS} users with {ALTERNATIVES} items they never met, "
            f"got {len(users)}"
        )
    table = np.stack(choices)
    picked = rng.integers(0, ALTERNATIVES, len(users))
    return np.array(users, dtype=np.int64), table, table[np.arange(len(users)), picked]


def _items(profiles: Profiles, user: int) -> IntArray:
    _, entries = entries_of(profiles, np.array([user], dtype=np.int64))
    return profiles.items[entries]
