"""A log is replayed entry by entry to the verdicts and figures of composing all of it each time."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import sys
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.privacy import budget as rules
from tacit.privacy.accounting import EpsilonClaim, GaussianEvent, RunningComposition, epsilon_bound
from tacit.privacy.accounting_claim import round_up
from tacit.privacy.accounting_quick import epsilon_without_libraries
from tacit.privacy.budget import BudgetAccount, Reservation, ReservationState
from tacit.privacy.budget_documents import (
    AbortDocument,
    AccountDocument,
    CommitDocument,
    ReserveDocument,
)
from tacit.privacy.budget_standing import AccountStanding, LedgerIdentity
from tacit.privacy.errors import PrivacyError
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.signatures import SigningKey
from tacit.privacy.task import RoundPlan, TaskManifest
from tacit.server.budget.accountant import CONFIRMED_IN_REPLAY, Accountant
from tacit.server.budget.timeline import timelines
from tacit.server.ledger.config import Principal
from tacit.server.ledger.keys import PublicKeys
from tacit.server.ledger.replay import replay_governance
from tacit.server.ledger.replay_spends import ReplayedSpends

DELTA, CAP, QUOTA, NOW_MS = 1e-6, 2.0, 1.6, 1_700_000_000_000
PURPOSES = ("learn", "measure")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "reserve", "commit", "abort", "refresh", "no window"]),
        st.integers(0, 30),
        st.sampled_from(PURPOSES),
        st.sampled_from([8.0, 9.0, 100.0]),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(STEPS)
def test_what_is_followed_is_what_all_reservations_compose_to(steps: list[Any]) -> None:
    account = BudgetAccount("main", "shop", "user", 8.0, DELTA, {"learn": 8.0})
    standing = AccountStanding.opened(account, 0, LedgerIdentity("test.example", bytes(32)))
    spends = ReplayedSpends([], standing)
    for step, number, purpose, z in steps:
        held = spends.held
        still_open = [one for one in held if one.state is ReservationState.RESERVED]
        if step == "reserve":
            name = f"r{len(held)}"
            new = Reservation(name, "main", purpose, name, "ab", (GaussianEvent(z),))
            assert spends.alike(new) == []
            spends.add(new, standing)
            assert spends.alike(new) == [new]
        elif step == "refresh":
            standing = standing.refreshed(held, 1)
        elif step == "no window":
            standing = standing.with_terms(account.terms, 1)
        elif still_open:
            one = still_open[int(number) % len(still_open)]
            moved = rules.commit(one, "cd") if step == "commit" else rules.abort(one)
            spends.settle(moved, standing)
            assert spends.get(one.reservation_id) == moved
        now = standing.in_window(held)
        committed = [one for one in held if one.state is ReservationState.COMMITTED]
        assert spends.lifetime.events() == composed(held)
        assert spends.released.events() == composed(committed)
        assert spends.window(standing).events() == composed(now)
        for name in PURPOSES:
            own = [one for one in now if one.purpose == name]
            assert spends.window_of(name, standing).events() == composed(own)


def composed(reservations: list[Reservation]) -> tuple[GaussianEvent, ...]:
    return RunningComposition(rules.composed_events(reservations)).events()


class Log:
    """A governance log of one account and two tasks, good and bad entries alike."""

    def __init__(self) -> None:
        roles = enumerate(("operator", "coordinator"))
        self.keys = {role: SigningKey(bytes([n]) * 32) for n, role in roles}
        self.entries: list[bytes] = []
        document = AccountDocument("main", "shop", CAP, DELTA, dict.fromkeys(PURPOSES, QUOTA))
        self.append("operator", "account", document.to_json())
        self.tasks = {
            (purpose, z): task(purpose, z) for purpose in PURPOSES for z in (8.0, 9.0, 100.0)
        }
        for one in self.tasks.values():
            self.append("coordinator", "task", one.to_json())

    def append(self, role: str, kind: str, body: Any) -> None:
        entry = GovernanceEntry.sign(kind, body, NOW_MS, self.keys[role])
        self.entries.append(entry.to_bytes())

    @property
    def public(self) -> PublicKeys:
        principals = tuple(Principal(n, n, key.public_key) for n, key in self.keys.items())
        origins = {"governance": "test.example/governance", "consent": "test.example/consent"}
        return PublicKeys(bytes(32), origins, principals)


def task(purpose: str, z: float) -> TaskManifest:
    plans = tuple(RoundPlan(n, "popularity/1", 10, 1.0, 4096, z, {}) for n in range(1, 8))
    figure = round_up(epsilon_bound([GaussianEvent(z, 7)], DELTA))
    return TaskManifest(
        f"{purpose}-{z:g}", "shop", purpose, "popularity/1", {"rating": 1.0}, plans, "central", 2,
        100, 50, 7, "user", "add_remove", figure, DELTA, "main",
        hashlib.sha256(b"catalogue").hexdigest(), NOW_MS, NOW_MS + 36_000_000, 0,
    )  # fmt: skip


class Slow:
    """The same verdicts and figures, composing every reservation again for every entry."""

    def __init__(self, log: Log) -> None:
        self.account = AccountDocument.from_json(
            GovernanceEntry.parse(log.entries[0]).body
        ).account()
        self.held: list[Reservation] = []
        self.rounds: dict[str, tuple[str, int]] = {}
        self.as_reserved: dict[str, float] = {}

    def claim(self, events: Any, delta: float) -> EpsilonClaim:
        return epsilon_without_libraries(RunningComposition(events).events(), delta)

    def spent(self, held: list[Reservation]) -> float:
        return self.claim(rules.composed_events(held), DELTA).epsilon

    def reserve(self, document: ReserveDocument, planned: float) -> bool:
        """Count a spend; returns whether a rule is broken."""
        if any(one.reservation_id == document.reservation_id for one in self.held):
            return True
        digest = hashlib.sha256(document.to_bytes()).hexdigest()
        new = Reservation(
            document.reservation_id, "main", document.purpose, document.idempotency_key, digest,
            (document.event,),
        )  # fmt: skip
        existing = tuple(self.held)
        place = document.task_sha256, document.round_id
        taken = any(self.rounds[one.reservation_id] == place for one in existing if one.counts)
        self.held.append(new)
        self.rounds[new.reservation_id] = place
        self.as_reserved[new.reservation_id] = self.spent(self.held)
        if document.event.noise_multiplier != planned or taken:
            return True
        try:
            rules.admit(self.account, existing, new, self.claim)
        except PrivacyError:
            return True
        return False

    def settle(self, name: str, release: str, stated: float | None) -> bool:
        for place, one in enumerate(self.held):
            if one.reservation_id != name:
                continue
            if one.state is not ReservationState.RESERVED:
                return True
            now = self.spent(self.held)
            self.held[place] = rules.commit(one, release) if release else rules.abort(one)
            return stated is not None and stated not in (now, self.as_reserved[name])
        return True


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["reserve"] * 5 + ["commit"] * 3 + ["abort", "another z", "same key"]),
        st.sampled_from(PURPOSES),
        st.sampled_from([8.0, 9.0, 100.0]),
        st.integers(1, 7),
        st.sampled_from(["now", "now", "then", "wrong"]),
        st.integers(0, 30),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(MOVES)
def test_verdicts_and_figures_are_those_of_composing_everything(moves: list[Any]) -> None:
    log = Log()
    slow, broken, figures = Slow(log), set[int](), list[tuple[float, float]]()
    names = itertools.count()
    for move, purpose, z, round_id, states, number in moves:
        name = f"r{next(names)}"
        if move in ("reserve", "another z", "same key"):
            manifest = log.tasks[purpose, z]
            key = "r0" if move == "same key" else name
            event = GaussianEvent(7.0 if move == "another z" else z)
            document = ReserveDocument(
                name, "main", purpose, key, manifest.digest().hex(), round_id, "ab" * 32, event
            )
            is_broken = slow.reserve(document, z)
            log.append("coordinator", "budget.reserve", document.to_json())
        else:
            known: list[str] = [one.reservation_id for one in slow.held]
            settled: str = known[int(number) % len(known)] if known else "nothing"
            if move == "commit":
                then = slow.as_reserved.get(settled, 1.0)
                stated = {"now": slow.spent(slow.held) or 1.0, "then": then, "wrong": 0.123456}
                epsilon = stated[states]
                is_broken = slow.settle(settled, "cd" * 32, epsilon)
                body = CommitDocument(settled, "cd" * 32, epsilon, DELTA).to_json()
                log.append("coordinator", "budget.commit", body)
            else:
                is_broken = slow.settle(settled, "", None)
                body = AbortDocument(settled, "nobody came").to_json()
                log.append("coordinator", "budget.abort", body)
        if is_broken:
            broken.add(len(log.entries) - 1)
        committed = [one for one in slow.held if one.state is ReservationState.COMMITTED]
        figures.append((slow.spent(slow.held), slow.spent(committed)))
    accountant = Accountant(epsilon_without_libraries, CONFIRMED_IN_REPLAY)
    history = replay_governance(log.entries, log.public, accountant)
    found = {int(line.split()[2]) for line in history.findings}
    assert found == broken
    assert history.reservations["main"] == slow.held
    if not broken:
        parsed = [GovernanceEntry.parse(data) for data in log.entries]
        steps = timelines(parsed, log.public, Accountant(epsilon_without_libraries))["main"]
        shown = [(step.spent_epsilon, step.released_epsilon) for step in steps[1:]]
        assert shown == figures
        assert all(step.window_epsilon == step.spent_epsilon for step in steps)


def test_the_thousandth_spend_takes_no_more_work_than_the_hundredth() -> None:
    """Counted in calls, which no other load on the machine changes."""
    few, many = calls_to_replay(100), calls_to_replay(800)
    assert many < 8 * few * 1.25


def calls_to_replay(spends: int) -> int:
    log, running = Log(), RunningComposition()
    plans = tuple(
        RoundPlan(n, "popularity/1", 10, 1.0, 4096, 1e3, {}) for n in range(1, spends + 1)
    )
    figure = round_up(epsilon_bound([GaussianEvent(1e3, spends)], DELTA))
    manifest = dataclasses.replace(
        task("learn", 8.0), task_id="long", rounds=plans, participation_bound=spends, epsilon=figure
    )
    log.append("coordinator", "task", manifest.to_json())
    for n in range(1, spends + 1):
        name, event = f"r{n}", GaussianEvent(1e3)
        running.add(event)
        digest = manifest.digest().hex()
        document = ReserveDocument(name, "main", "learn", name, digest, n, "ab" * 32, event)
        log.append("coordinator", "budget.reserve", document.to_json())
        stated = round_up(epsilon_bound(running.events(), DELTA))
        commit = CommitDocument(name, "cd" * 32, stated, DELTA)
        log.append("coordinator", "budget.commit", commit.to_json())
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    accountant = Accountant(epsilon_without_libraries, CONFIRMED_IN_REPLAY)
    parsed = [GovernanceEntry.parse(data) for data in log.entries]
    sys.setprofile(count)
    try:
        history = replay_governance(log.entries, log.public, accountant)
        steps = timelines(parsed, log.public, accountant)["main"]
    finally:
        sys.setprofile(None)
    assert history.findings == []
    assert len(steps) == 2 * spends + 1
    return calls
