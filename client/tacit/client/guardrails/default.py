"""The guardrails of a device whose app brought none."""

from __future__ import annotations

from tacit.client.guardrails.document import GuardrailPolicy, Limit, Rule
from tacit.client.guardrails.kinds import OUTBOUND, PERSON

DEFAULT_GUARDRAILS = GuardrailPolicy(
    app="default",
    version=1,
    issued_at_ms=0,
    rules=(
        Rule("stock", "out_of_stock"),
        Rule("owned", "already_owned"),
        Rule("tired", "shown_too_often", times=3, within_hours=7 * 24),
        Rule("urgency", "no_false_urgency"),
        Rule(
            "night",
            "quiet_hours",
            channels=OUTBOUND,
            from_minute=21 * 60,
            to_minute=8 * 60,
            time_zone=PERSON,
        ),
        Rule("patience", "trigger_delay", channels=OUTBOUND, hours=24),
        Rule("broad", "broad_first", channels=OUTBOUND, times=2, within_hours=30 * 24),
        Rule(
            "caps",
            "channel_cap",
            channels=OUTBOUND,
            capped_when="any_reached",
            limits=(
                Limit(("push",), 2, 24),
                Limit(("sms",), 1, 7 * 24),
                Limit(OUTBOUND, 5, 7 * 24),
            ),
        ),
    ),
)
"""In force until an app installs its own: stock, ownership, three showings a week, no invented
urgency; on channels that interrupt also quiet nights, a day's patience, categories before exact
items, and caps of which any one suffices."""
