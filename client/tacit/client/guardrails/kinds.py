"""The kinds of rules there are and the fields each takes: one table for all that reads them.

The parser, the linter and the JSON schema all follow `RULE_KINDS`, so a field cannot be known to
one and unknown to another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

CHANNELS = ("in_app", "web", "push", "email", "sms")
"""Ways to reach a person; the first two are there when the person is."""

OUTBOUND = ("push", "email", "sms")
"""Channels that interrupt."""

MINUTES_A_DAY = 1440
MOST_TIMES = 1_000_000
MOST_HOURS = 24 * 366

PERSON = "person"
"""As a time zone: the zone the app says the person is in."""


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field of a rule.

    Attributes:
        kind: `integer`, `text`, `texts`, `boolean` or `limits`.
        meaning: one line.
        required: must be there.
        least, most: range of an integer.
        among: texts allowed; empty for any.
    """

    kind: str
    meaning: str
    required: bool = True
    least: int = 0
    most: int = 0
    among: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleKind:
    """One kind of rule: what it forbids, and its fields besides `id`, `rule` and the scope."""

    meaning: str
    fields: Mapping[str, FieldSpec]


def _hours(meaning: str) -> FieldSpec:
    return FieldSpec("integer", meaning, least=1, most=MOST_HOURS)


def _times(meaning: str) -> FieldSpec:
    return FieldSpec("integer", meaning, least=1, most=MOST_TIMES)


_CATEGORIES = FieldSpec("texts", "categories of the catalogue")
_FEW_CATEGORIES = FieldSpec("texts", "categories of the catalogue", required=False)

SCOPE_FIELDS: Mapping[str, FieldSpec] = MappingProxyType(
    {
        "surfaces": FieldSpec("texts", "surfaces it holds on; left out: all", required=False),
        "channels": FieldSpec(
            "texts", "channels it holds on; left out: all", required=False, among=CHANNELS
        ),
    }
)
"""Where a rule holds: on a surface that is listed and on a channel that is listed."""

LIMIT_FIELDS: Mapping[str, FieldSpec] = MappingProxyType(
    {
        "channels": FieldSpec(
            "texts", "channels counted together; left out: all", required=False, among=CHANNELS
        ),
        "times": _times("messages after which the limit is reached"),
        "within_hours": _hours("length of the sliding window"),
    }
)

RULE_KINDS: Mapping[str, RuleKind] = MappingProxyType(
    {
        "out_of_stock": RuleKind("An item that the app says is out of stock.", {}),
        "already_owned": RuleKind(
            "An item the person bought.",
            {
                "again_categories": FieldSpec(
                    "texts", "categories that are bought again and again", required=False
                )
            },
        ),
        "shown_too_often": RuleKind(
            "An item that was shown `times` times or more in the window.",
            {"times": _times("showings"), "within_hours": _hours("length of the sliding window")},
        ),
        "quiet_hours": RuleKind(
            "Everything, from `from_minute` up to `to_minute` of the local day (over midnight if "
            "it is the smaller); if the person's zone is not known, at all hours.",
            {
                "from_minute": FieldSpec(
                    "integer", "minute of the day, 0 is midnight", most=MINUTES_A_DAY - 1
                ),
                "to_minute": FieldSpec(
                    "integer", "first minute that is not quiet", most=MINUTES_A_DAY - 1
                ),
                "time_zone": FieldSpec(
                    "text", "IANA name, or 'person' for the zone the app says the person is in"
                ),
            },
        ),
        "trigger_delay": RuleKind(
            "An item that the person looked at, rated or put in the cart less than `hours` ago: "
            "no message may follow on the heels of a behaviour.",
            {"hours": _hours("hours to wait; 24 is usual")},
        ),
        "channel_cap": RuleKind(
            "Everything, once the limits are reached: `any_reached` caps when one of them is (OR), "
            "`all_reached` only when every one is (AND). Rules among each other always add up: "
            "what one of them forbids is forbidden.",
            {
                "limits": FieldSpec("limits", "one or more limits"),
                "capped_when": FieldSpec(
                    "text", "how the limits combine", among=("any_reached", "all_reached")
                ),
            },
        ),
        "sensitive_inference": RuleKind(
            "Items of these categories, and their use as evidence: nothing is inferred from them "
            "and nothing of them is inferred, unless the person stated the category.",
            {
                "categories": _CATEGORIES,
                "unless_stated": FieldSpec(
                    "boolean", "a stated preference for the category lifts it", required=False
                ),
            },
        ),
        "broad_first": RuleKind(
            "An item the person looked at and did not buy, until other items of one of its "
            "categories were shown `times` times in the window: the category before the exact "
            "item.",
            {"times": _times("showings"), "within_hours": _hours("length of the sliding window")},
        ),
        "no_false_urgency": RuleKind(
            "An item offered with urgency for which the app gave no deadline, or one that passed.",
            {},
        ),
        "exclude": RuleKind(
            "These items, and those of these categories.",
            {
                "items": FieldSpec("texts", "item ids", required=False),
                "categories": _FEW_CATEGORIES,
            },
        ),
        "only_categories": RuleKind(
            "Every item that is in none of these categories.", {"categories": _CATEGORIES}
        ),
    }
)
"""Kind → what it forbids and which fields it takes."""

ALWAYS: Mapping[str, str] = MappingProxyType(
    {
        "always/opted-out": "The person opted out of the channel. Nothing lifts it.",
        "always/one-channel": "Another channel wrote to the person less than four hours ago; two "
        "channels do not talk at once.",
        "always/disliked": "The person does not want the item, or its category.",
        "always/excluded": "The app excluded the item from this one decision.",
        "always/filtered": "The app's filter for this one decision left the item out.",
        "always/unknown-item": "The action is about an item that the catalogue does not list.",
        "always/no-deadline": "It presses for time without a deadline that lies ahead.",
        "always/seeking-help": "The person is looking for help; that is no moment to sell.",
    }
)
"""Rules that hold on every device, whatever a policy says: id → what they forbid."""
