"""Scan one catalogue for one user: ours, faiss flat and onnxruntime, one thread each, side by side.

The same float32 rows for all. Ours is the product a device makes up to 100,000 items, and above
that blocks of 8-bit codes whose best are scored again from the exact rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from device_sizes import times_ms

K, RECALL = 10, 100


def scan(n_items: int, width: int) -> dict[str, Any]:
    """Return p50 CPU milliseconds by library, whether all agree, and our recall of the top 100."""
    from tacit.client.decide import ScoreEstimate
    from tacit.client.decide.rows import item_rows
    from tacit.client.decide.top import best

    rng = np.random.default_rng(1)
    rows = rng.standard_normal((n_items, width), dtype=np.float32)
    user = rng.standard_normal(width)
    small, everything = user.astype(np.float32), np.ones(n_items, dtype=np.bool_)
    count = 100 if n_items <= 100_000 else 20
    kept = item_rows(rows)

    def ours(k: int) -> Any:
        values, errors = kept.estimate(user)
        found = ScoreEstimate(values, errors, lambda items: kept.take(items) @ user)
        found.settle(everything, k)
        return best(found.values, everything, k)

    exact = rows @ small
    truth = set(best(exact, everything, RECALL).tolist())
    codes, errors = kept.estimate(user)
    told: dict[str, Any] = {
        "tacit": _p50(lambda: ours(K), count),
        "numpy": _p50(lambda: np.argpartition(rows @ small, -K)[-K:], count),
        "recall_at_100": len(truth & set(ours(RECALL).tolist())) / RECALL,
        "recall_at_100_codes_alone": None
        if errors is None
        else len(truth & set(best(codes, everything, RECALL).tolist())) / RECALL,
    }
    found = [set(ours(K).tolist()), set(best(exact, everything, K).tolist())]
    try:
        import faiss  # type: ignore[import-not-found, import-untyped, unused-ignore]

        faiss.omp_set_num_threads(1)
        index = faiss.IndexFlatIP(width)
        index.add(rows)
        told["faiss"] = _p50(lambda: index.search(small[np.newaxis], K), count)
        found.append(set(index.search(small[np.newaxis], K)[1][0].tolist()))
    except ImportError:
        told["faiss"] = None
    try:
        session = _onnx_session(rows)
        told["onnxruntime"] = _p50(lambda: session.run(None, {"u": small[np.newaxis]}), count)
        found.append(set(session.run(None, {"u": small[np.newaxis]})[1][0].tolist()))
    except ImportError:
        told["onnxruntime"] = None
    told["same_top_10"] = all(one == found[0] for one in found)
    return told


def _p50(work: Any, count: int) -> float:
    return float(np.percentile(times_ms(work, count), 50))


def _onnx_session(rows: np.ndarray[Any, Any]) -> Any:
    import onnxruntime  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from onnx import TensorProto, helper, numpy_helper  # type: ignore[unused-ignore]

    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["u", "rows"], ["scores"]),
            helper.make_node("TopK", ["scores", "k"], ["values", "places"]),
        ],
        "scan",
        [helper.make_tensor_value_info("u", TensorProto.FLOAT, [1, rows.shape[1]])],
        [
            helper.make_tensor_value_info("values", TensorProto.FLOAT, [1, K]),
            helper.make_tensor_value_info("places", TensorProto.INT64, [1, K]),
        ],
        [
            numpy_helper.from_array(np.ascontiguousarray(rows.T), "rows"),
            numpy_helper.from_array(np.array([K], dtype=np.int64), "k"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = min(model.ir_version, 10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)
