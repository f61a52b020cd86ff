from __future__ import annotations

import dataclasses
import json
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.task import TaskManifest
from tacit.server.coordinator.checkpoint import Checkpoint
from tacit.server.coordinator.config import CoordinatorConfig
from tacit.server.coordinator.errors import RoundFailed, StateConflict
from tacit.server.coordinator.training import CohortSum
from tacit.server.errors import BadConfig
from tacit.v1 import gateway_pb2

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what Flower imports
    from flwr.app import ConfigRecord, Error, Message, RecordDict
    from flwr.supercore.task_identity import TaskIdentity

    from tacit.server.coordinator.flower import GridRunner, learner_of, run_coordinator
    from tacit.server.gateway.flower import (
        CONTRIBUTIONS,
        ERROR,
        RECORD,
        REQUEST,
        SUM,
        TIMEOUT_S,
    )


@pytest.fixture(autouse=True)
def flower_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a task of Flower's, as its processes are: messages carry the identity."""
    for name in ("run_id", "task_id", "node_id"):
        monkeypatch.setattr(TaskIdentity, f"_{name}", 1)


class Gateways:
    """A runner whose gateways do as they are told."""

    def __init__(self, answer: Callable[[], CohortSum]) -> None:
        self.answer = answer

    def run(self, request: gateway_pb2.RunRoundRequest, timeout_s: float) -> CohortSum:
        return self.answer()


@pytest.fixture
def config_file(world: Any, deployment: Any, tmp_path: Path) -> Path:
    key = deployment.keys["coordinator"].private_bytes().hex()
    (tmp_path / "coordinator.key").write_text(key + "\n")
    (tmp_path / "ca.pem").write_bytes(deployment.authority.certificate_pem)
    account = deployment.account(100.0)
    deployment.client("operator").append_governance("account", account.to_json())
    config = dataclasses.replace(
        world.config,
        ledger_address=deployment.server.address,
        ledger_ca=str(tmp_path / "ca.pem"),
        signing_key=str(tmp_path / "coordinator.key"),
    )
    path = tmp_path / "coordinator.json"
    path.write_text(json.dumps(dataclasses.asdict(config)))
    return path


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


class TestRunCoordinator:
    def state(self, config_file: Path) -> Path:
        return Path(json.loads(config_file.read_text())["state_dir"])

    def outcome(self, config_file: Path) -> str:
        assert not (self.state(config_file) / "coordinator.pid").exists()
        return (self.state(config_file) / "outcome.txt").read_text()

    def log(self, config_file: Path) -> str:
        return (self.state(config_file) / "coordinator.log").read_text()

    def test_ends_with_a_release(self, config_file: Path) -> None:
        pids: list[str] = []

        def answer() -> CohortSum:
            pids.append((self.state(config_file) / "coordinator.pid").read_text())
            return CohortSum(np.full(600, 3, np.int64), 50)

        run_coordinator(Gateways(answer), str(config_file))
        assert self.outcome(config_file) == "released 1\n"
        assert pids == [f"{os.getpid()}\n"]
        assert "release 1 published" in self.log(config_file)
        assert logging.getLogger("tacit").handlers == []

    def test_starts_from_an_earlier_release(self, config_file: Path, deployment: Any) -> None:
        run_coordinator(
            Gateways(lambda: CohortSum(np.full(600, 3, np.int64), 50)), str(config_file)
        )
        assert self.outcome(config_file) == "released 1\n"
        second = {"task_id": "second", "learner": "spectral", "base_release": 1}
        state_dir = self.state(config_file).with_name("second")
        change(config_file, **second, state_dir=str(state_dir), rounds=3)
        lengths = [spec.length for spec in learner_of(CoordinatorConfig.load(config_file)).rounds()]
        run_coordinator(
            Gateways(lambda: CohortSum(np.zeros(lengths.pop(0), np.int64), 50)), str(config_file)
        )
        assert self.outcome(config_file) == "released 2\n"
        entries = map(GovernanceEntry.parse, deployment.client("operator").entries())
        tasks = [TaskManifest.from_json(entry.body) for entry in entries if entry.kind == "task"]
        assert [(task.task_id, task.base_release) for task in tasks] == [("task", 0), ("second", 1)]

    def test_says_that_there_is_no_such_release(self, config_file: Path) -> None:
        change(config_file, learner="spectral", base_release=7)
        run_coordinator(Gateways(lambda: pytest.fail("a round ran")), str(config_file))
        assert "base_release: expected a release" in self.outcome(config_file)

    def test_says_in_one_line_that_rounds_failed(self, config_file: Path) -> None:
        def answer() -> CohortSum:
            raise RoundFailed("no gateway\nis connected")

        run_coordinator(Gateways(answer), str(config_file))
        assert self.outcome(config_file) == "failed no gateway is connected\n"
        assert self.log(config_file).count("attempt") == 3

    def test_says_what_a_defect_was_and_where(self, config_file: Path) -> None:
        def answer() -> CohortSum:
            raise ZeroDivisionError("a defect")

        with pytest.raises(ZeroDivisionError):
            run_coordinator(Gateways(answer), str(config_file))
        assert self.outcome(config_file) == "failed ZeroDivisionError: a defect\n"
        assert "Traceback" in self.log(config_file)
        assert "in answer" in self.log(config_file)

    def test_says_that_it_was_stopped(self, config_file: Path) -> None:
        def answer() -> CohortSum:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_coordinator(Gateways(answer), str(config_file))
        assert self.outcome(config_file) == "failed the coordinator was stopped\n"

    def test_says_that_the_ledger_refused(self, config_file: Path) -> None:
        change(config_file, population="elsewhere")
        run_coordinator(Gateways(lambda: pytest.fail("a round ran")), str(config_file))
        assert self.outcome(config_file).startswith("failed task task: expected population")

    @pytest.mark.parametrize("field", ["signing_key", "ledger_ca", "features"])
    def test_says_that_a_file_is_missing(self, config_file: Path, field: str) -> None:
        change(config_file, **{field: "missing.file", "learner": "spectral"})
        run_coordinator(Gateways(lambda: pytest.fail("a round ran")), str(config_file))
        assert self.outcome(config_file).startswith("failed ")
        assert field in self.outcome(config_file)

    def test_leaves_another_coordinator_alone(self, config_file: Path) -> None:
        state = self.state(config_file)
        with Checkpoint(state).exclusive():
            (state / "coordinator.pid").write_text("1\n")
            with pytest.raises(StateConflict, match="another coordinator"):
                run_coordinator(Gateways(lambda: pytest.fail("a round ran")), str(config_file))
            assert (state / "coordinator.pid").read_text() == "1\n"
            assert not (state / "outcome.txt").exists()
        assert "another coordinator" in self.log(config_file)


class TestConfig:
    @pytest.mark.parametrize(
        ("changes", "line"),
        [
            ({"colour": "red"}, "unknown key 'colour'"),
            ({"epsilon": 0}, "epsilon: expected a number above 0"),
            ({"epsilon": "4"}, "epsilon: expected float, got str"),
            ({"target_delta": True}, "target_delta: expected float, got bool"),
            ({"round_timeout_s": float("inf")}, "round_timeout_s"),
            ({"rounds": -1}, "rounds"),
            ({"round_attempts": 0}, "round_attempts"),
            ({"signals": ["rating"]}, "signals"),
            ({"learner": "oracle"}, "learner"),
            ({"base_release": -1}, "base_release"),
            ({"base_release": 1}, "base_release: expected 0, or a version with learner"),
        ],
    )
    def test_refuses(self, config_file: Path, changes: dict[str, Any], line: str) -> None:
        change(config_file, **changes)
        with pytest.raises(BadConfig, match=line):
            CoordinatorConfig.load(config_file)

    def test_refuses_what_is_no_object(self, tmp_path: Path) -> None:
        for text in ("", "[]", "{}"):
            (tmp_path / "c.json").write_text(text)
            with pytest.raises(BadConfig, match="coordinator"):
                CoordinatorConfig.load(tmp_path / "c.json")

    def test_names_a_learner(self, world: Any) -> None:
        assert learner_of(world.config).name == "popularity/1"
        spectral = dataclasses.replace(world.config, learner="spectral", rounds=4)
        assert learner_of(spectral).name == "spectral/3"
        assert len(learner_of(spectral).rounds()) == 4
        factors = dataclasses.replace(world.config, learner="factorization", rounds=3)
        assert learner_of(factors).name == "factorization/1"
        assert len(learner_of(factors).rounds()) == 3

    @pytest.mark.parametrize(
        ("target", "parameters", "length"),
        [
            ("churn", {"as_of_s": 1e9, "horizon_days": 7.0, "cutoffs": 4.0}, 65),
            ("intent", {"from_s": 0.0, "as_of_s": 1e9, "window_s": 600.0}, 65),
            ("bandit", {"actions": 3.0, "from_s": 0.0, "as_of_s": 1e9, "window_s": 60.0}, 81),
        ],
    )
    def test_names_a_linear_target(
        self, world: Any, target: str, parameters: dict[str, float], length: int
    ) -> None:
        linear = dataclasses.replace(
            world.config, learner="linear", target=target, target_parameters=parameters
        )
        learner = learner_of(linear)
        assert learner.name == "linear/1"
        (spec,) = learner.rounds()
        assert (spec.statistic, spec.length) == (f"{target}_moments/1", length)
        assert spec.parameters == parameters
        without = dict(list(parameters.items())[1:])
        with pytest.raises(BadConfig, match=f"target {target}: expected finite parameters"):
            learner_of(dataclasses.replace(linear, target_parameters=without))
        with pytest.raises(BadConfig, match="expected a target among"):
            learner_of(dataclasses.replace(linear, target="luck"))


class Grid:
    """Flower's grid, with a list of answers instead of nodes."""

    def __init__(self, *answers: Any) -> None:
        self.answers = answers
        self.sent: list[Message] = []
        self.polls = 0

    def get_node_ids(self) -> list[int]:
        return list(range(1, len(self.answers) + 1))

    def push_messages(self, messages: list[Message]) -> list[str]:
        self.sent = messages
        for n, message in enumerate(messages):
            message.metadata.__dict__["_message_id"] = f"m{n}"
        return [message.metadata.message_id for message in messages]

    def pull_messages(self, waiting: set[str]) -> list[Message]:
        self.polls += 1
        if self.polls == 1:
            return []
        replies: list[Message] = []
        for message, answer in zip(self.sent, self.answers, strict=True):
            if answer is None or message.metadata.message_id not in waiting:
                continue
            content = answer if isinstance(answer, Error) else RecordDict({RECORD: answer})
            replies.append(Message(content, reply_to=message))
        return replies


def summed(*values: int, contributions: int = 1) -> ConfigRecord:
    data = np.array(values, dtype="<i8").tobytes()
    return ConfigRecord({SUM: data, CONTRIBUTIONS: contributions})


class TestGridRunner:
    def run(self, *answers: Any, timeout_s: float = 5.0) -> CohortSum:
        self.grid: Any = Grid(*answers)
        runner = GridRunner(self.grid, node_wait_s=0.0)
        return runner.run(gateway_pb2.RunRoundRequest(context=b"context"), timeout_s)

    def test_returns_what_the_gateway_answers(self) -> None:
        total = self.run(summed(5, -(2**41), contributions=4))
        assert total.values.tolist() == [5, -(2**41)]
        assert total.values.dtype == np.int64
        assert total.contributions == 4
        record = self.grid.sent[0].content.config_records[RECORD]
        request = gateway_pb2.RunRoundRequest.FromString(record[REQUEST])
        assert request.context == b"context"
        assert record[TIMEOUT_S] == 5.0

    @pytest.mark.parametrize(
        ("answer", "line"),
        [
            (ConfigRecord({ERROR: "ABORTED: too few"}), "a gateway refused: ABORTED: too few"),
            (Error(1, "import failed"), "ClientApp failed: import failed"),
        ],
    )
    def test_a_gateways_error_fails_the_round(self, answer: Any, line: str) -> None:
        with pytest.raises(RoundFailed, match=line):
            self.run(answer)

    def test_two_gateways_could_count_a_device_twice(self) -> None:
        with pytest.raises(RoundFailed, match="expected one gateway on the SuperLink, got 2"):
            self.run(summed(1), summed(2))
        assert not self.grid.sent

    def test_gives_up_on_a_gateway_that_is_silent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tacit.server.coordinator.flower._MARGIN_S", 0.0)
        with pytest.raises(RoundFailed, match="the gateway did not answer in time"):
            self.run(None, timeout_s=0.3)

    def test_without_a_gateway_there_is_no_round(self) -> None:
        with pytest.raises(RoundFailed, match="no gateway is connected"):
            self.run()
