"""Contradictions: rules of one policy that together close everything, or say nothing.

The linter reports them before a policy is signed; a device refuses to install one all the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from tacit.client.guardrails.document import GuardrailPolicy, Rule
from tacit.client.guardrails.kinds import CHANNELS, MINUTES_A_DAY


def contradictions(policy: GuardrailPolicy) -> Iterator[tuple[str, str]]:
    """Find rules that together can never be meant.

    Returns:
        (ids of the rules, what is wrong), one line each.
    """
    for rule in policy.rules:
        if rule.kind == "quiet_hours" and rule.from_minute == rule.to_minute:
            message = "from_minute equals to_minute: quiet always, or never? Say which"
            yield rule.id, message
    for only in rules_of(policy, "only_categories"):
        for other in policy.rules:
            barred = set(other.categories)
            if other.kind not in ("exclude", "sensitive_inference") or not _overlap(only, other):
                continue
            if set(only.categories) <= barred and not other.unless_stated:
                message = f"allows only what {other.id!r} removes, so nothing can be shown"
                yield only.id, message
        for other in rules_of(policy, "only_categories"):
            apart = not set(only.categories) & set(other.categories)
            if only.id < other.id and apart and _overlap(only, other):
                message = f"shares no category with {other.id!r}; an item would have to be in both"
                yield only.id, message
    yield from _always_quiet(policy)


def _always_quiet(policy: GuardrailPolicy) -> Iterator[tuple[str, str]]:
    rules = [r for r in rules_of(policy, "quiet_hours") if r.from_minute != r.to_minute]
    for channel in CHANNELS:
        here = [r for r in rules if not r.surfaces and (not r.channels or channel in r.channels)]
        for zone in sorted({r.time_zone for r in here}):
            quiet = {m for r in here if r.time_zone == zone for m in quiet_minutes(r)}
            if len(quiet) == MINUTES_A_DAY:
                names = ", ".join(r.id for r in here if r.time_zone == zone)
                message = f"together they keep {channel} quiet at all hours"
                yield names, message


def quiet_minutes(rule: Rule) -> Iterator[int]:
    """Return the minutes of the day that a rule keeps quiet."""
    length = (rule.to_minute - rule.from_minute) % MINUTES_A_DAY
    return ((rule.from_minute + n) % MINUTES_A_DAY for n in range(length))


def rules_of(policy: GuardrailPolicy, kind: str) -> list[Rule]:
    """Return the rules of a kind."""
    return [rule for rule in policy.rules if rule.kind == kind]


def _overlap(one: Rule, other: Rule) -> bool:
    return all(
        not mine or not theirs or bool(set(mine) & set(theirs))
        for mine, theirs in ((one.surfaces, other.surfaces), (one.channels, other.channels))
    )
