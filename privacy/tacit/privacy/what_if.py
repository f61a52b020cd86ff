"""What-if: epsilon, noise multiplier and rounds from one another, and what a cap would have left.

Nothing here spends: these are the formulas of `accounting`, read in each direction. All releases
of a task have the same noise multiplier here; a real task may share its budget unevenly, which
changes z per round and not epsilon.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tacit.privacy._parameters import open_unit, positive_integer, positive_real
from tacit.privacy.accounting import calibrate, epsilon_bound
from tacit.privacy.accounting_claim import round_down, round_up
from tacit.privacy.accounting_closed_form import LATTICE, epsilon_lower, largest_mu
from tacit.privacy.errors import BadParameter
from tacit.privacy.gaussian_event import MAX_NOISE_MULTIPLIER, GaussianEvent

MAX_ROUNDS = 10_000
"""Most rounds a task manifest may have."""

_LARGEST_EPSILON = 1e12  # beyond, six decimals no longer exist in a float, and nothing is private
_MARGIN = 2e-6  # figures are stated in millionths, rounded up


@dataclass(frozen=True, slots=True)
class Plan:
    """A task's three numbers, consistent with each other.

    Attributes:
        epsilon: Certified upper bound of all rounds together, rounded up to 6 decimals.
        epsilon_lower: No correct analysis of these rounds gives less, rounded down.
        noise_multiplier: z of every round, sigma over the l2 sensitivity.
        rounds: Number of rounds, every user in every one.
        target_delta: delta of both figures.
        solved_for: Which of the three the others gave.
    """

    epsilon: float
    epsilon_lower: float
    noise_multiplier: float
    rounds: int
    target_delta: float
    solved_for: str

    @property
    def event(self) -> GaussianEvent:
        """Return the plan as one event."""
        return GaussianEvent(self.noise_multiplier, self.rounds)


def check_delta(target_delta: float, n_users: int | None = None) -> float:
    """Return a delta in (0, 1) that lies below one over the number of users, if that is known.

    Raises:
        BadParameter: It does not, or a parameter is of the wrong type or out of range.
    """
    delta = open_unit("delta", target_delta)
    if n_users is not None and delta * positive_integer("users", n_users) >= 1.0:
        raise BadParameter(f"delta: expected below 1/{n_users}, one over the users, got {delta!r}")
    return delta


def solve(
    target_delta: float,
    *,
    epsilon: float | None = None,
    noise_multiplier: float | None = None,
    rounds: int | None = None,
    n_users: int | None = None,
) -> Plan:
    """Find the third of epsilon, noise multiplier and rounds from the other two.

    The noise multiplier found is the smallest whose epsilon stays within what was asked, the
    number of rounds the largest; the epsilon in the answer is always recomputed from these two.

    Raises:
        BadParameter: Not exactly two are given, one is out of range, delta is not below
            1 / n_users, or no value of the third satisfies the other two.
    """
    delta = check_delta(target_delta, n_users)
    if [epsilon, noise_multiplier, rounds].count(None) != 1:
        raise BadParameter("expected exactly two of epsilon, noise multiplier and rounds")
    if rounds is not None:
        rounds = positive_integer("rounds", rounds, maximum=MAX_ROUNDS)
    if epsilon is not None:
        epsilon = positive_real("epsilon", epsilon, maximum=_LARGEST_EPSILON)
    if noise_multiplier is not None:
        noise_multiplier = GaussianEvent(noise_multiplier).noise_multiplier
    if noise_multiplier is None:
        count = rounds or 1
        z = calibrate(epsilon or 0.0, delta, [1.0 / count] * count)[0]
        return _plan(z, count, delta, "noise_multiplier")
    if rounds is None:
        count = _most_rounds(noise_multiplier, epsilon or 0.0, delta)
        return _plan(noise_multiplier, count, delta, "rounds")
    return _plan(noise_multiplier, rounds, delta, "epsilon")


def room(spent: Sequence[GaussianEvent], cap_epsilon: float, target_delta: float) -> float:
    """Return the largest epsilon that one further release may have and the cap still admits.

    By composition: with mu^2 adding up, what is left is ``mu(cap)^2 - mu(spent)^2``, which is more
    than the cap less the epsilon spent. The figure is rounded down to 6 decimals; 0 where nothing
    is left.

    Raises:
        BadParameter: The cap or delta is out of range.
    """
    cap, delta = positive_real("cap_epsilon", cap_epsilon), open_unit("delta", target_delta)
    if cap <= 2.0 * _MARGIN or any(event.noise_multiplier**2 <= LATTICE for event in spent):
        return 0.0
    releases = 1 + sum(event.count for event in spent)
    used = math.fsum(event.count / (event.noise_multiplier**2 - LATTICE) for event in spent)
    left = largest_mu(cap - _MARGIN, delta, releases) ** 2 * (1.0 - 1e-12) - used
    if left <= 1.0 / MAX_NOISE_MULTIPLIER**2:
        return 0.0
    z = min(math.sqrt(1.0 / left + LATTICE), MAX_NOISE_MULTIPLIER)
    return round_down(epsilon_bound([GaussianEvent(z)], delta))


def _plan(z: float, rounds: int, delta: float, solved_for: str) -> Plan:
    events = [GaussianEvent(z, rounds)]
    return Plan(
        epsilon=round_up(epsilon_bound(events, delta)),
        epsilon_lower=round_down(epsilon_lower(events, delta)),
        noise_multiplier=z,
        rounds=rounds,
        target_delta=delta,
        solved_for=solved_for,
    )


def _most_rounds(z: float, epsilon: float, delta: float) -> int:
    """Return the most rounds that stay within epsilon, by bisection: epsilon grows with rounds."""

    def fits(count: int) -> bool:
        return round_up(epsilon_bound([GaussianEvent(z, count)], delta)) <= epsilon

    if not fits(1):
        least = round_up(epsilon_bound([GaussianEvent(z)], delta))
        raise BadParameter(
            f"epsilon: expected at least {least!r}, what one round costs at noise multiplier {z!r}"
            f" and delta {delta!r}, got {epsilon!r}"
        )
    low, high = 1, MAX_ROUNDS + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
