"""Rows in blocks: the best of 8-bit codes are, once settled, the best of the exact rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.client.decide import ScoreEstimate
from tacit.client.decide.readout import Model, estimate, scores
from tacit.client.decide.rows import BLOCK, MOST_FLAT, BlockedRows, FlatRows, item_rows
from tacit.client.decide.top import best

Float32Array = npt.NDArray[np.float32]


def _rows(kind: str, n: int, width: int, rng: np.random.Generator) -> Float32Array:
    """Make rows: even noise, lengths like popularity (a few long rows), equal rows, or zeros."""
    rows = rng.standard_normal((n, width))
    if kind == "skewed":
        rows *= (1.0 / np.arange(1, n + 1) ** 0.8)[rng.permutation(n), np.newaxis]
    elif kind == "repeated":
        rows = rows[rng.integers(0, min(7, n), n)]
    elif kind == "zeros":
        rows *= rng.random((n, 1)) < 0.01
    return rows.astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["even", "skewed", "repeated", "zeros"]),
    n=st.integers(1, 3 * BLOCK + 5),
    width=st.integers(1, 40),
    count=st.integers(1, 300),
    share=st.sampled_from([1.0, 0.5, 0.001]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_best_of_the_codes_are_the_best_of_the_rows(
    kind: str, n: int, width: int, count: int, share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = _rows(kind, n, width, rng)
    taste = rng.standard_normal(width) * 10.0 ** rng.integers(-6, 6)
    allowed = rng.random(n) < share
    blocked = BlockedRows(rows)
    exact = rows.astype(np.float64) @ taste
    values, errors = blocked.estimate(taste)
    assert errors is not None
    assert np.all(np.abs(values - exact) <= errors)
    found = ScoreEstimate(values, errors, lambda items: blocked.take(items) @ taste)
    found.settle(allowed, count)
    assert best(found.values, allowed, count).tolist() == (
        best(exact.astype(np.float32), allowed, count).tolist()
    )
    # Settling for others afterwards changes nothing about it.
    found.settle(~allowed, count)
    assert best(found.values, allowed, count).tolist() == (
        best(exact.astype(np.float32), allowed, count).tolist()
    )


def test_codes_alone_would_get_some_of_the_best_wrong() -> None:
    rng = np.random.default_rng(4)
    rows = _rows("even", 3 * BLOCK, 32, rng)
    taste = rng.standard_normal(32)
    everything = np.ones(len(rows), dtype=np.bool_)
    values, _ = BlockedRows(rows).estimate(taste)
    exact = best(rows @ taste.astype(np.float32), everything, 100)
    assert best(values, everything, 100).tolist() != exact.tolist()
    # What the 8 bits alone would cost: recall of the best 100.
    assert len(np.intersect1d(best(values, everything, 100), exact)) >= 95


def test_rows_read_back_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = _rows("skewed", 2 * BLOCK + 3, 9, rng)
    blocked, flat = BlockedRows(rows, tmp_path), FlatRows(rows)
    taste = rng.standard_normal(9)
    some = rng.integers(0, len(rows), 50)
    many = rng.integers(0, len(rows), BLOCK + 1)
    np.testing.assert_array_equal(blocked.take(some), rows[some])
    np.testing.assert_array_equal(blocked.take(many), rows[many])
    np.testing.assert_array_equal(blocked.scan(taste), flat.scan(taste))
    assert list(tmp_path.iterdir()) == []  # the file has no name, and is gone with the process


def test_a_large_catalogue_is_read_in_blocks_and_ranks_as_its_exact_scores() -> None:
    rng = np.random.default_rng(6)
    n, width = MOST_FLAT + 1, 8
    popularity = rng.dirichlet(np.full(n, 0.5)).astype(np.float32) + np.float32(1e-9)
    model = Model.from_arrays(
        {
            "popularity": popularity,
            "item_variance": popularity,
            "item_scale": (popularity**-0.3).astype(np.float32),
            "loadings": (rng.standard_normal((n, width)) * popularity[:, np.newaxis]).astype(
                np.float32
            ),
            "prior_variance": np.ones(width, dtype=np.float32),
        }
    )
    assert isinstance(model.rows, BlockedRows)
    assert isinstance(item_rows(np.ones((MOST_FLAT, 1), dtype=np.float32)), FlatRows)
    items = np.array([3, 700, n - 1], dtype=np.int64)
    weights = np.array([1.0, 2.0, 1.0])
    everything = np.ones(n, dtype=np.bool_)
    found = estimate(model, items, weights)
    found.settle(everything, 200)
    wanted = scores(model, items, weights)
    top = best(found.values, everything, 200)
    np.testing.assert_array_equal(top, best(wanted.astype(np.float32), everything, 200))
    np.testing.assert_allclose(found.exact(top), wanted[top], rtol=1e-12)


def test_a_model_that_cannot_be_put_aside_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        BlockedRows(np.ones((2, 2), dtype=np.float32), tmp_path / "gone")
