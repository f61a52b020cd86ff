"""Next actions: bandit and rules, guardrails first, propensities that are right."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from tacit.client import Action, BadEvent, Exploration, Personalizer
from tacit.client.actions import chances, draw, thompson
from tacit.client.decide import LinearModel
from tacit.client.statistics.targets import bandit

OFFER = Action("offer", "offer", item="i1")
MESSAGE = Action("write", "message", channel="email", item="i2")
PERSON = Action("person", "hand_over")
WIDTH = len(bandit.FEATURES)


def _arrays(expected: list[float], spread: float = 1e-4) -> dict[str, Any]:
    n = len(expected)
    coefficients = np.zeros((n, WIDTH))
    coefficients[:, 0] = expected
    means = np.zeros((n, WIDTH))
    means[:, 0] = 1.0
    return {
        "coefficients": coefficients,
        "covariance": np.tile(np.eye(WIDTH) * spread, (n, 1, 1)),
        "means": means,
        "base_rate": np.array(expected),
        "residual_variance": np.full(n, 0.2),
        "drowned": np.zeros(n),
        "parameter_actions": np.array(float(n)),
    }


def _noon(shop: Any) -> None:
    shop.clock.now_ms += 12 * 3_600_000 - shop.clock.now_ms % 86_400_000


def test_rules_decide_without_a_bandit(shop: Any, device: Personalizer) -> None:
    decision = device.next_action("home", [OFFER, PERSON])
    assert (decision.action, decision.source, decision.propensity) == (OFFER, "rule", 1.0)
    assert set(decision.propensities) == {"offer", "person", "wait"}
    assert sum(decision.propensities.values()) == pytest.approx(1)


def test_the_bandit_decides_and_its_propensities_are_logged(
    shop: Any, device: Personalizer
) -> None:
    shop.install(device, _arrays([0.1, 0.6]), kind="bandit")
    actions = [OFFER, Action("other", "offer", item="i5")]
    decision = device.next_action("home", actions)
    assert (decision.source, decision.model_version) == ("model", 1)
    assert decision.propensities == pytest.approx({"offer": 0.02, "other": 0.98, "wait": 0.0})
    device.shown(decision.id)
    (logged,) = device.events.read(["page_view"])
    place = [action.name for action in actions].index(decision.action.name)
    assert logged.event.properties == {"action": place, "propensity": decision.propensity}
    device.shown(decision.id)
    assert len(device.events.read(["page_view"])) == 1


def test_epsilon_greedy_chooses_as_often_as_it_says(shop: Any) -> None:
    with shop.open(exploration=Exploration(0.4)) as device:
        shop.install(device, _arrays([0.1, 0.6, 0.2]), kind="bandit")
        actions = [Action(f"a{n}", "offer") for n in range(3)]
        n, counts, weights = 600, Counter[str](), Counter[str]()
        for _ in range(n):
            decision = device.next_action("home", actions, strategy="epsilon_greedy")
            counts[decision.action.name] += 1
            weights[decision.action.name] += 1 / decision.propensity
        last = device.next_action("home", actions, strategy="epsilon_greedy")
        assert last.propensities == pytest.approx(
            {"a0": 0.4 / 3, "a1": 0.6 + 0.4 / 3, "a2": 0.4 / 3, "wait": 0.0}
        )
        # Standard errors: 0.018 for the share, 0.1 for an inverse-propensity mean of 1.
        assert counts["a1"] / n == pytest.approx(0.733, abs=0.1)
        assert all(weights[f"a{m}"] / n == pytest.approx(1.0, abs=0.5) for m in range(3))


def test_a_forbidden_action_has_no_chance_and_the_rest_share_it(
    shop: Any, device: Personalizer
) -> None:
    shop.install(device, _arrays([0.9, 0.1, 0.2]), kind="bandit")
    device.context(out_of_stock=["i1"])
    actions = [OFFER, Action("b", "offer", item="i5"), Action("c", "offer", item="i6")]
    decision = device.next_action("home", actions)
    assert decision.removed == {"offer": ("stock",)}
    assert decision.propensities["offer"] == 0.0
    assert sum(decision.propensities.values()) == pytest.approx(1)


def test_a_bandit_of_other_actions_does_not_choose(shop: Any, device: Personalizer) -> None:
    shop.install(device, _arrays([0.9, 0.1, 0.2]), kind="bandit")
    assert device.next_action("home", [OFFER, PERSON]).model_version == 0


def test_when_everything_is_forbidden_it_waits(shop: Any, device: Personalizer) -> None:
    device.opt_out("email")
    decision = device.next_action("home", [MESSAGE])
    assert decision.action.kind == "wait"
    assert decision.source == "fallback"
    assert decision.removed["write"][0] == "always/opted-out"


def test_two_channels_never_conflict(shop: Any, device: Personalizer) -> None:
    device.context(time_zone="UTC")
    _noon(shop)
    push = Action("push", "message", channel="push", item="i3")
    assert device.next_action("home", [MESSAGE]).action == MESSAGE
    blocked = device.next_action("home", [push])
    assert blocked.action.kind == "wait"
    assert blocked.removed["push"] == ("always/one-channel",)
    assert device.next_action("home", [MESSAGE]).action == MESSAGE
    shop.clock.sleep(hours=4.1)
    assert device.next_action("home", [push]).action == push


def test_caps_count_what_was_decided(shop: Any, device: Personalizer) -> None:
    device.context(time_zone="UTC")
    _noon(shop)
    sms = Action("sms", "message", channel="sms")
    assert device.next_action("home", [sms]).action == sms
    assert device.next_action("home", [sms]).removed["sms"] == ("caps",)


def test_who_seeks_help_gets_a_person_never_an_offer(shop: Any) -> None:
    with shop.open(exploration=Exploration(0.9)) as device:
        shop.install(device, _arrays([0.9]), kind="bandit")
        device.page("Help")
        for _ in range(20):
            decision = device.next_action("home", [OFFER, PERSON])
            assert decision.action == PERSON
            assert decision.escalate is not None
        assert device.next_action("home", [OFFER]).action.kind == "wait"


def test_urgency_needs_a_true_deadline(shop: Any, device: Personalizer) -> None:
    hurry = Action("hurry", "offer", item="i4", urgent=True)
    assert device.next_action("home", [hurry]).removed["hurry"] == ("always/no-deadline",)
    device.context(urgent_until_ms={"i4": shop.clock.now_ms + 1})
    assert device.next_action("home", [hurry]).action == hurry
    unknown = Action("unknown", "offer", item="nothing")
    assert device.next_action("home", [unknown]).removed["unknown"] == ("always/unknown-item",)


def test_actions_that_cannot_be_are_refused(device: Personalizer) -> None:
    for actions in (
        [], [OFFER, OFFER], [Action("a", "offer", channel="pigeon")], [Action("wait", "offer")],
    ):  # fmt: skip
        with pytest.raises(BadEvent):
            device.next_action("home", actions)


def test_chances_sum_to_one_and_a_draw_never_takes_what_is_impossible() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        n = int(rng.integers(1, 6))
        allowed = [bool(x) for x in rng.random(n) < 0.6]
        if not any(allowed):
            continue
        model = LinearModel.from_arrays(
            {k: v for k, v in _arrays(list(rng.random(n)), 0.01).items() if "parameter" not in k}
        )
        features = np.concatenate([[1.0], rng.uniform(-1, 1, WIDTH - 1)])
        told = chances(thompson(model, features, allowed), allowed, 0.1)
        assert told.sum() == pytest.approx(1)
        assert not told[~np.array(allowed)].any()
        for uniform in (0.0, 0.5, 1 - 2**-53):
            assert allowed[draw(told, uniform)]
