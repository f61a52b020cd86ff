"""Guardrails hold: random policies and moments, slates checked by an oracle written differently.

The oracle knows neither masks nor index arrays nor the parsed policy: it reads the JSON document
and asks of one item at a time whether a rule forbids it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tacit.client import Catalogue
from tacit.client.categories import CategoryIndex
from tacit.client.guardrails import CHANNELS, GuardrailPolicy, Guardrails, Situation, channel_of
from tacit.client.slate import Exploration, fill

HOUR, DAY = 3_600_000, 86_400_000
NOW = 1_800_000_000_000
CATEGORIES = ["kitchen", "garden", "study", "baby", "wine"]
OFFSETS = {"UTC": 0, "Asia/Kolkata": 330, "Asia/Tokyo": 540, "Etc/GMT+5": -300}
SURFACES = ["home", "cart", "push", "push/cart", "email/weekly", "sms", "web", "help/returns"]
KINDS = [
    "out_of_stock", "already_owned", "shown_too_often", "quiet_hours", "trigger_delay",
    "channel_cap", "sensitive_inference", "broad_first", "no_false_urgency", "exclude",
    "only_categories",
]  # fmt: skip


# --- a random world: the policy as JSON, and what happened, in plain words


def random_rule(rng: random.Random, number: int) -> dict[str, Any]:
    kind = rng.choice(KINDS)
    rule: dict[str, Any] = {"id": f"r{number}", "rule": kind}
    if rng.random() < 0.3:
        rule["surfaces"] = rng.sample(SURFACES, rng.randint(1, 4))
    if rng.random() < 0.3:
        rule["channels"] = rng.sample(CHANNELS, rng.randint(1, 3))
    some = rng.sample(CATEGORIES, rng.randint(1, 2))
    if kind == "already_owned" and rng.random() < 0.5:
        rule["again_categories"] = some
    if kind in ("shown_too_often", "broad_first"):
        rule |= {"times": rng.randint(1, 3), "within_hours": rng.choice([1, 24, 168])}
    if kind == "quiet_hours":
        rule |= {"from_minute": rng.randrange(1440), "to_minute": rng.randrange(1440)}
        rule["time_zone"] = rng.choice([*OFFSETS, "person"])
    if kind == "trigger_delay":
        rule["hours"] = rng.choice([1, 24, 72])
    if kind == "channel_cap":
        rule["capped_when"] = rng.choice(["any_reached", "all_reached"])
        rule["limits"] = [random_limit(rng) for _ in range(rng.randint(1, 3))]
    if kind == "sensitive_inference":
        rule |= {"categories": some, "unless_stated": rng.random() < 0.5}
    if kind == "only_categories":
        rule["categories"] = rng.sample(CATEGORIES, 4)
    if kind == "exclude":
        rule |= {"items": [f"i{rng.randrange(12)}"], "categories": some[:1]}
    return rule


def random_limit(rng: random.Random) -> dict[str, Any]:
    limit: dict[str, Any] = {"times": rng.randint(1, 2), "within_hours": rng.choice([1, 24, 168])}
    if rng.random() < 0.6:
        limit["channels"] = rng.sample(CHANNELS, rng.randint(1, 3))
    return limit


def random_policy(rng: random.Random) -> dict[str, Any]:
    rules = [random_rule(rng, number) for number in range(rng.randint(1, 6))]
    return {
        "type": "tacit.guardrails/1", "app": "a", "version": 1, "issued_at_ms": 0, "rules": rules,
    }  # fmt: skip


def random_world(rng: random.Random) -> dict[str, Any]:
    items = range(12)

    def some(chance: float) -> set[int]:
        return {i for i in items if rng.random() < chance}

    def ago() -> int:
        # Round hours, so that windows are met at their very edge as well.
        return NOW - rng.choice([0, 1, 24, 72, 168, 200]) * HOUR + rng.choice([-1, 0, 1])

    surface = rng.choice(SURFACES)
    return {
        "now": NOW + rng.randrange(DAY),
        "surface": surface,
        "zone": rng.choice([None, *OFFSETS]),
        "opted_out": set(rng.sample(CHANNELS, rng.randint(0, 1))),
        "help": rng.random() < 0.1,
        "out_of_stock": some(0.1),
        "owned": some(0.1),
        "behaved": {i: ago() for i in some(0.3)},
        "shown": [(rng.randrange(12), ago()) for _ in range(rng.randint(0, 12))],
        "messages": [(rng.choice(CHANNELS), ago()) for _ in range(rng.randint(0, 8))],
        "urgent": {i: rng.choice([0, NOW - 1, NOW + 2 * DAY]) for i in some(0.1)},
        "disliked": some(0.05),
        "disliked_categories": set(rng.sample(CATEGORIES, rng.choice([0, 0, 1]))),
        "stated": set(rng.sample(CATEGORIES, rng.randint(0, 2))),
        "excluded": some(0.05),
        "filtered": some(0.1),
    }


# --- the oracle


def forbidding(
    policy: dict[str, Any], world: dict[str, Any], has: list[set[str]]
) -> list[set[str]]:
    """Return, for each item, the ids of everything that forbids it."""
    told: list[set[str]] = []
    head = world["surface"].split("/")[0]
    channel = head if head in ("in_app", "web", "push", "email", "sms") else "in_app"
    for item, categories in enumerate(has):
        why: set[str] = set()
        if channel in world["opted_out"]:
            why.add("always/opted-out")
        if world["help"] and not world["surface"].startswith("help"):
            why.add("always/seeking-help")
        if channel in ("push", "email", "sms") and any(
            c in ("push", "email", "sms") and c != channel and at > world["now"] - 4 * HOUR
            for c, at in world["messages"]
        ):
            why.add("always/one-channel")
        if item in world["disliked"] or categories & world["disliked_categories"]:
            why.add("always/disliked")
        if item in world["excluded"]:
            why.add("always/excluded")
        if item in world["filtered"]:
            why.add("always/filtered")
        for rule in policy["rules"]:
            if world["surface"] not in rule.get("surfaces", [world["surface"]]):
                continue
            if channel not in rule.get("channels", [channel]):
                continue
            if breaks(rule, item, categories, world, has):
                why.add(rule["id"])
        told.append(why)
    return told


def breaks(
    rule: dict[str, Any],
    item: int,
    categories: set[str],
    world: dict[str, Any],
    has: list[set[str]],
) -> bool:
    now: int = world["now"]
    kind: str = rule["rule"]
    since = now - rule.get("within_hours", 0) * HOUR
    if kind == "out_of_stock":
        return bool(item in world["out_of_stock"])
    if kind == "already_owned":
        owned: bool = item in world["owned"]
        return owned and categories.isdisjoint(rule.get("again_categories", []))
    if kind == "shown_too_often":
        return bool(sum(i == item and at > since for i, at in world["shown"]) >= rule["times"])
    if kind == "quiet_hours":
        zone = world["zone"] if rule["time_zone"] == "person" else rule["time_zone"]
        if zone is None:
            return True
        minute = (now // 60_000 + OFFSETS[zone]) % 1440
        first, end = rule["from_minute"], rule["to_minute"]
        # Walk the quiet minutes instead of comparing bounds; equal bounds are a whole day.
        walk = {(first + n) % 1440 for n in range((end - first) % 1440 or 1440)}
        return minute in walk
    if kind == "trigger_delay":
        return item in world["behaved"] and now - world["behaved"][item] < rule["hours"] * HOUR
    if kind == "channel_cap":
        reached = 0
        for limit in rule["limits"]:
            count = 0
            for channel, at in world["messages"]:
                if channel in limit.get("channels", CHANNELS):
                    count += now - at < limit["within_hours"] * HOUR
            reached += count >= limit["times"]
        return reached >= (1 if rule["capped_when"] == "any_reached" else len(rule["limits"]))
    if kind == "sensitive_inference":
        lifted: set[str] = world["stated"] if rule["unless_stated"] else set()
        return any(c in rule["categories"] and c not in lifted for c in categories)
    if kind == "broad_first":
        if item not in world["behaved"] or item in world["owned"]:
            return False
        for category in categories:
            others = sum(
                1 for i, at in world["shown"] if i != item and category in has[i] and at > since
            )
            if others >= rule["times"]:
                return False
        return True
    if kind == "no_false_urgency":
        return item in world["urgent"] and world["urgent"][item] <= now
    if kind == "exclude":
        return f"i{item}" in rule["items"] or bool(categories & set(rule["categories"]))
    return not categories & set(rule["categories"])


# --- the code under test


def situation(world: dict[str, Any]) -> Situation:
    def array(values: Any) -> Any:
        return np.array(list(values), dtype=np.int64)

    channels = {channel for channel, _ in world["messages"]}
    return Situation(
        now_ms=world["now"],
        surface=world["surface"],
        channel=channel_of(world["surface"]),
        time_zone=world["zone"],
        opted_out=frozenset(world["opted_out"]),
        seeking_help=world["help"],
        out_of_stock=array(world["out_of_stock"]),
        owned=array(world["owned"]),
        behaved=array(world["behaved"]),
        behaved_at_ms=array(world["behaved"].values()),
        shown=array(i for i, _ in world["shown"]),
        shown_at_ms=array(at for _, at in world["shown"]),
        messages_ms={c: array(at for one, at in world["messages"] if one == c) for c in channels},
        urgent=array(world["urgent"]),
        urgent_until_ms=array(world["urgent"].values()),
        disliked=array(world["disliked"]),
        disliked_categories=frozenset(world["disliked_categories"]),
        stated_categories=frozenset(world["stated"]),
        excluded=array(world["excluded"]),
        filtered=array(world["filtered"]),
    )


def decisions(
    count: int, seed: int, without: str
) -> Iterator[tuple[set[int], list[set[str]], Any]]:
    """Make random decisions; yield the slate, the oracle's verdict on each item, and removals.

    Five decisions a moment, twenty moments a policy.
    """
    rng = random.Random(seed)
    draw = np.random.default_rng(seed)
    made = 0
    while made < count:
        has = [set(rng.sample(CATEGORIES, rng.randint(0, 2))) for _ in range(12)]
        catalogue = Catalogue.build((f"i{n}", f"I{n}", sorted(c)) for n, c in enumerate(has))
        document = random_policy(rng)
        index = CategoryIndex.build(catalogue)
        policy = GuardrailPolicy.from_json(document)
        kept = tuple(rule for rule in policy.rules if rule.kind != without)
        rules = Guardrails(replace(policy, rules=kept), catalogue, index)
        for _ in range(20):
            world = random_world(rng)
            removals = rules.apply(situation(world))
            verdicts = forbidding(document, world, has)
            for _ in range(5):
                slate = fill(
                    draw.normal(size=12),
                    removals.mask,
                    rng.choice([1, 4, 12]),
                    vectors=lambda items: draw.normal(size=(len(items), 3)),
                    diversity=rng.choice([0.0, 0.3, 1.0]),
                    exploration=rng.choice([None, Exploration(0.1), Exploration(0.9)]),
                    uniforms=lambda n: draw.random(n),
                    promoted=draw.permutation(12)[:3],
                )
                made += 1
                yield set(slate.items.tolist()), verdicts, removals


def violations(count: int, seed: int, without: str = "") -> tuple[int, int, set[str]]:
    """Count forbidden items shown and items wrongly held back; and which rules ever removed."""
    shown_wrongly = mismatched = 0
    fired: set[str] = set()
    compared: Any = None
    for shown, verdicts, removals in decisions(count, seed, without):
        shown_wrongly += sum(bool(verdicts[item]) for item in shown)
        if removals is compared:
            continue
        compared = removals
        for item, why in enumerate(verdicts):
            mismatched += set(removals.rules_of(item)) != why
            mismatched += bool(removals.mask[item]) != bool(why)
            fired |= why
    return shown_wrongly, mismatched, fired


def test_ten_thousand_random_decisions_break_no_guardrail() -> None:
    shown_wrongly, mismatched, fired = violations(10_000, 7)
    assert (shown_wrongly, mismatched) == (0, 0)
    assert {"always/opted-out", "always/disliked", "always/one-channel", "r0"} <= fired


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_million_random_decisions_break_no_guardrail() -> None:
    shown_wrongly, mismatched, _ = violations(1_000_000, 11)
    assert (shown_wrongly, mismatched) == (0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_oracle_would_notice_a_rule_that_is_dropped(kind: str) -> None:
    """Mutants: with one kind of rule left out, violations are found."""
    shown_wrongly, mismatched, _ = violations(1500, 3, without=kind)
    assert mismatched > 0
    assert shown_wrongly > 0
