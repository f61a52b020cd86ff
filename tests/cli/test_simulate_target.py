"""`tacit simulate --learner linear`: what it writes, and what it does not take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tacit.cli.simulate import simulate

DAY_S = 86_400


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 120 people who come every other day; every second one stops at a day of their own."""
    path = tmp_path_factory.mktemp("data") / "visits.csv"
    lines = [
        f"{user},{day % 9},product_view,{1_700_000_000 + day * DAY_S + user}"
        for user in range(120)
        for day in range(user % 7, 200 if user % 2 else 140 + user // 2, 2)
    ]
    path.write_text("user,item,event,timestamp\n" + "\n".join(lines) + "\n")
    return path


def test_predicts_churn_from_a_file(visits: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    arguments = ["--learner", "linear", "--predict", "churn", "--data", str(visits)]
    result = CliRunner().invoke(simulate, [*arguments, "--epsilon", "8", "--json", str(out)])
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text())
    assert set(report) == {
        *("dataset", "target", "privacy", "metrics", "intervals", "baselines", "cost"),
        *("learner", "split", "notes"),
    }
    assert report["dataset"]["name"] == "visits"
    assert set(report["target"]) == {"name", "as_of_s", "horizon_days", "cutoffs"}
    assert 7.9 < report["privacy"]["epsilon"] <= 8.0
    assert set(report["metrics"]) == set(report["intervals"]) == {"auc", "log_loss", "rmse"}
    assert set(report["baselines"]) == {"ridge", "base_rate"}
    assert report["cost"]["payload_bytes_per_device_round"] == [2 * 65]
    shown = " ".join(result.output.split())
    assert f"{report['metrics']['auc']:.4f}" in shown
    assert "add/remove adjacency" in shown


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--learner", "linear"], "expected --predict with --learner linear, and only there"),
        (["--predict", "churn"], "expected --predict with --learner linear, and only there"),
        (["--learner", "linear", "--predict", "luck"], "'luck' is not one of"),
        (["--learner", "linear", "--predict", "churn", "--baselines"], "'baselines', which is"),
        (["--learner", "linear", "--predict", "churn", "--tasks", "2"], "'tasks', which is about"),
    ],
)
def test_refuses_what_does_not_belong_together(arguments: list[str], line: str) -> None:
    result = CliRunner().invoke(simulate, arguments)
    assert result.exit_code == 2, result.output
    assert line in " ".join(result.output.split())


def test_a_bandit_takes_no_data(visits: Path) -> None:
    arguments = ["--learner", "linear", "--predict", "bandit", "--data", str(visits)]
    result = CliRunner().invoke(simulate, arguments)
    assert result.exit_code == 2, result.output
    assert "leave --data out" in result.output
