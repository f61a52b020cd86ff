"""Attention: dwell and scroll are signals of their own, and weigh what was looked at."""

from __future__ import annotations

from typing import Any

import pytest

from tacit.client import BadEvent, Personalizer
from tacit.client.attention import view_weight
from tacit.client.profile import history
from tacit.privacy.signals import SIGNALS


def _logged(pz: Personalizer) -> list[tuple[str, tuple[str, ...], float | None]]:
    return [(e.event.signal, e.event.items, e.event.value) for e in pz.events.read(SIGNALS)]


def test_attention_is_logged_apart_from_what_it_came_with(device: Personalizer) -> None:
    device.track("Product Viewed", {"product_id": "i0", "dwell_ms": 2500, "scroll": 0.5})
    device.page("home", dwell_ms=1000)
    assert sorted(_logged(device), key=str) == [
        ("dwell", ("i0",), 2.5), ("dwell", (), 1.0), ("page_view", (), None),
        ("product_view", ("i0",), None), ("scroll", ("i0",), 0.5),
    ]  # fmt: skip
    rows = device.events.read(["product_view", "page_view"])
    assert [set(e.event.properties) for e in rows] == [set(), {"name"}]


def test_without_its_consent_attention_is_not_kept_and_does_not_weigh(
    device: Personalizer,
) -> None:
    device.consent("decide", ["dwell"], False)
    ack = device.track("Product Viewed", {"product_id": "i0", "dwell_ms": 90_000}, event_id="v")
    assert (ack.recorded, ack.sequence) == (True, 1)
    assert _logged(device) == [("product_view", ("i0",), None)]
    # The same again, now with consent, adds what was not kept, and the view is still one.
    device.consent("decide", ["dwell"], True)
    assert device.track(
        "Product Viewed", {"product_id": "i0", "dwell_ms": 90_000}, event_id="v"
    ).duplicate
    past = history(device.events.read(["product_view"]), device.catalogue)
    assert past.weights.tolist() == [1.0]


def test_a_batch_gives_each_event_its_own_number(device: Personalizer) -> None:
    acks = device.track_all(
        [
            ("Product Viewed", {"product_id": f"i{n}", "dwell_ms": 100 * n}, f"v{n}", None)
            for n in range(3)
        ]
    )
    assert [ack.sequence for ack in acks] == [1, 2, 3]
    assert device.events.find("v2/dwell") is not None


def test_a_view_weighs_by_its_dwell_and_stronger_signals_as_they_are(device: Personalizer) -> None:
    for item, ms in [("i0", 500), ("i1", 20_000), ("i2", 240_000), ("i3", 60_000)]:
        device.track("Product Viewed", {"product_id": item, "dwell_ms": ms})
    device.track("Product Viewed", {"product_id": "i4"})
    device.track("Order Completed", {"products": [{"product_id": "i3"}]})
    past = history(device.events.read(SIGNALS), device.catalogue)
    weights = dict(zip(past.items.tolist(), past.weights.tolist(), strict=True))
    assert weights == pytest.approx(
        {0: view_weight(0.5), 1: 1.0, 2: 0.25 + 1.5 * 240 / 260, 3: 2.0, 4: 1.0}
    )
    assert weights[0] < 0.3 < weights[1] < weights[2] < 1.75
    # What is cited for an item names its dwell as well, so forgetting it takes all of it away.
    assert past.behind[0] == (1, 2)


def test_explanations_with_dwell_still_add_up(shop: Any, device: Personalizer) -> None:
    shop.install(device, shop.model())
    for n, ms in [(0, 90_000), (4, 200), (1, 20_000), (2, 5_000)]:
        device.track("Product Viewed", {"product_id": f"i{n}", "dwell_ms": ms})
    decision = device.recommend(k=5)
    told = device.explain(decision.id, decision.items[0].item_id)
    assert told.base + told.history == pytest.approx(told.score)
    assert all(one.deletion_delta > 0.0 for one in told.cited)


@pytest.mark.parametrize("value", ["long", True, -1, float("nan"), float("inf"), None])
def test_attention_that_cannot_be_is_refused(device: Personalizer, value: object) -> None:
    with pytest.raises(BadEvent):
        device.track("Product Viewed", {"product_id": "i0", "dwell_ms": value})
    assert device.state().events == 0
