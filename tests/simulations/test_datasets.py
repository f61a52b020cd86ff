"""Loaders on small files and on real data, and what they say about bad input."""

# Neither scipy nor pyarrow ships types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportOptionalSubscript=false
# pyright: reportAttributeAccessIssue=false, reportUnknownLambdaType=false

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from tacit.simulations.datasets import load
from tacit.simulations.errors import BadExperiment, DatasetError
from tacit.simulations.population import generate
from tacit.simulations.product_names import CATEGORIES


def test_plain_csv_with_events(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_text(
        "user,item,event,value,timestamp\n"
        "u2,b,Product Viewed,1,10\nu1,a,Order Completed,2.5,20\nu1,a,product_view,1,5\n"
    )
    data = load(path)
    assert (data.n_users, data.n_items, data.n_interactions) == (2, 2, 2)
    assert data.user_ids == ("u1", "u2")
    assert data.signal_names == ("product_view", "purchase")
    assert [data.signal_names[index] for index in data.signals] == [
        "product_view",
        "purchase",
        "product_view",
    ]
    assert data.values.tolist() == [1.0, 2.5, 1.0]
    assert data.timestamps.tolist() == [10.0, 20.0, 5.0]
    assert data.features is None
    assert data.profiles().weights.tolist() == [2.0, 1.0]  # the purchase outweighs the view


def test_gzipped_folder_with_catalogue(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "interactions.csv.gz", "wt") as handle:
        handle.write("user,item\n10,3\n9,1\n")
    (tmp_path / "items.csv").write_text(
        "item,title,categories\n1,Heat (1995),Crime|Drama\n2,Alien (1979),Horror\n3,Untitled,\n"
    )
    data = load(tmp_path)
    assert data.user_ids == ("9", "10")
    assert data.titles == ("Heat (1995)", "Alien (1979)", "Untitled")
    assert data.feature_names == (
        *("Crime", "Drama", "Horror"),
        *("year ~1979", "year ~1995", "year ~unknown"),
    )
    assert data.features is not None
    assert data.features.tolist() == [[1, 1, 0, 0, 1, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1]]


def test_ratings_dat_folder(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("1::7::4::100\n2::8::5::200\n")
    (tmp_path / "movies.dat").write_text(
        "7::Amélie (2001)::Comedy|Romance\n8::Ran (1985)::Drama\n", encoding="latin-1"
    )
    data = load(tmp_path)
    assert data.titles == ("Amélie (2001)", "Ran (1985)")
    assert data.values.tolist() == [4.0, 5.0]
    assert data.signal_names == ("rating",)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "columns user and item"),
        ("a.csv", "buyer,thing\n1,2\n", "columns user and item"),
        ("a.csv", "user,item\n", "no events"),
        ("a.csv", "user,item\n1\n", "line 2: expected 2 columns, got 1"),
        ("a.csv", "user,item\n1,2\n", "at least 2"),
        ("a.csv", "user,item,value\n1,2,much\n", "line 2: expected a finite number"),
        ("a.csv", "user,item,value\n1,2,nan\n", "line 2: expected a finite number"),
        ("a.csv", "user,item,event\n1,2,Teleported\n", "line 2: expected a known event"),
        ("ratings.dat", "1:2:3\n", "line 1: expected 4 fields"),
        ("u.data", "1 2 3 4\n", "line 1: expected 4 fields"),
        ("a.xlsx", "user,item\n", "cannot tell the format"),
        ("a.csv.gz", "user,item\n1,2\n", "bad gzip"),
    ],
)
def test_bad_files_are_refused_in_one_line(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DatasetError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_missing_empty_and_binary_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such path"):
        load(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"holds no u\.data"):
        load(tmp_path)
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x01" * 10)
    with pytest.raises(DatasetError, match="not text"):
        load(tmp_path / "b.csv")


def test_items_without_features_get_none_and_are_counted(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text("user,item\n1,1\n1,9\n")
    (tmp_path / "items.csv").write_text("item,categories\n1,A\n2,B\n")
    data = load(tmp_path)
    assert data.item_ids == ("1", "2", "9")
    assert data.features is not None
    assert data.features[2].tolist() == [0.0, 0.0]
    assert data.notes == ("1 items with events have no row of features",)


def test_movielens_csv_folder(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,7,4.5,9\n2,8,5,10\n")
    (tmp_path / "movies.csv").write_text(
        'movieId,title,genres\n7,"Heat, The (1995)",Crime|Drama\n8,B (2001),(no genres listed)\n'
    )
    data = load(tmp_path)
    assert data.titles == ("Heat, The (1995)", "B (2001)")
    assert data.feature_names == ("Crime", "Drama", "year ~1995", "year ~2001")
    assert data.values.tolist() == [4.5, 5.0]


def test_recbole_atomic_files(tmp_path: Path) -> None:
    (tmp_path / "x.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\nb\t3\t4\t20\na\t1\t5\t10\n"
    )
    (tmp_path / "x.item").write_text(
        "item_id:token\tmovie_title:token_seq\tclass:token_seq\n1\tHeat\tCrime Drama\n3\tX\tWar\n"
    )
    for source in (tmp_path, tmp_path / "x.inter"):
        data = load(source)
        assert (data.user_ids, data.item_ids) == (("a", "b"), ("1", "3"))
        assert data.feature_names == ("Crime", "Drama", "War")
        assert data.timestamps.tolist() == [20.0, 10.0]
        assert data.users.tolist() == [1, 0]


def test_parquet_and_large_csv_read_the_same_as_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "user,item,event,timestamp\n1,b,Product Viewed,5\n2,a,purchase,7000000000000\n"
    (tmp_path / "a.csv").write_text(text)
    lines = load(tmp_path / "a.csv")
    table = pyarrow.csv.read_csv(tmp_path / "a.csv")
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    monkeypatch.setattr("tacit.simulations.datasets.LARGE_BYTES", 0)
    for data in (load(tmp_path / "a.csv"), load(tmp_path / "a.parquet")):
        assert (data.user_ids, data.item_ids) == (lines.user_ids, lines.item_ids)
        assert data.signal_names == lines.signal_names == ("product_view", "purchase")
        for name in ("users", "items", "signals", "values", "timestamps"):
            np.testing.assert_array_equal(getattr(data, name), getattr(lines, name))
    (tmp_path / "bad.csv").write_text("user,item,value\n1,2,3\n1,3,nan\n")
    with pytest.raises(DatasetError, match="line 3: expected a finite number"):
        load(tmp_path / "bad.csv")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DatasetError, match="expected a Parquet file"):
        load(tmp_path / "bad.parquet")


def test_ml1m_keeps_its_own_order_and_held_out_items(shared_data: Path) -> None:
    data = load(shared_data / "ml-1m")
    assert data.held_out is not None
    assert int((data.held_out >= 0).sum()) == 6040
    assert set(data.groups) == {"F", "M"}
    assert int((data.timestamps > 0).sum()) == 835_789


@pytest.mark.parametrize(
    ("folder", "users", "items", "interactions", "features"),
    [
        ("ml-100k", 943, 1682, 100_000, True),
        ("ml-1m", 6040, 3883, 1_000_209, True),
        ("retailrocket", 3431, 8885, None, False),
    ],
)
def test_real_data(
    shared_data: Path,
    folder: str,
    users: int,
    items: int,
    interactions: int | None,
    features: bool,
) -> None:
    data = load(shared_data / folder)
    assert (data.n_users, data.n_items) == (users, items)
    assert interactions in (None, data.n_interactions)
    assert (data.features is not None) == features


def test_generated_population_is_reproducible_readable_and_complete() -> None:
    first, again, other = generate(50, 60, 1), generate(50, 60, 1), generate(50, 60, 2)
    np.testing.assert_array_equal(first.items, again.items)
    assert first.titles == again.titles
    assert first.titles != other.titles
    assert len(set(first.titles)) == 60
    assert all(" " in title and not any(c.isdigit() for c in title) for title in first.titles)
    assert set(first.signals.tolist()) == {0, 1, 2, 3}
    assert first.feature_names == CATEGORIES
    viewed = set(zip(first.users.tolist(), first.items.tolist(), strict=True))
    assert len(viewed) == first.n_interactions


@pytest.mark.parametrize(("users", "items", "seed"), [(0, 60, 0), (5, 3, 0), (5, 60, -1)])
def test_population_refuses_sizes_out_of_range(users: int, items: int, seed: int) -> None:
    with pytest.raises(BadExperiment):
        generate(users, items, seed)
