"""Retention: what is older than its signal's days is gone, on opening and daily, and only that."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tacit.client import BadEvent, DevicePolicy, Personalizer
from tacit.client.retention import DEFAULT_RETENTION_DAYS, retention_days
from tacit.privacy.signals import SIGNALS, Sensitivity

DAY_MS = 86_400_000
_EVENTS = {
    "page_view": ("Page Viewed", {"name": "home"}),
    "search": ("Products Searched", {"query": "tea"}),
    "product_view": ("Product Viewed", {"product_id": "i0"}),
    "purchase": ("Order Completed", {"products": [{"product_id": "i1"}]}),
}


def _held(pz: Personalizer) -> list[str]:
    return sorted(e.event.signal for e in pz.events.read(SIGNALS, linked=True))


def test_every_signal_that_can_be_recorded_has_a_time() -> None:
    recordable = {s.name for s in SIGNALS.values() if s.sensitivity is not Sensitivity.PROHIBITED}
    assert set(DEFAULT_RETENTION_DAYS) == recordable


def test_each_signal_goes_after_its_own_days_on_opening(shop: Any) -> None:
    with shop.open() as pz:
        for name, properties in _EVENTS.values():
            pz.track(name, properties)
    for days, left in [
        (89, ["page_view", "product_view", "purchase", "search"]),
        (90, ["product_view", "purchase", "search"]),
        (180, ["product_view", "purchase"]),
        (1094, ["purchase"]),
        (1095, []),
    ]:
        shop.clock.now_ms = 1_800_000_000_000 + days * DAY_MS
        with shop.open() as pz:
            assert _held(pz) == left, days


def test_an_open_profile_sweeps_once_a_day(shop: Any) -> None:
    with shop.open(policy=DevicePolicy(retention_days={"search": 2})) as pz:
        pz.track("Products Searched", {"query": "tea"})
        pz.track("Product Viewed", {"product_id": "i0"})
        shop.clock.sleep(hours=47)
        pz.recommend()
        assert _held(pz) == ["product_view", "search"]
        shop.clock.sleep(hours=25)
        pz.recommend()
        assert _held(pz) == ["product_view"]
        pz.track("Products Searched", {"query": "tea"}, ts=shop.clock.now_ms)
        shop.clock.sleep(hours=72)
        pz.track("Page Viewed", {"name": "home"})
        assert _held(pz) == ["page_view", "product_view"]
        assert pz.state().retention_days["search"] == 2


def test_what_expired_is_no_longer_on_the_disk_nor_in_decisions(shop: Any) -> None:
    with shop.open(policy=DevicePolicy(retention_days={"product_view": 1})) as pz:
        pz.track("Product Viewed", {"product_id": "i0"})
        with pz.store.reading() as connection:
            (sealed,) = connection.execute("SELECT sealed FROM events").fetchone()
        assert pz.recommend().basis == "rule"
        shop.clock.sleep(hours=25)
        assert pz.recommend().basis == "fallback"
        files = [p.read_bytes() for p in shop.folder.glob("p.db*")]
        assert not any(sealed in content for content in files)


def test_late_and_future_events_are_judged_by_their_own_time(shop: Any, device: Any) -> None:
    now = shop.clock.now_ms
    device.track("Page Viewed", {"name": "late"}, ts=now - 89 * DAY_MS)
    device.track("Page Viewed", {"name": "future"}, ts=now + 400 * DAY_MS)
    shop.clock.sleep(hours=24)
    device.recommend()
    assert [e.event.properties["name"] for e in device.events.read(["page_view"])] == ["future"]
    # A clock that was set back deletes nothing.
    shop.clock.now_ms = now - 1000 * DAY_MS
    device.recommend()
    assert device.state().events == 1


def test_sweeps_agree_with_looking_at_everything(shop: Any) -> None:
    rng = random.Random(7)
    policy = DevicePolicy(retention_days={"page_view": 3, "search": 5, "product_view": 9})
    expected: dict[str, tuple[str, int]] = {}
    for step in range(60):
        shop.clock.now_ms += rng.randrange(DAY_MS)
        with shop.open(policy=policy) as pz:
            for n in range(rng.randrange(4)):
                signal = rng.choice(["page_view", "search", "product_view"])
                at_ms = shop.clock.now_ms - rng.randrange(4 * DAY_MS)
                name, properties = _EVENTS[signal]
                pz.track(name, properties, event_id=f"{step}/{n}", ts=at_ms)
                expected[f"{step}/{n}"] = (signal, at_ms)
        with shop.open(policy=policy) as pz:
            days = pz.retention.days
            expected = {
                name: (signal, at_ms)
                for name, (signal, at_ms) in expected.items()
                if at_ms > shop.clock.now_ms - days[signal] * DAY_MS
            }
            assert {e.event.event_id for e in pz.events.read(SIGNALS)} == set(expected)


@pytest.mark.parametrize(
    "stated", [{"health": 1}, {"mood": 1}, {"search": 0}, {"search": True}, {"search": 1.5}]
)
def test_times_that_cannot_be_are_refused_before_there_is_a_file(
    shop: Any, stated: dict[str, Any]
) -> None:
    with pytest.raises(BadEvent, match="retention_days"):
        retention_days(stated)
    with pytest.raises(BadEvent, match="retention_days"):
        shop.open("new", policy=DevicePolicy(retention_days=stated))
    assert not (shop.folder / "new.db").exists()
