"""Explanations are true: shares add up, removal lowers scores, they outlive the process."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.client import Personalizer, UnknownDecision
from tacit.client.explain import ordinal
from tacit.client.journal import DAY_MS, KEPT_DAYS

EVENTS = ["Product Viewed", "Product Added", "Order Completed", "Product Rated"]


def _apply(device: Personalizer, events: list[tuple[str, str]], without: str | None = None) -> None:
    for name, item in events:
        if item != without:
            device.track(name, {"product_id": item})


_histories = st.lists(
    st.tuples(st.sampled_from(EVENTS), st.integers(0, 23).map(lambda n: f"i{n}")),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("with_model", [True, False])
@settings(max_examples=12, deadline=None)
@given(events=_histories, seed=st.integers(0, 1000))
def test_every_cited_event_lowers_the_score_when_it_never_happened(
    make_shop: Any, with_model: bool, events: list[tuple[str, str]], seed: int
) -> None:
    """Another device records everything but what is cited: its score is lower by the delta."""
    with tempfile.TemporaryDirectory() as folder:
        shop = make_shop(Path(folder))
        with shop.open() as device:
            if with_model:
                shop.install(device, shop.model(seed))
            _apply(device, events)
            decision = device.recommend(k=3)
            if not decision.items or decision.basis not in ("model", "rule"):
                return
            told = device.explain(decision.id, decision.items[0].item_id)
            assert told.base + told.history == pytest.approx(told.score)
        for event in told.cited[:3]:
            with shop.open(f"without-{event.item_id}") as other:
                if with_model:
                    shop.install(other, shop.model(seed))
                _apply(other, events, without=event.item_id)
                again = other.rank("home", [told.item_id])
                if not again.items:
                    continue
                if again.basis == decision.basis:
                    fallen = told.score - again.items[0].score
                    assert fallen == pytest.approx(event.deletion_delta, abs=1e-12)
            assert event.deletion_delta > 0


def test_rank_without_is_the_rank_it_would_have_had(
    shop: Any, device: Personalizer, view: Any
) -> None:
    shop.install(device, shop.model())
    view(device, ["i0", "i1"])
    decision = device.recommend(k=1, diversity=0.0)
    told = device.explain(decision.id, decision.items[0].item_id)
    assert told.rank == 1
    first = told.cited[0]
    with shop.open("other") as other:
        shop.install(other, shop.model())
        view(other, [item for item in ("i0", "i1") if item != first.item_id])
        everything = other.recommend(k=24, diversity=0.0, exclude=[first.item_id])
        order = [item.item_id for item in everything.items]
    assert first.rank_without == order.index(told.item_id) + 1
    assert f"it would have ranked {ordinal(order.index(told.item_id) + 1)}, not 1st" in told.text


def test_several_events_about_one_item_are_cited_as_one_and_go_together(
    shop: Any, device: Personalizer, view: Any
) -> None:
    shop.install(device, shop.model())
    view(device, ["i0", "i0", "i4"])
    decision = device.recommend(k=1)
    told = device.explain(decision.id, decision.items[0].item_id)
    assert {event.item_id: event.sequences for event in told.cited} == {"i0": (1, 2), "i4": (3,)}


def test_controls_do_what_they_say(shop: Any, device: Personalizer, view: Any) -> None:
    view(device, ["i0"])
    decision = device.recommend(k=1)
    told = device.explain(decision.id, decision.items[0].item_id)
    (control,) = told.controls
    getattr(device, control.verb)(**control.arguments)
    assert told.item_id not in [item.item_id for item in device.recommend(k=24).items]
    cited = told.cited[0]
    assert {control.name for control in cited.controls} == {"forget_this", "not_interested"}
    for control in cited.controls:
        getattr(device, control.verb)(**control.arguments)
    assert device.events.read(["product_view"]) == []
    assert device.recommend(k=1).basis == "fallback"


def test_forgetting_an_item_leaves_the_rest_of_an_order(shop: Any, device: Personalizer) -> None:
    products = [{"product_id": "i0", "price": 3}, {"product_id": "i5"}]
    device.track("Order Completed", {"products": products})
    device.track("Product Viewed", {"product_id": "i0"})
    device.prefer("item", "i0", 1.0)
    device.track("Product Viewed", {"product_id": "i1"})
    decision = device.recommend(k=3)
    with device.store.reading() as connection:
        sealed = connection.execute("SELECT sealed FROM events WHERE sequence <= 3").fetchall()
    assert device.forget_item("i0").rows_erased >= 3
    left = b"".join(path.read_bytes() for path in shop.folder.glob("p.db*"))
    assert not any(row[0] in left for row in sealed)
    (order,) = device.events.read(["purchase"])
    assert order.event.items == ("i5",)
    assert order.event.properties == {"products": [{"product_id": "i5"}]}
    assert [e.event.items for e in device.events.read(["product_view"])] == [("i1",)]
    assert device.events.read(["preference"]) == []
    again = device.rank("home", ["i0", "i5"])
    assert [item.item_id for item in again.items] == ["i0"]
    with pytest.raises(UnknownDecision, match="forgotten"):
        device.explain(decision.id, decision.items[0].item_id)
    with shop.open("never") as other:
        other.track("Order Completed", {"products": products[1:]})
        other.track("Product Viewed", {"product_id": "i1"})
        for k in (1, 5):
            ids = [[i.item_id for i in pz.recommend(k=k).items] for pz in (device, other)]
            assert ids[0] == ids[1]


def test_explanations_outlive_the_process(shop: Any, view: Any) -> None:
    with shop.open() as device:
        shop.install(device, shop.model())
        view(device, ["i0", "i5"])
        decisions = [device.recommend(k=2) for _ in range(80)]
        before = device.explain(decisions[0].id, decisions[0].items[0].item_id)
    with shop.open() as device:
        view(device, ["i9"])
        assert device.explain(decisions[0].id, decisions[0].items[0].item_id) == before
        # The release it was made with is kept until the one after next.
        shop.install(device, shop.model(seed=1), version=2)
        assert device.explain(decisions[0].id, decisions[0].items[0].item_id) == before
        shop.install(device, shop.model(seed=2), version=3)
        with pytest.raises(UnknownDecision, match="replaced"):
            device.explain(decisions[0].id, decisions[0].items[0].item_id)


def test_an_explanation_is_refused_when_its_grounds_are_gone(
    shop: Any, device: Personalizer, view: Any
) -> None:
    shop.install(device, shop.model())
    view(device, ["i0", "i5"])
    decision = device.recommend(k=1)
    item = decision.items[0].item_id
    device.consent("decide", ["product_view"], False)
    with pytest.raises(UnknownDecision, match="permitted"):
        device.explain(decision.id, item)
    device.consent("decide", ["product_view"], True)
    assert device.explain(decision.id, item).cited
    with device.store.power_safe() as connection:
        connection.execute("DELETE FROM events WHERE sequence = 1")
    with pytest.raises(UnknownDecision, match="forgotten"):
        device.explain(decision.id, item)
    # And the deletion is noticed by the next decision, not only by the next process.
    again = device.recommend(k=1)
    told = device.explain(again.id, again.items[0].item_id)
    assert {event.item_id for event in told.cited} <= {"i5"}


def test_records_are_dropped_after_their_time(shop: Any) -> None:
    with shop.open() as device:
        decision = device.recommend(k=1)
        shop.clock.now_ms += (KEPT_DAYS + 1) * DAY_MS
        later = device.recommend(k=1)
        with pytest.raises(UnknownDecision):
            device.explain(decision.id, decision.items[0].item_id)
        device.explain(later.id, later.items[0].item_id)


def test_records_are_sealed_and_forgotten_with_everything_else(shop: Any) -> None:
    device = shop.open()
    decision = device.recommend(k=5)
    device.shown(decision.id)
    written = b"".join(path.read_bytes() for path in shop.folder.glob("p.db*"))
    for item in decision.items:
        assert f'"{item.item_id}"'.encode() not in written
    assert decision.id.encode() not in written
    device.forget(all=True)
    with shop.open() as fresh:
        assert fresh.journal.rows() == []


def test_single_items_can_be_dropped_from_the_journal(device: Personalizer) -> None:
    one, two = device.recommend(k=1), device.recommend(k=1, exclude=["i0"])
    assert device.journal.forget_items(["i0"]) == 1
    with pytest.raises(UnknownDecision):
        device.explain(one.id, "i0")
    assert device.explain(two.id, "i1").item_id == "i1"
    assert device.journal.forget_since(0) == 1


@pytest.mark.parametrize(
    ("number", "said"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (14, "14th"), (22, "22nd")],
)
def test_ordinals(number: int, said: str) -> None:
    assert ordinal(number) == said
    assert np.isfinite(number)
