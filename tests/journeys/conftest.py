"""One real demo for all journeys: 40 devices, every process, recorded sums, no network but lo."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from tacit.simulations.demo.options import DemoOptions
from tacit.simulations.demo.population import DemoPopulation, demo_population

RECORDED_DEMO = pathlib.Path(__file__).parent / "recorded_demo.py"
TIMEOUT_S = 280


@dataclass(frozen=True)
class FinishedDemo:
    state: pathlib.Path
    report: dict[str, Any]
    population: DemoPopulation
    isolated: bool


def can_unshare_network() -> bool:
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    probe = subprocess.run([unshare, "-rn", "true"], capture_output=True, check=False)
    return probe.returncode == 0


def run_demo(base: pathlib.Path, *arguments: str) -> FinishedDemo:
    """Run a recorded demo of its own, apart from any network where that can be."""
    state, report = base / "state", base / "report.json"
    state.mkdir()
    isolated = can_unshare_network()
    command = [sys.executable, str(RECORDED_DEMO), str(state), str(report), *arguments]
    done = subprocess.run(
        ["unshare", "-rn", *command] if isolated else command,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    document = json.loads(report.read_text(encoding="utf-8"))
    population = demo_population(DemoOptions.load(state))
    return FinishedDemo(state, document, population, isolated)


@pytest.fixture(scope="session")
def finished_demo(tmp_path_factory: pytest.TempPathFactory) -> FinishedDemo:
    return run_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="session")
def local_demo(tmp_path_factory: pytest.TempPathFactory) -> FinishedDemo:
    return run_demo(tmp_path_factory.mktemp("local"), "local")


@pytest.fixture(scope="session")
def consent_only_demo(tmp_path_factory: pytest.TempPathFactory) -> FinishedDemo:
    return run_demo(tmp_path_factory.mktemp("consent-only"), "consent-only")
