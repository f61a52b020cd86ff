"""What every learner hands back, whatever it is: a scorer and what may be said about privacy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tacit.client.statistics import Profiles
from tacit.privacy.trust import CENTRAL, EXCLUSIONS

FloatArray = npt.NDArray[np.float64]

Scorer = Callable[[Profiles], FloatArray]
"""Scores of all items for a batch of local histories: `(n_users, n_items)`, higher is better.

It must be a function of each user's own row and of released arrays alone: the score of a user may
not depend on who else is in the batch.
"""

OnProgress = Callable[[float], None]
"""Called with the share of a piece of work that is done, rising from 0 to 1."""

Unit = Literal["user", "interaction"]

EVALUATION = "the evaluation, which a deployment cannot do"
"""What no guarantee of an experiment covers, beside what none of its level does."""


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """Say how a learner is to be trained.

    Attributes:
        epsilon: total budget of the learner's main guarantee, above zero; infinity trains without
            noise and claims nothing.
        delta: target delta, in (0, 1 / training users).
        rounds: number of rounds (or epochs); `None` applies the learner's own rule.
        trust_level: level of the trust ladder; `consent-only` goes with an infinite epsilon.
    """

    epsilon: float
    delta: float
    rounds: int | None = None
    trust_level: str = CENTRAL


@dataclass(frozen=True, slots=True)
class Guarantee:
    """Say what is guaranteed, with all that any shown epsilon must carry.

    Attributes:
        unit: whose participation is protected: a user's whole one, or a single interaction.
        epsilon: what was spent, by the accountant.
        delta: target delta.
        neighboring_relation: what neighbouring data sets differ by, for example "add_remove".
        trust: level of the trust ladder it holds at, for example "central".
        participation: in how many releases one unit may be, for example "full".
        sampling: amplification that is claimed: "none", or what draw was really made.
        noise_multipliers: one per release, noise over sensitivity.
        rounds: number of releases that compose, all of which every unit is charged for.
        accountant: name and version.
        exclusions: what it does not cover.
    """

    unit: Unit
    epsilon: float
    delta: float
    neighboring_relation: str
    trust: str
    participation: str
    sampling: str
    noise_multipliers: tuple[float, ...]
    rounds: int
    accountant: str
    exclusions: tuple[str, ...] = (*EXCLUSIONS, EVALUATION)

    def to_json(self) -> dict[str, Any]:
        """Return the guarantee as the JSON report shows it."""
        return asdict(self) | {
            "noise_multipliers": list(self.noise_multipliers),
            "exclusions": list(self.exclusions),
            "trust_level": self.trust,
            "participation_bound": self.rounds,
        }


@dataclass(frozen=True, slots=True)
class Trained:
    """Hold a trained model.

    Attributes:
        learner: name and version, for example "spectral/1".
        scorer: ranks for any local history, also of users who did not take part.
        guarantees: every guarantee that holds, strongest unit first; empty without noise.
        payload_bytes: bytes one device sends in each round.
        notes: plain sentences a reader of the result needs, for example that noise drowned the
            signal and the model is popularity.
    """

    learner: str
    scorer: Scorer
    guarantees: tuple[Guarantee, ...]
    payload_bytes: tuple[int, ...]
    notes: tuple[str, ...] = ()
