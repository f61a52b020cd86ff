"""Linking two devices of one person: encrypted, idempotent, governed by the receiver's consents."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tacit.client import BadEvent, DevicePolicy, ExportRefused, KeyUnavailable, Personalizer
from tacit.client.events import Event
from tacit.client.link_envelope import CARD_BYTES
from tacit.client.profile import profile
from tacit.client.statistics import HISTORY_SIGNALS, SIGNAL_WEIGHTS
from tacit.client.timeline import permitted_history
from tacit.privacy.signals import SIGNALS

WORDS = "seven long words nobody guesses"


@pytest.fixture
def phone(shop: Any) -> Iterator[Personalizer]:
    with shop.open("phone") as opened:
        yield opened


@pytest.fixture
def tablet(shop: Any) -> Iterator[Personalizer]:
    with shop.open("tablet") as opened:
        yield opened


def _ids(pz: Personalizer) -> set[str]:
    return {e.event.event_id for e in pz.events.read(SIGNALS, linked=True)}


def _pass(sender: Personalizer, receiver: Personalizer) -> Any:
    card = receiver.link_card()
    return receiver.link(sender.export(recipient=card), sender=sender.link_card())


def test_a_linked_device_decides_by_what_the_other_saw(
    phone: Personalizer, tablet: Personalizer, view: Any
) -> None:
    view(phone, ["i0", "i4"])
    phone.prefer("item", "i8", -1.0)
    phone.opt_out("sms")
    assert tablet.recommend().basis == "fallback"
    linked = tablet.link(phone.export(passphrase=WORDS), passphrase=WORDS)
    # Two views, and the liking that a dislike takes back.
    assert (linked.events, linked.new, linked.instructions) == (3, 3, 2)
    assert linked.device_id == phone.device_id
    decision = tablet.recommend(k=3)
    assert decision.basis == "rule"
    assert {i.item_id for i in decision.items}.isdisjoint({"i0", "i4", "i8"})
    explained = tablet.explain(decision.id, decision.items[0].item_id)
    assert {one.item_id for one in explained.cited} <= {"i0", "i4"}
    assert tablet.suppressions.get().channels == {"sms"}
    assert tablet.state().features.engagement == phone.state().features.engagement
    access = tablet.rights.access().document["events"]
    assert isinstance(access, list)
    assert len(access) == 3


def test_merging_is_idempotent_in_any_order_and_back(shop: Any, view: Any) -> None:
    rng = random.Random(3)
    names = ["a", "b", "c"]
    for n, name in enumerate(names):
        with shop.open(name) as pz:
            view(pz, [f"i{n}", f"i{n + 3}"])
            pz.track("Order Completed", {"products": [{"product_id": "i9"}]}, event_id="order-1")
    for _ in range(12):
        one, other = rng.sample(names, 2)
        with shop.open(one) as sender, shop.open(other) as receiver:
            _pass(sender, receiver)
    for one, other in [("a", "b"), ("b", "c"), ("c", "a"), ("a", "b"), ("a", "c")]:
        with shop.open(one) as sender, shop.open(other) as receiver:
            _pass(sender, receiver)
    held: list[set[str]] = []
    for name in names:
        with shop.open(name) as pz:
            assert pz.state().events == len(_ids(pz)) == 7
            held.append(_ids(pz))
    assert held[0] == held[1] == held[2]


def test_events_from_before_ids_were_kept_come_back_as_known(
    shop: Any, phone: Personalizer, tablet: Personalizer, view: Any
) -> None:
    view(phone, ["i0"])
    with phone.store.power_safe() as connection:
        (logged,) = phone.events.read(["product_view"])
        at_ms = logged.event.recorded_at_ms
        old = f'["product_view","product_view",["i0"],null,{at_ms},{{}}]'.encode()
        sealed = phone.store.sealer.seal("event", logged.sequence, old)
        connection.execute("UPDATE events SET sealed = ?", (sealed,))
    assert _ids(phone) == {""}
    assert _pass(phone, tablet).new == 1
    assert _pass(phone, tablet).new == 0
    assert (_pass(tablet, phone).new, _pass(tablet, phone).known) == (0, 1)
    assert phone.state().events == 1


def test_the_receivers_consents_govern(phone: Personalizer, tablet: Personalizer) -> None:
    phone.consent("decide", ["age_band", "search"], True)
    phone.track("Products Searched", {"query": "tea"})
    phone.track("age_band", {"value": 30})
    phone.track("Product Viewed", {"product_id": "i0"})
    tablet.consent("decide", ["search"], False)
    linked = _pass(phone, tablet)
    assert (linked.events, linked.new, linked.not_permitted) == (3, 1, 2)
    assert [e.event.signal for e in tablet.events.read(SIGNALS, linked=True)] == ["product_view"]
    tablet.consent("decide", None, False)
    assert tablet.recommend().basis == "fallback"
    # Agreed to later, it can be taken over later.
    tablet.consent("decide", ["product_view", "search"], True)
    assert _pass(phone, tablet).new == 1


def test_what_was_linked_is_never_contributed(
    phone: Personalizer, tablet: Personalizer, view: Any
) -> None:
    view(phone, ["i0", "i1"])
    view(tablet, ["i2"])
    every = set(SIGNALS)
    before: list[Any] = [
        profile(tablet.events, tablet.catalogue, every, SIGNAL_WEIGHTS),
        permitted_history(tablet.events, every, HISTORY_SIGNALS),
    ]
    assert _pass(phone, tablet).new == 2
    after: list[Any] = [
        profile(tablet.events, tablet.catalogue, every, SIGNAL_WEIGHTS),
        permitted_history(tablet.events, every, HISTORY_SIGNALS),
    ]
    for was, now in zip(before, after, strict=True):
        for field in dataclasses.fields(was):
            assert np.array_equal(getattr(was, field.name), getattr(now, field.name)), field.name
    # Corrected on the tablet it is still the phone's to contribute.
    (linked, *_) = [
        e.event.event_id
        for e in tablet.events.read(SIGNALS, linked=True)
        if e.event.items == ("i0",)
    ]
    tablet.rights.rectify(linked, "Product Viewed", {"product_id": "i5"})
    assert {e.event.items for e in tablet.events.read(SIGNALS)} == {("i2",)}
    assert ("i5",) in {e.event.items for e in tablet.events.read(SIGNALS, linked=True)}


def test_what_was_forgotten_does_not_come_back(
    phone: Personalizer, tablet: Personalizer, view: Any
) -> None:
    view(phone, ["i0", "i1"])
    _pass(phone, tablet)
    tablet.forget(item="i0")
    linked = _pass(phone, tablet)
    assert (linked.new, linked.known) == (0, 2)
    assert {e.event.items for e in tablet.events.read(SIGNALS, linked=True)} == {("i1",)}


def test_what_is_too_old_here_is_left_out(shop: Any, phone: Personalizer, view: Any) -> None:
    view(phone, ["i0"])
    shop.clock.sleep(hours=24 * 11)
    view(phone, ["i1"])
    with shop.open("kiosk", policy=DevicePolicy(retention_days={"product_view": 10})) as kiosk:
        linked = _pass(phone, kiosk)
        assert (linked.new, linked.expired) == (1, 1)


def test_nothing_in_an_export_is_in_the_clear(phone: Personalizer, tablet: Personalizer) -> None:
    phone.track("Products Searched", {"query": "zanzibar " * 50})
    for exported in (
        phone.export(passphrase=WORDS), phone.export(recipient=tablet.link_card()),
    ):  # fmt: skip
        assert b"zanzibar" not in exported
        assert phone.device_id.encode() not in exported
    # Two exports of the same have nothing in common but the header.
    assert phone.export(passphrase=WORDS)[16:] != phone.export(passphrase=WORDS)[16:]


def _flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("way", ["passphrase", "recipient"])
def test_an_altered_export_takes_over_nothing(
    phone: Personalizer, tablet: Personalizer, view: Any, way: str
) -> None:
    view(phone, ["i0"])
    if way == "passphrase":
        exported = phone.export(passphrase=WORDS)
        opening: dict[str, Any] = {"passphrase": WORDS}
    else:
        exported = phone.export(recipient=tablet.link_card())
        opening = {"sender": phone.link_card()}
    places = {*range(0, len(exported), 17), len(exported) - 1}
    altered = [_flip(exported, place) for place in places if way != "passphrase" or place % 3 == 0]
    for bad in [*altered, exported[:-1], exported[:20], b"", b"a letter"]:
        with pytest.raises((ExportRefused, KeyUnavailable)):
            tablet.link(bad, **opening)
    assert tablet.state().events == 0
    assert tablet.link(exported, **opening).new == 1


def test_only_the_right_person_and_device_open_an_export(
    shop: Any, phone: Personalizer, tablet: Personalizer, view: Any
) -> None:
    view(phone, ["i0"])
    with pytest.raises(KeyUnavailable, match="wrong key or passphrase"):
        tablet.link(phone.export(passphrase=WORDS), passphrase="other words altogether")
    with pytest.raises(KeyUnavailable, match="expected one, got none"):
        tablet.link(phone.export(passphrase=WORDS))
    with shop.open("stranger") as stranger:
        for_stranger = phone.export(recipient=stranger.link_card())
        with pytest.raises(ExportRefused, match="another device"):
            tablet.link(for_stranger, sender=phone.link_card())
        # Whoever saw the tablet's card can write for it, but not as the phone.
        forged = stranger.export(recipient=tablet.link_card())
        with pytest.raises(ExportRefused, match="written by another device"):
            tablet.link(forged, sender=phone.link_card())
        with pytest.raises(KeyUnavailable, match="sender's card"):
            tablet.link(forged)
    assert tablet.state().events == 0


def test_bad_arguments_are_refused_in_one_line(phone: Personalizer) -> None:
    both: dict[str, Any] = {"passphrase": WORDS, "recipient": phone.link_card()}
    for arguments in ({}, both):
        with pytest.raises(BadEvent, match="either a passphrase or"):
            phone.export(**arguments)
    with pytest.raises(KeyUnavailable, match="at least 12 characters"):
        phone.export(passphrase="short")
    with pytest.raises(ExportRefused, match=f"expected {CARD_BYTES} bytes, got 3"):
        phone.export(recipient=b"abc")
    with pytest.raises(ExportRefused, match="does not verify"):
        phone.export(recipient=_flip(phone.link_card(), 40))


@pytest.mark.parametrize(
    "event",
    [
        '["Product Viewed","purchase",["i0"],null,5,{}]',
        '["health","health",[],null,5,{}]',
        '["mood","mood",[],null,5,{}]',
        '["Product Viewed","product_view",["i0"],null,-5,{}]',
        '["Product Viewed","product_view",["i0"],NaN,5,{}]',
        '["Product Viewed","product_view",[7],null,5,{}]',
        '["Product Viewed","product_view",["i0"],null,5,[]]',
        '["Product Viewed","product_view",["i0"],null,true,{}]',
        "[]",
        "not json",
    ],
)
def test_an_event_that_could_not_be_recorded_refuses_the_whole_export(
    phone: Personalizer,
    tablet: Personalizer,
    event: str,
    monkeypatch: pytest.MonkeyPatch,
    view: Any,
) -> None:
    view(phone, ["i0", "i1"])
    real = Event.to_bytes
    done: list[int] = []

    def spoiled(self: Any) -> bytes:
        done.append(1)
        return event.encode() if len(done) == 2 else real(self)

    monkeypatch.setattr("tacit.client.events.Event.to_bytes", spoiled)
    exported = phone.export(passphrase=WORDS)
    monkeypatch.undo()
    with pytest.raises(ExportRefused, match="malformed"):
        tablet.link(exported, passphrase=WORDS)
    assert tablet.state().events == 0


def test_a_link_survives_reopening_and_rotation(shop: Any, tmp_path: Path, view: Any) -> None:
    with shop.open("phone") as phone, shop.open("tablet") as tablet:
        view(phone, ["i0"])
        card = tablet.link_card()
        tablet.rotate_keys()
        assert tablet.link_card() == card
        _pass(phone, tablet)
        tablet.rotate_keys()
    with shop.open("tablet") as tablet:
        assert [e.event.items for e in tablet.events.read(SIGNALS, linked=True)] == [("i0",)]
        assert tablet.events.read(SIGNALS) == []
