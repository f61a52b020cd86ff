"""The exported scorer gives what the numpy scorer gives."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the onnx extra")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")

from tacit.client.decide import FactorModel, Model, ReleasedModel, scores  # noqa: E402
from tacit.client.onnx import export_scorer  # noqa: E402

N_ITEMS, WIDTH, N_VECTORS = 500, 16, 1_000


def taste_model(seed: int, scaled: bool = True) -> Model:
    rng = np.random.default_rng(seed)
    popularity = rng.uniform(0.5, 1.5, N_ITEMS)
    popularity /= popularity.sum()
    arrays: dict[str, Any] = {
        "popularity": popularity,
        "loadings": rng.normal(size=(N_ITEMS, WIDTH)) / N_ITEMS,
        "prior_variance": rng.uniform(0.1, 4.0, WIDTH),
        "item_variance": popularity * rng.uniform(0.5, 2.0, N_ITEMS),
    }
    if scaled:
        arrays["item_scale"] = rng.uniform(0.5, 2.0, N_ITEMS)
    return Model.from_arrays(arrays)


def factor_model(seed: int, *, twins: bool = False) -> FactorModel:
    rng = np.random.default_rng(seed)
    popularity = rng.uniform(0.5, 1.5, N_ITEMS)
    factors = rng.normal(size=(N_ITEMS, WIDTH))
    if twins:
        factors[1] = factors[0]
    return FactorModel.from_arrays(
        {
            "popularity": popularity / popularity.sum(),
            "item_factors": factors,
            "ridge": np.array([0.5]),
            "unseen_weight": np.array([0.01]),
        }
    )


def session(model: ReleasedModel) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        export_scorer(model), options, providers=["CPUExecutionProvider"]
    )


@pytest.mark.parametrize("model", [taste_model(0), factor_model(1)], ids=["taste", "factors"])
def test_the_same_top_ten_on_a_thousand_histories(model: ReleasedModel) -> None:
    graph = session(model)
    rng = np.random.default_rng(2)
    for vector in range(N_VECTORS):
        length = int(rng.integers(1, 60)) if vector else 0
        items = rng.choice(N_ITEMS, size=length, replace=False).astype(np.int64)
        weights = rng.uniform(0.05, 5.0, size=length)
        (told,) = graph.run(None, {"items": items, "weights": weights})
        expected = scores(model, items, weights)
        np.testing.assert_allclose(told, expected, rtol=1e-9, atol=1e-12)
        assert np.argsort(-told)[:10].tolist() == np.argsort(-expected)[:10].tolist()


def test_histories_that_repeat_a_direction_or_fill_the_catalogue_are_solved_too() -> None:
    for model in (factor_model(3, twins=True), taste_model(4, scaled=False)):
        graph = session(model)
        for items in (np.arange(2), np.arange(N_ITEMS), np.array([7])):
            for strength in (1e-3, 1.0, 1e3):
                weights = np.full(len(items), strength)
                told = graph.run(None, {"items": items.astype(np.int64), "weights": weights})[0]
                expected = scores(model, items, weights)
                np.testing.assert_allclose(told, expected, rtol=1e-7, atol=1e-10)


def test_the_core_does_not_import_it() -> None:
    code = "import sys, tacit.client; raise SystemExit('onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
