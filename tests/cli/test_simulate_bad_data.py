"""`tacit simulate` on awkward data: one clear line, or a sane result that says what is odd."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tacit.cli.simulate import simulate

ROWS = [
    (user, item)
    for user in range(60)
    for item in np.random.default_rng(user).permutation(80)[:12].tolist()
]
PAIRS = "".join(f"{user},{item}\n" for user, item in ROWS)


def run(tmp_path: Path, data: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    out = tmp_path / "out.json"
    result = CliRunner().invoke(simulate, ["--data", str(data), "--json", str(out), *arguments])
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(out.read_text())
    assert all(np.isfinite(value) for value in report["metrics"].values())
    return report, result.stdout


def csv(tmp_path: Path, text: str, header: str = "user,item") -> Path:
    path = tmp_path / "shop.csv"
    path.write_text(header + "\n" + text)
    return path


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "expected a header with the columns user and item"),
        ("a.csv", "user,item\n", "holds no events"),
        ("a.inter", "", "Empty CSV file"),
        ("a.inter", "user_id:token\titem_id:token\n", "at least one line of data"),
        ("a.inter", "user_id:token\titem_id:token\trating:float\n1\t2\tinf\n", "finite"),
        ("a.csv", "user,item\n" + "".join(f"{u},1\n" for u in range(20)), "at least 2"),
        ("a.csv", "user,item\n1,2\n1,3\n", "from users with 5 items"),
        ("a.csv", "user,item,value\n1,2,inf\n", "line 2: expected a finite number"),
        ("a.csv", "user,item,timestamp\n1,2,nan\n", "line 2: expected a finite number"),
    ],
)
def test_unusable_files_are_one_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    _refused(tmp_path / name, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a header with the column item"),
        ("name\n1\n", "expected a header with the column item"),
        ("item,title,categories\n1,Heat\n", "line 2: expected 3 columns, got 2"),
        ("item,title\n,Heat\n", "expected an item id in every row"),
        ("item,title\n1,Heat\n1,Heat\n", "expected each item once"),
    ],
)
def test_unusable_catalogues_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "interactions.csv").write_text("user,item\n" + PAIRS)
    (tmp_path / "items.csv").write_text(text)
    _refused(tmp_path, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a header with item_id:token"),
        ("item_id:token\tclass:token_seq\n1\n", "line 2: expected 2 columns, got 1"),
    ],
)
def test_unusable_item_files_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    lines = "".join(f"{user}\t{item}\n" for user, item in ROWS)
    (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\n" + lines)
    (tmp_path / "x.item").write_text(text)
    _refused(tmp_path / "x.inter", message)


def _refused(path: Path, message: str) -> None:
    result = CliRunner().invoke(simulate, ["--data", str(path)])
    assert result.exit_code == 1
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert message in error
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)


def test_one_user_with_a_hundred_thousand_events_counts_once(tmp_path: Path) -> None:
    """The whale has no more say than anybody: his profile is scaled to length 1."""
    rng = np.random.default_rng(0)
    whale = "".join(f"whale,{item}\n" for item in rng.integers(70, 100, 100_000))
    data = csv(tmp_path, PAIRS + whale)
    report, _ = run(tmp_path, data, "--learner", "popularity", "--epsilon", "inf")
    assert report["dataset"]["users"] == 61
    assert report["dataset"]["interactions"] == 720 + 30
    without, _ = run(tmp_path, csv(tmp_path, PAIRS), "--learner", "popularity", "--epsilon", "inf")
    assert report["metrics"]["ndcg@100"] == pytest.approx(without["metrics"]["ndcg@100"], abs=0.05)


def test_duplicate_events_change_nothing(tmp_path: Path) -> None:
    arguments = ("--learner", "popularity", "--epsilon", "inf")
    once, _ = run(tmp_path, csv(tmp_path, PAIRS), *arguments)
    thrice, _ = run(tmp_path, csv(tmp_path, PAIRS * 3), *arguments)
    for part in ("baselines", "split", "dataset"):  # the rest is rounded at random
        assert once[part] == thrice[part]
    assert once["models"][1]["slices"] == thrice["models"][1]["slices"]


def test_items_without_a_row_of_features_are_learned_and_counted(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text("user,item\n" + PAIRS)
    rows = "".join(f"{item},Title {item},{'AB'[item % 2]}\n\n" for item in range(40))
    (tmp_path / "items.csv").write_text("item,title,categories\n" + rows)
    report, said = run(tmp_path, tmp_path, "--epsilon", "inf")
    assert report["dataset"]["items"] == 80
    assert "40 items with events have no row of features" in said
    assert report["dataset"]["notes"] == ["40 items with events have no row of features"]


def test_items_of_an_item_file_without_events_stay_in_the_catalogue(tmp_path: Path) -> None:
    lines = "".join(f"{user}\t{item}\n" for user, item in ROWS)
    (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\n" + lines)
    items = "".join(f"{item}\tA B\n" for item in range(20, 120))
    (tmp_path / "x.item").write_text("item_id:token\tclass:token_seq\n" + items + "\n")
    report, said = run(tmp_path, tmp_path / "x.inter", "--learner", "popularity")
    assert report["dataset"]["items"] == 120
    assert "20 items with events have no row of features" in said


def test_users_without_the_signals_in_use_are_counted_loudly(tmp_path: Path) -> None:
    text = "".join(
        f"{user},{item},{'purchase' if user % 2 else 'product_view'}\n" for user, item in ROWS
    )
    data = csv(tmp_path, text, "user,item,event")
    report, said = run(tmp_path, data, "--signals", "purchase", "--learner", "popularity")
    assert any("30 of 60 evaluated users have no history" in note for note in report["notes"])
    assert "WARNING: 30 of 60 evaluated users have no history" in said


def test_no_history_left_for_anybody_is_one_line(tmp_path: Path) -> None:
    text = "".join(f"{user},{item},product_view\n" for user, item in ROWS)
    text += "".join(f"{user},99,purchase\n" for user in range(60))
    data = csv(tmp_path, text, "user,item,event")
    arguments = ["--data", str(data), "--signals", "purchase", "--target", "purchase"]
    result = CliRunner().invoke(simulate, arguments)
    assert result.exit_code == 1
    assert "expected users with a history of purchase, got none to train on" in result.stderr


def test_a_learner_that_noise_drowned_says_so_before_any_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a learner has to say stands in the JSON and above the first table."""
    from dataclasses import replace

    from tacit.simulations.learners import LEARNERS

    def drowned(*arguments: Any) -> Any:
        return replace(LEARNERS["popularity"](*arguments), notes=("noise drowned the signal [x]",))

    monkeypatch.setattr("tacit.simulations.simulate.LEARNERS", {"spectral": drowned})
    report, said = run(tmp_path, csv(tmp_path, PAIRS), "--epsilon", "0.001")
    assert report["notes"] == ["noise drowned the signal [x]"]
    assert "WARNING: noise drowned the signal [x]." in said
    assert said.index("WARNING") < said.index("ranking of")
