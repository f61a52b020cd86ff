from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from tacit.privacy.accounting import GaussianEvent, epsilon
from tacit.server.errors import (
    AlreadyExists,
    Exhausted,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
)
from tacit.v1 import budget_pb2


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class TestRules:
    def test_reserve_commit_and_abort_in_order(self, deployment: Any) -> None:
        task, coordinator = deployment.open_account(), deployment.client("coordinator")
        delta = deployment.delta
        first = coordinator.reserve(deployment.reserve(task, 1))
        assert first.reservation.state == budget_pb2.RESERVATION_STATE_RESERVED
        assert float(first.epsilon_spent) == epsilon([GaussianEvent(8.0)], delta).epsilon
        assert coordinator.reserve(deployment.reserve(task, 1)) == first
        assert len(coordinator.entries()) == 3  # the repetition left nothing in the log
        done = coordinator.commit("main", "task-1/1", "ab" * 32)
        assert done.reservation.release_sha256 == "ab" * 32
        assert coordinator.commit("main", "task-1/1", "ab" * 32) == done
        with pytest.raises(FailedPrecondition, match="another release"):
            coordinator.commit("main", "task-1/1", "cd" * 32)
        with pytest.raises(FailedPrecondition, match="never refunded"):
            coordinator.abort("task-1/1", "changed my mind")
        second = coordinator.reserve(deployment.reserve(task, 2))
        assert float(second.epsilon_spent) == epsilon([GaussianEvent(8.0, 2)], delta).epsilon
        freed = coordinator.abort("task-1/2", "nobody came")
        assert freed.epsilon_spent == first.epsilon_spent
        with pytest.raises(FailedPrecondition, match="aborted"):
            coordinator.commit("main", "task-1/2", "ab" * 32)
        shown = coordinator.show_budget("main")
        assert [one.state for one in shown.reservations] == [
            budget_pb2.RESERVATION_STATE_COMMITTED,
            budget_pb2.RESERVATION_STATE_ABORTED,
        ]
        assert shown.accountant == "tacit-gaussian 1"

    def test_reservations_that_contradict_are_refused(self, deployment: Any) -> None:
        task, coordinator = deployment.open_account(), deployment.client("coordinator")
        coordinator.reserve(deployment.reserve(task, 1))
        refused: list[tuple[type[Exception], dict[str, Any]]] = [
            (AlreadyExists, {"context_sha256": "cd" * 32}),
            (AlreadyExists, {"idempotency_key": "another"}),
            (NotFound, {"idempotency_key": "k", "reservation_id": "r", "account_id": "none"}),
            (NotFound, {"idempotency_key": "k", "reservation_id": "r", "task_sha256": "0" * 64}),
            (FailedPrecondition, {"idempotency_key": "k", "reservation_id": "r", "round_id": 9}),
            (
                FailedPrecondition,
                {"idempotency_key": "k", "reservation_id": "r", "event": GaussianEvent(16.0)},
            ),
            (
                FailedPrecondition,
                {"idempotency_key": "k", "reservation_id": "r", "purpose": "measure"},
            ),
            (
                InvalidRequest,
                {"idempotency_key": "k", "reservation_id": "r", "event": GaussianEvent(8.0, 2)},
            ),
        ]
        refused.append((FailedPrecondition, {"idempotency_key": "k", "reservation_id": "r"}))
        for kind, changes in refused:
            with pytest.raises(kind):
                coordinator.reserve(dataclasses.replace(deployment.reserve(task, 1), **changes))
        with pytest.raises(NotFound):
            coordinator.commit("main", "nothing", "ab" * 32)
        with pytest.raises(NotFound):
            coordinator.show_budget("nothing")
        assert len(coordinator.entries()) == 3
        assert len(coordinator.show_budget("main").reservations) == 1

    def test_quota_and_cap(self, deployment: Any) -> None:
        one = epsilon([GaussianEvent(8.0)], deployment.delta).epsilon
        account = deployment.account(cap=8.0, quotas={"learn": one * 1.1})
        deployment.client("operator").append_governance("account", account.to_json())
        task, coordinator = deployment.task(), deployment.client("coordinator")
        coordinator.append_governance("task", task.to_json())
        coordinator.reserve(deployment.reserve(task, 1))
        with pytest.raises(Exhausted, match="quota"):
            coordinator.reserve(deployment.reserve(task, 2))
        coordinator.abort("task-1/1", "nobody came")
        coordinator.reserve(deployment.reserve(task, 2))  # an aborted spend is free again
        coordinator.abort("task-1/2", "nobody came")
        retried = deployment.reserve(task, 1, reservation_id="r", idempotency_key="k")
        coordinator.reserve(retried)  # and so is its round

    def test_an_expired_task_spends_nothing(self, deployment: Any) -> None:
        deployment.client("operator").append_governance("account", deployment.account().to_json())
        task = deployment.task(issued_at_ms=now_ms() - 9000, expires_at_ms=now_ms() - 1)
        coordinator = deployment.client("coordinator")
        coordinator.append_governance("task", task.to_json())
        with pytest.raises(FailedPrecondition, match="expired"):
            coordinator.reserve(deployment.reserve(task, 1))

    def test_a_task_that_understates_its_epsilon_is_refused(self, deployment: Any) -> None:
        deployment.client("operator").append_governance("account", deployment.account().to_json())
        with pytest.raises(FailedPrecondition, match="compose to"):
            deployment.client("coordinator").append_governance(
                "task", deployment.task(epsilon=0.1).to_json()
            )

    def test_a_wrong_stated_epsilon_is_refused(self, deployment: Any) -> None:
        from tacit.privacy.budget_documents import CommitDocument
        from tacit.privacy.governance import GovernanceEntry

        task, coordinator = deployment.open_account(), deployment.client("coordinator")
        spent = float(coordinator.reserve(deployment.reserve(task, 1)).epsilon_spent)
        document = CommitDocument("task-1/1", "ab" * 32, spent - 1e-3, deployment.delta)
        entry = GovernanceEntry.sign(
            "budget.commit", document.to_json(), now_ms(), deployment.keys["coordinator"]
        )
        with pytest.raises(FailedPrecondition, match="expected epsilon"):
            deployment.node.budget.commit(entry)


class TestRaces:
    def test_sixty_four_threads_never_overspend(self, deployment: Any) -> None:
        cap = epsilon([GaussianEvent(8.0, 10)], deployment.delta).epsilon
        task = deployment.open_account(cap=cap, rounds=64, epsilon=100.0)
        coordinator, start = deployment.client("coordinator"), threading.Barrier(64)

        def reserve(round_id: int) -> bool:
            document = deployment.reserve(task, round_id)
            start.wait()
            try:
                coordinator.reserve(document)
            except Exhausted:
                return False
            return True

        with ThreadPoolExecutor(64) as pool:
            admitted = list(pool.map(reserve, range(1, 65)))
        assert sum(admitted) == 10
        shown = coordinator.show_budget("main")
        assert float(shown.epsilon_spent) <= cap
        assert len(shown.reservations) == 10
        deployment.stop()
        (account,) = deployment.verify().accounts
        assert (account.spent_epsilon, account.reserved) == (cap, 10)

    def test_one_key_from_many_threads_is_one_reservation(self, deployment: Any) -> None:
        task, coordinator = deployment.open_account(), deployment.client("coordinator")
        document = deployment.reserve(task, 1)
        with ThreadPoolExecutor(32) as pool:
            replies = list(pool.map(coordinator.reserve, [document] * 32))
        assert len({reply.SerializeToString() for reply in replies}) == 1
        assert len(coordinator.entries()) == 3


class TestCrash:
    def test_killed_between_appends_it_reopens_whole(self, deployment: Any) -> None:
        """Kill the real process at random moments; what was answered is there, nothing is torn."""
        deployment.write_config()
        answered: dict[str, str] = {}
        receipts: list[Any] = []
        task: Any = None
        device: Any = None
        for life in range(2):
            process, address = deployment.spawn()
            try:
                operator = deployment.client("operator", address=address)
                coordinator = deployment.client("coordinator", address=address)
                if task is None:
                    operator.append_governance("account", deployment.account(cap=50.0).to_json())
                    task = deployment.task(rounds=60, epsilon=100.0)
                    coordinator.append_governance("task", task.to_json())
                coordinator.show_budget("main")  # waits until the accountants are imported
                stub = deployment.stub(address)
                (token,) = operator.create_tokens("shop", 1, now_ms() + 60_000)
                device = deployment.device_type(stub)
                device.enrol(token)
                rounds = iter(range(1 + 20 * life, 21 + 20 * life))
                stop = threading.Event()
                worker = threading.Thread(
                    target=_spend, args=(deployment, coordinator, task, rounds, answered, stop)
                )
                consenter = threading.Thread(target=_consent, args=(device, receipts, stop))
                worker.start()
                consenter.start()
                time.sleep(0.25 + 0.1 * life)
                os.kill(process.pid, signal.SIGKILL)
                stop.set()
                worker.join()
                consenter.join()
            finally:
                process.kill()
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()
            report = deployment.verify()
            (account,) = report.accounts
            assert account.spent_epsilon >= account.released_epsilon
            assert account.reserved + account.committed >= len(answered)
            assert report.consent_size >= len(receipts)
        node = deployment.node
        held = {one.reservation_id: one for one in node.budget.show("main")[1]}
        assert answered
        for name, digest in answered.items():
            assert name in held
            if digest:
                assert held[name].release_sha256 == digest
        for index, leaf_key in receipts:
            assert node.logs.consent.size > index
            assert len(leaf_key) == 32

    def test_a_failed_transaction_leaves_tree_and_tables_as_they_were(
        self, deployment: Any
    ) -> None:
        task, coordinator = deployment.open_account(), deployment.client("coordinator")
        logs = deployment.node.logs
        before = logs.governance.checkpoint(0)

        def fail_halfway() -> None:
            with logs.writing() as connection:
                logs.governance.append(connection, b"an entry that never was")
                logs.consent.append(connection, b"a leaf that never was")
                raise OSError("disk full")

        with pytest.raises(OSError, match="disk"):
            fail_halfway()
        assert logs.governance.checkpoint(0) == before
        assert logs.consent.size == 0
        coordinator.reserve(deployment.reserve(task, 1))
        deployment.stop()
        assert deployment.verify().governance_size == 3
        deployment.start()


def _spend(
    deployment: Any, coordinator: Any, task: Any, rounds: Any, answered: dict[str, str], stop: Any
) -> None:
    from tacit.server.errors import ServerError

    for round_id in rounds:
        if stop.is_set():
            return
        name = f"{task.task_id}/{round_id}"
        digest = hashlib.sha256(name.encode()).hexdigest()
        try:
            coordinator._patience_s = 0
            coordinator.reserve(deployment.reserve(task, round_id))
            answered[name] = ""
            coordinator.commit("main", name, digest)
            answered[name] = digest
        except ServerError:
            return


def _consent(device: Any, receipts: list[Any], stop: Any) -> None:
    while not stop.is_set():
        try:
            receipt = device.append(device.event())
        except grpc.RpcError:
            return
        receipts.append((receipt.index, receipt.commitment_key))
