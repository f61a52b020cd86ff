"""What is kept in memory of an account is what its rows say, after any history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.privacy import budget as rules
from tacit.privacy.accounting import EpsilonClaim, GaussianEvent, epsilon_bound
from tacit.privacy.budget import BudgetAccount, Reservation, ReservationState
from tacit.privacy.budget_documents import CommitDocument
from tacit.privacy.budget_standing import AccountStanding, LedgerIdentity
from tacit.privacy.errors import BudgetConflict, BudgetExceeded
from tacit.privacy.governance import GovernanceEntry
from tacit.server.budget import rows as rows_module
from tacit.server.budget.composition import Composition, ReservationRow
from tacit.server.errors import FailedPrecondition, StateCorrupt

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "commit", "abort"]),
        st.integers(0, 40),
        st.sampled_from(["learn", "measure"]),
        st.sampled_from([4.0, 8.0, 100.0]),
    ),
    max_size=40,
)


def reservation(number: int, purpose: str, z: float) -> Reservation:
    name = f"r{number}"
    return Reservation(name, "main", purpose, f"k{number}", "ab", (GaussianEvent(z),))


def claim(events: Any, delta: float) -> EpsilonClaim:
    return EpsilonClaim(epsilon_bound(events, delta), delta, "bound", "1", ())


@given(STEPS)
def test_kept_in_step_and_rebuilt_it_is_the_same(steps: list[Any]) -> None:
    rows: list[ReservationRow] = []
    standing = standing_of(BudgetAccount("main", "shop", "user", 8.0, 1e-6, {"learn": 8.0}))
    kept = Composition(standing, rows)
    for position, (step, number, purpose, z) in enumerate(steps):
        still_open: list[int] = [n for n, one in enumerate(rows) if one.settled_at is None]
        if step == "reserve":
            new = reservation(len(rows), purpose, z)
            rows.append(ReservationRow(new, position, None))
            kept.reserved(new)
        elif still_open:
            place = still_open[int(number) % len(still_open)]
            held = rows[place].reservation
            moved = rules.commit(held, "cd") if step == "commit" else rules.abort(held)
            rows[place] = ReservationRow(moved, rows[place].position, position)
            kept.settled(moved)
        assert kept == Composition(standing, reversed(rows))
    held_now = [row.reservation for row in rows]
    total = rules.composed_events(held_now)
    assert epsilon_bound(kept.events(), 1e-6) == pytest.approx(epsilon_bound(total, 1e-6))
    for row in rows:
        events = kept.as_reserved(row.reservation.reservation_id)
        assert (events is None) == (row.settled_at is not None)


@given(
    STEPS,
    st.integers(0, 50),
    st.sampled_from([0.5, 2.0, 8.0]),
    st.none() | st.integers(0, 12),
)
def test_folded_it_is_decided_as_from_the_single_reservations(
    steps: list[Any], number: int, cap: float, began: int | None
) -> None:
    """`admit` gives the same claim or the same refusal either way, replays included."""
    held: list[Reservation] = []
    for step, _, purpose, z in steps:
        one = reservation(len(held), purpose, z)
        held.append(rules.abort(one) if step == "abort" else one)
    account = BudgetAccount("main", "shop", "user", cap, 1e-6, {"learn": cap, "measure": cap / 2})
    new = reservation(number, "learn", 8.0)
    rows = [
        ReservationRow(one, n, None if one.state is ReservationState.RESERVED else n + 50)
        for n, one in enumerate(held)
    ]
    alike = [one for one in held if one.reservation_id == new.reservation_id]
    standing = standing_of(account)
    if began is not None:
        # A refresh after `began` reservations, in which those that are open now were open.
        before = [one for one in held[:began] if one.state is ReservationState.RESERVED]
        carried = frozenset(one.reservation_id for one in before)
        standing = replace(standing, reserved_before=began, carried=carried)
    folded = Composition(standing, rows).folded_window()
    single = standing.in_window(held)
    assert outcome(account, held, new, single) == outcome(account, alike, new, folded)


def standing_of(account: BudgetAccount) -> AccountStanding:
    return AccountStanding.opened(account, 0, LedgerIdentity("test.example/governance", bytes(32)))


def outcome(
    account: BudgetAccount,
    existing: list[Reservation],
    new: Reservation,
    window: list[Reservation],
) -> object:
    try:
        return round(rules.admit(account, existing, new, claim, window).epsilon, 9)
    except (BudgetConflict, BudgetExceeded) as error:
        return type(error), str(error).partition(", got")[0]


@pytest.mark.parametrize(
    ("held", "settled_at"),
    [
        (reservation(1, "learn", 8.0), 4),
        (rules.abort(reservation(1, "learn", 8.0)), None),
        (rules.commit(reservation(1, "learn", 8.0), "cd"), 3),
    ],
)
def test_a_row_that_contradicts_itself_is_refused(
    held: Reservation, settled_at: int | None
) -> None:
    with pytest.raises(StateCorrupt, match="contradicts itself"):
        ReservationRow(held, 3, settled_at)


class TestStore:
    @pytest.fixture(params=["sqlite", "postgres"])
    def database_kind(self, request: pytest.FixtureRequest) -> str:
        kind: str = request.param
        return kind

    def test_after_a_failed_commit_it_is_read_from_the_rows_again(
        self, deployment: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task, coordinator = deployment.open_account(), deployment.client("coordinator")
        coordinator.reserve(deployment.reserve(task, 1))
        node = deployment.node
        before = node.budget._compositions["main"].events()

        def full(*_: Any) -> None:
            raise OSError("disk full")

        with monkeypatch.context() as patched:
            # The last statement of the transaction has run; its commit has not.
            patched.setattr(Composition, "reserved", after(Composition.reserved, full))
            entry = GovernanceEntry.sign(
                "budget.reserve",
                deployment.reserve(task, 2).to_json(),
                task.issued_at_ms,
                deployment.keys["coordinator"],
            )
            with pytest.raises(OSError, match="disk"):
                node.budget.reserve(entry, task.issued_at_ms)
        assert node.budget._compositions == {}
        reply = coordinator.reserve(deployment.reserve(task, 3))
        both = epsilon_bound([GaussianEvent(8.0, 2)], deployment.delta)
        assert float(reply.epsilon_spent) == pytest.approx(both, abs=2e-6)
        assert before == (GaussianEvent(8.0, 1),)

    def test_a_spend_reads_its_own_row_however_many_there_are(
        self, deployment: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task = deployment.open_account(cap=50.0, rounds=60, epsilon=100.0)
        coordinator = deployment.client("coordinator")
        read: list[str] = []

        def counting(row: Any) -> ReservationRow:
            read.append(row.reservation_id)
            return restore(row)

        restore: Callable[[Any], ReservationRow] = vars(rows_module)["_restore"]
        monkeypatch.setattr(rows_module, "_restore", counting)
        for round_id in range(1, 61):
            read.clear()
            coordinator.reserve(deployment.reserve(task, round_id))
            assert read == []
            if round_id > 1:  # before its first commit a client asks for the account's delta
                coordinator.commit("main", f"task-1/{round_id}", "ab" * 32)
                assert read[-1:] == [f"task-1/{round_id}"]
                assert len(read) == 1 or round_id == 2
        with pytest.raises(FailedPrecondition):
            coordinator.reserve(
                deployment.reserve(task, 5, reservation_id="r", idempotency_key="k")
            )
        assert read == ["task-1/60"], "a refusal leaves what is known as it is"

    def test_a_restart_composes_the_same(self, deployment: Any) -> None:
        task, coordinator = deployment.open_account(rounds=6), deployment.client("coordinator")
        for round_id in range(1, 7):
            coordinator.reserve(deployment.reserve(task, round_id))
        coordinator.commit("main", "task-1/1", "ab" * 32)
        coordinator.abort("task-1/2", "nobody came")
        kept = deployment.node.budget._compositions["main"]
        deployment.stop()
        coordinator = deployment.client("coordinator")
        again = coordinator.reserve(deployment.reserve(task, 3))  # which reads the rows
        assert deployment.node.budget._compositions["main"] == kept
        # A repetition is answered as the first time, though the account has moved on.
        third = epsilon_bound([GaussianEvent(8.0, 3)], deployment.delta)
        assert float(again.epsilon_spent) == pytest.approx(third, abs=2e-6)

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE reservations SET state = 'aborted', settled_at = 9 WHERE round_id = 1",
            "UPDATE reservations SET state = 'aborted', settled_at = 3 WHERE round_id = 1",
            "UPDATE reservations SET state = 'reserved', settled_at = NULL, release_sha256 = ''",
            "UPDATE reservations SET release_sha256 = 'cd' WHERE round_id = 2",
            "UPDATE reservations SET position = 8 WHERE round_id = 1",
            "UPDATE reservations SET reservation_id = 'another' WHERE round_id = 1",
            "DELETE FROM reservations WHERE round_id = 1",
            "INSERT INTO reservations SELECT 99, 'more', account_id, 'more', purpose, task_sha256, "
            "3, noise_multiplier, body, state, settled_at, release_sha256 FROM reservations "
            "WHERE round_id = 1",
        ],
    )
    def test_rows_that_are_not_what_the_log_says_are_not_served(
        self, deployment: Any, statement: str
    ) -> None:
        task, coordinator = deployment.open_account(), deployment.client("coordinator")
        for round_id in (1, 2):
            coordinator.reserve(deployment.reserve(task, round_id))
        coordinator.commit("main", "task-1/2", "ab" * 32)
        deployment.stop()
        deployment.start()
        deployment.stop()
        deployment.execute(statement)
        with pytest.raises(StateCorrupt, match=r"reservation \S+: (its row|is in the gov)"):
            deployment.start()

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ("noise_multiplier = 1000.0", "noise_multiplier is not that of its body"),
            ("purpose = 'measure'", "purpose is not that of its body"),
            ("account_id = 'other'", "account_id is not that of its body"),
            ("round_id = 9", "round_id is not that of its body"),
            ("state = 'aborted'", "contradicts itself"),
            ("state = 'gone'", "unknown state"),
            ("settled_at = 1", "contradicts itself"),
        ],
    )
    def test_edited_columns_are_found_before_anything_is_decided(
        self, deployment: Any, change: str, words: str
    ) -> None:
        operator = deployment.client("operator")
        other = deployment.account(account_id="other", population="other")
        operator.append_governance("account", other.to_json())
        task = deployment.open_account()
        deployment.client("coordinator").reserve(deployment.reserve(task, 1))
        deployment.stop()
        deployment.start()  # as it was when the node began to run
        deployment.execute(f"UPDATE reservations SET {change}")
        entry = GovernanceEntry.sign(
            "budget.reserve",
            deployment.reserve(task, 2, account_id="main").to_json(),
            task.issued_at_ms,
            deployment.keys["coordinator"],
        )
        name = "other" if "account_id" in change else "main"
        with pytest.raises(StateCorrupt, match=words):
            deployment.node.budget.show(name)
        if name == "main":
            with pytest.raises(StateCorrupt, match=words):
                deployment.node.budget.reserve(entry, task.issued_at_ms)

    def test_a_commit_states_what_its_reservation_left_or_what_is_now(
        self, deployment: Any
    ) -> None:
        task, coordinator = deployment.open_account(rounds=6), deployment.client("coordinator")
        replies = [coordinator.reserve(deployment.reserve(task, n)) for n in range(1, 5)]
        left = [float(one.epsilon_spent) for one in replies]
        coordinator.abort("task-1/4", "nobody came")  # the account is at the third figure now

        def commit(round_id: int, epsilon: float) -> None:
            document = CommitDocument(f"task-1/{round_id}", "ab" * 32, epsilon, deployment.delta)
            key, at_ms = deployment.keys["coordinator"], task.issued_at_ms
            entry = GovernanceEntry.sign("budget.commit", document.to_json(), at_ms, key)
            deployment.node.budget.commit(entry)

        for wrong in (left[1], left[3], 0.5 * left[0]):
            with pytest.raises(FailedPrecondition, match="expected epsilon"):
                commit(1, wrong)
        commit(1, left[0])
        commit(2, left[2])
        deployment.stop()
        commit(3, left[2])
        deployment.stop()
        report = deployment.verify()
        assert (report.accounts[0].committed, report.accounts[0].aborted) == (3, 1)


def after(first: Callable[..., Any], then: Callable[..., Any]) -> Callable[..., Any]:
    def both(*arguments: Any) -> None:
        first(*arguments)
        then(*arguments)

    return both
