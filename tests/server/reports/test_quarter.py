"""A review's figures are those of the ledger at the end of its days, whatever came later."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from tacit.privacy.accounting import GaussianEvent, epsilon_bound, round_up
from tacit.server.budget.statement import account_statements
from tacit.server.errors import NotFound
from tacit.server.reports import Document, Period, VerifiedLedger, quarterly_review
from tacit.server.reports.burn_down import burn_down

FIRST = Period(datetime.date(2026, 1, 1), datetime.date(2026, 3, 31))
SECOND = Period(datetime.date(2026, 4, 1), datetime.date(2026, 6, 30))


def account_of(review: Document) -> dict[str, Any]:
    data: Any = review.to_json()["data"]
    accounts: list[dict[str, Any]] = data["accounts"]
    assert len(accounts) == 1
    return accounts[0]


def table(review: Document, heading: str, place: int = 0) -> list[list[str]]:
    (section,) = [one for one in review.sections if one.heading == heading]
    document: Any = section.to_json()
    blocks: Any = [one for one in document["blocks"] if one["kind"] == "table"]
    return [[cell["text"] for cell in row] for row in blocks[place]["rows"]]


def incidents(review: Document) -> list[str]:
    data: Any = review.to_json()["data"]
    return [str(one["what"]) for one in data["incidents"]]


def words_of(review: Document) -> str:
    return json.dumps(review.to_json() | {"data": None}, ensure_ascii=False)


def composed(*events: GaussianEvent) -> float:
    return round_up(epsilon_bound(events, 1e-6))


def test_the_figures_of_the_second_quarter(year: VerifiedLedger) -> None:
    review = quarterly_review(year, SECOND)
    account = account_of(review)
    lifetime = composed(GaussianEvent(8.0, 3), GaussianEvent(20.0), GaussianEvent(10.0, 2))
    window = composed(GaussianEvent(10.0, 2))
    assert float(account["spent"]["epsilon"]) == lifetime
    assert float(account["window_spent"]["epsilon"]) == window
    (statement,) = account_statements(year.contents)
    assert account["spent"] == statement.to_json()["spent"]
    standing = {row[0]: row[1:] for row in table(review, "Account main, population shop")}
    first = composed(GaussianEvent(8.0, 3), GaussianEvent(20.0))
    assert standing["window"] == ["1", "2"]
    assert standing["lifetime ε, all windows"] == [f"{first:.6f}", f"{lifetime:.6f}".rstrip("0")]
    assert standing["window ε, which the cap bounds"][1] == f"{window:.6f}"
    assert standing["cap ε of a window"] == ["1", "2"]


def test_a_past_quarter_does_not_know_what_came_later(
    year: VerifiedLedger, new_writer: Callable[..., Any]
) -> None:
    review = quarterly_review(year, FIRST)
    account = account_of(review)
    assert float(account["spent"]["epsilon"]) == composed(
        GaussianEvent(8.0, 3), GaussianEvent(20.0)
    )
    assert account["cap_epsilon"] == 1.0
    assert account["changes"] == []
    names = [row[1] for row in table(review, "Every spend of the period")]
    assert names == ["task-1/1", "task-1/2", "task-1/3", "task-2/1", "task-2/2"]
    # Made when only the first quarter had happened, it says the same but for the newest entry.
    cut = dataclasses.replace(
        year, **{name: getattr(year.as_of(FIRST.end_ms), name) for name in ("contents", "entries")}
    )
    then = quarterly_review(cut.contents, FIRST)
    assert account_of(then)["steps"] == account["steps"]
    assert account_of(then)["reservations"] == account["reservations"]


def test_spends_carry_what_stood_after_each(year: VerifiedLedger) -> None:
    rows = table(quarterly_review(year, SECOND), "Every spend of the period")
    (statement,) = year.statements
    steps = {one.name: one for one in statement.steps if one.kind == "budget.reserve"}
    assert [row[1] for row in rows] == ["task-3/1", "task-3/2"]
    assert [row[4] for row in rows] == ["committed", "reserved"]
    for row in rows:
        step = steps[row[1]]
        assert float(row[5]) == step.window_epsilon
        assert float(row[6]) == step.spent_epsilon
        assert row[7].split(" ")[0].rstrip(",") == str(step.index)


def test_changes_have_both_officers_and_rejections_too(year: VerifiedLedger) -> None:
    rows = table(quarterly_review(year, SECOND), "Changes of terms")
    assert [(row[0], row[1][:5], row[2][:3], row[3], row[4]) for row in rows] == [
        ("refresh window 1 to 2", "alice", "bob", "approved", "new quarter"),
        ("cap ε 1 to 2, quota of learn 1 to 2", "alice", "bob", "approved", "spring campaign"),
        ("δ 1e-06 to 1e-09", "alice", "bob", "rejected", "larger population"),
    ]
    assert table(quarterly_review(year, FIRST), "Changes of terms") == []


def test_alerts_of_the_period(year: VerifiedLedger) -> None:
    words = words_of(quarterly_review(year, FIRST))
    assert "window 1 reached 0.5 of its cap, at ε 0.503856" in words
    assert "window 1 reached 0.8 of its cap, at ε 0.908402" in words
    assert "No alert was given in the period" in words_of(quarterly_review(year, SECOND))


def test_incidents_are_found(year: VerifiedLedger) -> None:
    first, second = (incidents(quarterly_review(year, one)) for one in (FIRST, SECOND))
    assert first == ["reservation task-2/1 aborted (“nobody came”)"]
    assert second == [
        "a change of account main was rejected by bob",
        "reservation task-3/2 is open at the end of the period",
    ]


def test_findings_low_caps_and_clocks_are_incidents(new_writer: Callable[..., Any]) -> None:
    writer = new_writer()
    writer.account()
    writer.train(writer.task())
    writer.audit(("shop", 1), findings=("noise at half its scale",))
    terms = dataclasses.replace(
        writer.replayed().accounts["main"].terms, cap_epsilon=0.5, quotas={"learn": 0.5}
    )
    writer.approve(writer.propose(terms, "less"))
    writer.now_ms -= 90_000
    writer.notice()
    assert incidents(quarterly_review(writer.verified())) == [
        "audit: violation detected: 1 finding",
        "window 1 of account main stood at ε 0.908402, above its cap of 0.5",
        "operator (operator) dated the entry 90 s before an earlier one",
    ]


def test_consent_log_growth_comes_from_the_epochs(year: VerifiedLedger) -> None:
    assert "30 by the last map epoch of the period, 30 of them new" in words_of(
        quarterly_review(year, FIRST)
    )
    assert "42 by the last map epoch of the period, 12 of them new" in words_of(
        quarterly_review(year, SECOND)
    )
    assert "an export holds no decision" in words_of(quarterly_review(year, FIRST))


def test_every_round_has_the_label_an_erasure_states(year: VerifiedLedger) -> None:
    rows = table(quarterly_review(year, FIRST), "Withdrawals and erasures")
    assert [(row[0], row[1], row[2]) for row in rows] == [
        ("task-1", "1", "dp-bounded"),
        ("task-1", "2", "dp-bounded"),
        ("task-1", "3", "dp-bounded"),
        ("task-2", "1", "stopped"),
        ("task-2", "2", "dp-bounded"),
    ]


def test_a_population_without_an_account(unpaid: VerifiedLedger) -> None:
    review = quarterly_review(unpaid)
    words = words_of(review)
    assert "Raw profiles do not leave the device." in words
    assert not [one for one in ("epsilon", "ε", "differential", "accountant") if one in words]
    assert [row[2] for row in table(review, "Withdrawals and erasures")] == ["unbounded"] * 3
    assert len(table(review, "Rounds of the period")) == 3
    assert quarterly_review(unpaid, population="shop").to_json()["sections"]


def test_unknown_names_and_empty_days_are_refused(year: VerifiedLedger) -> None:
    known = r"main \(population shop\)"
    with pytest.raises(NotFound, match=f"{known}.*account 'other'"):
        quarterly_review(year, SECOND, account="other")
    with pytest.raises(NotFound, match=f"{known}.*population 'other'"):
        quarterly_review(year, SECOND, population="other")
    before = Period(datetime.date(2025, 1, 1), datetime.date(2025, 3, 31))
    with pytest.raises(NotFound, match=r"with entries by 2025-03-31; its first is of 2026-01-05"):
        quarterly_review(year, before)


def test_an_empty_ledger_is_refused(new_writer: Callable[..., Any]) -> None:
    with pytest.raises(NotFound, match="nothing was recorded yet"):
        quarterly_review(new_writer().verified())


def test_the_default_is_the_quarter_of_the_newest_entry(year: VerifiedLedger) -> None:
    assert quarterly_review(year).subtitle == "test.example/governance, Q2 2026"


def test_the_chart_draws_what_the_steps_say(year: VerifiedLedger) -> None:
    (statement,) = year.statements
    until_ms = year.entries[-1].recorded_at_ms
    chart = burn_down(statement.steps, (0.5, 0.8), SECOND, until_ms)
    assert chart is not None
    drawn = [layer["data"]["values"] for layer in chart.specification["layer"]]
    lifetime, window, cap = drawn[:3]
    steps = [one for one in statement.steps if SECOND.holds(one.recorded_at_ms)]
    assert [one["value"] for one in lifetime][1:-1] == [one.spent_epsilon for one in steps]
    assert [one["value"] for one in window][1:-1] == [one.window_epsilon for one in steps]
    assert {one["value"] for one in cap} == {1.0, 2.0}
    assert f"lifetime ε from {lifetime[0]['value']:.6f} to" in chart.alternative
    dashes = [tuple(layer["mark"]["strokeDash"]) for layer in chart.specification["layer"][:4]]
    assert len(set(dashes)) == 4, "lines must differ without colour"
    labels = sorted(one["pixel"] for one in drawn[-1])
    assert all(b - a >= 13.9 for a, b in itertools.pairwise(labels))


def test_an_account_opened_later_has_no_chart_yet(year: VerifiedLedger) -> None:
    assert burn_down((), (), FIRST, FIRST.end_ms) is None


def test_nothing_in_a_period_is_said_to_be_nothing(year: VerifiedLedger) -> None:
    quiet = Period(datetime.date(2026, 2, 1), datetime.date(2026, 2, 10))
    review = quarterly_review(year, quiet)
    words = words_of(review)
    assert review.title == "Privacy review"
    for told in ("Nothing was spent in the period.", "Nothing was released in the period."):
        assert told in words
    assert review.to_pdf().startswith(b"%PDF")
