"""Decisions through the facade: seeds, filters, the gate, guardrails in force, hand-over."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tacit.client import (
    BadEvent,
    Catalogue,
    Decision,
    Exploration,
    Personalizer,
    RollbackRefused,
    UnknownDecision,
)
from tacit.client.guardrails import GuardrailPolicy, sign_policy
from tacit.privacy.signatures import SigningKey

KEY = SigningKey(b"\5" * 32)


def _policy(*rules: dict[str, Any], version: int = 1) -> bytes:
    document = {
        "type": "tacit.guardrails/1",
        "app": "shop",
        "version": version,
        "issued_at_ms": 0,
        "rules": [{"id": f"r{n}", **rule} for n, rule in enumerate(rules)],
    }
    return sign_policy(GuardrailPolicy.from_json(document), KEY)


def _ids(decision: Decision) -> list[str]:
    return [item.item_id for item in decision.items]


def _groups(decision: Decision, shop: Any) -> list[str]:
    return [shop.catalogue.items[int(i[1:])].categories[0] for i in _ids(decision)]


# --- the confidence gate


def test_the_gate_goes_from_nothing_to_popularity_to_rules_to_the_model(
    shop: Any, device: Personalizer, view: Any
) -> None:
    assert device.recommend().basis == "fallback"
    view(device, ["i0"])
    assert device.recommend().basis == "rule"
    device.consent("decide", None, False)
    shop.install(device, shop.model())
    assert device.recommend().basis == "popular"
    device.consent("decide", None, True)
    decision = device.recommend()
    assert decision.basis == "model"
    assert 0 < decision.confidence < 1
    view(device, ["i4", "i8", "i12"])
    assert device.recommend().confidence > decision.confidence


def test_a_model_that_learned_nothing_leaves_it_to_rules(
    shop: Any, device: Personalizer, view: Any
) -> None:
    arrays = shop.model()
    arrays["loadings"] = arrays["loadings"] * 1e-4
    shop.install(device, arrays)
    view(device, ["i0"])
    decision = device.recommend(k=3, diversity=0.0)
    assert (decision.basis, _groups(decision, shop)) == ("rule", ["Kitchen"] * 3)


# --- cold start


def test_seeds_start_a_new_user_and_leave_no_trace(shop: Any, device: Personalizer) -> None:
    shop.install(device, shop.model())
    decision = device.recommend(k=3, seed_items=["i1", "i5"], diversity=0.0)
    assert (decision.basis, _groups(decision, shop)) == ("model", ["Garden"] * 3)
    told = device.explain(decision.id, decision.items[0].item_id)
    assert {event.item_id for event in told.cited} == {"i1", "i5"}
    assert "started from" in told.text
    assert device.state().events == 0
    assert device.recommend().basis == "popular"


def test_new_users_see_variety_not_one_shelf(shop: Any, device: Personalizer) -> None:
    assert len(set(_groups(device.recommend(k=4), shop))) == 4


def test_a_stated_preference_counts_at_once_and_can_be_taken_back(
    shop: Any, device: Personalizer
) -> None:
    shop.install(device, shop.model())
    device.prefer("category", "Music", 1.0)
    decision = device.recommend(k=3, diversity=0.0)
    assert _groups(decision, shop) == ["Music"] * 3
    told = device.explain(decision.id, decision.items[0].item_id)
    assert [(event.signal, event.title) for event in told.cited] == [("preference", "Music")]
    assert told.cited[0].controls[0].arguments == {
        "kind": "category", "value": "Music", "weight": 0.0,
    }  # fmt: skip
    device.prefer("category", "Music", 0.0)
    assert device.recommend().basis == "popular"


# --- what this one decision asks for


def test_filter_exclude_and_promote(shop: Any, device: Personalizer, view: Any) -> None:
    shop.install(device, shop.model())
    view(device, ["i0"])
    kept = device.recommend(k=24, filter=["Garden", "Study"])
    assert set(_groups(kept, shop)) == {"Garden", "Study"}
    assert _ids(device.recommend(k=24, filter=lambda item: item.item_id == "i7")) == ["i7"]
    decision = device.recommend(k=4, exclude=["i4"], promote=["i7", "i4", "i3", "i11"])
    assert "i4" not in _ids(decision)
    assert set(_ids(decision)[:2]) < {"i7", "i3", "i11"}
    assert [item.source for item in decision.items] == ["promoted"] * 2 + ["model"] * 2
    promoted = device.explain(decision.id, _ids(decision)[0])
    assert promoted.text.startswith("Promoted by this app.")
    left_out = device.explain(decision.id, "i4")
    assert left_out.rules == ("always/excluded",)
    assert left_out.text.startswith("Not shown.")


def test_rank_orders_the_apps_own_items_whether_met_or_not(
    shop: Any, device: Personalizer, view: Any
) -> None:
    shop.install(device, shop.model())
    view(device, ["i0", "i4"])
    decision = device.rank("cart", ["i1", "i0", "i8", "nothing"])
    assert set(_ids(decision)[:2]) == {"i0", "i8"}
    assert _ids(decision)[2] == "i1"
    assert {item.propensity for item in decision.items} == {1.0}
    with pytest.raises(BadEvent):
        device.rank("cart", [])


def test_one_slot_in_ten_is_explored_and_says_so(shop: Any, view: Any) -> None:
    with shop.open(exploration=Exploration(0.5)) as device:
        view(device, ["i0"])
        explored = [
            (decision, item)
            for decision in (device.recommend(k=8) for _ in range(10))
            for item in decision.items
            if item.source == "explore"
        ]
        # 80 slots at one half: fewer than 15 or more than 65 has a chance below 1e-7.
        assert 15 < len(explored) < 65
        decision, item = explored[0]
        assert 0 < item.propensity < 1
        assert "chance" in device.explain(decision.id, item.item_id).text


# --- guardrails in force


def test_what_was_shown_three_times_is_not_shown_again_for_a_week(
    shop: Any, device: Personalizer
) -> None:
    first = _ids(device.recommend(k=2))
    for _ in range(3):
        decision = device.recommend(k=2)
        assert _ids(decision) == first
        device.shown(decision.id)
    after = device.recommend(k=24)
    assert not set(first) & set(_ids(after))
    assert after.removed == {"tired": 2}
    assert device.explain(after.id, first[0]).rules == ("tired",)
    shop.clock.sleep(hours=7 * 24 + 1)
    assert set(first) <= set(_ids(device.recommend(k=24)))


def test_showings_survive_a_restart(shop: Any) -> None:
    for _ in range(3):
        with shop.open() as device:
            device.shown(device.recommend(k=1).id)
    with shop.open() as device:
        assert "i0" not in _ids(device.recommend(k=24))


def test_a_dislike_holds_without_consent_and_across_restarts(shop: Any) -> None:
    with shop.open() as device:
        device.prefer("item", "i3", -1.0)
        device.prefer("category", "Garden", -1.0)
        device.consent("decide", None, False)
    with shop.open() as device:
        decision = device.recommend(k=24)
        assert "i3" not in _ids(decision)
        assert "Garden" not in _groups(decision, shop)
        assert "i3" not in _ids(device.recommend(promote=["i3"]))
        device.prefer("category", "Garden", 0.0)
        assert "Garden" in _groups(device.recommend(k=24), shop)


def test_opting_out_of_a_channel_beats_everything(shop: Any, device: Personalizer) -> None:
    device.context(time_zone="UTC")
    shop.clock.now_ms -= shop.clock.now_ms % 86_400_000 - 12 * 3_600_000
    assert device.recommend("push", k=2).items
    device.opt_out("push")
    closed = device.recommend("push/cart", k=2, promote=["i1"], seed_items=["i1"])
    assert closed.items == ()
    assert "always/opted-out" in closed.closed
    assert device.explain(closed.id, "i1").rules[0] == "always/opted-out"
    assert device.recommend("home", k=2).items


def test_nights_are_quiet_where_the_person_is_and_unknown_zones_are_night(
    shop: Any, device: Personalizer
) -> None:
    noon_utc = shop.clock.now_ms - shop.clock.now_ms % 86_400_000 + 12 * 3_600_000
    shop.clock.now_ms = noon_utc
    assert device.recommend("push", k=1).closed == ("night",)
    device.context(time_zone="Asia/Tokyo")
    assert device.recommend("push", k=1).closed == ("night",)
    device.context(time_zone="Europe/Berlin")
    assert device.recommend("push", k=1).items


def test_two_channels_do_not_talk_at_once(shop: Any, device: Personalizer) -> None:
    device.context(time_zone="UTC")
    shop.clock.now_ms += 12 * 3_600_000 - shop.clock.now_ms % 86_400_000
    assert device.recommend("push", k=1).items
    assert device.recommend("email", k=1).closed == ("always/one-channel",)
    shop.clock.sleep(hours=4.1)
    assert device.recommend("email", k=1).items


def test_stock_and_urgency_come_from_the_app(shop: Any, device: Personalizer) -> None:
    device.context(out_of_stock=["i0"], urgent_until_ms={"i1": 0, "i2": shop.clock.now_ms + 1})
    shown = set(_ids(device.recommend(k=24)))
    assert not {"i0", "i1"} & shown
    assert "i2" in shown
    device.context(out_of_stock=[])
    assert "i0" in _ids(device.recommend(k=24))


def test_nothing_is_inferred_from_what_is_sensitive(
    shop: Any, device: Personalizer, view: Any
) -> None:
    shop.install(device, shop.model())
    rule = {"rule": "sensitive_inference", "categories": ["Music"], "unless_stated": True}
    device.install_guardrails(_policy(rule), KEY.public_key)
    view(device, ["i3", "i7"])
    decision = device.recommend(k=24)
    assert decision.basis == "popular"
    assert "Music" not in _groups(decision, shop)
    assert device.state().features.affinities == ()
    device.prefer("category", "Music", 1.0)
    assert "Music" in _groups(device.recommend(k=3, diversity=0.0), shop)


def test_an_installed_policy_replaces_the_default_and_stays(shop: Any) -> None:
    with shop.open() as device:
        device.install_guardrails(
            _policy({"rule": "only_categories", "categories": ["Study"]}, version=2),
            KEY.public_key,
        )
        with pytest.raises(RollbackRefused):
            device.install_guardrails(_policy({"rule": "out_of_stock"}), KEY.public_key)
    with shop.open() as device:
        assert device.guardrails.version == 2
        assert set(_groups(device.recommend(k=24), shop)) == {"Study"}


def test_who_seeks_help_is_sold_nothing_and_offered_a_person(
    shop: Any, device: Personalizer
) -> None:
    device.hand_overs.agree(["surface", "last_page"])
    device.track("Product Viewed", {"product_id": "i1"})
    device.page("Returns and refunds")
    decision = device.recommend("home", promote=["i1"])
    assert decision.items == ()
    assert decision.closed == ("always/seeking-help",)
    assert decision.escalate is not None
    assert decision.escalate.context == {"surface": "home", "last_page": "Returns and refunds"}
    assert device.recommend("help/returns", k=1).items
    shop.clock.sleep(hours=1)
    assert device.recommend("home", k=1).items


def test_a_hand_over_says_nothing_that_was_not_agreed_to(device: Personalizer) -> None:
    device.page("Contact")
    escalated = device.recommend("home").escalate
    assert escalated is not None
    assert escalated.context == {}
    with pytest.raises(BadEvent):
        device.hand_overs.agree(["purchases"])


def test_propensities_agree_with_what_is_shown(shop: Any) -> None:
    """The log alone tells how often each item is shown: inverse propensities average to one."""
    with shop.open(exploration=Exploration(0.5)) as device:
        weights: Counter[str] = Counter()
        n = 1500
        for _ in range(n):
            item = device.recommend(k=1, diversity=0.0).items[0]
            weights[item.item_id] += 1 / item.propensity
        # The greedy item's weight has a standard error of 0.025, the sum of all others' of 0.9.
        assert weights["i0"] / n == pytest.approx(1.0, abs=0.15)
        assert sum(weights.values()) / n == pytest.approx(24, abs=5)


# --- shown and outcome


def test_outcomes_are_events_of_the_decision_and_counted_once(device: Personalizer) -> None:
    decision = device.recommend(k=2)
    item = _ids(decision)[0]
    device.shown(decision.id, [item])
    assert device.outcome(decision.id, item, "Product Added").recorded
    assert device.outcome(decision.id, item, "Product Added").duplicate
    (logged,) = device.events.read(["add_to_cart"])
    assert logged.event.items == (item,)
    assert logged.event.properties["decision_id"] == decision.id
    assert [row["row"] for row in device.journal.rows()] == ["decision", "shown", "outcome"]


def test_only_what_was_decided_can_be_shown_or_have_an_outcome(device: Personalizer) -> None:

    decision = device.recommend(k=1)
    for call in (
        lambda: device.shown("other"),
        lambda: device.shown(decision.id, ["i9"]),
        lambda: device.outcome(decision.id, "i9", "Product Added"),
    ):
        with pytest.raises(UnknownDecision):
            call()
    assert len(device.journal.rows()) == 1


def test_preferences_that_cannot_be_are_refused(device: Personalizer) -> None:
    for kind, value, weight in (
        ("colour", "red", 1.0), ("item", "", 1.0), ("item", "i1", 2.0), ("channel", "push", 1.0),
        ("channel", "pigeon", -1.0), ("item", "i1", float("nan")),
    ):  # fmt: skip
        with pytest.raises(BadEvent):
            device.prefer(kind, value, weight)


def test_a_catalogue_that_lost_items_still_decides_and_old_records_are_refused(shop: Any) -> None:
    with shop.open() as device:
        device.track("Product Viewed", {"product_id": "i0"})
        device.prefer("item", "i8", -1.0)
        decision = device.recommend(k=2)
        device.shown(decision.id)
    shop.catalogue = Catalogue.build(
        (item.item_id, item.title, item.categories) for item in shop.catalogue.items[4:12]
    )
    with shop.open() as device:
        again = device.recommend(k=24)
        assert set(_ids(again)) == {f"i{n}" for n in range(4, 12)} - {"i8"}
        with pytest.raises(UnknownDecision, match=r"replaced|one of its items"):
            device.explain(decision.id, _ids(decision)[0])


def test_a_clock_that_was_set_back_shows_nothing_more_often(
    shop: Any, device: Personalizer
) -> None:
    for _ in range(3):
        device.shown(device.recommend(k=1).id)
    shop.clock.sleep(hours=-48)
    assert "i0" not in _ids(device.recommend(k=24))
