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
        *("dataset", "privacy", "guarantees", "notes", "metrics", "cost", "baselines", "learner"),
        "split",
    }
    assert set(report["dataset"]) == {"users", "items", "interactions"}
    privacy = report["privacy"]
    assert 3.9 < privacy["epsilon"] <= 4.0
    assert (privacy["delta"], privacy["unit"]) == (1e-5, "user")
    assert (privacy["neighboring_relation"], privacy["trust"]) == ("add_remove", "central")
    assert privacy["rounds"] == len(privacy["noise_multiplier"]) == 3
    assert privacy["accountant"].startswith("opacus-rdp ")
    names = {"recall@20", "ndcg@100", "ndcg@10", "hit_rate@10", "mrr"}
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
        (["--rounds", "1"], 2, "at least"),
        (["--epsilon", "1e9"], 2, "expected an epsilon that"),
        (["--json", "/no/such/place.json"], 2, "/no/such does not exist"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], code: int, message: str) -> None:
    result = CliRunner().invoke(simulate, arguments)
    assert result.exit_code == code
    assert message in result.output
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"user,item\n,1\n", "line 2: expected a user and an item"),
        (b'user,item\n1,"' + b"x" * 200_000 + b'"\n', "field larger than"),
        (b"user,item,timestamp\n1,2,1e300\n", "line 2: expected a timestamp"),
        (b"user,item,timestamp\n1,2,-5\n", "line 2: expected a timestamp"),
        (b"user,item,value\n1,2,nan\n", "line 2: expected a finite number"),
        (b"user,item\n1,2\n2,3\n\n", "5 items or more"),
        (b"\xff\xfe\x00binary", "it is not text"),
    ],
)
def test_bad_data_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    result = CliRunner().invoke(simulate, ["--data", str(path)])
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)


def test_a_report_is_written_over_an_old_one_whole(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    out.write_text("old")
    arguments = ["--data", str(shop), "--learner", "popularity", "--epsilon", "inf"]
    result = CliRunner().invoke(simulate, [*arguments, "--json", str(out)])
    assert result.exit_code == 0, result.output
    assert json.loads(out.read_text())["privacy"]["trust"] == "consent-only"
    assert [one.name for one in tmp_path.iterdir()] == ["out.json"]
