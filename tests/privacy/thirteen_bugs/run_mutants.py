"""Run named tests in the real build and in every mutant; print outcomes as JSON.

One process imports everything once and forks a child a mutant, so that a mutant costs what its
tests cost. Prints mutant → test → "passed" or "failed"; "none" is the real build.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pathlib
import sys
import warnings
from typing import Any

import pytest
from mutants import MUTANTS  # type: ignore[import-not-found]  # beside this script

ROOT = pathlib.Path(__file__).resolve().parents[3]
QUIETLY = ("-q", "-p", "no:cacheprovider", "--tb=no", "--assert=plain", "--timeout=600")


class Outcomes:
    """Collects what became of each test; one that fails in any part has failed."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.outcome == "failed":
            # An error of a fixture is no failure of the test.
            self.of[report.nodeid] = "failed" if report.when == "call" else "error"
        elif report.when == "call":
            self.of.setdefault(report.nodeid, report.outcome)


def outcomes(name: str, tests: list[str]) -> dict[str, str]:
    """Run tests in a forked child that broke the build as `name` says."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        collected = Outcomes()
        try:
            if name != "none":
                MUTANTS[name]()
            with (
                pathlib.Path(os.devnull).open("w") as nowhere,
                contextlib.redirect_stdout(nowhere),
                contextlib.redirect_stderr(nowhere),
            ):
                pytest.main([*QUIETLY, *tests], plugins=[collected])
        finally:
            with os.fdopen(writing, "w") as pipe:
                json.dump(collected.of, pipe)
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    found: dict[str, str] = json.loads(text or "{}")
    return found


def main() -> None:
    os.chdir(ROOT)
    for module in ("tacit.cli.audit", "tacit.client", "tacit.server.ledger.serving"):
        importlib.import_module(module)  # before any child is forked
    warnings.simplefilter("ignore", DeprecationWarning)  # of fork in a process with threads
    bugs = json.loads((pathlib.Path(__file__).parent / "bugs.json").read_text(encoding="utf-8"))
    wanted: dict[str, list[str]] = {
        name: tests for bug in bugs for name, tests in bug["mutants"].items()
    }
    everything = sorted({test for tests in wanted.values() for test in tests})
    with (
        pathlib.Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        # Test modules are loaded here, once; `mutants.replace` reaches what they hold too.
        pytest.main([*QUIETLY, "--collect-only", *everything])
    found = {"none": outcomes("none", everything)}
    found |= {name: outcomes(name, tests) for name, tests in wanted.items() if name in MUTANTS}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
