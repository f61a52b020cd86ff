"""Two coordinators at once: one noised sum and one spend a round, nothing overspent."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tacit.privacy.accounting import GaussianEvent, epsilon_bound
from tacit.server.coordinator.errors import StateConflict
from tacit.server.errors import Exhausted, FailedPrecondition
from tacit.v1 import budget_pb2

COMMITTED = budget_pb2.RESERVATION_STATE_COMMITTED


@pytest.fixture(params=["sqlite", "postgres"])
def database_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


class Reservations:
    """What a real ledger shows of an account's reservations, by name."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def get(self, name: str) -> Any:
        shown = self._client.show_budget("main").reservations
        return next((one for one in shown if one.reservation_id == name), None)


def start(deployment: Any, new_world: Callable[..., Any], task_id: str = "task") -> Any:
    client = deployment.client("coordinator")
    client.reservations = Reservations(client)
    world = new_world(client)
    world.config = world.config.__class__(**{**fields(world.config), "task_id": task_id})
    return world


def reservation_of(world: Any) -> Callable[[int], Any]:
    return lambda n: world.ledger.reservations.get(f"{world.config.task_id}/{n}")


def fields(config: Any) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.__dataclass_fields__}


def run_both(worlds: list[Any], key: Any) -> list[Any]:
    """Start both at once; returns a release or an error of each."""
    ends: list[Any] = [None, None]
    together = threading.Barrier(2)

    def train(place: int) -> None:
        together.wait()
        try:
            ends[place] = worlds[place].train(key=key)
        except (StateConflict, FailedPrecondition, Exhausted) as error:
            ends[place] = error

    threads = [threading.Thread(target=train, args=(place,)) for place in (0, 1)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return ends


@pytest.mark.parametrize("repetition", range(3))
def test_of_the_same_rounds_one_goes_on_and_the_other_refuses(
    deployment: Any, new_world: Callable[..., Any], repetition: int
) -> None:
    """As where a state directory was copied: same task, same rounds, same reservations."""
    account = deployment.account(100.0)
    deployment.client("operator").append_governance("account", account.to_json())
    first, second = start(deployment, new_world), start(deployment, new_world)
    first.fuse.set(1, persisted=True)  # the task is saved, and nothing else happened
    with pytest.raises(first.crash):
        first.train(key=deployment.keys["coordinator"])
    shutil.copytree(first.directory / "state", second.directory / "state", dirs_exist_ok=True)
    second.random = np.random.default_rng(7)  # noise of its own, as the system's would be
    ends = run_both([first, second], deployment.keys["coordinator"])
    assert sum(isinstance(one, Exception) for one in ends) == 1
    winner = [first, second][isinstance(ends[0], Exception)]
    (release,) = (one for one in ends if not isinstance(one, Exception))
    winner.check_finished(release)
    shown = deployment.client("coordinator").show_budget("main")
    assert [one.reservation_id for one in shown.reservations] == ["task/1", "task/2", "task/3"]
    assert {one.state for one in shown.reservations} == {COMMITTED}
    assert float(shown.epsilon_spent) <= winner.config.epsilon
    deployment.stop()
    report = deployment.verify()
    assert (report.accounts[0].committed, len(report.releases)) == (3, 1)


def test_of_different_tasks_the_cap_stops_one(
    deployment: Any, new_world: Callable[..., Any]
) -> None:
    first = start(deployment, new_world, "task-a")
    second = start(deployment, new_world, "task-b")
    cap = 1.2 * first.config.epsilon  # enough for one of them, not for both
    account = deployment.account(cap, quotas={"learn": cap})
    deployment.client("operator").append_governance("account", account.to_json())
    for world in (first, second):
        world.reservation = reservation_of(world)
    ends = run_both([first, second], deployment.keys["coordinator"])
    assert sum(isinstance(one, Exhausted) for one in ends) >= 1
    shown = deployment.client("coordinator").show_budget("main")
    assert float(shown.epsilon_spent) <= cap
    sums = first.saved_rounds() + second.saved_rounds()
    assert len(shown.reservations) == sums, "each noised sum has its own spend, and no other is"
    deployment.stop()
    (report,) = deployment.verify().accounts
    assert report.released_epsilon <= report.spent_epsilon <= cap
    plans = [plan for world in (first, second) for plan in world.plans()[: world.saved_rounds()]]
    events = [GaussianEvent(plan.noise_multiplier) for plan in plans]
    assert epsilon_bound(events, deployment.delta) <= cap
