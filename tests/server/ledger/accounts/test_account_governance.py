"""Four-eyes changes on a real node: what two officers can do, and what one cannot."""

from __future__ import annotations

import dataclasses
import json
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from sqlalchemy import delete, insert

from tacit.privacy.account_change_documents import ApprovalDocument, ChangeDocument
from tacit.privacy.account_documents import AccountDocument
from tacit.privacy.accounting import GaussianEvent, epsilon_bound, round_up
from tacit.privacy.accounting_modes import PoissonEvent
from tacit.privacy.budget_account import AccountTerms
from tacit.privacy.budget_documents import ReserveDocument
from tacit.privacy.errors import BadDocument, BadParameter, ChangeRefused, PrivacyError
from tacit.server.errors import (
    AlreadyExists,
    Exhausted,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    Refused,
)
from tacit.server.ledger.tables import account_standings, devices

DELTA = 1e-6
DAY_MS = 86_400_000
TEN_YEARS_MS = 3653 * DAY_MS


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def composed(*zs: float, delta: float = DELTA) -> float:
    return round_up(epsilon_bound([GaussianEvent(z) for z in zs], delta))


def terms(desk: Any, **changes: Any) -> AccountTerms:
    """Return the terms in force with changes."""
    in_force: AccountTerms = desk.standing().account.terms
    return dataclasses.replace(in_force, **changes)


def refused(desk: Any, act: Callable[[], object], *words: str) -> None:
    """Check that an act is refused with a clear line and leaves the ledger as it was."""
    before = desk.state()
    with pytest.raises((Refused, PrivacyError)) as raised:
        act()
    assert all(word in str(raised.value) for word in words), str(raised.value)
    assert "\n" not in str(raised.value)
    assert desk.state() == before
    assert not desk.replayed().findings


class TestTwoOfficers:
    def test_a_raise_holds_from_its_approval_on(self, desk: Any) -> None:
        one = composed(8.0)
        desk.open_account(cap=one)
        task = desk.task("t")
        desk.reserve(task, 1)
        with pytest.raises(Exhausted, match="cap"):
            desk.reserve(task, 2)
        two = composed(8.0, 8.0)
        digest = desk.propose(
            desk.change(terms(desk, cap_epsilon=two, quotas={"learn": two})), "alice"
        )
        with pytest.raises(Exhausted, match="cap"):  # a proposal alone changes nothing
            desk.reserve(task, 2)
        desk.approve(digest, "bob")
        assert desk.reserve(task, 2).window.epsilon == two
        assert desk.standing().revision == 1
        history = desk.replayed()
        assert not history.findings
        assert history.standings["main"] == desk.standing()
        assert history.accounts["main"].cap_epsilon == two

    def test_everything_of_the_terms_can_change(self, desk: Any) -> None:
        desk.open_account()
        new = AccountTerms(
            cap_epsilon=4.0,
            target_delta=1e-7,
            quotas={"learn": 3.0, "measure": 1.0},
            population_size=5000,
            window_days=7,
            alert_thresholds=(0.9,),
            approvers=desk.approvers("bob", "dave"),
        )
        desk.agree(new)
        assert desk.standing().account.terms == new
        desk.reopen()
        assert desk.standing().account.terms == new
        # Who decides from now on are the new approvers.
        again = desk.change(terms(desk, cap_epsilon=3.0))
        refused(desk, lambda: desk.propose(again, "alice"), "expected one of its approvers")
        desk.approve(desk.propose(again, "dave"), "bob")
        assert desk.standing().account.cap_epsilon == 3.0

    def test_lowering_below_what_is_spent_stops_spending(self, desk: Any) -> None:
        desk.open_account()
        task = desk.task("t")
        desk.reserve(task, 1)
        spent = composed(8.0)
        desk.agree(terms(desk, cap_epsilon=spent / 2, quotas={"learn": spent / 2}))
        assert desk.figures() == (spent, spent)  # nothing is given back
        refused(desk, lambda: desk.reserve(task, 2), "cap")
        desk.commit("t/1")  # what was reserved before may still be used
        desk.refresh()
        refused(desk, lambda: desk.reserve(task, 2), "cap")  # one spend alone is above it now

    def test_a_rejected_or_withdrawn_change_is_dead(self, desk: Any) -> None:
        desk.open_account()
        for name, officer in (("bob", "by another"), ("alice", "by its author")):
            change = desk.change(terms(desk, cap_epsilon=9.0), reason=officer)
            digest = desk.propose(change, "alice")
            first = desk.reject(digest, name)
            assert desk.reject(digest, name) == first  # the reply was lost
            refused(desk, partial(desk.approve, digest, "bob"), "was rejected before")
            refused(desk, partial(desk.reject, digest, "carol"), "was rejected before")
        assert desk.standing().revision == 0

    def test_repeating_an_entry_is_answered_as_the_first_time(self, desk: Any) -> None:
        desk.open_account()
        change = desk.change(terms(desk, cap_epsilon=9.0))
        body = change.to_json()
        first = desk.append("account.change", body, "alice")
        desk.now += 1000
        assert desk.append("account.change", body, "alice") == first
        approved = desk.approve(change.sha256(), "bob")
        desk.now += 1000
        assert desk.approve(change.sha256(), "bob") == approved
        assert desk.append("account.change", body, "alice") == first
        assert len(desk.entries()) == 3
        assert desk.standing().revision == 1


class TestOneOfficer:
    def test_approving_ones_own_request(self, desk: Any) -> None:
        desk.open_account()
        digest = desk.propose(desk.change(terms(desk, cap_epsilon=80.0)), "alice")
        refused(desk, lambda: desk.approve(digest, "alice"), "nobody approves their own request")

    def test_approving_it_with_a_second_key(self, desk: Any) -> None:
        desk.open_account()
        digest = desk.propose(desk.change(terms(desk, cap_epsilon=80.0)), "alice")
        refused(desk, lambda: desk.approve(digest, "alice-phone"), "nobody approves their own")
        digest = desk.propose(desk.change(terms(desk, cap_epsilon=81.0)), "alice-phone")
        refused(desk, lambda: desk.approve(digest, "alice"), "nobody approves their own")
        desk.approve(digest, "bob")

    def test_an_officer_the_account_does_not_name(self, desk: Any) -> None:
        desk.open_account()
        change = desk.change(terms(desk, cap_epsilon=80.0))
        refused(desk, lambda: desk.propose(change, "dave"), "expected one of its approvers")
        digest = desk.propose(change, "alice")
        refused(desk, lambda: desk.approve(digest, "dave"), "expected one of its approvers")
        refused(desk, lambda: desk.reject(digest, "dave"), "expected one of its approvers")

    def test_one_person_cannot_be_all_approvers(self, desk: Any) -> None:
        alone = desk.approvers("alice", "alice-phone")
        with pytest.raises(ChangeRefused, match="two people or more"):
            desk.open_account(approvers=alone)
        with pytest.raises(BadParameter, match="at least two"):
            desk.open_account(approvers=alone[:1], window_days=None)
        with pytest.raises(ChangeRefused, match="no officer"):
            desk.open_account(approvers=desk.approvers("alice", "operator"))
        assert desk.entries() == []
        desk.open_account()
        for approvers, word in (
            (alone, "two people"),
            (desk.approvers("bob", "coordinator"), "no"),
        ):
            change = desk.change(terms(desk, approvers=approvers))
            refused(desk, partial(desk.propose, change, "bob"), word)

    def test_an_account_of_the_first_version_is_fixed_for_good(self, desk: Any) -> None:
        desk.open_account(population_size=None, window_days=None, alert_thresholds=(), approvers=())
        assert desk.entries()[0].find(b'"tacit.account/1"') > 0
        change = desk.change(None)
        refused(desk, lambda: desk.propose(change, "alice"), "names no approvers", "fixed for good")
        assert desk.standing().account.population_size is None


class TestReplaySupersedeExpire:
    def test_a_change_holds_once(self, desk: Any) -> None:
        desk.open_account()
        digest = desk.propose(desk.change(terms(desk, cap_epsilon=9.0)), "alice")
        desk.approve(digest, "bob")
        refused(desk, lambda: desk.approve(digest, "carol"), "was approved before")
        refused(desk, lambda: desk.reject(digest, "carol"), "was approved before")

    def test_a_change_dies_with_any_other(self, desk: Any) -> None:
        desk.open_account()
        first = desk.propose(desk.change(terms(desk, cap_epsilon=9.0)), "alice")
        second = desk.propose(desk.change(terms(desk, cap_epsilon=10.0)), "bob")
        desk.approve(second, "alice")
        refused(desk, lambda: desk.approve(first, "carol"), "not in force")

    def test_one_refresh_cannot_be_played_twice(self, desk: Any) -> None:
        desk.open_account()
        desk.now += 31 * DAY_MS
        first = desk.change(None, reason="quarter")
        twin = desk.change(None, reason="quarter again")
        desk.propose(twin, "bob")
        desk.approve(desk.propose(first, "alice"), "bob")
        refused(desk, lambda: desk.approve(twin.sha256(), "carol"), "not in force")
        replayed = desk.change(None, reason="x", replaces=first.replaces)
        refused(desk, lambda: desk.propose(replayed, "alice"), "not in force")

    def test_an_expired_change(self, desk: Any) -> None:
        desk.open_account()
        change = desk.change(terms(desk, cap_epsilon=9.0), ttl_ms=1000)
        digest = desk.propose(change, "alice")
        desk.now += 1000
        refused(desk, lambda: desk.approve(digest, "bob"), "has expired")
        for ttl_ms, word in ((0, "expires after"), (31 * DAY_MS, "within 30 days")):
            odd = desk.change(terms(desk, cap_epsilon=9.0), ttl_ms=ttl_ms, reason="odd")
            refused(desk, partial(desk.propose, odd, "alice"), word)

    def test_unknown_accounts_and_changes(self, desk: Any) -> None:
        desk.open_account()
        lost = desk.change(terms(desk, cap_epsilon=9.0), account_id="other")
        with pytest.raises(NotFound, match="no budget account other"):
            desk.propose(lost, "alice")
        with pytest.raises(NotFound, match="no proposed change"):
            desk.approve("ab" * 32, "bob")
        with pytest.raises(NotFound, match="no budget account"):
            desk.node.budget.stand("other")
        change = desk.change(terms(desk, cap_epsilon=9.0))
        desk.propose(change, "alice")
        with pytest.raises(AlreadyExists):
            desk.propose(change, "bob")

    def test_a_change_that_changes_nothing(self, desk: Any) -> None:
        desk.open_account()
        refused(desk, lambda: desk.propose(desk.change(terms(desk)), "alice"), "differ")


class TestClock:
    def test_moved_ten_years_forward_it_resets_no_window(self, desk: Any) -> None:
        one = composed(8.0)
        desk.open_account(cap=one, window_days=30)
        task = desk.task("t")
        desk.reserve(task, 1)
        digest = desk.propose(desk.change(terms(desk, cap_epsilon=80.0)), "alice")
        desk.now += TEN_YEARS_MS
        refused(desk, lambda: desk.reserve(task, 2), "cap")
        refused(desk, lambda: desk.approve(digest, "bob"), "has expired")
        assert desk.standing().window == 1

    def test_moved_ten_years_back_it_revives_nothing(self, desk: Any) -> None:
        desk.open_account(cap=composed(8.0))
        task = desk.task("t")
        desk.reserve(task, 1)
        digest = desk.propose(desk.change(terms(desk, cap_epsilon=80.0), ttl_ms=1000), "alice")
        desk.now -= TEN_YEARS_MS
        refused(desk, lambda: desk.approve(digest, "bob"), "before the account's last decision")
        refused(desk, lambda: desk.reject(digest, "bob"), "before the account's last decision")
        late = desk.change(terms(desk, cap_epsilon=81.0))
        refused(desk, lambda: desk.propose(late, "alice"), "before the account's last decision")
        refused(desk, lambda: desk.reserve(task, 2), "cap")

    @pytest.mark.parametrize("off_ms", [-TEN_YEARS_MS, -61_000, 61_000, TEN_YEARS_MS])
    def test_a_signer_whose_clock_is_off(self, desk: Any, off_ms: int) -> None:
        desk.open_account()
        change = desk.change(terms(desk, cap_epsilon=9.0), ttl_ms=29 * DAY_MS)
        at_ms = desk.now + off_ms
        refused(desk, lambda: desk.propose(change, "alice", at_ms))
        digest = desk.propose(change, "alice")
        refused(desk, lambda: desk.approve(digest, "bob", at_ms))

    def test_a_young_window_is_not_refreshed(self, desk: Any) -> None:
        desk.open_account(window_days=30)
        desk.now += 29 * DAY_MS
        digest = desk.propose(desk.change(None, ttl_ms=7 * DAY_MS), "alice")
        refused(desk, lambda: desk.approve(digest, "bob"), "30 days", "29.0")
        desk.now += DAY_MS
        desk.approve(digest, "bob")
        assert desk.standing().window == 2


class TestWindows:
    def test_a_refresh_counts_anew_and_lifetime_goes_on(self, desk: Any) -> None:
        one = composed(8.0)
        desk.open_account(cap=one)
        task = desk.task("t")
        desk.reserve(task, 1)
        desk.commit("t/1")
        refused(desk, lambda: desk.reserve(task, 2), "cap")
        desk.refresh()
        assert desk.figures() == (0.0, one)
        spent = desk.reserve(task, 2)
        assert spent.window.epsilon == one
        assert spent.claim.epsilon == composed(8.0, 8.0)
        assert desk.commit("t/2").claim.epsilon == composed(8.0, 8.0)
        refused(desk, lambda: desk.reserve(task, 3), "cap")
        desk.reopen()
        assert desk.figures() == (one, composed(8.0, 8.0))
        assert desk.replayed().standings["main"] == desk.standing()

    def test_no_double_spend_across_the_boundary(self, desk: Any) -> None:
        one = composed(8.0)
        desk.open_account(cap=one)
        task = desk.task("t")
        desk.reserve(task, 1)  # the whole cap of window 1, noise not drawn yet
        desk.refresh()
        assert desk.figures() == (one, one)  # it counts in window 2 as well
        refused(desk, lambda: desk.reserve(task, 2), "cap")
        desk.commit("t/1")  # released in window 2
        refused(desk, lambda: desk.reserve(task, 2), "cap")
        desk.refresh()
        assert desk.figures() == (0.0, one)

    def test_open_over_two_refreshes_it_counts_in_each(self, desk: Any) -> None:
        desk.open_account(cap=composed(8.0))
        task = desk.task("t")
        desk.reserve(task, 1)
        desk.refresh()
        desk.refresh()
        refused(desk, lambda: desk.reserve(task, 2), "cap")
        desk.abort("t/1")
        desk.reserve(task, 2)
        assert not desk.replayed().findings

    def test_no_window_means_for_life(self, desk: Any) -> None:
        one, two = composed(8.0), composed(8.0, 8.0)
        desk.open_account(cap=one)
        task = desk.task("t")
        desk.reserve(task, 1)
        desk.commit("t/1")
        desk.refresh()
        desk.reserve(task, 2)
        desk.agree(terms(desk, window_days=None))
        assert desk.figures() == (two, two)  # earlier windows are under the cap again
        refused(desk, lambda: desk.reserve(task, 3), "cap")
        change = desk.change(None)
        refused(desk, lambda: desk.propose(change, "alice"), "no window to refresh")
        desk.agree(terms(desk, window_days=1))
        assert desk.figures() == (two, two)  # and a window that returns lets nothing go

    def test_ten_tasks_compose_as_one(self, desk: Any) -> None:
        ten = composed(*[8.0] * 10)
        desk.open_account(cap=ten)
        for number in range(10):
            desk.reserve(desk.task(f"campaign-{number}", rounds=1), 1)
        assert desk.figures() == (ten, ten)
        last = desk.task("campaign-10", rounds=1)
        refused(desk, lambda: desk.reserve(last, 1), "cap")


class TestDeltaAndUnit:
    def test_all_events_are_composed_at_the_new_delta(self, desk: Any) -> None:
        desk.open_account()
        old = desk.task("old")
        desk.reserve(old, 1)
        desk.reserve(old, 2)
        desk.commit("old/1")
        desk.agree(terms(desk, target_delta=1e-9))
        assert desk.figures()[1] == composed(8.0, 8.0, delta=1e-9) > composed(8.0, 8.0)
        refused(desk, lambda: desk.reserve(old, 3), "population or delta")
        # The noise of what was reserved may exist: it can still be committed, at the new delta.
        assert desk.commit("old/2").claim.target_delta == 1e-9
        new = desk.task("new")
        assert desk.reserve(new, 1).claim.epsilon == composed(8.0, 8.0, 8.0, delta=1e-9)
        assert not desk.replayed().findings

    def test_a_smaller_delta_may_stop_spending(self, desk: Any) -> None:
        desk.open_account(cap=composed(8.0))
        desk.reserve(desk.task("old"), 1)
        desk.agree(terms(desk, target_delta=1e-9))
        new = desk.task("new", z=5000.0)
        refused(desk, lambda: desk.reserve(new, 1), "cap")

    def test_there_is_no_other_unit(self, desk: Any) -> None:
        desk.open_account()
        with pytest.raises(BadParameter, match="do not compose"):
            terms(desk, unit="event")
        body = desk.change(terms(desk, cap_epsilon=9.0)).to_json()
        body["terms"]["unit"] = "event"
        refused(
            desk, lambda: desk.append("account.change", body, "alice"), "unit", "do not compose"
        )

    @pytest.mark.parametrize("size", [10**6, 10**7])
    def test_delta_lies_below_one_over_the_population(self, desk: Any, size: int) -> None:
        with pytest.raises(BadParameter, match=f"below 1/{size}"):
            desk.open_account(population_size=size)
        desk.open_account(population_size=999_999)
        body = desk.change(terms(desk, cap_epsilon=9.0)).to_json()
        body["terms"]["population_size"] = size
        refused(desk, lambda: desk.append("account.change", body, "alice"), f"below 1/{size}")

    def test_delta_lies_below_one_over_the_devices_enrolled(self, desk: Any) -> None:
        rows = [
            {"device_id": f"d{i}", "public_key": b"", "population": "shop", "enrolled_at_ms": 0}
            for i in range(100)
        ]
        with desk.node.database.writing() as connection:
            connection.execute(insert(devices), rows)
        loose = AccountDocument("main", "shop", 8.0, 0.01, {"learn": 8.0}, population_size=50)
        with pytest.raises(FailedPrecondition, match="below 1/100"):
            desk.append("account", loose.to_json())
        desk.open_account(population_size=50)
        change = desk.change(terms(desk, target_delta=0.01))
        refused(desk, lambda: desk.propose(change, "alice"), "below 1/100")


BAD: list[Any] = [0, -1, math.nan, math.inf, True, "8", None, "nan", "inf", "-1", "0", "0.0"]


@pytest.mark.parametrize("bad", BAD, ids=repr)
class TestEveryParameter:
    """Each field of each document in {0, negative, NaN, inf, bool, string}; nothing is spent."""

    def _send(self, desk: Any, kind: str, body: dict[str, Any], name: str) -> None:
        def send() -> None:
            if kind.startswith("budget."):
                desk.node.budget.reserve(desk.entry(kind, body, name), desk.now)
            else:
                desk.append(kind, body, name)

        refused(desk, send)

    @pytest.mark.parametrize(
        "name",
        [
            "cap_epsilon",
            "target_delta",
            "quotas",
            "population_size",
            "window_days",
            "alert_thresholds",
            "approvers",
        ],
    )
    def test_of_account_and_change(self, desk: Any, bad: Any, name: str) -> None:
        if name == "window_days" and bad is None:
            pytest.skip("no window is a value")
        desk.open_account()
        change = desk.change(terms(desk, cap_epsilon=9.0)).to_json()
        value = {"quotas": {"learn": bad}, "alert_thresholds": [bad], "approvers": [bad, bad]}
        change["terms"][name] = value.get(name, bad)
        self._send(desk, "account.change", change, "alice")
        account = {
            "type": "tacit.account/2",
            "account_id": "twin",
            "population": "elsewhere",
            "terms": change["terms"],
        }
        self._send(desk, "account", account, "operator")

    @pytest.mark.parametrize("name", ["expires_at_ms", "replaces", "reason", "account_id", "type"])
    def test_of_the_rest_of_a_change(self, desk: Any, bad: Any, name: str) -> None:
        if name == "reason" and isinstance(bad, str):
            pytest.skip("any text is a reason")
        desk.open_account()
        body = desk.change(terms(desk, cap_epsilon=9.0)).to_json() | {name: bad}
        self._send(desk, "account.change", body, "alice")

    @pytest.mark.parametrize("name", ["noise_multiplier", "count", "round_id", "purpose", "event"])
    def test_of_a_reserve(self, desk: Any, bad: Any, name: str) -> None:
        desk.open_account()
        task = desk.task("t")
        digest = task.digest().hex()
        document = ReserveDocument(
            "r", "main", "learn", "k", digest, 1, "cd" * 32, GaussianEvent(8.0)
        )
        body: dict[str, Any] = document.to_json()
        if name in ("noise_multiplier", "count"):
            body["event"] = body["event"] | {name: bad}
        else:
            body[name] = bad
        self._send(desk, "budget.reserve", body, "coordinator")


def test_sampling_is_never_paid_for(desk: Any) -> None:
    """No document can claim amplification: q above 1, of 1 or below, is refused alike."""
    with pytest.raises(BadParameter, match="at most"):
        PoissonEvent(8.0, 1.0000001)
    desk.open_account()
    task = desk.task("t")
    document = ReserveDocument(
        "r", "main", "learn", "k", task.digest().hex(), 1, "cd" * 32, GaussianEvent(8.0)
    )
    for q in ("1.5", "1.0", "0.01"):
        body: dict[str, Any] = document.to_json()
        body["event"] = body["event"] | {"sampling": "poisson", "sampling_probability": q}

        def reserve(body: dict[str, Any] = body) -> None:
            desk.node.budget.reserve(desk.entry("budget.reserve", body, "coordinator"), desk.now)

        refused(desk, reserve, "discrete_gaussian")


def test_a_key_with_another_body_spends_nothing(desk: Any) -> None:
    desk.open_account()
    task = desk.task("t")
    desk.reserve(task, 1)
    refused(desk, lambda: desk.reserve(task, 1, context_sha256="00" * 32), "another body")
    refused(desk, lambda: desk.reserve(task, 2, idempotency_key="t/1"), "another body")
    refused(desk, lambda: desk.reserve(task, 2, account_id="other"), "no budget account other")


class TestAlerts:
    def test_each_threshold_rings_once_a_window(
        self, desk: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        cap = composed(8.0, 8.0, 8.0, 8.0)
        desk.open_account(cap=cap, alert_thresholds=(0.4, 0.9))
        task = desk.task("t")
        first = desk.reserve(task, 1)
        assert [one.threshold for one in first.alerts] == [0.4]
        assert caplog.messages == [
            f"account main, window 1: epsilon {first.window.epsilon!r} has reached 0.4 of the cap "
            f"of {cap!r} with t/1"
        ]
        assert desk.reserve(task, 1).alerts == first.alerts  # the reply was lost
        desk.abort("t/1")
        again = desk.reserve(task, 1, reservation_id="t/1b", idempotency_key="t/1b")
        assert again.alerts == ()  # it rang before in this window
        assert desk.reserve(task, 2).alerts == desk.reserve(task, 3).alerts == ()
        full = desk.reserve(task, 4)
        assert [one.threshold for one in full.alerts] == [0.9]
        assert desk.replayed().standings["main"].alerts == desk.standing().alerts
        for round_id in ("1b", 2, 3, 4):
            desk.commit(f"t/{round_id}")
        desk.refresh()
        assert desk.standing().alerts == ()
        assert [one.threshold for one in desk.reserve(task, 5).alerts] == [0.4]

    def test_another_cap_is_another_amount(self, desk: Any) -> None:
        cap = composed(8.0, 8.0)
        desk.open_account(cap=cap, alert_thresholds=(0.5,))
        task = desk.task("t")
        assert desk.reserve(task, 1).alerts
        desk.agree(terms(desk, cap_epsilon=cap * 1.5))
        alert = desk.reserve(task, 2).alerts[0]
        assert (alert.threshold, alert.cap_epsilon) == (0.5, cap * 1.5)


class TestTamperedLog:
    def test_an_approval_that_is_not_there(self, desk: Any) -> None:
        one = composed(8.0)
        desk.open_account(cap=one)
        task = desk.task("t")
        desk.reserve(task, 1)
        desk.agree(terms(desk, cap_epsilon=8.0, quotas={"learn": 8.0}))
        desk.reserve(task, 2)
        entries = desk.entries()
        without = [data for data in entries if b'"account.approval"' not in data]
        assert len(without) == len(entries) - 1
        findings = desk.replayed(without).findings
        assert any("cap" in line for line in findings)
        assert desk.replayed(without).accounts["main"].cap_epsilon == one

    @pytest.mark.parametrize("forger", ["alice", "alice-phone", "dave", "operator"])
    def test_an_approval_of_somebody_who_may_not(self, desk: Any, forger: str) -> None:
        desk.open_account()
        digest = desk.propose(desk.change(terms(desk, cap_epsilon=80.0)), "alice")
        body = ApprovalDocument("main", digest).to_json()
        forged = desk.entry("account.approval", body, forger)
        history = desk.replayed([*desk.entries(), forged.to_bytes()])
        assert len(history.findings) == 1
        assert history.accounts["main"].cap_epsilon == 8.0

    def test_a_change_altered_after_it_was_signed(self, desk: Any) -> None:
        desk.open_account()
        desk.agree(terms(desk, cap_epsilon=9.0))
        entries = [
            data.replace(b'"cap_epsilon":"9.0"', b'"cap_epsilon":"90.0"') for data in desk.entries()
        ]
        history = desk.replayed(entries)
        assert any("signature" in line for line in history.findings)
        assert history.accounts["main"].cap_epsilon == 8.0

    def test_the_same_approval_twice_in_the_log(self, desk: Any) -> None:
        desk.open_account()
        desk.now += 31 * DAY_MS
        desk.agree(None)
        entries = desk.entries()
        history = desk.replayed([*entries, entries[-1]])
        assert any("approved before" in line for line in history.findings)
        assert history.standings["main"].window == 2


def test_a_database_from_before_changes_stands_as_it_was_opened(desk: Any) -> None:
    desk.open_account(population_size=None, window_days=None, alert_thresholds=(), approvers=())
    desk.reserve(desk.task("t"), 1)
    with desk.node.database.writing() as connection:
        connection.execute(delete(account_standings))
    desk.reopen()
    assert desk.figures() == (composed(8.0), composed(8.0))
    assert desk.standing().window == 1


class TestWire:
    """The same through signed requests: roles are checked before any rule."""

    def test_only_officers_sign_changes_and_officers_sign_nothing_else(
        self, deployment: Any
    ) -> None:
        operator = deployment.client("operator")
        account = deployment.governed_account(cap=8.0)
        operator.append_governance("account", account.to_json())
        digest = operator.show_budget("main").standing_sha256
        raised = dataclasses.replace(account.account().terms, cap_epsilon=9.0)
        change = ChangeDocument("main", digest, "because", now_ms() + DAY_MS, raised)
        alice, bob = (
            deployment.client("officer", key=deployment.officers[name]) for name in ("alice", "bob")
        )
        for client in (operator, deployment.client("coordinator")):
            with pytest.raises(PermissionDenied, match="needs role officer"):
                client.append_governance("account.change", change.to_json())
        with pytest.raises(PermissionDenied, match="needs role operator"):
            alice.append_governance("account", deployment.account(account_id="b").to_json())
        with pytest.raises(PermissionDenied, match="needs role coordinator"):
            alice.reserve(deployment.reserve(deployment.task()))
        alice.append_governance("account.change", change.to_json())
        approval = ApprovalDocument("main", change.sha256()).to_json()
        with pytest.raises(FailedPrecondition, match="nobody approves their own request"):
            alice.append_governance("account.approval", approval)
        assert bob.append_governance("account.approval", approval) == 2
        shown = operator.show_budget("main")
        assert (float(shown.cap_epsilon), shown.window) == (9.0, 1)
        assert shown.standing_sha256 != digest

    def test_a_reserve_tells_what_it_reached(self, deployment: Any) -> None:
        cap = composed(8.0)
        account = deployment.governed_account(cap=cap, alert_thresholds=(0.5, 1.0))
        deployment.client("operator").append_governance("account", account.to_json())
        task, coordinator = deployment.task(), deployment.client("coordinator")
        coordinator.append_governance("task", task.to_json())
        reply = coordinator.reserve(deployment.reserve(task, 1))
        assert [one.threshold for one in reply.alerts] == ["0.5", "1.0"]
        assert (reply.window, float(reply.window_epsilon)) == (1, cap)
        assert coordinator.show_budget("main").alerts == reply.alerts


def test_twins_approved_at_once_take_effect_once(desk: Any) -> None:
    desk.open_account()
    desk.now += 31 * DAY_MS
    changes = [desk.change(None, reason=f"twin {number}") for number in range(8)]
    digests = [desk.propose(change, "alice") for change in changes]
    start = threading.Barrier(len(digests))

    def approve(digest: str) -> bool:
        start.wait()
        try:
            desk.approve(digest, "bob")
        except ChangeRefused:
            return False
        return True

    with ThreadPoolExecutor(len(digests)) as pool:
        assert sum(pool.map(approve, digests)) == 1
    assert desk.standing().window == 2
    assert desk.replayed().standings["main"] == desk.standing()


class TestKeys:
    def test_an_officers_key_never_changes_hands(self, desk: Any) -> None:
        path = desk.directory / "ledger.json"
        config = json.loads(path.read_text())
        for one in config["principals"]:
            if one["name"] == "alice-phone":
                one["person"] = "mallory"
        path.write_text(json.dumps(config))
        before = (desk.directory / "state" / "keys.json").read_bytes()
        desk.close()
        with pytest.raises(BadDocument, match="cannot change hands from alice to mallory"):
            desk.open_node()
        assert (desk.directory / "state" / "keys.json").read_bytes() == before

    def test_an_officer_who_left_approves_nothing_and_stays_verifiable(self, desk: Any) -> None:
        desk.open_account()
        desk.agree(terms(desk, cap_epsilon=9.0))
        waiting = desk.propose(desk.change(terms(desk, cap_epsilon=10.0)), "alice")
        path = desk.directory / "ledger.json"
        config = json.loads(path.read_text())
        config["principals"] = [
            one for one in config["principals"] if not one["name"].startswith("alice")
        ]
        path.write_text(json.dumps(config))
        desk.reopen()
        refused(desk, lambda: desk.approve(waiting, "bob"), "no officer any more")
        named = desk.change(terms(desk, cap_epsilon=11.0))
        refused(desk, lambda: desk.propose(named, "bob"), "is no officer of this ledger")
        without_alice = desk.change(terms(desk, approvers=desk.approvers("bob", "carol")))
        desk.approve(desk.propose(without_alice, "bob"), "carol")
        assert not desk.replayed().findings
