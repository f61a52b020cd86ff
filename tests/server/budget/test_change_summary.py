"""The line a second officer reads names every difference between two sets of terms."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tacit.privacy.account_change_documents import ChangeDocument
from tacit.privacy.budget_account import AccountTerms, BudgetAccount
from tacit.privacy.budget_standing import AccountStanding, LedgerIdentity
from tacit.server.budget.change_summary import levels_in_words, summarise

ALICE, BOB, CAROL = (letter * 26 for letter in "abc")
TERMS = AccountTerms(
    cap_epsilon=8.0,
    target_delta=1e-6,
    quotas={"learn": 8.0},
    population_size=1000,
    window_days=30,
    alert_thresholds=(0.5,),
    approvers=(ALICE, BOB),
)
OTHER: dict[str, Any] = {
    "cap_epsilon": 8.000000001,
    "target_delta": 1.0000001e-6,
    "quotas": {"learn": 8.0, "measure": 1e-9},
    "population_size": 1001,
    "window_days": None,
    "alert_thresholds": (0.50000001,),
    "approvers": (ALICE, CAROL),
    "unit": "event",
    "allowed_levels": ("central", "local", "consent-only"),
}


def summary(after: AccountTerms, before: AccountTerms = TERMS) -> str:
    account = BudgetAccount.under("main", "shop", before)
    standing = AccountStanding.opened(
        account, 0, LedgerIdentity("test.example/governance", bytes(32))
    )
    # What is read here is the terms alone; whether they may be proposed is decided elsewhere.
    change = object.__new__(ChangeDocument)
    object.__setattr__(change, "terms", after)
    return summarise(standing, change)


@pytest.mark.parametrize("field", [one.name for one in dataclasses.fields(AccountTerms)])
def test_every_field_of_the_terms_shows(field: str) -> None:
    with_cap = dataclasses.replace(TERMS, cap_epsilon=9.0)
    before, beside = summary(TERMS), summary(with_cap)
    assert before == ""
    for terms, without in ((TERMS, before), (with_cap, beside)):
        after = dataclasses.replace(terms)
        object.__setattr__(after, field, OTHER[field])  # also a unit that no terms can have
        assert summary(after) not in ("", without)


@pytest.mark.parametrize("field", ["approvers", "allowed_levels"])
def test_another_order_shows_beside_another_difference(field: str) -> None:
    turned: dict[str, Any] = {field: tuple(reversed(getattr(TERMS, field)))}
    assert "order of" in summary(dataclasses.replace(TERMS, **turned))
    assert "order of" in summary(dataclasses.replace(TERMS, cap_epsilon=9.0, **turned))


def test_allowing_what_spends_nothing_says_what_the_cap_no_longer_bounds() -> None:
    usual = TERMS.allowed_levels
    with_unpaid = dataclasses.replace(TERMS, allowed_levels=(*usual, "consent-only"))
    added, removed = summary(with_unpaid), summary(TERMS, with_unpaid)
    assert "trust levels central local to consent-only central local" in added
    assert "the cap no longer bounds everything that leaves devices: " in added
    assert "trust levels consent-only central local to central local" in removed
    assert "the cap bounds everything that leaves devices from here on" in removed
    assert levels_in_words(usual, usual) == ""
    assert "tasks at central, published ones too, spend no more" in levels_in_words(
        usual, ("local",)
    )
    assert "tasks at central may spend from the cap" in levels_in_words(("local",), usual)
