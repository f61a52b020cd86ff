"""Many workers on one account of a real ledger process: the cap holds, to the last reservation."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tacit.privacy.accounting import GaussianEvent, epsilon_bound, round_up
from tacit.privacy.budget_documents import CommitDocument, ReserveDocument
from tacit.privacy.governance import GovernanceEntry
from tacit.server.errors import AlreadyExists, Exhausted
from tacit.server.ledger.contents import read_node

WORKERS = 64
Z = 1000.0
ROUNDS_A_TASK = 200


def spend(
    deployment: Any, address: str, documents: Iterator[ReserveDocument], outcomes: list[str]
) -> None:
    """Work as one coordinator: reserve, commit, and often repeat itself or get it wrong."""
    client = deployment.client("coordinator", address=address)
    client._patience_s = 120
    for document in documents:
        try:
            reply = client.reserve(document)
        except Exhausted:
            outcomes.append("exhausted")
            continue
        number = document.round_id
        if number % 10 == 0:  # the reply was lost: the same request gives the same answer
            again = client.reserve(document)
            # What the window holds is that of the moment, and others spend meanwhile.
            assert (again.reservation, again.epsilon_spent) == (
                reply.reservation,
                reply.epsilon_spent,
            )
        if number % 10 == 1:  # the same key for something else
            other = dataclasses.replace(document, context_sha256="cd" * 32)
            with pytest.raises(AlreadyExists, match="already used with another body"):
                client.reserve(other)
        digest = hashlib.sha256(document.reservation_id.encode()).hexdigest()
        client.commit("main", document.reservation_id, digest)
        if number % 10 == 2:
            client.commit("main", document.reservation_id, digest)
        outcomes.append("committed")


class Shared:
    """Hands each document to one worker."""

    def __init__(self, documents: Iterator[ReserveDocument]) -> None:
        self._documents, self._lock = documents, threading.Lock()

    def __iter__(self) -> Iterator[ReserveDocument]:
        return self

    def __next__(self) -> ReserveDocument:
        with self._lock:
            return next(self._documents)


def run_workers(deployment: Any, attempts: int, admitted: int) -> dict[str, float]:
    """Let 64 workers attempt more than the cap admits; check all of it; return timings."""
    cap = round_up(epsilon_bound([GaussianEvent(Z, admitted)], deployment.delta))
    process, address = deployment.spawn()
    try:
        account = deployment.account(cap=cap)
        operator = deployment.client("operator", address=address)
        operator.append_governance("account", account.to_json())
        publisher = deployment.client("coordinator", address=address)
        documents: list[ReserveDocument] = []
        each = round_up(epsilon_bound([GaussianEvent(Z, ROUNDS_A_TASK)], deployment.delta))
        for number in range(-(-attempts // ROUNDS_A_TASK)):
            task = deployment.task(
                rounds=ROUNDS_A_TASK, z=Z, task_id=f"task-{number}", epsilon=each
            )
            publisher.append_governance("task", task.to_json())
            first = deployment.reserve(task, 1)
            documents += [
                dataclasses.replace(
                    first,
                    round_id=n,
                    reservation_id=f"{task.task_id}/{n}",
                    idempotency_key=f"{task.task_id}/{n}",
                )
                for n in range(1, ROUNDS_A_TASK + 1)
            ]
        shared, outcomes, failures = Shared(iter(documents[:attempts])), list[str](), list[str]()

        def work() -> None:
            try:
                spend(deployment, address, shared, outcomes)
            except BaseException as error:
                failures.append(f"{type(error).__name__}: {error}")
                raise

        threads = [threading.Thread(target=work) for _ in range(WORKERS)]
        began_s = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took_s = time.perf_counter() - began_s
        assert failures == []
        assert Counter(outcomes) == {"committed": admitted, "exhausted": attempts - admitted}
        shown = publisher.show_budget("main")
        assert float(shown.epsilon_spent) == cap
        assert len(shown.reservations) == admitted
    finally:
        process.terminate()
        assert process.wait(60) == 0
        process.stdout.close()
    check_log(deployment, cap, admitted)
    return {"attempts": attempts, "admitted": admitted, "cap": cap, "seconds": took_s}


def check_log(deployment: Any, cap: float, admitted: int) -> None:
    """Recount from the signed log alone: never above the cap, each commit once and after."""
    reserved, committed = set[str](), set[str]()
    keys = set[str]()
    for data in read_node(deployment.config).logs["governance"].entries:
        entry = GovernanceEntry.parse(data)
        if entry.kind == "budget.reserve":
            document = ReserveDocument.from_json(entry.body)
            assert document.reservation_id not in reserved
            assert document.idempotency_key not in keys
            reserved.add(document.reservation_id)
            keys.add(document.idempotency_key)
        elif entry.kind == "budget.commit":
            commit = CommitDocument.from_json(entry.body)
            assert commit.reservation_id in reserved - committed
            committed.add(commit.reservation_id)
            assert commit.epsilon <= cap
    assert len(reserved) == len(committed) == admitted
    spent = epsilon_bound([GaussianEvent(Z, len(reserved))], deployment.delta)
    assert spent <= cap < epsilon_bound([GaussianEvent(Z, admitted + 1)], deployment.delta)


@pytest.mark.timeout(300)
def test_sixty_four_workers_spend_what_the_cap_admits(deployment: Any) -> None:
    run_workers(deployment, attempts=200, admitted=150)
    report = deployment.verify()  # on so few, the whole verification as well
    assert (report.accounts[0].committed, report.accounts[0].reserved) == (150, 0)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_ten_thousand_spends_by_sixty_four_workers(
    deployment: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = run_workers(deployment, attempts=10_500, admitted=10_000)
    kind = "postgresql" if deployment.database else "sqlite"
    with capsys.disabled():
        sys.stdout.write(f"\n{kind}, {WORKERS} workers, {os.cpu_count()} cores: {figures}\n")
