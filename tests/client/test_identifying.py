"""`identify` takes what there is a use for, keeps the zone, and refuses personal details."""

from __future__ import annotations

from typing import Any

import pytest

from tacit.client import BadEvent, Personalizer


def test_the_zone_is_kept_and_quiet_hours_go_by_it(shop: Any) -> None:
    # 2027-01-15 08:00 UTC: morning in Lisbon, night in Honolulu.
    with shop.open() as pz:
        pz.track("Product Viewed", {"product_id": "i0"})
        pz.identify({"time_zone": "Pacific/Honolulu"})
        assert "night" in pz.recommend("push").closed
    with shop.open() as pz:
        assert pz.traits() == {"time_zone": "Pacific/Honolulu"}
        assert "night" in pz.recommend("push").closed, "also after a restart"
        pz.identify({"time_zone": "Europe/Lisbon"})
        assert "night" not in pz.recommend("push").closed
        assert pz.rights.access().document["traits"] == {"time_zone": "Europe/Lisbon"}


def test_interests_are_stated_preferences(device: Personalizer) -> None:
    device.identify({"interests": ["Garden", "Garden"]})
    assert [item.item_id for item in device.recommend(k=2).items] == ["i1", "i5"]
    (event,) = device.events.read({"preference"})
    assert event.event.properties["name"] == "Garden"


@pytest.mark.parametrize(
    "traits",
    [
        {},
        {"email": "someone@example.com"},
        {"time_zone": "Europe/Berlin", "name": "someone"},
        {"time_zone": "Mars/Olympus"},
        {"time_zone": 5},
        {"time_zone": "../../etc/passwd"},
        {"interests": "Garden"},
        {"interests": [1]},
        {"interests": ["x"] * 65},
        {"time_zone": None},
    ],
)
def test_what_there_is_no_use_for_is_refused_whole(
    device: Personalizer, traits: dict[str, object]
) -> None:
    with pytest.raises(BadEvent, match="identify: ") as caught:
        device.identify(traits)
    assert "someone" not in str(caught.value)
    assert device.traits() == {}
    assert device.events.count() == 0
