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


@pytest.fixture(scope="session")
def finished_demo(tmp_path_factory: pytest.TempPathFactory) -> FinishedDemo:
    base = tmp_path_factory.mktemp("demo")
    state, report = base / "state", base / "report.json"
    state.mkdir()
    isolated = can_unshare_network()
    command = [sys.executable, str(RECORDED_DEMO), str(state), str(report)]
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
