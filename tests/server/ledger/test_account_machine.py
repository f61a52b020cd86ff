"""Random histories of an account on a real node, against a reference model of a few lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
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
OFFICERS = st.sampled_from(sorted(PEOPLE))


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

    new_desk: ClassVar[Callable[[], Any]]

    @initialize(cap=st.sampled_from([0.5, 1.0, 2.0]))
    def open(self, cap: float) -> None:
        self.desk = type(self).new_desk()
        self.terms: dict[str, Any] = {
            "cap_epsilon": cap,
            "target_delta": DELTAS[0],
            "approvers": ("alice", "bob", "carol", "alice-phone"),
        }
        self.desk.open_account(cap=cap, window_days=10)
        self.window, self.began, self.effective = 1, self.desk.now, 0
        self.spends: dict[str, Spend] = {}
        self.asked: dict[str, Asked] = {}
        self.tasks: list[tuple[Any, float]] = []

    def epsilon(self, spends: list[Spend]) -> float:
        events = [GaussianEvent(one.z) for one in spends if one.state != "aborted"]
        return round_up(epsilon_bound(events, self.terms["target_delta"])) if events else 0.0

    def window_spends(self) -> list[Spend]:
        return [one for one in self.spends.values() if self.window in one.windows]

    @rule(z=st.sampled_from(NOISE))
    def publish(self, z: float) -> None:
        task = self.desk.task(f"task-{len(self.tasks)}", z=z, rounds=3)
        self.tasks.append((task, self.terms["target_delta"]))

    @precondition(lambda self: self.tasks)
    @rule(which=st.integers(0, 20), round_id=st.integers(1, 3))
    def reserve(self, which: int, round_id: int) -> None:
        task, delta = self.tasks[which % len(self.tasks)]
        name = f"{task.task_id}/{round_id}"
        new = Spend(task.rounds[0].noise_multiplier, {self.window})
        known = self.spends.get(name)
        cap = self.terms["cap_epsilon"]
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
        assert allowed or (known is not None and known.state != "aborted")
        if known is not None:
            assert self.desk.state() == before
            return
        self.spends[name] = new
        assert spent.window.epsilon <= cap

    @precondition(lambda self: self.spends)
    @rule(which=st.integers(0, 50), commit=st.booleans())
    def settle(self, which: int, commit: bool) -> None:
        name = sorted(self.spends)[which % len(self.spends)]
        one, goal = self.spends[name], "committed" if commit else "aborted"
        try:
            self.desk.commit(name) if commit else self.desk.abort(name)
        except (Refused, PrivacyError):
            assert one.state not in ("reserved", goal)
            return
        assert one.state in ("reserved", goal)
        one.state = goal

    @rule(
        author=OFFICERS,
        cap=st.sampled_from([None, 0.5, 1.0, 2.0, 3.0]),
        delta=st.sampled_from([None, *DELTAS]),
        approvers=st.sampled_from([None, ("bob", "dave"), ("alice", "bob", "carol")]),
        days=st.integers(1, 20),
    )
    def propose(
        self,
        author: str,
        cap: float | None,
        delta: float | None,
        approvers: tuple[str, ...] | None,
        days: int,
    ) -> None:
        what: dict[str, Any] = {}
        if cap is not None:
            what |= {"cap_epsilon": cap}
        if delta is not None:
            what |= {"target_delta": delta}
        if approvers is not None:
            what |= {"approvers": approvers}
        self._propose(author, self.terms | what, days)

    @rule(author=OFFICERS, days=st.integers(1, 20))
    def propose_refresh(self, author: str, days: int) -> None:
        self._propose(author, None, days)

    def _propose(self, author: str, what: dict[str, Any] | None, days: int) -> None:
        terms = None
        if what is not None:
            terms = dataclasses.replace(
                self.desk.standing().account.terms,
                cap_epsilon=what["cap_epsilon"],
                target_delta=what["target_delta"],
                quotas={"learn": what["cap_epsilon"]},
                approvers=self.desk.approvers(*what["approvers"]),
            )
        change = self.desk.change(
            terms, ttl_ms=days * DAY_MS, reason=f"change {len(self.asked)} {author}"
        )
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

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(0, 50), officer=OFFICERS)
    def approve(self, which: int, officer: str) -> None:
        digest = list(self.asked)[-1 - which % min(3, len(self.asked))]
        asked = self.asked[digest]
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
        if self.desk.state() == before:  # the very same approval again
            assert asked.decided
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

    @rule(author=OFFICERS, officer=OFFICERS, cap=st.sampled_from([None, 0.5, 1.0, 3.0]))
    def ask_and_approve(self, author: str, officer: str, cap: float | None) -> None:
        """Both steps at once, or random histories would seldom reach a second window."""
        before = len(self.asked)
        if cap is None:
            self.wait(10)
            self.propose_refresh(author, 5)
        else:
            self.propose(author, cap, None, None, 5)
        if len(self.asked) > before:
            self.approve(0, officer)

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(0, 50), officer=OFFICERS)
    def reject(self, which: int, officer: str) -> None:
        digest = list(self.asked)[which % len(self.asked)]
        asked = self.asked[digest]
        before = self.desk.state()
        try:
            self.desk.reject(digest, officer)
        except ChangeRefused:
            assert asked.decided or officer not in self.terms["approvers"]
            assert self.desk.state() == before
            return
        asked.decided = True

    @rule(days=st.integers(0, 12))
    def wait(self, days: int) -> None:
        self.desk.now += days * DAY_MS

    @rule()
    def restart(self) -> None:
        self.desk.reopen()

    @invariant()
    def the_node_agrees_with_the_model(self) -> None:
        if not hasattr(self, "terms"):
            return
        window, lifetime = self.desk.figures()
        assert window == self.epsilon(self.window_spends())
        assert lifetime == self.epsilon(list(self.spends.values()))
        assert lifetime >= window
        standing = self.desk.standing()
        assert (standing.window, standing.revision) == (self.window, self.effective)
        assert standing.account.cap_epsilon == self.terms["cap_epsilon"]
        assert standing.account.target_delta == self.terms["target_delta"]
        assert standing.account.approvers == self.desk.approvers(*self.terms["approvers"])

    @invariant()
    def the_log_alone_gives_the_same(self) -> None:
        if not hasattr(self, "terms"):
            return
        history = self.desk.replayed()
        assert history.findings == []
        assert history.standings["main"] == self.desk.standing()
        _, held, _, _ = self.desk.node.budget.stand("main")
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
            max_examples=12,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
