"""`tacit budget` on a real ledger: the same figures wherever it lies, and clear refusals."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tacit.cli.main import main
from tacit.privacy.accounting import GaussianEvent, epsilon_bound, round_up

SPENT = [GaussianEvent(8.0, 3), GaussianEvent(20.0, 2)]
DELTA = 1e-6


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["budget", *(str(one) for one in arguments)])


def read(*arguments: object) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    lines = [line for line in result.output.splitlines() if line.startswith("Error:")]
    assert len(lines) == 1
    assert all(word in lines[0] for word in words), lines
    assert "Traceback" not in result.output


def test_the_same_wherever_the_ledger_lies(demo_state: Path) -> None:
    places = (
        demo_state,
        demo_state / "ledger",
        demo_state / "ledger" / "ledger.sqlite",
        demo_state / "ledger-export",
    )
    for verb in ("show", "history", "explain"):
        first, *others = [read(verb, place) for place in places]
        assert first["accounts"][0]["account_id"] == "main"
        assert all(other == first for other in others)


def test_a_demo_without_its_node_is_read_from_its_export(demo_state: Path, tmp_path: Path) -> None:
    shutil.copytree(demo_state / "ledger-export", tmp_path / "ledger-export")
    assert read("show", tmp_path) == read("show", demo_state)


def test_show_composes(demo_state: Path) -> None:
    (account,) = read("show", demo_state)["accounts"]
    spent = repr(round_up(epsilon_bound(SPENT, DELTA)))
    assert account["spent"]["epsilon"] == spent
    assert len(account["reservations"]) == 5
    shown = run("show", demo_state)
    assert shown.exit_code == 0
    for word in (spent, "quota of learn", "task-2/2", "reserved", "add/remove", "tacit-gaussian"):
        assert word in shown.stdout
    told = run("history", demo_state)
    assert "release" in told.stdout
    assert spent in told.stdout
    explained = run("explain", demo_state, "--account", "main")
    assert "The operator can see your contribution" in " ".join(explained.stdout.split())


def test_facts_are_confirmed_by_both_libraries(demo_state: Path) -> None:
    (card,) = read("facts", demo_state)["releases"]
    assert card["type"] == "tacit.privacy-facts/1"
    assert card["epsilon"] == round_up(epsilon_bound(SPENT[:1], DELTA))
    names = {one["accountant"].split()[0] for one in card["cross_checks"]}
    assert names == {"dp-accounting-pld", "opacus-rdp"}
    shown = run("facts", demo_state)
    assert "Privacy facts: shop, release 1" in shown.stdout
    assert "not covered" in shown.stdout


def test_what_if_composes_with_what_was_spent(demo_state: Path) -> None:
    found = read("what-if", demo_state, "--epsilon", 1, "--rounds", 3)
    plan, account = found["plan"], found["account"]
    event = GaussianEvent(plan["noise_multiplier"], 3)
    assert plan["target_delta"] == DELTA
    assert account["spent_after"] == round_up(epsilon_bound([*SPENT, event], DELTA))
    assert account["spent_after"] < account["added"]
    assert account["room_after"] < account["room_before"] < 8.0
    assert account["admitted"] is True
    assert found["users"] == 50  # the task's expected cohort
    assert found["expected_utility"]["value"] is None  # 50 users were never measured
    large = account["room_before"] + 0.01
    over = read("what-if", demo_state, "--epsilon", large, "--rounds", 3)
    assert over["account"]["admitted"] is False
    assert "would refuse" in run("what-if", demo_state, "--epsilon", large, "--rounds", 3).stdout
    fits = read("what-if", demo_state, "--epsilon", account["room_before"], "--rounds", 3)
    assert fits["account"]["admitted"] is True


def test_what_if_says_that_utility_is_an_expectation() -> None:
    arguments = ("what-if", "--epsilon", 1, "--rounds", 3, "--users", 5_040)
    assert read(*arguments)["expected_utility"]["value"] == pytest.approx(0.383, abs=1e-3)
    text = " ".join(run(*arguments).stdout.split())
    assert "An expectation, not a promise. Source: study of the spectral learner" in text
    without = run("what-if", "-z", 4, "--rounds", 3)
    assert "not without the number of users" in without.stdout


def test_what_if_needs_no_heavy_library(demo_state: Path) -> None:
    code = (
        "import sys\nfrom tacit.cli.main import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "assert not {'torch', 'opacus', 'dp_accounting', 'scipy', 'flwr'} & set(sys.modules)\n"
    )
    arguments = ["budget", "what-if", str(demo_state), "--epsilon", "1", "--rounds", "3"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


GOOD = {"--epsilon": "3", "--noise-multiplier": "4", "--rounds": "5"}


@pytest.mark.parametrize("bad", ["0", "-1", "nan", "inf", "-inf", "lots", ""])
@pytest.mark.parametrize("option", [*GOOD, "--delta", "--users"])
def test_bad_numbers_are_one_line(option: str, bad: str) -> None:
    others = [name for name in GOOD if name != option][: 1 if option in GOOD else 2]
    arguments = [part for name in others for part in (name, GOOD[name])]
    if option != "--users":
        arguments += ["--users", "1000"]
    refused(run("what-if", *arguments, option, bad), 2)


def test_delta_must_lie_below_one_over_the_users() -> None:
    arguments = ("what-if", "--epsilon", 1, "--rounds", 3, "--users", 1000)
    refused(run(*arguments, "--delta", "0.001"), 2, "below 1/1000")
    refused(run(*arguments, "--delta", "1"), 2)
    assert run(*arguments, "--delta", "0.0009").exit_code == 0


@pytest.mark.parametrize("epsilon", ["1e300", "1e13", "1e-9"])
def test_an_epsilon_that_cannot_be_accounted_is_one_line(epsilon: str) -> None:
    refused(run("what-if", "--epsilon", epsilon, "--rounds", 3), 2, "epsilon")


def test_two_of_three_are_needed() -> None:
    refused(run("what-if", "--epsilon", 1), 2, "exactly two")
    refused(run("what-if", "--epsilon", 1, "-z", 2, "--rounds", 3), 2, "exactly two")


def test_what_the_account_does_not_allow(demo_state: Path) -> None:
    asked = ("--epsilon", 1, "--rounds", 3)
    refused(run("what-if", demo_state, *asked, "--delta", 1e-5), 2, "kept at")
    refused(run("what-if", demo_state, *asked, "--purpose", "measure"), 2, "learn", "measure")
    refused(run("what-if", demo_state, *asked, "--account", "other"), 2, "main", "other")
    refused(run("what-if", demo_state, *asked, "--users", 10**7), 2, "below 1/10000000")
    refused(run("what-if", *asked, "--account", "main"), 2, "STATE")


@pytest.mark.parametrize("verb", ["show", "history", "explain"])
def test_unknown_accounts_and_missing_states(demo_state: Path, tmp_path: Path, verb: str) -> None:
    refused(run(verb, demo_state, "--account", "other"), 2, "main", "other")
    refused(run(verb, tmp_path / "nowhere"), 2, "does not exist")
    refused(run(verb, tmp_path), 1, "expected an exported ledger", str(tmp_path))


def test_facts_and_what_if_of_no_ledger(tmp_path: Path) -> None:
    refused(run("facts", tmp_path), 1, "expected an exported ledger")
    refused(run("what-if", tmp_path, "--epsilon", 1, "--rounds", 2), 1, "expected an exported")
    refused(run("facts", tmp_path / "nowhere"), 2, "does not exist")


@pytest.mark.parametrize("verb", ["show", "history", "explain", "facts"])
def test_a_changed_log_shows_no_figure(demo_state: Path, tmp_path: Path, verb: str) -> None:
    shutil.copytree(demo_state / "ledger-export", tmp_path / "export")
    (file,) = [
        one
        for one in (tmp_path / "export" / "governance").rglob("*")
        if one.is_file() and b'"noise_multiplier":"8.0"' in one.read_bytes()
    ]
    data = file.read_bytes()
    file.write_bytes(data.replace(b'"noise_multiplier":"8.0"', b'"noise_multiplier":"9.0"'))
    result = run(verb, tmp_path / "export")
    refused(result, 1, "does not verify")
    assert result.stdout == ""
