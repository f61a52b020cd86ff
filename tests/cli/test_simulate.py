"""`tacit simulate`: the documented JSON, and one clear line for bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
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
        *("dataset", "privacy", "guarantees", "metrics", "intervals", "slices", "cost"),
        *("baselines", "models", "learner", "notes", "split", "difference_to_non_private"),
        "leak_audit",
    }
    assert report["difference_to_non_private"] is report["leak_audit"] is None
    assert set(report["dataset"]) == {"name", "users", "items", "interactions", "notes"}
    privacy = report["privacy"]
    assert 3.9 < privacy["epsilon"] <= 4.0
    assert (privacy["delta"], privacy["unit"]) == (1e-5, "user")
    assert (privacy["neighboring_relation"], privacy["trust"]) == ("add_remove", "central")
    assert privacy["rounds"] == len(privacy["noise_multiplier"]) == 3
    assert privacy["accountant"].startswith("tacit-gaussian ")
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


def test_every_option_in_one_run(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    arguments = ["--data", str(shop), "--split", "random", "--unseen-users", "0.3", "--baselines"]
    result = CliRunner().invoke(
        simulate, [*arguments, "--seeds", "2", "--recency", "on", "--json", str(out)]
    )
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text())
    labels = [model["label"] for model in report["models"]]
    assert labels == [
        *("spectral/3", "spectral/3, users never trained on", "popularity", "EASE", "iALS"),
        "spectral/3, not private",
    ]
    assert report["models"][3]["share_of_ease"]["mean"] == 1.0
    assert report["models"][1]["share_of_ease"] is None  # other users than EASE's
    low, high = report["intervals"]["ndcg@100"]
    assert low <= report["metrics"]["ndcg@100"] <= high
    assert report["split"]["recency"] is True
    assert report["split"]["users_trained"] < 40
    assert len(report["seeds"]["split_seeds"]) == 2
    assert report["seeds"]["metrics"]["ndcg@100"]["std"] > 0
    private, reference = report["models"][0]["slices"], report["models"][-1]["slices"]
    gap = report["difference_to_non_private"]
    assert gap["coverage"] == private["coverage"] - reference["coverage"]
    assert "private less non-private" in result.output
    guarantee = report["models"][0]["guarantees"][0]
    assert {"unit", "epsilon", "delta", "neighboring_relation", "trust", "participation"} < set(
        guarantee
    )


def test_leave_one_out_weighs_recent_items_by_default_and_paper_protocol_is_named(
    tmp_path: Path,
) -> None:
    path = tmp_path / "many.csv"
    rng = np.random.default_rng(0)
    rows = [f"{user},{item}" for user in range(60) for item in rng.permutation(150)[:9]]
    path.write_text("user,item\n" + "\n".join(rows) + "\n")
    out = tmp_path / "out.json"
    arguments = ["--data", str(path), "--split", "leave-one-out", "--paper-protocol"]
    result = CliRunner().invoke(simulate, [*arguments, "--json", str(out)])
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text())
    assert report["split"]["recency"] is True
    assert set(report["models"][0]["sampled"]) == {"sampled_hr@10", "sampled_ndcg@10"}
    assert "sampled_hr@10" not in report["metrics"]
    assert "Paper protocol" in result.output


def test_curve_trains_on_subsamples(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    arguments = ["--data", str(shop), "--subsample", "10,25", "--json", str(out)]
    result = CliRunner().invoke(simulate, arguments)
    assert result.exit_code == 0, result.output
    curve = json.loads(out.read_text())["curve"]
    assert [point["users_trained"] for point in curve] == [10, 25]
    assert curve[0]["users_evaluated"] == curve[1]["users_evaluated"] > 0


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
        (["--signals", "telepathy"], 2, "expected signals among"),
        (["--target", "search"], 2, "expected signals among"),
        (["--unseen-users", "1"], 2, "unseen users in [0, 1)"),
        (["--subsample", "ten"], 2, "whole numbers"),
        (["--subsample", "9999"], 2, "users to train on"),
        (["--paper-protocol"], 2, "leave-one-out"),
        (["--epsilon", "1e-9"], 2, "expected an epsilon that"),
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
