"""Run a coordinator's spends on a ledger and kill -9 the process at each of its steps in turn.

    python kill_points.py CONFIG KEY TASK DIRECTORY FIRST COUNT

For each kill point the process forks. The child opens the node on the configured database and works
like a coordinator: reserve, draw noise, save the noised sum, commit. It counts its steps (every SQL
statement and commit, before and after; every fsync and rename of anchor and checkpoint, before and
after; every answer) and sends itself SIGKILL at the step it was told. The parent then opens what is
left, checks it, sends every request again, twice, and checks again. One JSON line a kill point.

A script of its own, because a process that has threads should not fork.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine, event

from tacit.privacy.accounting import GaussianEvent, epsilon_without_opacus
from tacit.privacy.budget import ReservationState, composed_events
from tacit.privacy.budget_documents import CommitDocument, ReserveDocument
from tacit.privacy.canonical import parse_canonical
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.signatures import SigningKey
from tacit.privacy.task import RoundPlan, TaskManifest
from tacit.server.budget.accountant import Accountant
from tacit.server.coordinator.checkpoint import Checkpoint
from tacit.server.errors import StateCorrupt
from tacit.server.ledger import node as node_module
from tacit.server.ledger.config import LedgerConfig
from tacit.server.ledger.node import LedgerNode

ACCOUNTANT = Accountant(epsilon_without_opacus)
DELTA = 1e-6


class Steps:
    """Counts steps; at the chosen one the process is gone."""

    def __init__(self, kill_at: int) -> None:
        self.kill_at = kill_at
        self.count = 0

    def step(self, *_: Any) -> None:
        self.count += 1
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*arguments: Any, **named: Any) -> Any:
            self.step()
            result = call(*arguments, **named)
            self.step()
            return result

        return stepped

    def install(self) -> None:
        for name in ("before_cursor_execute", "after_cursor_execute", "begin"):
            event.listen(Engine, name, self.step)
        event.listen(Engine, "commit", self.step)
        os.fsync = self.around(os.fsync)
        for name in ("rename", "replace"):
            setattr(Path, name, self.around(getattr(Path, name)))


class Coordinator:
    """Spends as `Trainer` does, straight on a node."""

    def __init__(
        self, node: LedgerNode, key: SigningKey, task: TaskManifest, directory: Path
    ) -> None:
        self.node, self.key, self.task = node, key, task
        self.checkpoint = Checkpoint(directory)

    def reserve(self, plan: RoundPlan) -> Any:
        name = f"{self.task.task_id}/{plan.round_id}"
        document = ReserveDocument(
            reservation_id=name,
            account_id=self.task.budget_account,
            purpose="learn",
            idempotency_key=name,
            task_sha256=self.task.digest().hex(),
            round_id=plan.round_id,
            context_sha256="ab" * 32,
            event=GaussianEvent(plan.noise_multiplier),
        )
        entry = GovernanceEntry.sign("budget.reserve", document.to_json(), now_ms(), self.key)
        return self.node.budget.reserve(entry, now_ms())

    def commit(self, plan: RoundPlan, digest: str, epsilon: float) -> Any:
        name = f"{self.task.task_id}/{plan.round_id}"
        document = CommitDocument(name, digest, epsilon, DELTA)
        entry = GovernanceEntry.sign("budget.commit", document.to_json(), now_ms(), self.key)
        return self.node.budget.commit(entry)

    def round(self, plan: RoundPlan, answered: Callable[[str], None]) -> None:
        saved = self.checkpoint.noised_sum(plan)
        spent = self.reserve(plan)
        answered(f"reserved {plan.round_id}")
        if saved is None:
            if spent.reservation.state is not ReservationState.RESERVED:
                raise StateCorrupt("no noised sum, but its spend was used")
            noised = np.frombuffer(os.urandom(8 * plan.length), np.int64)  # stands for the noise
            digest = self.checkpoint.save_noised_sum(plan, noised)
        else:
            digest = saved[1]
        self.commit(plan, digest, spent.claim.epsilon)
        answered(f"committed {plan.round_id}")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def open_node(config: LedgerConfig) -> LedgerNode:
    """Open the node; a database server may take a moment to notice that the last one died."""
    deadline_s = time.monotonic() + 20
    while True:
        try:
            return LedgerNode(config)
        except StateCorrupt as error:
            if "another" not in str(error) or time.monotonic() > deadline_s:
                raise
            time.sleep(0.01)


def check(node: LedgerNode, task: TaskManifest, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what must hold, of state as it lies there."""
    _, held, claim = node.budget.show("main")
    by_name = {one.reservation_id: one for one in held}
    released: list[GaussianEvent] = []
    one_sum = True
    for plan in task.rounds:
        saved = checkpoint.noised_sum(plan)
        one = by_name.get(f"{task.task_id}/{plan.round_id}")
        if saved is not None:
            released.append(GaussianEvent(plan.noise_multiplier))
            one_sum &= one is not None and one.counts
            one_sum &= one is not None and one.release_sha256 in (None, saved[1])
        elif one is not None and one.release_sha256 is not None:
            one_sum = False
    entries = node.logs.governance.size
    states = [one.state for one in held]
    committed = states.count(ReservationState.COMMITTED)
    return {
        "spent": claim.epsilon,
        "recomposed": ACCOUNTANT.running_claim(composed_events(held), DELTA).epsilon,
        "released": ACCOUNTANT.running_claim(released, DELTA).epsilon if released else 0.0,
        "one_sum": one_sum,
        # Account, task, one leaf a reservation and one a commit: rows and log moved together.
        "log_agrees": entries == 2 + len(held) + committed,
        "reserved": len(held),
        "committed": committed,
        "sums": len(released),
    }


def main() -> None:
    config_path, key_path, task_path, directory, first, count = sys.argv[1:]
    config = LedgerConfig.load(Path(config_path))
    key = SigningKey(bytes.fromhex(Path(key_path).read_text()))
    task = TaskManifest.from_json(parse_canonical(Path(task_path).read_bytes()))
    ACCOUNTANT.wait_until_ready()
    # Without torch, whose import would be most of the time.
    module: Any = node_module
    module.Accountant = lambda: ACCOUNTANT
    point = int(first)
    for plan in task.rounds[: int(count)]:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            steps = Steps(point)
            node = open_node(config)
            coordinator = Coordinator(node, key, task, Path(directory))
            steps.install()

            def answered(line: str, writing: int = writing, steps: Steps = steps) -> None:
                steps.step()
                os.write(writing, f"{line}\n".encode())
                steps.step()

            coordinator.round(plan, answered)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            told = pipe.read().split("\n")[:-1]
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if not killed and os.waitstatus_to_exitcode(status) != 0:
            raise SystemExit(f"the child failed at point {point}")
        node = open_node(config)
        coordinator = Coordinator(node, key, task, Path(directory))
        before = check(node, task, coordinator.checkpoint)
        states = {one.reservation_id: one.state for one in node.budget.show("main")[1]}
        name = f"{task.task_id}/{plan.round_id}"
        kept = not told or name in states
        kept &= len(told) < 2 or states[name] is ReservationState.COMMITTED
        # Whoever was not answered sends the request again; whoever was may do so, too.
        coordinator.round(plan, lambda _: None)
        after = check(node, task, coordinator.checkpoint)
        coordinator.round(plan, lambda _: None)
        idempotent = check(node, task, coordinator.checkpoint) == after
        node.close()
        sum_file = Path(directory) / f"round-{plan.round_id:03d}.npz"
        outcome = {
            "point": point,
            "round": plan.round_id,
            "killed": killed,
            "answers": len(told),
            "kept": kept,
            "before": before,
            "after": after,
            "idempotent": idempotent,
            "digest": hashlib.sha256(sum_file.read_bytes()).hexdigest(),
        }
        sys.stdout.write(json.dumps(outcome) + "\n")
        sys.stdout.flush()
        # The next kill falls one step later, in the next round; past the last step, start over.
        point = point + 1 if killed else 1


if __name__ == "__main__":
    main()
