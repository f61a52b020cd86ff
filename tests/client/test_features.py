"""Features: the rules, incremental equals anew, each switched off by consent."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from tacit.client import Personalizer
from tacit.client.events import Event, LoggedEvent
from tacit.client.feature_state import FeatureState
from tacit.client.features import read_features
from tacit.client.session_intent import seeks_help, session_intent, session_of

DAY_MS, MINUTE_MS = 86_400_000, 60_000
EVERYTHING = frozenset(
    {"page_view", "product_view", "search", "add_to_cart", "purchase", "rating", "time_of_day"}
)


def _event(signal: str, at_ms: int, *items: str, **properties: object) -> Event:
    return Event(signal, signal, items, None, at_ms, properties)


def test_updating_event_by_event_is_the_same_as_reading_anew(shop: Any) -> None:
    rng = random.Random(4)
    now_ms = shop.clock.now_ms
    for _ in range(20):
        logged = [
            LoggedEvent(
                n + 1,
                _event(
                    rng.choice(sorted(EVERYTHING)),
                    now_ms - rng.randrange(60 * DAY_MS),
                    f"i{rng.randrange(24)}",
                    total=rng.choice([None, 9.5]),
                    currency="EUR",
                ),
            )
            for n in range(60)
        ]
        whole, pieces = FeatureState(), FeatureState()
        whole.update(logged, shop.catalogue, "Europe/Berlin")
        place = 0
        while place < len(logged):
            step = rng.randint(1, 7)
            pieces.update(logged[place : place + step], shop.catalogue, "Europe/Berlin")
            place += step
        read = [read_features(s, EVERYTHING, "Europe/Berlin", now_ms) for s in (whole, pieces)]
        assert read[0] == read[1]
        assert read[0].affinities is not None
        assert sum(one.share for one in read[0].affinities) == pytest.approx(1.0)


def test_affinities_fade_by_half_in_thirty_days_whatever_the_order(shop: Any) -> None:
    now_ms = shop.clock.now_ms
    old = LoggedEvent(1, _event("product_view", now_ms - 30 * DAY_MS, "i0"))
    new = LoggedEvent(2, _event("product_view", now_ms, "i1"))
    for order in ([old, new], [new, old]):
        state = FeatureState()
        state.update(order, shop.catalogue, None)
        told = read_features(state, EVERYTHING, None, now_ms).affinities
        assert told is not None
        assert {one.category: round(one.share, 6) for one in told} == {
            "Garden": round(2 / 3, 6), "Kitchen": round(1 / 3, 6),
        }  # fmt: skip


STAGES: list[tuple[str, Sequence[tuple[str, float]], float]] = [
    ("new", [("product_view", 0)], 0),
    ("exploring", [("product_view", 0), ("product_view", 1)], 1),
    ("engaged", [("product_view", d) for d in range(4)], 4),
    ("engaged", [("purchase", 0)], 10),
    ("loyal", [("product_view", d) for d in range(4)] + [("purchase", 4), ("purchase", 5)], 6),
    ("lapsing", [("product_view", d) for d in range(4)], 40),
    # Who comes every thirty days is not lapsing after forty.
    ("exploring", [("product_view", 30.0 * d) for d in range(4)], 130),
]


@pytest.mark.parametrize(("stage", "events", "now"), STAGES)
def test_the_journey_has_five_stages(
    stage: str, events: Sequence[tuple[str, float]], now: float
) -> None:
    start = 20_000 * DAY_MS
    state = FeatureState()
    state.update(
        [
            LoggedEvent(n + 1, _event(signal, int(start + day * DAY_MS), "i0"))
            for n, (signal, day) in enumerate(events)
        ],
        None,
        None,
    )
    told = read_features(state, EVERYTHING, None, int(start + now * DAY_MS))
    assert told.stage == stage
    assert told.stage_why


def test_intent_follows_the_session_and_help_comes_first() -> None:
    now = 1_800_000_000_000

    def of(*events: Event) -> Any:
        logged = [LoggedEvent(n + 1, event) for n, event in enumerate(events)]
        return session_intent(session_of(logged, now), now)[0]

    view = [_event("product_view", now - n * MINUTE_MS, f"i{n}") for n in range(3)]
    cart = _event("add_to_cart", now - MINUTE_MS, "i1")
    assert of() is None
    assert of(_event("page_view", now - 31 * MINUTE_MS)) is None
    assert of(view[0]) == "browse"
    assert of(*view) == "compare"
    assert of(view[0], _event("product_view", now, "i0")) == "compare"
    assert of(*view, cart) == "buy"
    assert of(cart, _event("purchase", now, "i1")) == "browse"
    assert of(cart, _event("page_view", now, name="Returns")) == "seek_help"
    assert of(cart, _event("page_view", now - 16 * MINUTE_MS, name="Returns")) == "buy"
    # An event from the future, of a clock that was set back, is not of this session.
    assert of(_event("add_to_cart", now + DAY_MS, "i1")) is None


@pytest.mark.parametrize(
    ("signal", "properties", "expected"),
    [
        ("page_view", {"name": "Help center"}, True),
        ("search", {"query": "how to return shoes"}, True),
        ("search", {"query": "helpful books"}, False),
        ("page_view", {"path": "/support/contact"}, True),
        ("page_view", {"name": "Hilfe", "intent": "seek_help"}, True),
        ("product_view", {"name": "Help! (LP)"}, False),
        ("page_view", {"name": 7}, False),
    ],
)
def test_help_is_told_from_pages_and_searches(
    signal: str, properties: dict[str, object], expected: bool
) -> None:
    assert seeks_help(_event(signal, 0, **properties)) is expected


def test_value_bands_count_orders_of_a_year_and_sum_by_currency(
    shop: Any, device: Personalizer
) -> None:
    def told() -> Any:
        return device.state().features.lifetime_value

    assert (told().band, told().orders) == ("none", 0)
    for n, total in enumerate([10.0, 5.5]):
        product = [{"product_id": f"i{n}"}]
        device.track("Order Completed", {"products": product, "total": total, "currency": "EUR"})
    assert (told().band, told().orders, dict(told().spent)) == ("medium", 2, {"EUR": 15.5})
    shop.clock.now_ms += 366 * DAY_MS
    assert told().band == "none"


def test_each_feature_is_switched_by_consent(shop: Any, device: Personalizer, view: Any) -> None:
    device.context(time_zone="Asia/Tokyo")
    view(device, ["i0", "i1"])
    device.track("Order Completed", {"products": [{"product_id": "i0"}]})
    told = device.state().features
    assert told.hours is None
    assert told.affinities is not None
    assert told.lifetime_value is not None
    device.consent("decide", ["time_of_day"], True)
    hours = device.state().features.hours
    assert hours is not None
    assert sum(hours) == pytest.approx(1)
    device.consent("decide", ["purchase"], False)
    told = device.state().features
    assert told.lifetime_value is None
    assert told.engagement is not None
    assert told.engagement.events == 2
    device.consent("decide", None, False)
    told = device.state().features
    assert (told.engagement, told.affinities, told.hours, told.stage, told.intent) == (None,) * 5
    assert {one.rule for one in told.why.values()} == {"not permitted"}
