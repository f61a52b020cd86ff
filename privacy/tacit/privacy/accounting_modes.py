"""Say who takes part in what: the three participation modes, and the trust level, as events.

| mode | assumes | events charged |
|---|---|---|
| `full` | nothing | every release, to everybody |
| `bounded` | devices refuse more than k releases | the k releases that cost most |
| `poisson` | each device is drawn by independent coins that nobody can steer | sampled releases |

Amplification by sampling holds only where the draw really is Poisson and can be verified; that is
why a sampled release is another type, which no budget document can carry.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tacit.privacy._parameters import positive_integer, positive_real
from tacit.privacy.errors import BadParameter
from tacit.privacy.gaussian_event import GaussianEvent

LOCAL_SENSITIVITY = 2.0
"""At level `local` a contribution is replaced, not added: two of norm C differ by up to 2C."""


@dataclass(frozen=True, slots=True)
class PoissonEvent:
    """`count` releases over cohorts that each hold every user with probability q, independently.

    Attributes:
        noise_multiplier: z, as in `GaussianEvent`.
        sampling_probability: q, in (0, 1].
        count: Releases of this kind, each with fresh coins.

    Raises:
        BadParameter: A field is of the wrong type or out of range.
    """

    noise_multiplier: float
    sampling_probability: float
    count: int = 1

    def __post_init__(self) -> None:
        checked = GaussianEvent(self.noise_multiplier, self.count)
        q = positive_real("sampling_probability", self.sampling_probability, maximum=1.0)
        object.__setattr__(self, "noise_multiplier", checked.noise_multiplier)
        object.__setattr__(self, "count", checked.count)
        object.__setattr__(self, "sampling_probability", q)

    def to_json(self) -> dict[str, str | int]:
        """Return the event as canonical JSON fields; reals are their shortest exact decimals."""
        return {
            "mechanism": "discrete_gaussian",
            "sampling": "poisson",
            "sampling_probability": repr(self.sampling_probability),
            "noise_multiplier": repr(self.noise_multiplier),
            "count": self.count,
        }


Event = GaussianEvent | PoissonEvent


def participation_bounded(events: Sequence[GaussianEvent], bound: int) -> tuple[GaussianEvent, ...]:
    """Return the `bound` releases with least noise: what one user can be in at most.

    Guarantee: a user who is in at most `bound` of the releases, whichever and however chosen as
    the releases go, loses at most what these compose to (the releases it is in form a Gaussian
    filter with this mu: Smith, Thakurta 2022, arXiv:2210.17520; the others do not depend on it).
    Assumes that every device enforces the bound, on itself or under a witness.

    Raises:
        BadParameter: `bound` is no positive integer.
    """
    left = positive_integer("participation bound", bound)
    heap = [(event.noise_multiplier, place) for place, event in enumerate(events)]
    heapq.heapify(heap)
    charged: list[GaussianEvent] = []
    while heap and left:
        _, place = heapq.heappop(heap)
        taken = min(events[place].count, left)
        charged.append(replace(events[place], count=taken))
        left -= taken
    return tuple(charged)


def locally_noised(events: Sequence[GaussianEvent]) -> tuple[GaussianEvent, ...]:
    """Return what events whose noise is drawn on the device itself cost against everyone.

    The neighbouring relation is replacement of the contribution, so its sensitivity is 2C. An event
    of level `local` states its noise multiplier against that already and stays as it is; where an
    event states it against C, it counts half.

    Raises:
        BadParameter: Half of a noise multiplier is out of range.
    """
    return tuple(
        event
        if event.trust_level == "local"
        else GaussianEvent(event.noise_multiplier / LOCAL_SENSITIVITY, event.count)
        for event in events
    )


def fully_participating(events: Sequence[Event]) -> list[GaussianEvent]:
    """Return the events if none of them is sampled.

    Raises:
        BadParameter: One is, which this accountant does not take.
    """
    full = [event for event in events if isinstance(event, GaussianEvent)]
    if len(full) != len(events):
        raise BadParameter("events: expected full participation, got a sampled release")
    return full
