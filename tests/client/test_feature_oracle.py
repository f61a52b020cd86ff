"""What `state()` says of a person, against a recomputation from the list of all events.

The oracle is written apart from the code: no state between events, days by the calendar, sums over
everything. Events arrive out of order, by several openings, under changing consents.
"""

from __future__ import annotations

import datetime
import math
import random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tacit.client import BadEvent, Personalizer
from tacit.client.events import LoggedEvent
from tacit.client.features import FEATURE_SIGNALS

DAY_MS = 86_400_000
ZONE = "America/New_York"
ACTIVITY = ["add_to_cart", "page_view", "product_view", "purchase", "rating", "search"]
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def _day(at_ms: int) -> int:
    return (EPOCH + datetime.timedelta(milliseconds=at_ms)).toordinal()


class Oracle:
    """Works out each feature from a list of events."""

    def __init__(self, shop: Any, events: list[LoggedEvent], now_ms: int) -> None:
        self.shop, self.now_ms = shop, now_ms
        self.events = [e for e in events if e.event.signal in ACTIVITY]
        self.days = sorted({_day(e.event.recorded_at_ms) for e in self.events})
        self.recent = [d for d in self.days if 0 <= _day(now_ms) - d < 28]
        self.orders = [e for e in self.events if e.event.signal == "purchase"]

    def engagement(self) -> tuple[int, int]:
        active = [e for e in self.events if _day(e.event.recorded_at_ms) in self.recent]
        return len(self.recent), len(active)

    def affinities(self) -> dict[str, float]:
        worth = {"product_view": 1.0, "rating": 1.0, "add_to_cart": 1.5, "purchase": 2.0}
        sums: dict[str, float] = {}
        for e in self.events:
            age = (self.now_ms - e.event.recorded_at_ms) / (30 * DAY_MS)
            for item in e.event.items if e.event.signal in worth else ():
                for name in self.shop.catalogue.items[int(item[1:])].categories:
                    sums[name] = sums.get(name, 0.0) + worth[e.event.signal] * 2.0**-age
        return {name: value / sum(sums.values()) for name, value in sums.items()}

    def temporal(self) -> tuple[list[float], list[float]]:
        local = [
            datetime.datetime.fromtimestamp(e.event.recorded_at_ms / 1000, ZoneInfo(ZONE))
            for e in self.events
        ]
        return (
            [sum(t.hour == h for t in local) / len(local) for h in range(24)],
            [sum(t.isoweekday() == d for t in local) / len(local) for d in range(1, 8)],
        )

    def stage(self) -> str:
        if not self.events:
            return "new"
        times = [e.event.recorded_at_ms for e in self.events]
        gap = (max(times) - min(times)) / DAY_MS / max(len(self.days) - 1, 1)
        silent = (self.now_ms - max(times)) / DAY_MS
        ages = [(self.now_ms - e.event.recorded_at_ms) / DAY_MS for e in self.orders]
        if len(self.days) >= 3 and silent > 14 and silent > 3 * gap:
            return "lapsing"
        if len(self.recent) >= 4 and sum(age <= 180 for age in ages) >= 2:
            return "loyal"
        if len(self.recent) >= 4 or any(age <= 28 for age in ages):
            return "engaged"
        return "exploring" if len(self.days) > 1 or len(self.events) >= 5 else "new"

    def churn(self) -> tuple[float, float, float] | None:
        past = [d for d in self.days if d <= _day(self.now_ms)]
        if len(past) < 3:
            return None
        silent = _day(self.now_ms) - past[-1]
        gaps = [past[n + 1] - past[n] for n in range(len(past) - 1)]
        n = sum(g > silent for g in gaps) + 4
        p = (sum(g > silent + 14 for g in gaps) + 2) / n
        half = 1.96 * math.sqrt(p * (1 - p) / n)
        return p, max(p - half, 0.0), min(p + half, 1.0)

    def lifetime_value(self) -> tuple[str, int, dict[str, float]]:
        year = [
            e.event for e in self.orders if self.now_ms - e.event.recorded_at_ms <= 365 * DAY_MS
        ]
        spent: dict[str, float] = {}
        for event in year:
            total = event.properties.get("total")
            if isinstance(total, float):
                spent[str(event.properties["currency"])] = (
                    spent.get(str(event.properties["currency"]), 0.0) + total
                )
        band = ["none", "low", "medium", "medium", "medium", "high"][min(len(year), 5)]
        return band, len(year), spent

    def session(self) -> list[LoggedEvent]:
        session: list[LoggedEvent] = []
        edge = self.now_ms
        for e in sorted(self.events, key=lambda e: -e.event.recorded_at_ms):
            if e.event.recorded_at_ms <= self.now_ms:
                if edge - e.event.recorded_at_ms > 30 * 60_000:
                    break
                session.append(e)
                edge = e.event.recorded_at_ms
        return session


def _track(rng: random.Random, pz: Personalizer, at_ms: int) -> None:
    item: dict[str, object] = {"product_id": f"i{rng.randrange(24)}"}
    choices: list[tuple[str, dict[str, object]]] = [
        ("Page Viewed", {"name": rng.choice(["home", "sale", "shelf"])}),
        ("Product Viewed", item),
        ("Product Viewed", item),
        ("Products Searched", {"query": "tea"}),
        ("Product Added", item),
        ("Order Completed", {"products": [item], "total": 9.5, "currency": "EUR"}),
        ("Product Rated", {**item, "value": 4}),
    ]
    name, properties = rng.choice(choices)
    pz.track(name, properties, ts=at_ms)


def _check(shop: Any, pz: Personalizer) -> None:
    now_ms = shop.clock.now_ms
    permitted = pz.consents.permitted("decide", now_ms)
    events = list(pz.events.read(permitted, linked=True))
    oracle, told = Oracle(shop, events, now_ms), pz.state().features
    assert told.engagement is not None
    assert (told.engagement.active_days, told.engagement.events) == oracle.engagement()
    assert told.engagement.intensity == pytest.approx(len(oracle.recent) / 28)
    assert {a.category: a.share for a in told.affinities or ()} == pytest.approx(
        oracle.affinities()
    )
    assert told.stage == oracle.stage()
    churn = None if told.churn is None else (told.churn.risk, told.churn.low, told.churn.high)
    assert churn == (None if (c := oracle.churn()) is None else pytest.approx(c, abs=1e-4))
    if "purchase" in permitted:
        assert told.lifetime_value is not None
        value = told.lifetime_value
        band, orders, spent = oracle.lifetime_value()
        assert (value.band, value.orders) == (band, orders)
        assert dict(value.spent) == pytest.approx(spent)
    if "time_of_day" in permitted and oracle.events:
        assert told.hours is not None
        assert told.weekdays is not None
        assert [list(told.hours), list(told.weekdays)] == [
            pytest.approx(one) for one in oracle.temporal()
        ]
    session = oracle.session()
    assert (told.intent is None) == (not session)
    assert set(told.why["intent"].events) == {
        e.sequence for e in sorted(session, key=lambda e: e.sequence)[-20:]
    }
    for name, why in told.why.items():
        assert why.rule, name
        known = {e.sequence for e in oracle.events}
        assert set(why.events) <= known, name
        assert bool(why.events) <= bool(known)


@pytest.mark.parametrize("seed", range(4))
def test_the_profile_is_what_a_recomputation_of_everything_gives(shop: Any, seed: int) -> None:
    rng = random.Random(seed)
    pz = shop.open()
    pz.context(time_zone=ZONE)
    pz.consent("decide", ["time_of_day"], True)
    for step in range(14):
        shop.clock.sleep(hours=rng.choice([0.1, 3, 30, 24 * 9, 24 * 40]))
        for _ in range(rng.randrange(7)):
            _track(rng, pz, shop.clock.now_ms - rng.randrange(rng.choice([60_000, 3 * DAY_MS])))
        if step == 5:
            pz.consent("decide", ["purchase"], False)
        if step == 8:
            pz.consent("decide", ["purchase"], True)
        if step == 10:
            pz.forget(item="i3")
        if step == 11:
            pz.close()
            pz = shop.open()
            pz.context(time_zone=ZONE)
        _check(shop, pz)
    pz.close()


def test_each_feature_says_by_which_rule_and_events(shop: Any, device: Personalizer) -> None:
    for n in range(3):
        device.track("Product Viewed", {"product_id": f"i{4 * n}"})
        shop.clock.sleep(hours=24)
    shop.clock.sleep(hours=-24)
    device.track("Order Completed", {"products": [{"product_id": "i1"}]})
    told = device.state().features
    assert {name: why.events for name, why in told.why.items()} == {
        "engagement": (1, 2, 4),
        "affinities": (1, 2, 3, 4),
        "temporal": (),
        "stage": (1, 2, 4),
        "intent": (3, 4),
        "churn": (1, 2, 4),
        "lifetime_value": (4,),
    }
    assert told.why["stage"].rule == "active on 3 of 28 days, or bought in them"
    assert told.why["churn"].rule.startswith("of 2 earlier gaps longer than 0 days, 0 went on")
    assert told.why["temporal"].rule == "not permitted"


@pytest.mark.parametrize("feature", sorted(FEATURE_SIGNALS))
def test_each_feature_can_be_switched_off_alone(shop: Any, feature: str) -> None:
    fields = {"temporal": ("hours", "weekdays")}.get(feature, (feature,))
    with shop.open() as pz:
        pz.context(time_zone=ZONE)
        pz.consent("decide", ["time_of_day"], True)
        for _ in range(3):
            pz.track("Order Completed", {"products": [{"product_id": "i1"}]})
            shop.clock.sleep(hours=24)
        shop.clock.sleep(hours=-24)
        on = pz.state().features
        pz.infer(feature, False)
    with shop.open() as pz:
        pz.context(time_zone=ZONE)
        off = pz.state().features
        for name in on.__slots__:
            if name in fields:
                assert getattr(on, name) is not None
                assert getattr(off, name) is None
            elif not name.endswith("why"):
                assert getattr(on, name) == getattr(off, name)
        assert off.why[feature].rule == "switched off"
        assert pz.suppressions.get().features == {feature}
        pz.infer(feature, True)
        assert pz.state().features == on
        with pytest.raises(BadEvent, match="expected a feature among"):
            pz.infer("mood", False)


def test_an_interval_of_churn_narrows_with_what_is_known(shop: Any, device: Personalizer) -> None:
    assert device.state().features.churn is None
    widths: list[float] = []
    for day in range(40):
        device.track("Page Viewed", {"name": "home"})
        shop.clock.sleep(hours=24)
        if day in (4, 14, 39):
            churn = device.state().features.churn
            assert churn is not None
            assert churn.low <= churn.risk <= churn.high
            widths.append(churn.high - churn.low)
    # Every gap is one day: after one day of silence nothing longer was ever seen, so no more is
    # known than at first; on the day itself the interval has narrowed.
    shop.clock.sleep(hours=-24)
    churn = device.state().features.churn
    assert churn is not None
    assert churn.gaps == 39
    assert churn.high < 0.13
    assert min(widths) > 0.5
