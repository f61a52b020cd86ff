"""Trust levels in documents: what each states, what none may, and that old bytes stay."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tacit.privacy.accounting import GaussianEvent, epsilon_bound, round_up
from tacit.privacy.accounting_modes import locally_noised, participation_bounded
from tacit.privacy.accounting_quick import epsilon_without_libraries
from tacit.privacy.budget_documents import AccountDocument
from tacit.privacy.canonical import canonical_json, parse_canonical
from tacit.privacy.errors import BadDocument, BadParameter
from tacit.privacy.release import ReleaseManifest, ReleaseStatement
from tacit.privacy.round_record import RoundRecord
from tacit.privacy.task import RoundPlan, TaskManifest
from tacit.privacy.trust import (
    ASSUMPTIONS,
    CLAIMS,
    LEVELS,
    claim_context,
    exclusions,
    level_and_relation,
)

DELTA = 1e-6
LOCAL = GaussianEvent(2.0, 1, 8192, "local")
CENTRAL = GaussianEvent(4.0)
PLAN = RoundPlan(1, "popularity/1", 10, 1.0, 4096, 2.0, {})


def task(level: str, **change: Any) -> TaskManifest:
    charged = level != "consent-only"
    plan = PLAN if charged else dataclasses.replace(PLAN, noise_multiplier=0.0)
    made = TaskManifest(
        task_id="task-1",
        population="shop",
        purpose="learn",
        learner="popularity/1",
        signals={"rating": 1.0},
        rounds=(plan,),
        trust_level=level,
        cohort_min=2,
        cohort_max=100,
        cohort_expected=50,
        participation_bound=1,
        unit="user",
        neighboring_relation={"consent-only": "", "central": "add_remove", "local": "replace"}[
            level
        ],
        epsilon=9.0 if charged else None,
        target_delta=DELTA if charged else None,
        budget_account="main" if charged else "",
        catalogue_sha256="00" * 32,
        issued_at_ms=1,
        expires_at_ms=2,
        base_release=0,
    )
    return dataclasses.replace(made, **change)


# --- sentences


def test_the_exact_sentences() -> None:
    assert dict(CLAIMS) == {
        "consent-only": "Raw profiles do not leave the device.",
        "central": "Released models are (ε,δ) user-level DP. The operator can see your "
        "contribution.",
        "local": "(ε₀,δ) against everyone.",
    }
    assert set(ASSUMPTIONS) == set(CLAIMS) == set(LEVELS)
    for word in ("ε", "DP", "differential", "noise"):
        assert word not in CLAIMS["consent-only"] + ASSUMPTIONS["consent-only"]


# --- events


def test_an_event_from_before_keeps_its_bytes_and_its_meaning() -> None:
    old = {
        "mechanism": "discrete_gaussian",
        "sampling": "none",
        "noise_multiplier": "4.0",
        "count": 1,
    }
    assert CENTRAL.to_json() == old
    assert GaussianEvent.from_json(old) == CENTRAL
    assert (CENTRAL.trust_level, CENTRAL.sensitivity) == ("central", None)


@pytest.mark.parametrize("event", [LOCAL, GaussianEvent(4.0, 2, 4096)])
def test_level_and_sensitivity_come_back(event: GaussianEvent) -> None:
    document = event.to_json()
    assert (document["sensitivity"], document["trust_level"]) == (
        event.sensitivity,
        event.trust_level,
    )
    assert GaussianEvent.from_json(document) == event


@pytest.mark.parametrize(
    "change",
    [
        {"sensitivity": None},
        {"sensitivity": 8192.0},
        {"sensitivity": True},
        {"sensitivity": 1023},
        {"sensitivity": -1},
        {"sensitivity": "8192"},
        {"trust_level": "secure"},
        {"trust_level": "consent-only"},
        {"trust_level": None},
        {"trust_level": 1},
    ],
)
def test_an_event_of_no_level_or_sensitivity_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadDocument):
        GaussianEvent.from_json({**LOCAL.to_json(), **change})


@pytest.mark.parametrize("left_out", ["sensitivity", "trust_level"])
def test_half_a_statement_is_refused(left_out: str) -> None:
    document = {k: v for k, v in LOCAL.to_json().items() if k != left_out}
    with pytest.raises(BadDocument):
        GaussianEvent.from_json(document)


def test_a_local_event_names_its_sensitivity() -> None:
    with pytest.raises(BadParameter, match="sensitivity"):
        GaussianEvent(2.0, 1, None, "local")
    with pytest.raises(BadParameter, match="trust_level"):
        GaussianEvent(2.0, 1, 8192, "magic")


def test_z_is_stated_against_the_sensitivity_so_nothing_is_halved_twice() -> None:
    assert locally_noised([LOCAL]) == (LOCAL,)
    # sigma of 2 * 8192 against C = 4096 would be z = 4; halved once, that is the same event.
    assert locally_noised([GaussianEvent(4.0)])[0].noise_multiplier == LOCAL.noise_multiplier
    assert participation_bounded([CENTRAL, LOCAL], 1) == (LOCAL,)


# --- composition


def test_a_claim_names_the_level_and_the_neighbours_of_its_events() -> None:
    assert level_and_relation([]) == ("central", "add_remove")
    assert level_and_relation(["central"]) == ("central", "add_remove")
    assert level_and_relation(["local", "local"]) == ("local", "replace")
    assert level_and_relation(["local", "central"]) == ("central", "zero_out")
    mixed = epsilon_without_libraries([LOCAL, CENTRAL], DELTA)
    assert (mixed.trust_level, mixed.neighboring_relation) == ("central", "zero_out")
    assert any("local is visible" in one for one in exclusions(mixed))
    # Conservative: neither kind is dropped, nor counted as less than it is.
    same = round_up(epsilon_bound([GaussianEvent(2.0), GaussianEvent(4.0)], DELTA))
    alone = epsilon_without_libraries([LOCAL], DELTA)
    assert mixed.epsilon == same > alone.epsilon
    assert (alone.trust_level, alone.neighboring_relation) == ("local", "replace")
    context = claim_context(alone, 1)
    assert context["claim"] == "(ε₀,δ) against everyone."
    assert all(context.values())


# --- tasks


@pytest.mark.parametrize("level", LEVELS)
def test_a_task_of_each_level_comes_back(level: str) -> None:
    made = task(level)
    again = TaskManifest.from_json(parse_canonical(canonical_json(made.to_json())))
    assert again == made
    assert again.digest() == made.digest()


def test_what_a_task_costs_by_level() -> None:
    assert task("central").events() == (GaussianEvent(2.0),)
    assert task("local").events() == (GaussianEvent(2.0, 1, 8192, "local"),)
    assert task("consent-only").events() == ()


def test_a_consent_only_task_has_no_word_of_a_budget() -> None:
    text = canonical_json(task("consent-only").to_json()).decode()
    for word in ("epsilon", "delta", "noise", "neighboring", "budget", "add_remove"):
        assert word not in text


@pytest.mark.parametrize(
    ("level", "change", "named"),
    [
        ("consent-only", {"rounds": (PLAN,)}, "no noise"),
        ("consent-only", {"epsilon": 1.0}, "no epsilon"),
        ("consent-only", {"target_delta": DELTA}, "no epsilon"),
        ("consent-only", {"neighboring_relation": "add_remove"}, "consent-only"),
        ("local", {"neighboring_relation": "add_remove"}, "'replace'"),
        ("local", {"epsilon": None}, "expected epsilon"),
        ("local", {"cohort_max": 1 << 32, "target_delta": 1e-12}, "cohort_max"),
        ("local", {"rounds": (dataclasses.replace(PLAN, noise_multiplier=0.0),)}, "above 0"),
        ("local", {"rounds": (dataclasses.replace(PLAN, noise_multiplier=3000.0),)}, "z·2L"),
        ("central", {"rounds": (dataclasses.replace(PLAN, noise_multiplier=0.0),)}, "above 0"),
        ("central", {"trust_level": "secure"}, "trust_level"),
    ],
)
def test_a_task_that_contradicts_its_level_is_refused(
    level: str, change: dict[str, Any], named: str
) -> None:
    with pytest.raises(BadDocument, match=named):
        task(level, **change).check()


# --- releases, accounts, rounds


def release(level: str) -> ReleaseManifest:
    claim = (
        None if level == "consent-only" else epsilon_without_libraries(task(level).events(), DELTA)
    )
    return ReleaseManifest(
        population="shop",
        version=1,
        task_sha256="0" * 64,
        model_sha256="1" * 64,
        model_bytes=5,
        catalogue_sha256="2" * 64,
        reservations=() if claim is None else ("t/1",),
        epsilon=None if claim is None else claim.epsilon,
        target_delta=None if claim is None else DELTA,
        created_at_ms=9,
        trust_level=level,
        statement=None if claim is None else ReleaseStatement.of(claim, 1),
    )


@pytest.mark.parametrize("level", LEVELS)
def test_a_release_of_each_level_comes_back(level: str) -> None:
    made = release(level)
    document = parse_canonical(canonical_json(made.to_json()))
    assert ReleaseManifest.from_json(document) == made
    assert document["trust_level"] == level


def test_a_consent_only_release_shows_no_figure() -> None:
    text = canonical_json(release("consent-only").to_json()).decode()
    for word in ("epsilon", "delta", "accountant", "DP", "ε"):
        assert word not in text


@pytest.mark.parametrize(
    "left_out", ["unit", "neighboring_relation", "participation_bound", "accountant", "exclusions"]
)
def test_a_release_that_names_its_level_says_all_that_stands_beside_epsilon(left_out: str) -> None:
    document = {k: v for k, v in release("local").to_json().items() if k != left_out}
    with pytest.raises(BadDocument, match=left_out):
        ReleaseManifest.from_json(document)


@pytest.mark.parametrize("level", ["magic", "", None, 3])
def test_a_release_of_no_level_is_refused(level: Any) -> None:
    with pytest.raises(BadDocument, match="trust_level"):
        ReleaseManifest.from_json({**release("local").to_json(), "trust_level": level})


def test_a_consent_only_release_with_a_figure_is_refused() -> None:
    with pytest.raises(BadDocument, match="unknown field"):
        ReleaseManifest.from_json({**release("consent-only").to_json(), "epsilon": "1.0"})


def test_account_terms_name_the_levels_only_where_they_are_not_the_usual_ones() -> None:
    usual = AccountDocument("main", "shop", 8.0, DELTA, {"learn": 8.0})
    assert "allowed_levels" not in usual.to_json()
    assert AccountDocument.from_json(usual.to_json()) == usual
    wider = dataclasses.replace(usual, allowed_levels=("central", "consent-only"))
    assert AccountDocument.from_json(wider.to_json()) == wider
    with pytest.raises(BadDocument, match="allowed_levels"):
        AccountDocument.from_json({**usual.to_json(), "allowed_levels": ["central", "local"]})


def test_a_round_record_comes_back() -> None:
    record = RoundRecord("0" * 64, 2, "1" * 64)
    assert RoundRecord.from_json(record.to_json()) == record
    with pytest.raises(BadDocument):
        RoundRecord.from_json({**record.to_json(), "type": "tacit.round-record/2"})
