"""The thirteen bugs there must not be: each has tests, and tests fail where the bug is patched in.

`bugs.json` is the table; docs/audit.md shows it. `mutants.py` has the bugs themselves.
"""

from __future__ import annotations

import ast
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
pytestmark = pytest.mark.timeout(1800)  # a busy machine may take its time over the mutants

BUGS: list[dict[str, Any]] = json.loads((HERE / "bugs.json").read_text(encoding="utf-8"))
MUTANTS: dict[str, list[str]] = {
    name: tests for bug in BUGS for name, tests in bug["mutants"].items()
}


def test_all_thirteen_have_tests_and_a_mutant() -> None:
    assert [bug["number"] for bug in BUGS] == list(range(1, 14))
    assert all(bug["tests"] and bug["mutants"] for bug in BUGS)
    assert {"noise_halved", "clip_skipped", "spend_skipped", "sampler_biased"} <= set(MUTANTS)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: f"{bug['number']}")
def test_each_named_test_is_there(bug: dict[str, Any]) -> None:
    named = [*bug["tests"], *(one for some in bug["mutants"].values() for one in some)]
    for test in named:
        path, *names = test.partition("[")[0].split("::")
        tree: Any = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        for name in names:
            found = [
                node
                for node in tree.body
                if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name
            ]
            assert found, f"{test}: {path} has no {name}"
            (tree,) = found


def test_every_mutant_belongs_to_a_bug() -> None:
    tree = ast.parse((HERE / "mutants.py").read_text(encoding="utf-8"))
    defined = {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list
    }
    assert defined == set(MUTANTS)


def test_the_documentation_shows_the_table() -> None:
    text = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    for bug in BUGS:
        start = f"| {bug['number']} | {bug['bug']} |"
        (row,) = [line for line in text.splitlines() if line.startswith(start)]
        first = bug["tests"][0].partition("[")[0]
        assert f"`{first.removeprefix('tests/')}`" in row
        assert all(f"`{name}`" in row for name in bug["mutants"])


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, str]]:
    done = subprocess.run(
        [sys.executable, str(HERE / "run_mutants.py")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, dict[str, str]] = json.loads(done.stdout)
    return found


def of(test: str, found: dict[str, str]) -> list[str]:
    """Outcomes of a test: of itself, or of all its parameters."""
    return [one for name, one in found.items() if name == test or name.startswith(f"{test}[")]


def test_the_real_build_passes_them(outcomes: dict[str, dict[str, str]]) -> None:
    for test in {test for tests in MUTANTS.values() for test in tests}:
        passed = of(test, outcomes["none"])
        assert passed, f"{test} did not run"
        assert set(passed) == {"passed"}, test


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_fails_its_tests(name: str, outcomes: dict[str, dict[str, str]]) -> None:
    for test in MUTANTS[name]:
        assert "failed" in of(test, outcomes[name]), f"{test} does not notice {name}"
