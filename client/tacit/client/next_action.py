"""Choose a next action from the moment, the installed bandit and the guardrails; keep a record."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tacit.client.actions import (
    Action,
    ActionDecision,
    ActionSource,
    Strategy,
    chances,
    check_actions,
    draw,
    exploration_rate,
    forbidden,
    greedy,
    rule_order,
    thompson,
)
from tacit.client.catalogue import Catalogue
from tacit.client.decide import DecideError, LinearModel
from tacit.client.decision import HandOver
from tacit.client.guardrails.document import GuardrailPolicy
from tacit.client.guardrails.kinds import OUTBOUND
from tacit.client.guardrails.situation import channel_of
from tacit.client.moment import Moment
from tacit.client.predictions import TargetModel
from tacit.client.slate import Exploration
from tacit.client.sources import Sources
from tacit.client.statistics import HISTORY_SIGNALS
from tacit.client.statistics.targets import bandit
from tacit.client.timeline import permitted_history
from tacit.privacy.arrays import unpack_arrays
from tacit.privacy.errors import PrivacyError

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Choice:
    probabilities: FloatArray
    greedy: int
    source: ActionSource
    version: int


class NextAction:
    """Choose actions for one store; see `Personalizer.next_action`."""

    def __init__(self, sources: Sources) -> None:
        self._events = sources.events
        self._releases = sources.releases
        self._journal = sources.journal
        self._moments = sources.moments
        self._max_model_bytes = sources.max_model_bytes
        self._uniforms = sources.uniforms

    def choose(
        self,
        catalogue: Catalogue,
        policy: GuardrailPolicy,
        permitted: Collection[str],
        surface: str,
        actions: Sequence[Action],
        now_ms: int,
        *,
        strategy: Strategy,
        exploration: Exploration | None,
        hand_over: Callable[[str], HandOver],
    ) -> ActionDecision:
        """Choose one action and write the record.

        Raises:
            BadEvent: if the actions cannot be used.
        """
        known = check_actions(actions)
        removed = self._removed(catalogue, policy, permitted, surface, known, now_ms)
        allowed = [not removed.get(action.name) for action in known]
        features = self._moments.features(catalogue, permitted, now_ms, policy)
        choice = self._by_bandit(permitted, len(actions), allowed, now_ms, strategy, exploration)
        if choice is None:
            first = rule_order(known, allowed, features.intent)
            best = np.zeros(len(known))
            best[first] = 1.0
            # Exploring would put an offer before somebody who looks for help.
            rate = (
                0.0 if exploration is None or features.intent == "seek_help" else exploration.rate
            )
            source: ActionSource = "rule" if sum(allowed) > 1 else "fallback"
            choice = _Choice(chances(best, allowed, rate), first, source, 0)
        place = draw(choice.probabilities, float(self._uniforms(1)[0]))
        chosen = known[place]
        decision = ActionDecision(
            id=os.urandom(8).hex(),
            surface=surface,
            action=chosen,
            source=choice.source if choice.version or place == choice.greedy else "explore",
            propensity=float(choice.probabilities[place]),
            propensities={
                action.name: float(chance)
                for action, chance in zip(known, choice.probabilities, strict=True)
            },
            removed={name: rules for name, rules in removed.items() if rules},
            model_version=choice.version,
            reason=_reason(choice, features.intent_why),
            escalate=hand_over(f"chosen: {chosen.name}") if chosen.kind == "hand_over" else None,
        )
        self._record(decision, place if place < len(actions) else None, now_ms)
        return decision

    def _record(self, decision: ActionDecision, place: int | None, now_ms: int) -> None:
        chosen = decision.action
        channel = chosen.channel or channel_of(decision.surface)
        approaches = chosen.kind in ("offer", "message")
        self._journal.append(
            "decision",
            decision.id,
            now_ms,
            surface=decision.surface,
            action=chosen.name,
            place=place,
            propensity=decision.propensity,
            version=decision.model_version,
            items=[] if chosen.item is None else [chosen.item],
            message=channel if approaches and channel in OUTBOUND else None,
        )

    def _removed(
        self,
        catalogue: Catalogue,
        policy: GuardrailPolicy,
        permitted: Collection[str],
        surface: str,
        actions: Sequence[Action],
        now_ms: int,
    ) -> dict[str, tuple[str, ...]]:
        moments: dict[str, Moment] = {}
        removed: dict[str, tuple[str, ...]] = {}
        for action in actions:
            place = surface if action.channel is None else f"{action.channel}/{surface}"
            if place not in moments:
                moments[place] = self._moments.now(catalogue, policy, permitted, place, now_ms)
            moment = moments[place]
            deadline = self._moments.inventory.urgent_until_ms.get(action.item or "", 0)
            # A rule that names the surface holds on it whatever the channel.
            here = replace(moment.situation, surface=surface)
            rules = forbidden(action, moment.guardrails.apply(here), catalogue, deadline, now_ms)
            removed[action.name] = rules
        return removed

    def _by_bandit(
        self,
        permitted: Collection[str],
        n_actions: int,
        allowed: Sequence[bool],
        now_ms: int,
        strategy: Strategy,
        exploration: Exploration | None,
    ) -> _Choice | None:
        """Let the installed bandit choose among what it knows; None if it cannot."""
        release = self._releases.get("bandit")
        if release is None or not any(allowed[:n_actions]):
            return None
        try:
            arrays = unpack_arrays(release.model_blob, self._max_model_bytes)
            model: LinearModel = TargetModel.from_arrays("bandit", arrays).linear
        except (PrivacyError, DecideError):
            # It was checked when it was installed, by a client of another version than this one.
            return None
        if model.n_blocks != n_actions:
            return None
        histories = permitted_history(self._events, permitted, HISTORY_SIGNALS, linked=True)
        features = bandit.features(histories, np.array([now_ms], dtype=np.int64))[0]
        asked = list(allowed[:n_actions])
        best = (thompson if strategy == "thompson" else greedy)(model, features, asked)
        rate = 0.0 if exploration is None else exploration.rate
        known = chances(best, asked, exploration_rate(strategy, sum(asked), rate))
        # A `wait` that was added has no regression of its own, so the bandit does not choose it.
        padded = np.concatenate([known, np.zeros(len(allowed) - n_actions)])
        return _Choice(padded, int(np.argmax(best)), "model", release.manifest.version)


def _reason(choice: _Choice, intent_why: str) -> str:
    if choice.source == "model":
        return "Most likely to be of use in this context, by the installed model."
    if choice.source == "fallback":
        return "Nothing else is allowed right now."
    return f"By rule: {intent_why}."
