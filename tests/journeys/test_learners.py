"""Every learner that ranks, through real processes: rounds, release, devices, ledger."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

STATISTICS = {
    "factorization": ["popularity/1", "feature_gram/1", "factorization/1"],
    "popularity": ["popularity/1"],
}


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("learner", list(STATISTICS))
def test_a_demo_of_another_learner(learner: str, tmp_path: pathlib.Path) -> None:
    report_file, state = tmp_path / "report.json", tmp_path / "state"
    command = [sys.executable, "-c", "from tacit.cli.main import main; main()", "demo", "--short"]
    options = ["--learner", learner, "--state", str(state), "--json", str(report_file)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(report_file.read_text(encoding="utf-8"))
    assert [one["statistic"] for one in report["rounds"]] == STATISTICS[learner]
    assert report["privacy"]["epsilon"] == report["privacy"]["epsilon_in_release"] == 8.0
    assert report["ledger"]["ok"]
    assert len(report["samples"]) == 3
    assert all(len(sample["recommended"]) == 3 for sample in report["samples"])
