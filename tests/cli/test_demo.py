"""`tacit demo`: bad input is refused in one line, before any process or file comes to be."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tacit.cli import demo as command
from tacit.simulations.demo.options import DemoOptions
from tacit.simulations.demo.run import Demo


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "shop.csv"
    lines = [f"{user},{(user * 7 + step * step) % 30}" for user in range(30) for step in range(12)]
    path.write_text("user,item\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_self: Demo) -> dict[str, Any]:
        pytest.fail("the demo was started")

    monkeypatch.setattr(Demo, "run", run)


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command.demo, [str(argument) for argument in arguments])


def refused(result: Result, message: str, code: int = 2) -> None:
    assert result.exit_code == code, result.output
    lines = [line for line in result.output.splitlines() if line.startswith("Error:")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in result.output
    assert "--resume " not in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epsilon", "0"], "--epsilon: expected a finite number above 0"),
        (["--epsilon", "nan"], "--epsilon: expected a finite number above 0"),
        (["--epsilon", "inf"], "--epsilon: expected a finite number above 0"),
        (["--epsilon", "abc"], "not a valid float"),
        (["--epsilon", "1e-9"], "--epsilon: expected a budget that"),
        (["--devices", "3"], "--devices: expected at least 20, got 3"),
        (["--devices", "31"], "--devices: expected at most the 30 users of the data, got 31"),
        (["--rounds", "1"], "--rounds: expected at least 3 rounds, got 1"),
        (["--rounds", "-1"], "--rounds: expected a number of 0 or more, got -1"),
        (["--rounds", "9" * 20], "--rounds: expected at most 10000, got 9"),
        (["--devices", "9" * 20], "--devices: expected at most 100000, got 9"),
        (["--learner", "popularity", "--rounds", "2"], "--rounds: expected 1 for popularity"),
        (["--learner", "linear"], "'linear' is not one of 'spectral', 'factorization'"),
        (["--seed", "-1"], "--seed: expected a number of 0 or more, got -1"),
        (["--short", "--devices", "41"], "--short: expected at most 40 devices"),
        (["--trust-level", "secure"], "'--trust-level'"),
        (["--trust-level", "consent-only", "--epsilon", "8"], "no --epsilon at trust level"),
        (["--trust-level", "local", "--epsilon", "1e-9"], "--epsilon: expected a budget that"),
    ],
)
def test_bad_options_are_refused_and_leave_nothing(
    data: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    state = tmp_path / "state"
    refused(invoke("--data", data, "--state", state, *arguments), message)
    assert not state.exists()


def test_unknown_data_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    result = invoke("--data", tmp_path / "nowhere", "--state", state)
    refused(result, "no such path", code=1)
    assert not state.exists()


def test_an_empty_directory_that_was_there_stays(data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    refused(invoke("--data", data, "--state", tmp_path / "mine", "--rounds", "1"), "--rounds")
    assert (tmp_path / "mine").is_dir()


def test_too_few_users_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text("user,item\n" + "".join(f"1,{item}\n" for item in range(9)))
    refused(invoke("--data", path), "--data: expected at least 20 users, got 1")


def test_users_with_nothing_held_out_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "thin.csv"
    path.write_text("user,item\n" + "".join(f"{user},{user % 2}\n" for user in range(30)))
    refused(invoke("--data", path), "5 items or more")


def test_state_must_be_new_or_empty(data: Path, tmp_path: Path) -> None:
    refused(invoke("--state", tmp_path), "expected a new or empty directory")
    refused(invoke("--state", data / "below"), "--state: expected a directory that can be made")
    refused(invoke("--state", data), "is a file")


@pytest.mark.parametrize("place", ["nowhere/out.json", "shop.csv/out.json", "."])
def test_a_report_that_cannot_be_written_is_refused_first(
    data: Path, tmp_path: Path, place: str
) -> None:
    state = tmp_path / "state"
    refused(invoke("--data", data, "--state", state, "--json", tmp_path / place), "'--json'")
    assert not state.exists()


def test_resume_wants_a_demo_and_no_other_options(data: Path, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        refused(invoke("--resume", place), "expected a state directory of an earlier demo")
    DemoOptions(data=str(data)).save(tmp_path)
    for arguments in (["--epsilon", "8"], ["--short"], ["--state", str(tmp_path / "x")]):
        result = invoke("--resume", tmp_path, *arguments)
        assert result.exit_code == 2
        assert f"drop {arguments[0]}" in result.output


def test_an_interrupt_is_one_line_that_says_how_to_resume(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(_self: Demo) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the signal did not arrive")

    monkeypatch.setattr(Demo, "run", run)
    before = signal.getsignal(signal.SIGTERM)
    result = invoke("--data", data, "--state", tmp_path / "state")
    assert result.exit_code == 1
    assert "Error: interrupted; every process was stopped\n" in result.output
    assert f"tacit demo --resume {tmp_path / 'state'}" in result.output
    assert signal.getsignal(signal.SIGTERM) is before
