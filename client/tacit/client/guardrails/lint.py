"""Lint a policy file: what is malformed, contradicts itself, or can never have an effect."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from tacit.client.catalogue import Catalogue
from tacit.client.errors import BadGuardrails
from tacit.client.guardrails.contradictions import (
    contradictions,
    quiet_minutes,
    rules_of,
)
from tacit.client.guardrails.document import GuardrailPolicy, Limit, Rule, problems, read_json
from tacit.client.guardrails.kinds import CHANNELS, PERSON
from tacit.client.guardrails.signed import open_signed
from tacit.client.guardrails.situation import channel_of


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        code: `malformed`, `unsigned`, `contradiction`, `never-fires`, `unknown-category`,
            `unknown-item` or `unknown-zone`.
        rule: id or place of the rule; empty for the policy as a whole.
        message: one line.
    """

    code: str
    rule: str
    message: str

    def __str__(self) -> str:
        where = f"{self.rule}: " if self.rule else ""
        return f"{self.code}: {where}{self.message}"


def lint(
    data: bytes, *, public_key: bytes | None = None, catalogue: Catalogue | None = None
) -> list[Finding]:
    """Find what is wrong with a policy file, signed or not.

    Args:
        data: the file.
        public_key: the policy key that must have signed it; None checks only that it is signed.
        catalogue: against which categories and items are looked up; None looks none up.

    Returns:
        Findings, the gravest first; empty for a policy that can be shipped.
    """
    try:
        document = read_json(data)
    except BadGuardrails as error:
        return [Finding("malformed", "", str(error))]
    findings: list[Finding] = []
    if "policy" in document or "signature" in document:
        if public_key is not None:
            try:
                open_signed(data, public_key)
            except BadGuardrails as error:
                findings.append(Finding("unsigned", "", str(error)))
        elif not isinstance(document.get("signature"), str):
            findings.append(Finding("unsigned", "", "the signature is missing"))
        body = document.get("policy")
        document = cast(dict[str, object], body) if isinstance(body, dict) else {}
    else:
        findings.append(Finding("unsigned", "", "expected a signature; run tacit policy sign"))
    malformed = [Finding("malformed", where, what) for where, what in problems(document)]
    if malformed:
        return malformed + findings
    policy = GuardrailPolicy.from_json(document)
    return [*findings, *_contradictory(policy), *_idle(policy), *_unknown(policy, catalogue)]


def _contradictory(policy: GuardrailPolicy) -> Iterator[Finding]:
    for rules, message in contradictions(policy):
        yield Finding("contradiction", rules, message)


def _idle(policy: GuardrailPolicy) -> Iterator[Finding]:
    for rule in policy.rules:
        if rule.kind == "exclude" and not rule.items and not rule.categories:
            yield Finding("never-fires", rule.id, "names neither items nor categories")
        if rule.surfaces and rule.channels:
            reached = {channel_of(surface) for surface in rule.surfaces}
            if not reached & set(rule.channels):
                message = f"its surfaces are on {', '.join(sorted(reached))}, its channels are not"
                yield Finding("never-fires", rule.id, message)
        if rule.kind == "channel_cap":
            yield from _idle_limits(rule)
    for place, rule in enumerate(policy.rules):
        for other_place, other in enumerate(policy.rules):
            # Of two that say the same, the later one is idle.
            if place != other_place and rule.kind == other.kind and _covers(other, rule):
                if _covers(rule, other) and other_place > place:
                    continue
                message = f"whatever it removes, {other.id!r} removes already"
                yield Finding("never-fires", rule.id, message)
                break


def _idle_limits(rule: Rule) -> Iterator[Finding]:
    any_reached = rule.capped_when == "any_reached"
    for place, limit in enumerate(rule.limits):
        for other_place, other in enumerate(rule.limits):
            if place == other_place or (limit == other and other_place > place):
                continue
            # OR: a limit reached only after another is idle. AND: one reached before another is.
            idle = _reached_after(limit, other) if any_reached else _reached_after(other, limit)
            if idle:
                message = f"limit {place + 1} never decides: limit {other_place + 1} always does"
                yield Finding("never-fires", rule.id, message)
                break


def _reached_after(limit: Limit, other: Limit) -> bool:
    """Tell whether `limit` can be reached only when `other` is reached as well."""
    mine, theirs = set(limit.channels or CHANNELS), set(other.channels or CHANNELS)
    return (
        mine <= theirs and limit.times >= other.times and limit.within_hours <= other.within_hours
    )


def _covers(strict: Rule, loose: Rule) -> bool:
    """Tell whether one rule removes whatever another of its kind removes."""
    if not _wider(strict.surfaces, loose.surfaces) or not _wider(strict.channels, loose.channels):
        return False
    kind = strict.kind
    if kind == "shown_too_often":
        return strict.times <= loose.times and strict.within_hours >= loose.within_hours
    if kind == "broad_first":
        return strict.times >= loose.times and strict.within_hours <= loose.within_hours
    if kind == "trigger_delay":
        return strict.hours >= loose.hours
    if kind == "already_owned":
        return set(strict.again_categories) <= set(loose.again_categories)
    if kind == "quiet_hours":
        return strict.time_zone == loose.time_zone and set(quiet_minutes(loose)) <= set(
            quiet_minutes(strict)
        )
    if kind == "exclude":
        return set(loose.items) <= set(strict.items) and set(loose.categories) <= set(
            strict.categories
        )
    if kind == "sensitive_inference":
        lifted = strict.unless_stated and not loose.unless_stated
        return set(loose.categories) <= set(strict.categories) and not lifted
    if kind == "only_categories":
        return set(strict.categories) <= set(loose.categories)
    if kind == "channel_cap":
        return strict.limits == loose.limits and strict.capped_when == loose.capped_when
    return True


def _wider(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    return not wide or (bool(narrow) and set(narrow) <= set(wide))


def _unknown(policy: GuardrailPolicy, catalogue: Catalogue | None) -> Iterator[Finding]:
    for rule in rules_of(policy, "quiet_hours"):
        if rule.time_zone != PERSON and not _known_zone(rule.time_zone):
            message = f"time_zone: expected an IANA name or {PERSON!r}, got {rule.time_zone!r}"
            yield Finding("unknown-zone", rule.id, message)
    if catalogue is None:
        return
    known = {name for item in catalogue.items for name in item.categories}
    for rule in policy.rules:
        for name in (*rule.categories, *rule.again_categories):
            if name not in known:
                message = f"the catalogue has no category {name!r}"
                yield Finding("unknown-category", rule.id, message)
        for item in rule.items:
            if item not in catalogue:
                yield Finding("unknown-item", rule.id, f"the catalogue has no item {item!r}")


def _known_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def summary(findings: list[Finding]) -> Mapping[str, object]:
    """Return findings as JSON values."""
    return {
        "ok": not findings,
        "findings": [{"code": f.code, "rule": f.rule, "message": f.message} for f in findings],
    }
