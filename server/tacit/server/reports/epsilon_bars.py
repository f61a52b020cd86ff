"""A release's ε beside what its account had spent, and the cap."""

from __future__ import annotations

from typing import Any

from tacit.server.budget.facts import ReleaseFacts
from tacit.server.reports.charts import INK
from tacit.server.reports.document import Chart
from tacit.server.reports.figures import exact


def epsilon_bars(facts: ReleaseFacts) -> Chart:
    """Draw the ε of a release, of its window and of the account's life when it was released.

    Args:
        facts: Of a release that spent.
    """
    own = facts.claim.epsilon if facts.claim else 0.0
    bars = [
        {"what": "this release", "value": own},
        {"what": f"window {facts.window} then", "value": facts.window_epsilon},
        {"what": "lifetime then", "value": facts.lifetime_epsilon},
    ]
    values = [{**one, "label": exact(float(str(one["value"])))} for one in bars]
    cap = facts.cap_epsilon
    most = max(cap, *(float(str(one["value"])) for one in bars))
    y: dict[str, Any] = {"field": "what", "type": "nominal", "sort": None, "title": None}
    x: dict[str, Any] = {
        "field": "value",
        "type": "quantitative",
        "title": "ε",
        "scale": {"domain": [0, most * 1.12]},
        "axis": {"tickCount": 6, "grid": False},
    }
    specification: dict[str, Any] = {
        "width": 470,
        "height": {"step": 30},
        "data": {"values": values},
        "encoding": {
            "y": {
                **y,
                "axis": {"ticks": False, "domain": False, "labelLimit": 200, "labelPadding": 8},
            }
        },
        "layer": [
            {
                "mark": {"type": "bar", "height": 14, "color": "#8c8c8c", "stroke": INK},
                "encoding": {"x": x},
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 6},
                "encoding": {"x": x, "text": {"field": "label"}},
            },
            {
                "data": {"values": [{"cap": cap}]},
                "mark": {"type": "rule", "strokeWidth": 2, "strokeDash": [2, 3]},
                "encoding": {"x": {"field": "cap", "type": "quantitative"}, "y": None},
            },
            {
                "data": {"values": [{"cap": cap, "label": f"cap {exact(cap)}"}]},
                "mark": {"type": "text", "align": "center", "baseline": "bottom", "dy": -4},
                "encoding": {
                    "x": {"field": "cap", "type": "quantitative"},
                    "y": {"value": 0},
                    "text": {"field": "label"},
                },
            },
        ],
    }
    delta = facts.claim.target_delta if facts.claim else facts.lifetime_delta
    other = (
        f"; window and lifetime at δ = {facts.lifetime_delta!r}, this release at {delta!r}"
        if delta != facts.lifetime_delta
        else ""
    )
    return Chart(
        caption="ε of this release, and what its account had spent when it was released; the "
        f"dotted line is the cap of a window{other}",
        alternative="; ".join(f"{one['what']}: ε {one['label']}" for one in values)
        + f"; cap of a window: ε {exact(cap)}",
        specification=specification,
    )
