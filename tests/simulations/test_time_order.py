"""Warnings where the order of a data set is not time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tacit.simulations.datasets import load
from tacit.simulations.population import generate
from tacit.simulations.time_order import time_warnings

TIMED = generate(30, 40, seed=2)


def test_data_with_times_or_a_split_without_need_of_them_says_nothing() -> None:
    assert time_warnings(TIMED, "temporal", True) == ()
    assert time_warnings(replace(TIMED, times="lines"), "random", False) == ()


@pytest.mark.parametrize("split", ["temporal", "leave-one-out"])
def test_lines_that_are_grouped_are_not_time(tmp_path: Path, split: str) -> None:
    mixed = ["1,a,purchase", "2,a,product_view", "1,b,product_view", "2,b,purchase"]
    orders = {
        "may or may not be time": mixed,
        "by user, NOT time": ["1,a,product_view", "1,b,purchase", "1,c,product_view", "2,a,rating"],
        "by user and signal, NOT time": sorted(mixed, key=lambda row: row.split(",")[::2]),
    }
    orders["by user and signal, NOT time across all"] = sorted(
        mixed, key=lambda row: (row.split(",")[2], row)
    )
    for expected, rows in orders.items():
        path = tmp_path / "a.csv"
        path.write_text("user,item,event\n" + "\n".join(rows) + "\n")
        (said,) = time_warnings(load(path), split, False)  # type: ignore[arg-type]
        assert expected.removesuffix(" across all") in said
        assert f"the {split} split follows the order of its lines" in said


def test_one_time_for_all_is_no_time() -> None:
    still = replace(TIMED, timestamps=np.full(len(TIMED.timestamps), 7.0))
    (said,) = time_warnings(still, "random", True)
    assert "all events have the same time: recency follows the order of the lines" in said


def test_sequences_have_no_common_clock() -> None:
    sequences = replace(TIMED, times="sequence")
    assert time_warnings(sequences, "leave-one-out", True) == ()
    (said,) = time_warnings(sequences, "temporal", True)
    assert "not a moment" in said


def test_real_data(shared_data: Path) -> None:
    assert load(shared_data / "ml-100k").times == "clock"
    assert load(shared_data / "ml-1m").times == "sequence"
    shop = load(shared_data / "retailrocket")
    assert "by user and signal, NOT time" in time_warnings(shop, "leave-one-out", True)[0]
