"""Content: the most specific component that fits, filled in by replacement alone."""

from __future__ import annotations

from typing import Any

import pytest

from tacit.client import BadEvent, Component, Personalizer
from tacit.client.content import LIMITS, assemble, fill_in

ANY = Component("any", "headline", "New: {title}")
SMS = Component("sms", "headline", "{title}", channels=("sms",))
COMPARE = Component("cmp", "headline", "Still comparing {title}?", intents=("compare",))
HURRY = Component("hurry", "offer", "Ends today", urgent=True)
CALM = Component("calm", "offer", "Take your time with {title}")


def test_the_most_specific_component_that_fits_is_chosen() -> None:
    told = assemble("sms", [ANY, SMS], {"title": "Kettle"})
    assert (told.parts, told.components) == ({"headline": "Kettle"}, {"headline": "sms"})
    assert assemble("web", [ANY, SMS], {"title": "Kettle"}).components == {"headline": "any"}
    told = assemble("web", [ANY, COMPARE], {"title": "Kettle"}, intent="compare")
    assert told.parts["headline"] == "Still comparing Kettle?"


def test_nothing_is_cut_short_made_up_or_pressed() -> None:
    long = "x" * 60
    with pytest.raises(BadEvent, match="headline that fits push"):
        assemble("push", [ANY], {"title": long})
    with pytest.raises(BadEvent, match="headline"):
        assemble("push", [ANY], {})
    values = {"title": "Kettle"}
    assert assemble("web", [ANY, HURRY, CALM], values).components["offer"] == "calm"
    pressed = assemble("web", [ANY, HURRY, CALM], values, deadline_ms=2, now_ms=1)
    assert pressed.components["offer"] == "hurry"
    past = assemble("web", [ANY, HURRY, CALM], values, deadline_ms=1, now_ms=1)
    assert past.components["offer"] == "calm"
    assert "offer" not in assemble("web", [ANY, HURRY], values).parts


def test_templates_are_text_not_code() -> None:
    assert fill_in("{a} {a}", {"a": "{b}", "b": "no"}) == "{b} {b}"
    for template in ("{a.b}", "{a!r}", "{a[0]}", "{0}", "%(a)s", "${a:>9}"):
        assert fill_in(template, {"a": "x"}) == template
    assert fill_in("{missing}", {"a": "x"}) is None
    assert fill_in("{__class__}", {"a": "x"}) is None


def test_an_sms_is_one_sms() -> None:
    assert sum(LIMITS["sms"].values()) <= 160


def test_compose_reads_the_moment(device: Personalizer, view: Any) -> None:
    view(device, ["i1", "i5", "i9"])
    assert (
        device.compose("web", [ANY, COMPARE], "i1").parts["headline"] == "Still comparing Item 1?"
    )
    with pytest.raises(BadEvent, match="channel"):
        device.compose("pigeon", [ANY])
