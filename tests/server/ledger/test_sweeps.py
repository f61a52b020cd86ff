"""A sweep over parameters is paid for run by run, whatever its tasks are called."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest

from tacit.privacy.accounting import GaussianEvent, epsilon_bound
from tacit.privacy.errors import BudgetExceeded
from tacit.server.errors import Exhausted

NOISE = (12.0, 8.0, 10.0)


def spend(deployment: Any, coordinator: Any, task: Any) -> None:
    coordinator.append_governance("task", task.to_json())
    coordinator.reserve(deployment.reserve(task))
    noised = hashlib.sha256(task.task_id.encode()).hexdigest()
    coordinator.commit("main", f"{task.task_id}/1", noised)


def test_each_run_of_a_sweep_composes_with_all_before(deployment: Any) -> None:
    cap = epsilon_bound([GaussianEvent(z) for z in NOISE], deployment.delta) + 1e-6
    account = deployment.account(cap)
    deployment.client("operator").append_governance("account", account.to_json())
    coordinator = deployment.client("coordinator")
    events: list[GaussianEvent] = []
    spent = 0.0
    for number, z in enumerate(NOISE):
        task = deployment.task(1, z, task_id=f"sweep-{number}")
        # The same data under another parameter is another look at it.
        (plan,) = task.rounds
        changed = dataclasses.replace(plan, clipping_norm=1.0 + number)
        spend(deployment, coordinator, dataclasses.replace(task, rounds=(changed,)))
        events.append(GaussianEvent(z))
        spent = float(coordinator.show_budget("main").epsilon_spent)
        assert spent == pytest.approx(epsilon_bound(events, deployment.delta), abs=2e-6)
    assert spent > max(epsilon_bound([one], deployment.delta) for one in events) * 1.4
    with pytest.raises((Exhausted, BudgetExceeded)):
        spend(deployment, coordinator, deployment.task(1, 40.0, task_id="sweep-last"))
    assert float(coordinator.show_budget("main").epsilon_spent) == spent
