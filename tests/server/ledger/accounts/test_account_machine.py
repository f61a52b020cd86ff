"""Random histories of an account on a real node, against a reference model of a few lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tacit.privacy.accounting import GaussianEvent, epsilon_bound, round_up
from tacit.privacy.errors import ChangeRefused, PrivacyError
from tacit.server.errors import Refused

DAY_MS = 86_400_000
PEOPLE = {"alice": "alice", "alice-phone": "alice", "bob": "bob", "carol": "carol", "dave": "dave"}
DELTAS = (1e-6, 1e-8)
NOISE = (4.0, 6.0, 10.0)
ROUNDS = 6
STEPS = (
    *("reserve",) * 4,
    *("commit", "abort"),
    *("agree",) * 3,
    *("propose", "decide", "decide", "publish", "wait", "restart"),
)
CHANGES = st.sampled_from(
    [
        None,
        {"cap_epsilon": 1.0},
        {"cap_epsilon": 3.0},
        {"target_delta": 1e-8},
        {"approvers": ("bob", "dave")},
        {"approvers": ("alice", "bob", "carol")},
        {},
    ]
)
OFFICERS = st.sampled_from(["alice", "bob", "carol", "bob", "alice-phone", "dave"])
PAIRS = st.sampled_from(
    [
        ("alice", "bob"),
        ("bob", "alice"),
        ("carol", "bob"),
        ("bob", "alice-phone"),
        ("alice", "alice-phone"),
        ("dave", "bob"),
    ]
)
"""Who asks and who approves: most may, some are one person, some are nobody the account names."""


@dataclasses.dataclass
class Spend:
    """One reservation of the model: windows are those in which it counts."""

    z: float
    windows: set[int]
    state: str = "reserved"


@dataclasses.dataclass
class Asked:
    """One proposed change of the model: `was` is how many changes had taken effect then."""

    author: str
    was: int
    expires: int
    what: dict[str, Any] | None
    decided: bool = False


class AccountMachine(RuleBasedStateMachine):
    """The model knows events, windows and who asked; the node must agree at every step."""

    new_desk: ClassVar[Any]
    desk: Any
    terms: dict[str, Any]
    window: int
    began: int
    effective: int
    spends: dict[str, Spend]
    asked: dict[str, Asked]
    tasks: list[tuple[Any, float]]
    replayed: int

    @initialize(cap=st.sampled_from([0.5, 1.0, 2.0]))
    def open(self, cap: float) -> None:
        self.desk = type(self).new_desk()
        self.terms = {
            "cap_epsilon": cap,
            "target_delta": DELTAS[0],
            "approvers": ("alice", "bob", "carol", "alice-phone"),
        }
        self.desk.open_account(cap=cap, window_days=10)
        self.window, self.began, self.effective = 1, self.desk.now, 0
        self.spends = {}
        self.asked = {}
        self.tasks = []
        self.replayed = 0
        self.publish(10.0)

    # One rule, so that no history lacks a kind of step: each needs most of them to go deep.
    @rule(kind=st.sampled_from(STEPS), data=st.data())
    def step(self, kind: str, data: st.DataObject) -> None:
        officer, which = data.draw(OFFICERS), data.draw(st.integers(0, 4))
        if kind == "publish":
            self.publish(data.draw(st.sampled_from(NOISE)))
        elif kind == "reserve":
            self.reserve(which, data.draw(st.integers(1, ROUNDS)))
        elif kind in ("commit", "abort"):
            self.settle(which, kind)
        elif kind == "agree":
            self.agree(data.draw(PAIRS), data.draw(st.sampled_from([None, None, 0.5, 1.0, 3.0])))
        elif kind == "propose":
            self.propose(officer, data.draw(CHANGES))
        elif kind == "decide":
            self.approve(which, officer) if data.draw(st.booleans()) else self.reject(
                which, officer
            )
        elif kind == "wait":
            self.desk.now += which * DAY_MS
        else:
            self.desk.reopen()

    def publish(self, z: float) -> None:
        if len(self.tasks) < 6:
            task = self.desk.task(f"task-{len(self.tasks)}", z=z, rounds=ROUNDS)
            self.tasks.append((task, self.terms["target_delta"]))

    def reserve(self, back: int, round_id: int) -> None:
        task, delta = self.tasks[-1 - back % len(self.tasks)]
        name = f"{task.task_id}/{round_id}"
        new = Spend(task.rounds[0].noise_multiplier, {self.window})
        known, cap = self.spends.get(name), self.terms["cap_epsilon"]
        allowed = (
            known is None
            and delta == self.terms["target_delta"]
            and self.epsilon([*self.window_spends(), new]) <= cap
        )
        before = self.desk.state()
        try:
            spent = self.desk.reserve(task, round_id)
        except (Refused, PrivacyError):
            assert not allowed
            assert known is None or known.state == "aborted"
            assert self.desk.state() == before
            return
        if known is not None:
            assert known.state != "aborted"
            assert self.desk.state() == before
            return
        assert allowed
        self.spends[name] = new
        assert spent.window.epsilon <= cap

    def settle(self, which: int, kind: str) -> None:
        if not self.spends:
            return
        name = list(self.spends)[-1 - which % len(self.spends)]
        one, goal = self.spends[name], {"commit": "committed", "abort": "aborted"}[kind]
        try:
            self.desk.commit(name) if kind == "commit" else self.desk.abort(name)
        except (Refused, PrivacyError):
            assert one.state not in ("reserved", goal)
            return
        assert one.state in ("reserved", goal)
        one.state = goal

    def agree(self, pair: tuple[str, str], cap: float | None) -> None:
        """Ask and decide at once, or random histories would seldom reach a second window."""
        (author, officer), before = pair, len(self.asked)
        if cap is None:
            self.desk.now += 10 * DAY_MS
        self.propose(author, None if cap is None else {"cap_epsilon": cap})
        if len(self.asked) > before:
            self.approve(0, officer)

    def propose(self, author: str, changes: dict[str, Any] | None) -> None:
        what = None if changes is None else self.terms | changes
        terms = None
        if what is not None:
            terms = dataclasses.replace(
                self.desk.standing().account.terms,
                cap_epsilon=what["cap_epsilon"],
                target_delta=what["target_delta"],
                quotas={"learn": what["cap_epsilon"]},
                approvers=self.desk.approvers(*what["approvers"]),
            )
        change = self.desk.change(terms, ttl_ms=5 * DAY_MS, reason=f"change {len(self.asked)}")
        allowed = author in self.terms["approvers"] and what != self.terms
        before = self.desk.state()
        try:
            digest = self.desk.propose(change, author)
        except ChangeRefused:
            assert not allowed
            assert self.desk.state() == before
            return
        assert allowed
        self.asked[digest] = Asked(author, self.effective, change.expires_at_ms, what)

    def approve(self, back: int, officer: str) -> None:
        if not self.asked:
            return
        digest, asked = list(self.asked.items())[-1 - back % len(self.asked)]
        allowed = (
            not asked.decided
            and asked.was == self.effective
            and officer in self.terms["approvers"]
            and PEOPLE[officer] != PEOPLE[asked.author]
            and self.desk.now < asked.expires
            and (asked.what is not None or self.desk.now - self.began >= 10 * DAY_MS)
        )
        before = self.desk.state()
        try:
            self.desk.approve(digest, officer)
        except ChangeRefused:
            assert not allowed
            assert self.desk.state() == before
            return
        if asked.decided:  # the very same approval again
            assert self.desk.state() == before
            return
        assert allowed
        asked.decided = True
        self.effective += 1
        if asked.what is not None:
            self.terms = asked.what
            return
        self.window, self.began = self.window + 1, self.desk.now
        for one in self.spends.values():
            if one.state == "reserved":
                one.windows.add(self.window)

    def reject(self, back: int, officer: str) -> None:
        if not self.asked:
            return
        digest, asked = list(self.asked.items())[-1 - back % len(self.asked)]
        before = self.desk.state()
        try:
            self.desk.reject(digest, officer)
        except ChangeRefused:
            assert asked.decided or officer not in self.terms["approvers"]
            assert self.desk.state() == before
            return
        asked.decided = True

    def epsilon(self, spends: list[Spend]) -> float:
        events = [GaussianEvent(one.z) for one in spends if one.state != "aborted"]
        return round_up(epsilon_bound(events, self.terms["target_delta"])) if events else 0.0

    def window_spends(self) -> list[Spend]:
        return [one for one in self.spends.values() if self.window in one.windows]

    @invariant()
    def node_model_and_log_agree(self) -> None:
        if not hasattr(self, "terms"):
            return
        standing, held, lifetime, window = self.desk.node.budget.stand("main")
        assert window.epsilon == self.epsilon(self.window_spends())
        assert lifetime.epsilon == self.epsilon(list(self.spends.values()))
        assert lifetime.epsilon >= window.epsilon
        assert (standing.window, standing.revision) == (self.window, self.effective)
        assert standing.account.cap_epsilon == self.terms["cap_epsilon"]
        assert standing.account.target_delta == self.terms["target_delta"]
        assert standing.account.approvers == self.desk.approvers(*self.terms["approvers"])
        if self.desk.node.logs.governance.size == self.replayed:
            return
        self.replayed = self.desk.node.logs.governance.size
        history = self.desk.replayed()
        assert history.findings == []
        assert history.standings["main"] == standing
        assert history.reservations["main"] == held

    def teardown(self) -> None:
        if hasattr(self, "desk"):
            self.desk.close()


def test_random_histories(new_desk: Callable[[], Any]) -> None:
    class Bound(AccountMachine):
        pass

    Bound.new_desk = staticmethod(new_desk)
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=10,
            stateful_step_count=50,
            deadline=None,
            derandomize=True,  # the same histories every time: they are known to go deep
            phases=(Phase.generate,),  # shrinking a history of fifty steps takes minutes
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
