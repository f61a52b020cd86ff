"""Guardrails compiled for one catalogue: from a situation to a mask, with who removed what."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.client.catalogue import Catalogue
from tacit.client.categories import CategoryIndex
from tacit.client.guardrails.document import GuardrailPolicy, Limit, Rule
from tacit.client.guardrails.kinds import CHANNELS, OUTBOUND, PERSON
from tacit.client.guardrails.situation import Situation, no_items

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

HOUR_MS = 3_600_000
ONE_CHANNEL_MS = 4 * HOUR_MS
"""How long a message on one channel that interrupts keeps the others silent."""

HELP_SURFACE = "help"
"""Surfaces of this name, or below it (`help/returns`), stay open to who seeks help."""

_Removed = IntArray | None  # None: every item
_Check = Callable[[Situation], _Removed]


@dataclass(frozen=True, slots=True)
class Removals:
    """What guardrails removed.

    Attributes:
        mask: `(n_items,)` True where an item must not be shown.
        by_rule: rule id → the items it removed, None for every item; only rules that removed some.
    """

    mask: BoolArray
    by_rule: Mapping[str, IntArray | None]

    @property
    def closed(self) -> tuple[str, ...]:
        """Rules that closed the whole surface."""
        return tuple(rule for rule, items in self.by_rule.items() if items is None)

    def rules_of(self, item: int) -> tuple[str, ...]:
        """Return the ids of the rules that removed one item."""
        return tuple(
            rule
            for rule, items in self.by_rule.items()
            if items is None or bool(np.any(items == item))
        )


class Guardrails:
    """A policy compiled for a catalogue.

    What does not depend on the moment (which items a category rule names) is worked out once.
    """

    def __init__(
        self, policy: GuardrailPolicy, catalogue: Catalogue, categories: CategoryIndex
    ) -> None:
        self.policy = policy
        self._n_items = len(catalogue)
        self._catalogue = catalogue
        self._categories = categories
        self._checks = [(rule, self._compile(rule)) for rule in policy.rules]
        sensitive = [rule for rule in policy.rules if rule.kind == "sensitive_inference"]
        self._sensitive = sensitive

    def apply(self, now: Situation) -> Removals:
        """Work out what must not be shown in a situation.

        Guarantee: an item any rule forbids is masked; nothing unmasks it. A person's own word
        comes first: rules of `ALWAYS` hold whatever the policy says.
        """
        removed: dict[str, _Removed] = {}
        self._apply_always(now, removed)
        for rule, check in self._checks:
            if rule.holds(now.surface, now.channel):
                items = check(now)
                if items is None or len(items):
                    removed[rule.id] = items
        mask = np.zeros(self._n_items, dtype=np.bool_)
        for items in removed.values():
            mask[... if items is None else items] = True
        return Removals(mask, removed)

    def no_evidence(self, now: Situation) -> IntArray:
        """Return the items from which nothing may be inferred on this surface, increasing."""
        barred = [
            self._sensitive_items(rule, now)
            for rule in self._sensitive
            if rule.holds(now.surface, now.channel)
        ]
        return np.unique(np.concatenate(barred)) if barred else no_items()

    def _apply_always(self, now: Situation, removed: dict[str, _Removed]) -> None:
        if now.channel in now.opted_out:
            removed["always/opted-out"] = None
        if now.seeking_help and now.surface.partition("/")[0] != HELP_SURFACE:
            removed["always/seeking-help"] = None
        others = [channel for channel in OUTBOUND if channel != now.channel]
        if now.channel in OUTBOUND and _last_ms(others, now) > now.now_ms - ONE_CHANNEL_MS:
            removed["always/one-channel"] = None
        disliked = now.disliked
        if now.disliked_categories:
            members = self._categories.members(now.disliked_categories)
            disliked = np.union1d(disliked, members)
        for rule, items in (
            ("always/disliked", disliked),
            ("always/excluded", now.excluded),
            ("always/filtered", now.filtered),
        ):
            if len(items):
                removed[rule] = items

    def _compile(self, rule: Rule) -> _Check:
        compiled: dict[str, Callable[[Rule], _Check]] = {
            "already_owned": self._owned,
            "exclude": self._exclude,
            "only_categories": self._only,
        }
        if rule.kind in compiled:
            return compiled[rule.kind](rule)
        by_moment: dict[str, Callable[[Rule, Situation], _Removed]] = {
            "out_of_stock": lambda _, now: now.out_of_stock,
            "shown_too_often": _shown_too_often,
            "quiet_hours": _quiet,
            "trigger_delay": _too_soon,
            "channel_cap": _capped,
            "sensitive_inference": self._sensitive_items,
            "broad_first": self._broad_first,
            "no_false_urgency": _falsely_urgent,
        }
        check = by_moment[rule.kind]
        return lambda now: check(rule, now)

    def _owned(self, rule: Rule) -> _Check:
        again = self._categories.members(rule.again_categories)
        return lambda now: np.setdiff1d(now.owned, again)

    def _exclude(self, rule: Rule) -> _Check:
        named = [index for item in rule.items if (index := self._catalogue.index(item)) is not None]
        barred = np.union1d(
            np.array(named, dtype=np.int64), self._categories.members(rule.categories)
        )
        return lambda now: barred

    def _only(self, rule: Rule) -> _Check:
        barred = np.setdiff1d(np.arange(self._n_items), self._categories.members(rule.categories))
        return lambda now: barred

    def _sensitive_items(self, rule: Rule, now: Situation) -> IntArray:
        lifted = now.stated_categories if rule.unless_stated else frozenset[str]()
        return self._categories.members(set(rule.categories) - lifted)

    def _broad_first(self, rule: Rule, now: Situation) -> IntArray:
        met = np.setdiff1d(now.behaved, now.owned)
        shown = now.shown[now.shown_at_ms > now.now_ms - rule.within_hours * HOUR_MS]
        starts = self._categories.item_starts
        counts = np.zeros(len(self._categories.numbers), dtype=np.int64)
        for item in shown:
            counts[self._categories.of_items[starts[item] : starts[item + 1]]] += 1
        held: list[int] = []
        for item in met:
            own = int(np.sum(shown == item))
            around = counts[self._categories.of(int(item))] - own
            if len(around) == 0 or int(around.max()) < rule.times:
                held.append(int(item))
        return np.array(held, dtype=np.int64)


def _last_ms(channels: list[str], now: Situation) -> int:
    """Return when a message last went out on one of some channels; far in the past for never."""
    sent = [now.messages_ms[c] for c in channels if c in now.messages_ms]
    return max((int(times.max()) for times in sent if len(times)), default=-(2**62))


def _shown_too_often(rule: Rule, now: Situation) -> IntArray:
    recent = now.shown[now.shown_at_ms > now.now_ms - rule.within_hours * HOUR_MS]
    items, counts = np.unique(recent, return_counts=True)
    return items[counts >= rule.times]


def _too_soon(rule: Rule, now: Situation) -> IntArray:
    return now.behaved[now.behaved_at_ms > now.now_ms - rule.hours * HOUR_MS]


def _falsely_urgent(_: Rule, now: Situation) -> IntArray:
    return now.urgent[now.urgent_until_ms <= now.now_ms]


def _quiet(rule: Rule, now: Situation) -> _Removed:
    minute = local_minute(rule.time_zone, now.time_zone, now.now_ms)
    # Whose hour it is cannot be told without a zone; then it counts as night.
    if minute is None or _within(minute, rule.from_minute, rule.to_minute):
        return None
    return no_items()


def local_minute(zone: str, person: str | None, now_ms: int) -> int | None:
    """Return the minute of the local day, or None where the zone is not known."""
    name = person if zone == PERSON else zone
    if name is None:
        return None
    try:
        place = zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None
    local = datetime.datetime.fromtimestamp(now_ms / 1000, place)
    return local.hour * 60 + local.minute


def _within(minute: int, first: int, end: int) -> bool:
    return first <= minute < end if first < end else minute >= first or minute < end


def _capped(rule: Rule, now: Situation) -> _Removed:
    reached = [_sent(limit, now) >= limit.times for limit in rule.limits]
    capped = any(reached) if rule.capped_when == "any_reached" else all(reached)
    return None if capped else no_items()


def _sent(limit: Limit, now: Situation) -> int:
    since_ms = now.now_ms - limit.within_hours * HOUR_MS
    return sum(
        int(np.sum(now.messages_ms[channel] > since_ms))
        for channel in limit.channels or CHANNELS
        if channel in now.messages_ms
    )
