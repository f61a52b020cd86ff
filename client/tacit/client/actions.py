"""Next actions: offer, message, wait or hand over, chosen by the installed bandit or by rules.

Guardrails come first: an action they forbid has probability zero, and the propensities of the rest
sum to 1. `wait` can always be chosen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tacit.client.catalogue import Catalogue
from tacit.client.decide import LinearModel
from tacit.client.decide.linear import best_probabilities
from tacit.client.decision import HandOver
from tacit.client.errors import BadEvent
from tacit.client.guardrails.kinds import CHANNELS
from tacit.client.guardrails.masks import Removals
from tacit.client.session_intent import Intent

FloatArray = npt.NDArray[np.float64]

ActionKind = Literal["offer", "message", "wait", "hand_over"]
ActionSource = Literal["model", "rule", "explore", "fallback"]
Strategy = Literal["thompson", "epsilon_greedy"]

LEAST_PROPENSITY = 0.02
"""What every action that is allowed keeps, so that importance weights stay bounded."""


@dataclass(frozen=True, slots=True)
class Action:
    """Something the app could do.

    Attributes:
        name: unique among the actions asked about.
        kind: `offer` and `message` approach the person, `hand_over` brings in another, `wait` does
            nothing.
        channel: how it gets there; None for the surface's own.
        item: the item it is about, or None.
        urgent: it presses for time, which needs a deadline of the item that is true.
    """

    name: str
    kind: ActionKind
    channel: str | None = None
    item: str | None = None
    urgent: bool = False


WAIT = Action("wait", "wait")


@dataclass(frozen=True, slots=True)
class ActionDecision:
    """What `next_action` answers.

    Attributes:
        id: names the decision.
        surface: where it was asked.
        action: what to do.
        source: the bandit, the rules, chance, or nothing left but to wait.
        propensity: probability with which it was chosen, in (0, 1].
        propensities: action name → probability; they sum to 1.
        removed: action name → guardrails that forbid it.
        model_version: of the installed bandit; 0 if rules chose.
        reason: one sentence.
        escalate: set with a hand-over.
    """

    id: str
    surface: str
    action: Action
    source: ActionSource
    propensity: float
    propensities: dict[str, float]
    removed: dict[str, tuple[str, ...]]
    model_version: int
    reason: str
    escalate: HandOver | None


def check_actions(actions: Sequence[Action]) -> tuple[Action, ...]:
    """Return the actions with `wait` among them.

    Raises:
        BadEvent: if there are none, names repeat, or a channel is unknown.
    """
    names = [action.name for action in actions]
    if not actions or len(set(names)) != len(names) or not all(names):
        raise BadEvent("actions: expected at least one, with distinct names")
    unknown = [a.channel for a in actions if a.channel is not None and a.channel not in CHANNELS]
    if unknown:
        raise BadEvent(f"actions: expected channels among {', '.join(CHANNELS)}")
    if any(action.kind == "wait" for action in actions):
        return tuple(actions)
    if WAIT.name in names:
        raise BadEvent("actions: expected the name 'wait' for waiting only")
    return (*actions, WAIT)


def forbidden(
    action: Action, removals: Removals, catalogue: Catalogue, deadline_ms: int, now_ms: int
) -> tuple[str, ...]:
    """Return the guardrails that forbid an action.

    Args:
        action: the action.
        removals: what guardrails removed on the action's channel.
        catalogue: the items.
        deadline_ms: true deadline of its item, 0 for none.
        now_ms: Unix milliseconds.
    """
    if action.kind == "wait":
        return ()
    closed = removals.closed
    if action.kind == "hand_over":
        # Whoever seeks help may be handed over; who opted out of the channel may not.
        return tuple(rule for rule in closed if rule != "always/seeking-help")
    rules = list(closed)
    if action.item is not None:
        index = catalogue.index(action.item)
        if index is None:
            rules.append("always/unknown-item")
        else:
            rules += [rule for rule in removals.rules_of(index) if rule not in closed]
    if action.urgent and deadline_ms <= now_ms:
        rules.append("always/no-deadline")
    return tuple(rules)


def rule_order(actions: Sequence[Action], allowed: Sequence[bool], intent: Intent | None) -> int:
    """Choose by rule: help first, else the app's first allowed approach, else wait.

    Returns:
        The place of the action.
    """
    wanted: tuple[ActionKind, ...] = ("offer", "message", "wait", "hand_over")
    if intent == "seek_help":
        wanted = ("hand_over", "wait")
    elif intent == "compare":
        # Who compares is not interrupted by a message; an offer beside the items may help.
        wanted = ("offer", "wait", "message", "hand_over")
    for kind in wanted:
        for place, action in enumerate(actions):
            if action.kind == kind and allowed[place]:
                return place
    return next(place for place, ok in enumerate(allowed) if ok)


def chances(best: FloatArray, allowed: Sequence[bool], rate: float) -> FloatArray:
    """Mix what is best with even exploration over what is allowed; sums to 1.

    Args:
        best: `(n,)` probabilities of being chosen without exploration, 0 where not allowed.
        allowed: `(n,)`.
        rate: share of exploration, in [0, 1].
    """
    open_ = np.array(allowed, dtype=np.float64)
    return np.asarray((1.0 - rate) * best / best.sum() + rate * open_ / open_.sum())


def thompson(model: LinearModel, features: FloatArray, allowed: Sequence[bool]) -> FloatArray:
    """Return how probable it is that each allowed action is the best of them, `(n,)`.

    Forbidden actions are taken out before the comparison, so what they would have earned plays no
    part.
    """
    places = np.flatnonzero(np.array(allowed))
    among = LinearModel(
        model.coefficients[places],
        model.covariance[places],
        model.means[places],
        model.base_rate[places],
        model.residual_variance[places],
        model.drowned[places],
    )
    probabilities = np.zeros(len(allowed))
    probabilities[places] = best_probabilities(among, features)
    return probabilities


def greedy(model: LinearModel, features: FloatArray, allowed: Sequence[bool]) -> FloatArray:
    """Return 1 for the allowed action with the highest expected reward, `(n,)`."""
    expected = model.coefficients @ features
    best = np.zeros(len(allowed))
    best[int(np.argmax(np.where(allowed, expected, -np.inf)))] = 1.0
    return best


def exploration_rate(strategy: Strategy, count: int, rate: float) -> float:
    """Return the even share: the rate asked for, or Thompson's floor for each action."""
    return rate if strategy == "epsilon_greedy" else min(LEAST_PROPENSITY * count, 1.0)


def draw(probabilities: FloatArray, uniform: float) -> int:
    """Choose a place by inverting the distribution function; never one of probability 0."""
    place = int(np.searchsorted(np.cumsum(probabilities), uniform, side="right"))
    possible = np.flatnonzero(probabilities > 0.0)
    if place >= len(probabilities) or probabilities[place] <= 0.0:
        place = int(possible[-1])
    if not math.isclose(float(probabilities.sum()), 1.0, abs_tol=1e-9):
        raise BadEvent("expected probabilities that sum to 1")
    return place
