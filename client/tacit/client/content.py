"""Content assembly: components of a message, chosen for a channel and a context, filled in.

Templates are text with `{name}` for a value. There is no other syntax: nothing is evaluated, a
value that contains braces is not expanded again, and a name without a value drops the component.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from tacit.client.errors import BadEvent
from tacit.client.journey import Stage
from tacit.client.session_intent import Intent

Part = Literal["headline", "image", "offer", "call_to_action"]
PARTS: tuple[Part, ...] = ("headline", "image", "offer", "call_to_action")

_NAME = re.compile(r"\{([a-z_]{1,32})\}")

LIMITS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "push": {"headline": 50, "offer": 110, "call_to_action": 20},
        "email": {"headline": 78, "image": 2048, "offer": 2000, "call_to_action": 40},
        "sms": {"headline": 40, "offer": 90, "call_to_action": 30},
        "in_app": {"headline": 60, "image": 2048, "offer": 240, "call_to_action": 24},
        "web": {"headline": 70, "image": 2048, "offer": 400, "call_to_action": 30},
    }
)
"""Channel → part → longest text, characters; a part that is not listed has no place there."""

REQUIRED = ("headline",)
"""Parts without which there is no message."""


@dataclass(frozen=True, slots=True)
class Component:
    """One way to say one part.

    Attributes:
        name: unique; what the message says it was made of.
        part: see `Part`.
        template: text with `{name}` for values.
        channels: where it fits; empty for everywhere.
        intents, stages: moments it is meant for; empty for every moment.
        urgent: it presses for time, which needs a true deadline.
    """

    name: str
    part: Part
    template: str
    channels: tuple[str, ...] = ()
    intents: tuple[Intent, ...] = ()
    stages: tuple[Stage, ...] = ()
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """An assembled message.

    Attributes:
        channel: for which.
        parts: part → text, in reading order.
        components: part → name of the component it was made from.
    """

    channel: str
    parts: Mapping[str, str]
    components: Mapping[str, str]


def assemble(
    channel: str,
    components: Iterable[Component],
    values: Mapping[str, str],
    *,
    intent: Intent | None = None,
    stage: Stage | None = None,
    deadline_ms: int = 0,
    now_ms: int = 0,
) -> Content:
    """Choose the most specific component for each part that the channel has, and fill it in.

    A component for this intent or stage goes before one for any; of equals the first given counts.
    One that is too long for the channel, lacks a value, or presses for time without a deadline that
    lies ahead is passed over: nothing is cut short and nothing is made up.

    Args:
        channel: one of `LIMITS`.
        components: what there is to choose from.
        values: name → text.
        intent: of the session; None where not known.
        stage: of the journey; None where not known.
        deadline_ms: true deadline of what is offered, Unix ms; 0 for none.
        now_ms: Unix milliseconds.

    Raises:
        BadEvent: if the channel is unknown, or no headline fits.
    """
    limits = LIMITS.get(channel)
    if limits is None:
        raise BadEvent(f"channel: expected one of {', '.join(LIMITS)}")
    held = list(components)
    parts: dict[str, str] = {}
    used: dict[str, str] = {}
    for part in PARTS:
        most = limits.get(part)
        if most is None:
            continue
        fitting = [c for c in held if c.part == part and _fits(c, channel, intent, stage)]
        # Stable: among equally specific components the app's order decides.
        fitting.sort(key=lambda c: -(bool(c.intents) + bool(c.stages) + bool(c.channels)))
        for component in fitting:
            if component.urgent and deadline_ms <= now_ms:
                continue
            text = fill_in(component.template, values)
            if text is not None and 0 < len(text) <= most:
                parts[part], used[part] = text, component.name
                break
    missing = [part for part in REQUIRED if part not in parts]
    if missing:
        raise BadEvent(f"expected a component for {missing[0]} that fits {channel} and the moment")
    return Content(channel, MappingProxyType(parts), MappingProxyType(used))


def fill_in(template: str, values: Mapping[str, str]) -> str | None:
    """Replace each `{name}` by its value, once; None if a value is missing."""
    if any(name not in values for name in _NAME.findall(template)):
        return None
    return _NAME.sub(lambda found: values[found.group(1)], template)


def _fits(component: Component, channel: str, intent: Intent | None, stage: Stage | None) -> bool:
    return (
        (not component.channels or channel in component.channels)
        and (not component.intents or intent in component.intents)
        and (not component.stages or stage in component.stages)
    )
