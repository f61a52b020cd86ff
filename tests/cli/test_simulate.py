"""`tacit simulate`: the documented JSON, and one clear line for bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tacit.cli.simulate import simulate


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "shop.csv"
    lines = [f"{user},{(user * 7 + step * step) % 30}" for user in range(40) for step in range(12)]
    path.write_text("user,item\n" + "\n".join(lines) + "\n")
    return path


def test_writes_the_documented_json(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    arguments = ["--data", str(shop), "--epsilon", "4", "--rounds", "3", "--json", str(out)]
    result = CliRunner().invoke(simulate, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text())
    assert set(report) == {
        *("dataset", "privacy", "metrics", "cost", "baselines", "learner", "split"),
    }
    assert set(report["dataset"]) == {"users", "items", "interactions"}
    privacy = report["privacy"]
    assert 3.9 < privacy["epsilon"] <= 4.0
    assert (privacy["delta"], privacy["unit"]) == (1e-5, "user")
    assert (privacy["neighboring_relation"], privacy["trust"]) == ("add_remove", "central")
    assert privacy["rounds"] == len(privacy["noise_multiplier"]) == 3
    assert privacy["accountant"].startswith("opacus-rdp ")
    names = {"recall@20", "ndcg@100", "ndcg@10", "hit_rate@10"}
    assert set(report["metrics"]) == set(report["baselines"]["popularity"]) == names
    assert set(report["cost"]) == {
        *("payload_bytes_per_device_round", "wall_s", "cpu_s", "peak_rss_bytes"),
    }
    assert report["cost"]["payload_bytes_per_device_round"][0] == 2 * 30
    assert "add/remove adjacency" in " ".join(result.output.split())


def test_popularity_learner_runs(shop: Path) -> None:
    result = CliRunner().invoke(simulate, ["--data", str(shop), "--learner", "popularity"])
    assert result.exit_code == 0, result.output
    assert "popularity/1" in result.output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--epsilon", "0"], 2, "above zero"),
        (["--epsilon", "nan"], 2, "above zero"),
        (["--epsilon", "lots"], 2, "not a valid float"),
        (["--learner", "magic"], 2, "magic"),
        (["--delta", "0.9"], 2, "delta"),
        (["--data", "/no/such/place"], 1, "no such path"),
        (["--rounds", "1"], 1, "at least"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], code: int, message: str) -> None:
    result = CliRunner().invoke(simulate, arguments)
    assert result.exit_code == code
    assert message in result.output
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
