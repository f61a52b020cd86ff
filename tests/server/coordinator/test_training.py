from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tacit.privacy.arrays import pack_arrays
from tacit.privacy.errors import BadDocument
from tacit.privacy.task import RoundPlan, TaskManifest
from tacit.server.coordinator import training
from tacit.server.coordinator.errors import RoundFailed, StateConflict
from tacit.server.coordinator.learners import NoisedSum
from tacit.server.coordinator.noise import decoded, noised
from tacit.server.coordinator.training import CohortSum, Trainer
from tacit.v1 import budget_pb2

NewWorld = Callable[..., Any]

ROUND = [
    "checkpoint.noised_sum",
    "ledger.logged_entry",
    "gateways.run",
    "ledger.reserve",
    "noise",
    "checkpoint.save_noised_sum",
    "ledger.commit",
]
STEPS = [
    *("checkpoint.task", "checkpoint.save_task", "ledger.append_governance"),
    *(3 * ROUND),
    *("ledger.latest_release", "ledger.latest_release"),  # of the task's kind, then of any
    *("ledger.put_blob", "ledger.append_governance"),
]


def test_takes_these_steps_in_this_order(world: Any) -> None:
    world.check_finished(world.train())
    assert world.fuse.steps == STEPS
    assert world.noise_draws == [1, 2, 3]


def test_how_many_contributed_changes_nothing(new_world: NewWorld) -> None:
    """The exact count is private: dividing by it would move a sum by more than C."""
    released: list[list[bytes]] = []
    for contributions in (2, 99):
        world = new_world()
        world.contributions = contributions
        world.train()
        sums = world.released(3)
        released.append([one.values.tobytes() for one in sums])
    assert released[0] == released[1]


@pytest.mark.parametrize("persisted", [False, True], ids=["lost", "persisted"])
@pytest.mark.parametrize("at", range(len(STEPS)), ids=lambda n: f"{n}-{STEPS[n]}")
def test_resumes_after_a_crash(world: Any, at: int, persisted: bool) -> None:
    """Crash before a step, or after it took effect but before its answer came; then start anew.

    What must hold at every moment is asserted by the world while the trainer works.
    """
    world.fuse.set(at, persisted)
    with pytest.raises(world.crash):
        world.train()
    saved = {n: (world.directory / "state" / f"round-00{n}.npz").exists() for n in (1, 2, 3)}
    before = world.checkpoint.task()
    release = world.train()
    world.check_finished(release)
    if before is not None:
        assert world.manifest() == before
    assert set(world.ledger.reservations) == {"task/1", "task/2", "task/3"}
    # Noise is drawn again only if the crash fell between drawing and saving.
    lost_noise = STEPS[at] == "noise" and persisted
    lost_noise |= STEPS[at] == "checkpoint.save_noised_sum" and not persisted
    assert len(world.noise_draws) == 3 + lost_noise
    for n, was_saved in saved.items():
        if was_saved:
            assert world.noise_draws.count(n) == 1
    kinds = [entry.kind for entry in world.ledger.entries]
    assert kinds == ["task", "release"]


def test_started_again_after_its_end_changes_nothing(world: Any) -> None:
    release = world.train()
    entries, draws = list(world.ledger.entries), list(world.noise_draws)
    assert world.train() == release
    assert (world.ledger.entries, world.noise_draws) == (entries, draws)
    assert world.runs == 3


def test_crashes_of_many_lives_add_up_to_one_task(world: Any) -> None:
    lives = 0
    while True:
        lives += 1
        # Each life gets two steps further than resuming takes it.
        world.fuse.set(len(world.fuse.steps) + 3 + 2 * lives, persisted=lives % 2 == 0)
        try:
            release = world.train()
            break
        except world.crash:
            continue
    assert lives > 3
    world.check_finished(release)
    assert set(world.ledger.reservations) == {"task/1", "task/2", "task/3"}


class TestRefusesToTrain:
    def crash_at(self, world: Any, step: str, round_id: int, persisted: bool) -> None:
        at = STEPS.index(step) + len(ROUND) * (round_id - 1)
        world.fuse.set(at, persisted)
        with pytest.raises(world.crash):
            world.train()

    def test_when_a_committed_sum_is_missing(self, world: Any) -> None:
        self.crash_at(world, "ledger.commit", 2, persisted=True)
        (world.directory / "state" / "round-002.npz").unlink()
        draws = list(world.noise_draws)
        with pytest.raises(StateConflict, match="refusing to draw"):
            world.train()
        assert world.noise_draws == draws

    def test_when_the_ledger_committed_another_sum(self, world: Any) -> None:
        self.crash_at(world, "ledger.commit", 2, persisted=True)
        world.reservation(2).release_sha256 = "0" * 64
        with pytest.raises(StateConflict, match="committed another noised sum"):
            world.train()

    def test_when_its_reservation_was_aborted(self, world: Any) -> None:
        self.crash_at(world, "ledger.reserve", 2, persisted=True)
        world.reservation(2).state = budget_pb2.RESERVATION_STATE_ABORTED
        draws = list(world.noise_draws)
        with pytest.raises(StateConflict, match="aborted"):
            world.train()
        assert world.noise_draws == draws

    def test_when_a_saved_sum_is_damaged(self, world: Any) -> None:
        self.crash_at(world, "ledger.commit", 1, persisted=True)
        path = world.directory / "state" / "round-001.npz"
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(StateConflict, match="damaged"):
            world.train()

    def test_when_the_directory_holds_another_task(self, world: Any) -> None:
        self.crash_at(world, "gateways.run", 1, persisted=False)
        with pytest.raises(StateConflict, match="new state directory"):
            world.train(config=dataclasses.replace(world.config, task_id="other"))

    def test_when_the_task_cannot_be_valid(self, world: Any) -> None:
        with pytest.raises(BadDocument, match="target_delta"):
            world.train(config=dataclasses.replace(world.config, target_delta=0.02))
        assert world.checkpoint.task() is None
        assert world.ledger.entries == []


class TestRoundsThatFail:
    def test_are_tried_again_and_spend_nothing(self, world: Any) -> None:
        good, fails = world.run, [2]

        def sometimes(request: Any, timeout_s: float) -> CohortSum:
            if fails[0]:
                fails[0] -= 1
                assert world.ledger.reservations == {}
                raise RoundFailed("too few")
            result: CohortSum = good(request, timeout_s)
            return result

        world.run = sometimes
        world.check_finished(world.train())
        assert world.runs == 3

    def test_three_times_end_the_training_with_nothing_spent(self, world: Any) -> None:
        headers: list[bytes] = []

        def never(request: Any, timeout_s: float) -> CohortSum:
            headers.append(request.round_header)
            raise RoundFailed("too few")

        world.run = never
        with pytest.raises(RoundFailed, match="too few"):
            world.train()
        assert len(set(headers)) == 3, "each attempt has a header of its own"
        assert world.ledger.reservations == {}
        assert world.noise_draws == []

    def test_with_a_sum_of_a_wrong_length_are_never_noised(self, world: Any) -> None:
        def short(request: Any, timeout_s: float) -> CohortSum:
            return CohortSum(np.zeros(3, np.int64), 50)

        world.run = short
        with pytest.raises(StateConflict, match="expected a sum of 600 values"):
            world.train()
        assert world.ledger.reservations == {}


class TestTheseChecksCatch:
    """Break the coordinator on purpose: the named check of the world must notice."""

    def broken_noise(
        self, monkeypatch: pytest.MonkeyPatch, world: Any, noise: Callable[..., Any]
    ) -> None:
        monkeypatch.setattr(training, "noised", noise)
        with pytest.raises(AssertionError, match="the noise is not as planned"):
            world.check_finished(world.train())

    def test_noise_that_is_skipped(self, monkeypatch: pytest.MonkeyPatch, world: Any) -> None:
        def skipped(total: npt.NDArray[np.int64], *_: Any) -> npt.NDArray[np.int64]:
            return total

        self.broken_noise(monkeypatch, world, skipped)

    @pytest.mark.parametrize("factor", [0.5, 0.8, 2.0])
    def test_noise_of_another_scale(
        self, monkeypatch: pytest.MonkeyPatch, world: Any, factor: float
    ) -> None:
        def scaled(
            total: npt.NDArray[np.int64], plan: RoundPlan, random_bytes: Callable[[int], bytes]
        ) -> npt.NDArray[np.int64]:
            z = plan.noise_multiplier * factor
            return noised(total, dataclasses.replace(plan, noise_multiplier=z), random_bytes)

        self.broken_noise(monkeypatch, world, scaled)

    def test_a_spend_reserved_after_the_noise(self, world: Any) -> None:
        with pytest.raises(AssertionError, match="before its spend was reserved"):
            world.train(ReservesLate)

    def test_a_spend_that_is_skipped(self, world: Any) -> None:
        with pytest.raises(AssertionError, match="before its spend was reserved"):
            world.train(SkipsSpend)
        assert world.ledger.reservations == {}

    def test_a_sum_used_before_its_commitment(self, world: Any) -> None:
        with pytest.raises(AssertionError, match="used before its commitment"):
            world.train(CommitsLate)


class Reservations:
    """What a real ledger shows of an account's reservations, by name."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def get(self, name: str) -> Any:
        shown = self._client.show_budget("main").reservations
        return next((one for one in shown if one.reservation_id == name), None)


@pytest.mark.parametrize(
    ("step", "persisted"),
    [
        ("ledger.reserve", True),
        ("noise", True),
        ("checkpoint.save_noised_sum", True),
        ("ledger.commit", False),
        ("ledger.commit", True),
        ("release", True),
    ],
)
def test_resumes_before_a_real_ledger(
    new_world: NewWorld, deployment: Any, step: str, persisted: bool
) -> None:
    client = deployment.client("coordinator")
    client.reservations = Reservations(client)
    account = deployment.account(100.0)
    deployment.client("operator").append_governance("account", account.to_json())
    world = new_world(client)
    at = len(STEPS) - 1 if step == "release" else STEPS.index(step) + len(ROUND)
    world.fuse.set(at, persisted)
    with pytest.raises(world.crash):
        world.train(key=deployment.keys["coordinator"])
    release = world.train(key=deployment.keys["coordinator"])
    world.check_finished(release)
    shown = client.show_budget("main")
    assert [one.reservation_id for one in shown.reservations] == ["task/1", "task/2", "task/3"]
    assert float(shown.epsilon_spent) <= world.config.epsilon
    assert float(shown.epsilon_spent) == pytest.approx(release.epsilon, rel=1e-6)
    entries = client.entries(0, 100)
    assert len(entries) == 1 + 1 + 3 + 3 + 1  # account, task, reservations, commits, release


class ReservesLate(Trainer):
    """A mutant: the noised sum is on the disk before its spend is on record."""

    def _round(
        self, manifest: TaskManifest, index: int, plan: RoundPlan, history: list[NoisedSum]
    ) -> NoisedSum:
        context = pack_arrays(self._learner.context(plan.round_id, history))
        total = self._collect(manifest, index, plan, context)
        integers = noised(total.values, plan, self._random_bytes)
        digest = self._checkpoint.save_noised_sum(plan, integers)
        spend = self._spend(manifest, plan, hashlib.sha256(context).hexdigest())
        self._ledger.reserve(spend)
        self._ledger.commit(spend.account_id, spend.reservation_id, digest)
        return decoded(integers, plan)


class SkipsSpend(Trainer):
    """A mutant: no spend is ever put on record."""

    def run(self) -> Any:
        ledger: Any = self._ledger

        class Skips:
            def __getattr__(self, name: str) -> Any:
                return getattr(ledger, name)

            def reserve(self, document: Any) -> budget_pb2.BudgetReply:
                held = budget_pb2.Reservation(
                    reservation_id=document.reservation_id,
                    state=budget_pb2.RESERVATION_STATE_RESERVED,
                )
                return budget_pb2.BudgetReply(reservation=held)

            def commit(self, *_: Any) -> budget_pb2.BudgetReply:
                return budget_pb2.BudgetReply(epsilon_spent="0")

        skips: Any = Skips()
        self._ledger = skips
        return super().run()


class CommitsLate(Trainer):
    """A mutant: commitments are forgotten."""

    def run(self) -> Any:
        ledger: Any = self._ledger

        class Forgets:
            def __getattr__(self, name: str) -> Any:
                return getattr(ledger, name)

            def commit(self, *_: Any) -> budget_pb2.BudgetReply:
                return budget_pb2.BudgetReply(epsilon_spent="0")

        forgets: Any = Forgets()
        self._ledger = forgets
        return super().run()
