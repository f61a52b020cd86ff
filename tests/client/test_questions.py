"""Questions: the one that tells most, by the posterior it would leave."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tacit.client import BadEvent, Personalizer
from tacit.client.decide import FactorModel, Model
from tacit.client.decide.confidence import (
    ANSWER_EVENTS,
    confidence,
    expected_gain,
    taste_covariance,
    uncertainty,
)

NOTHING = np.empty(0, dtype=np.int64)


def test_without_a_model_the_largest_category_is_asked_about_first(device: Personalizer) -> None:
    question = device.next_question()
    assert question is not None
    assert question.category == "Kitchen"
    assert {answer.name: answer.arguments["weight"] for answer in question.answers} == {
        "yes": 1.0, "no": -1.0,
    }  # fmt: skip


def test_questions_end_and_are_not_repeated(shop: Any, device: Personalizer) -> None:
    shop.install(device, shop.model())
    asked: list[str] = []
    while (question := device.next_question()) is not None:
        asked.append(question.category)
        answer = question.answers[len(asked) % 2]
        getattr(device, answer.verb)(**answer.arguments)
    assert sorted(asked) == ["Garden", "Kitchen", "Music", "Study"]


def test_the_question_is_about_the_taste_that_varies_most(shop: Any, device: Personalizer) -> None:
    for taste in range(4):
        arrays = shop.model()
        arrays["prior_variance"] = np.full(4, 0.01)
        arrays["prior_variance"][taste] = 4.0
        shop.install(device, arrays, version=taste + 1)
        question = device.next_question()
        assert question is not None
        assert question.category == ("Kitchen", "Garden", "Study", "Music")[taste]
        assert 0 < question.gain <= 1


def test_expected_gain_is_what_one_more_observation_removes(shop: Any) -> None:
    """Against the textbook: invert the precision with the answer added, and compare traces."""
    model = Model.from_arrays(shop.model(3))
    group = np.array([1, 5, 9])
    before = taste_covariance(model, np.array([0, 2]), np.array([1.0, 2.0]))
    reading = model.loadings[group].sum(axis=0)
    share = model.popularity[group].sum()
    noise = share * (1 - share) / ANSWER_EVENTS
    precision = np.asarray(np.linalg.inv(before)) + np.outer(reading, reading) / noise
    after = np.asarray(np.linalg.inv(precision), dtype=np.float64)
    expected = uncertainty(model, before) - uncertainty(model, after)
    assert expected_gain(model, before, group) == pytest.approx(expected, rel=1e-9)


def test_confidence_grows_with_history_and_ignores_the_scale_of_directions(shop: Any) -> None:
    arrays = shop.model(3)
    model = Model.from_arrays(arrays)
    items = np.arange(6)
    told = [confidence(model, items[:n], np.ones(n)) for n in range(7)]
    assert told[0] == 0.0
    assert told == sorted(told)
    assert told[-1] < 1
    scale = np.array([2.0, 0.5, 3.0, 1.0])
    rescaled = Model.from_arrays(
        {
            **arrays,
            "loadings": arrays["loadings"] * scale,
            "prior_variance": arrays["prior_variance"] / scale**2,
        }
    )
    assert confidence(rescaled, items, np.ones(6)) == pytest.approx(told[-1], rel=1e-9)


def test_item_factors_have_confidence_and_gains_too() -> None:
    rng = np.random.default_rng(2)
    model = FactorModel.from_arrays(
        {
            "popularity": np.full(30, 1 / 30),
            "item_factors": rng.normal(size=(30, 4)),
            "ridge": np.array([1.0]),
            "unseen_weight": np.array([0.05]),
        }
    )
    few = confidence(model, np.arange(2), np.ones(2))
    assert 0 < few < confidence(model, np.arange(10), np.ones(10)) < 1
    assert expected_gain(model, taste_covariance(model, NOTHING, np.empty(0)), np.arange(3)) > 0


def test_sensitive_categories_are_not_asked_about(shop: Any, device: Personalizer) -> None:
    from tacit.client.guardrails import GuardrailPolicy, Rule, sign_policy
    from tacit.privacy.signatures import SigningKey

    key = SigningKey(b"\3" * 32)
    rule = Rule("private", "sensitive_inference", categories=("Kitchen", "Garden"))
    device.install_guardrails(sign_policy(GuardrailPolicy("a", 1, 0, (rule,)), key), key.public_key)
    question = device.next_question()
    assert question is not None
    assert question.category == "Study"


def test_a_person_can_ask_why_they_are_asked(shop: Any, device: Personalizer) -> None:
    shop.install(device, shop.model())
    question = device.next_question()
    assert question is not None
    (control,) = question.controls
    assert (control.name, control.verb) == ("why_am_i_asked", "why_asked")
    said = getattr(device, control.verb)(**control.arguments)
    assert said.startswith(question.why)
    assert f"So far 0% of your taste is known to this device; an answer about {question.category} "
    assert f"settle {question.gain:.0%} of the rest" in said
    device.track("Product Viewed", {"product_id": "i0"})
    later = device.why_asked(question.category)
    assert later != said
    with pytest.raises(BadEvent, match="expected a category of the catalogue"):
        device.why_asked("nothing of ours")
