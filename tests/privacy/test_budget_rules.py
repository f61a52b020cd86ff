"""Budget rules: cap, quotas, idempotency, transitions. The store has tests of its own."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.privacy.accounting import (
    CrossCheck,
    EpsilonClaim,
    GaussianEvent,
    calibrate,
    epsilon,
    epsilon_rdp,
)
from tacit.privacy.budget import (
    BudgetAccount,
    Reservation,
    ReservationState,
    abort,
    admit,
    commit,
    composed_events,
    find_replay,
    reached_alerts,
)
from tacit.privacy.errors import AccountantsDisagree, BadParameter, BudgetConflict, BudgetExceeded

DELTA = 1e-6
RELEASE = "ab" * 32


def fast(events: Sequence[GaussianEvent], target_delta: float) -> EpsilonClaim:
    """Compose without the heavy libraries, as a store might."""
    return claim_of(epsilon_rdp(events, target_delta), target_delta)


def claim_of(figure: float, target_delta: float = DELTA) -> EpsilonClaim:
    return EpsilonClaim(figure, target_delta, "test", "0", (CrossCheck(figure, "test", "0"),))


def account(cap: float = 8.0, **quotas: float) -> BudgetAccount:
    return BudgetAccount(
        "main", "everyone", "user", cap, DELTA, quotas or {"learn": cap}, (0.5, 0.8, 1.0)
    )


def spend(name: str, z: float = 4.0, purpose: str = "learn", count: int = 1) -> Reservation:
    return Reservation(
        reservation_id=f"r-{name}",
        account_id="main",
        purpose=purpose,
        idempotency_key=f"k-{name}",
        body_sha256=f"digest of {name}",
        events=(GaussianEvent(z, count),),
    )


def alone(one: Reservation) -> float:
    return fast(one.events, DELTA).epsilon


def test_an_admitted_spend_is_composed_with_all_that_count() -> None:
    held = [spend("a"), commit(spend("b", 3.0), RELEASE), abort(spend("c", 0.2))]
    claim = admit(account(), held, spend("d", 5.0), fast)
    together = [GaussianEvent(4.0), GaussianEvent(3.0), GaussianEvent(5.0)]
    assert claim.epsilon == fast(together, DELTA).epsilon
    assert composed_events(held) == (GaussianEvent(4.0), GaussianEvent(3.0))


def test_the_real_accountants_decide_too() -> None:
    rounds = [spend(str(i), z) for i, z in enumerate(calibrate(8.0, DELTA, [0.25] * 4))]
    claim = admit(account(8.0), rounds[:3], rounds[3], epsilon)
    assert claim.epsilon == 8.0
    assert claim.accountant == "tacit-gaussian"
    with pytest.raises(BudgetExceeded):
        admit(account(7.999), rounds[:3], rounds[3], epsilon)


@pytest.mark.parametrize("state", [ReservationState.RESERVED, ReservationState.COMMITTED])
def test_the_cap_is_hard_and_reserved_counts_as_spent(state: ReservationState) -> None:
    digest = RELEASE if state is ReservationState.COMMITTED else None
    held = [replace(spend("a", 1.5), state=state, release_sha256=digest)]
    new = spend("b", 1.5)
    both = fast(composed_events([*held, new]), DELTA).epsilon
    assert admit(account(both), held, new, fast).epsilon == both
    with pytest.raises(BudgetExceeded, match="cap"):
        admit(account(math.nextafter(both, 0.0)), held, new, fast)
    assert admit(account(both), [abort(spend("a", 1.5))], new, fast).epsilon == alone(new)


def test_many_small_spends_cannot_pass_the_cap() -> None:
    limit, held = account(4.0), list[Reservation]()
    new = spend("0", 3.0)
    while fast(composed_events([*held, new]), DELTA).epsilon <= 4.0:
        admit(limit, held, new, fast)
        held.append(new)
        new = spend(str(len(held)), 3.0)
    with pytest.raises(BudgetExceeded, match="cap"):
        admit(limit, held, new, fast)
    assert 2 < len(held) < 100
    assert sum(alone(one) for one in held) > 4.0


def test_a_count_charges_every_release() -> None:
    with pytest.raises(BudgetExceeded):
        admit(account(alone(spend("a", 2.0)) * 1.5), [], spend("a", 2.0, count=4), fast)


def test_quotas_lie_inside_the_cap() -> None:
    one = alone(spend("a", 2.0))
    limits = account(2 * one, learn=one, measure=one)
    held = [spend("a", 2.0)]
    with pytest.raises(BudgetExceeded, match="quota of 'learn'"):
        admit(limits, held, spend("b", 2.0), fast)
    claim = admit(limits, held, spend("b", 2.0, "measure"), fast)
    assert claim.epsilon > one
    # A quota with room admits nothing that the cap refuses.
    tight = account(one * 1.01, learn=one, measure=one)
    with pytest.raises(BudgetExceeded, match="cap"):
        admit(tight, held, spend("b", 2.0, "measure"), fast)


def test_a_purpose_without_a_quota_spends_nothing() -> None:
    with pytest.raises(BudgetExceeded, match="has none"):
        admit(account(8.0, learn=8.0), [], spend("a", 100.0, "decide"), fast)


@pytest.mark.parametrize("broken_at", [1, 2], ids=["quota", "cap"])
def test_an_accountant_that_says_nan_admits_nothing(broken_at: int) -> None:
    def broken(events: Sequence[GaussianEvent], target_delta: float) -> EpsilonClaim:
        return claim_of(math.nan if len(events) == broken_at else 1.0)

    limits = account(8.0, learn=8.0, measure=8.0)
    with pytest.raises(BudgetExceeded):
        admit(limits, [spend("a", purpose="measure")], spend("b"), broken)


def test_a_disagreement_of_accountants_passes_through() -> None:
    def broken(events: Sequence[GaussianEvent], target_delta: float) -> EpsilonClaim:
        raise AccountantsDisagree("accountants disagree")

    with pytest.raises(AccountantsDisagree):
        admit(account(), [], spend("a"), broken)


def test_the_same_request_is_admitted_once() -> None:
    first = spend("a", 1.5)
    limits = account(alone(first))
    again = replace(first, reservation_id="r-retry")
    for held in ([first], [commit(first, RELEASE)]):
        assert find_replay(held, again) is held[0]
        assert admit(limits, held, again, fast).epsilon == alone(first)
    assert find_replay([], again) is None


def test_a_key_never_buys_two_things() -> None:
    first = spend("a")
    other = replace(first, reservation_id="r-other", body_sha256="another body")
    for held in (first, commit(first, RELEASE), abort(first)):
        with pytest.raises(BudgetConflict, match="another body"):
            admit(account(), [held], other, fast)


def test_an_id_never_names_two_reservations() -> None:
    clash = replace(spend("b"), reservation_id="r-a")
    with pytest.raises(BudgetConflict, match="reservation id"):
        admit(account(), [spend("a")], clash, fast)


def test_an_aborted_key_cannot_spend_unpaid() -> None:
    first = spend("a")
    assert find_replay([abort(first)], first) == abort(first)
    with pytest.raises(BudgetConflict, match="aborted"):
        admit(account(), [abort(first)], first, fast)


def test_only_new_reservations_of_this_account_are_admitted() -> None:
    for used in (commit(spend("a"), RELEASE), abort(spend("a"))):
        with pytest.raises(BadParameter, match="state reserved"):
            admit(account(), [], used, fast)
    stranger = replace(spend("a"), account_id="other")
    with pytest.raises(BadParameter, match="account"):
        admit(account(), [], stranger, fast)
    with pytest.raises(BadParameter, match="account"):
        admit(account(), [stranger], spend("b"), fast)


def test_transitions() -> None:
    reserved = spend("a")
    committed = commit(reserved, RELEASE)
    assert (committed.state, committed.release_sha256) == (ReservationState.COMMITTED, RELEASE)
    assert commit(committed, RELEASE) == committed
    with pytest.raises(BudgetConflict, match="another release"):
        commit(committed, "cd" * 32)
    with pytest.raises(BudgetConflict, match="never refunded"):
        abort(committed)
    aborted = abort(reserved)
    assert aborted.state is ReservationState.ABORTED
    assert abort(aborted) == aborted
    with pytest.raises(BudgetConflict, match="aborted"):
        commit(aborted, RELEASE)
    with pytest.raises(BadParameter):
        commit(reserved, "")
    assert reserved == spend("a")
    assert [one.counts for one in (reserved, committed, aborted)] == [True, True, False]


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["reserve", "commit", "abort", "retry"]),
            st.integers(0, 9),
            st.floats(1.0, 8.0),
        ),
        max_size=40,
    )
)
def test_no_history_releases_more_than_the_cap(steps: list[tuple[str, int, float]]) -> None:
    # A store in miniature: whatever order callers choose, committed spends stay within the cap
    # and a committed spend stays committed.
    limits, held = account(3.0), dict[str, Reservation]()
    released = list[GaussianEvent]()
    for verb, which, z in steps:
        name = f"r-{which}"
        try:
            if verb in {"reserve", "retry"}:
                new = spend(str(which), z if verb == "reserve" else 4.0)
                new = replace(new, body_sha256=str(new.events))
                admit(limits, list(held.values()), new, fast)
                held.setdefault(name, new)
            elif name in held and verb == "commit":
                before = held[name].state
                held[name] = commit(held[name], RELEASE)
                if before is ReservationState.RESERVED:
                    released.extend(held[name].events)
            elif name in held:
                held[name] = abort(held[name])
        except (BudgetExceeded, BudgetConflict):
            continue
    assert fast(released, DELTA).epsilon <= 3.0
    committed = [one for one in held.values() if one.state is ReservationState.COMMITTED]
    assert sorted(map(repr, composed_events(committed))) == sorted(map(repr, released))


def test_alerts() -> None:
    limits = account(8.0)
    assert reached_alerts(limits, 3.9) == ()
    assert reached_alerts(limits, 4.0) == (0.5,)
    assert reached_alerts(limits, 7.0) == (0.5, 0.8)
    assert reached_alerts(limits, 8.0) == (0.5, 0.8, 1.0)


BAD_REALS = [0, 0.0, -1.0, math.nan, math.inf, True, "8", None]


@pytest.mark.parametrize("bad", BAD_REALS)
@pytest.mark.parametrize("name", ["cap_epsilon", "target_delta", "quota", "alert"])
def test_account_numbers_are_validated(name: str, bad: Any) -> None:
    good = account()
    change: dict[str, Any] = {
        "cap_epsilon": {"cap_epsilon": bad},
        "target_delta": {"target_delta": bad},
        "quota": {"quotas": {"learn": bad}},
        "alert": {"alert_thresholds": (bad,)},
    }[name]
    with pytest.raises(BadParameter):
        replace(good, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"account_id": ""},
        {"population": ""},
        {"unit": "event"},
        {"target_delta": 1.0},
        {"quotas": {"learn": 8.5}},
        {"alert_thresholds": (0.8, 0.5)},
        {"alert_thresholds": (0.5, 0.5)},
        {"alert_thresholds": (1.5,)},
    ],
    ids=str,
)
def test_accounts_are_validated(change: dict[str, Any]) -> None:
    with pytest.raises(BadParameter):
        replace(account(), **change)


def test_quotas_cannot_be_changed_in_place() -> None:
    mine = {"learn": 1.0}
    limits = BudgetAccount("main", "everyone", "user", 8.0, DELTA, mine)
    mine["learn"] = 8.0
    assert limits.quotas["learn"] == 1.0
    with pytest.raises(TypeError):
        limits.quotas["learn"] = 8.0  # type: ignore[index]  # pyright: ignore[reportIndexIssue]


@pytest.mark.parametrize(
    "change",
    [
        {"reservation_id": ""},
        {"account_id": ""},
        {"purpose": ""},
        {"idempotency_key": ""},
        {"body_sha256": ""},
        {"events": ()},
        {"state": "spent"},
        {"state": "committed"},
        {"release_sha256": RELEASE},
        {"state": "aborted", "release_sha256": RELEASE},
    ],
    ids=str,
)
def test_reservations_are_validated(change: dict[str, Any]) -> None:
    with pytest.raises(BadParameter):
        replace(spend("a"), **change)


def test_states_are_read_back_from_their_names() -> None:
    read = replace(spend("a"), state=ReservationState("aborted"))
    assert read.counts is False
    assert str(read.state) == "aborted"
