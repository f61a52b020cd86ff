"""The device's goals and what is measured: `python benchmarks/device.py [--million]`.

One user with 100 events, 32 dimensions, 50 categories, default guardrails and exploration. Each
figure is CPU time of this process unless it says otherwise: wall time on a shared machine measures
the neighbours. The scans run side by side in one process, one thread each; onnxruntime and faiss
are in the `dev` extra and are left out, saying so, where their wheels do not install.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

WIDTH, N_EVENTS, K = 32, 100, 10
HERE = Path(__file__).resolve()


def opened(folder: Path, n_items: int) -> Any:
    """Open a device with a model of some size and 100 events."""
    from tacit.client import Catalogue, FileKeyProvider, Personalizer
    from tacit.client.installed import InstalledRelease
    from tacit.privacy.arrays import pack_arrays
    from tacit.privacy.release import ReleaseManifest

    catalogue = Catalogue.build((f"i{n}", f"Item {n}", [f"C{n % 50}"]) for n in range(n_items))
    pz = Personalizer.open(folder / "p.db", FileKeyProvider(folder / "key"), catalogue)
    popularity = np.full(n_items, 1 / n_items, dtype=np.float32)
    rng = np.random.default_rng(0)
    loadings = rng.standard_normal((n_items, WIDTH), dtype=np.float32) / n_items / 10
    blob = pack_arrays(
        {
            "popularity": popularity,
            "item_variance": popularity,
            "loadings": loadings,
            "prior_variance": np.ones(WIDTH),
        }
    )
    digest = catalogue.digest.hex()
    manifest = ReleaseManifest(
        "people", 1, "0" * 64, "0" * 64, len(blob), digest, ("r",), 1.0, 1e-4, 0
    )
    pz.releases.put(InstalledRelease(manifest, blob))
    pz.reload()
    step = max(1, n_items // (2 * N_EVENTS))
    pz.track_all(
        ("Product Viewed", {"product_id": f"i{step * n}"}, None, None) for n in range(N_EVENTS)
    )
    return pz


def times_ms(work: Callable[[], object], count: int) -> np.ndarray[Any, Any]:
    """Return the CPU milliseconds of each of some calls, after three to warm up."""
    for _ in range(3):
        work()
    taken: list[float] = []
    for _ in range(count):
        started = time.process_time()
        work()
        taken.append(1000 * (time.process_time() - started))
    return np.array(taken)


def decide(n_items: int, count: int) -> dict[str, float]:
    """Measure decisions and memory in a process of their own."""
    with tempfile.TemporaryDirectory() as folder:
        pz = opened(Path(folder), n_items)
        taken = times_ms(lambda: pz.recommend(k=K), count)
        resident_kb = int(Path("/proc/self/statm").read_text().split()[1]) * 4
        pz.close()
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "p50": float(np.percentile(taken, 50)),
        "p99": float(np.percentile(taken, 99)),
        "resident_mb": resident_kb / 1024,
        "peak_mb": peak_kb / 1024,
    }


def in_a_process(n_items: int, count: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, str(HERE), "--decide", str(n_items), str(count)],
        capture_output=True,
        text=True,
        check=True,
    )
    told: dict[str, float] = json.loads(done.stdout)
    return told


def import_ms(statement: str) -> float:
    """Return the least CPU time of five fresh interpreters, less an empty one's."""

    def once(code: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    return min(once(statement) for _ in range(5)) - min(once("pass") for _ in range(5))


def store_rows() -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pz = opened(folder, 10_000)
        view = {"product_id": "i5"}
        tracked = 1000 * times_ms(lambda: pz.track("Product Viewed", view), 3000)
        p50, p99 = np.percentile(tracked, [50, 99])
        rows.append(("track p50 / p99", "50 µs / 1 ms", f"{p50:.0f} / {p99:.0f} µs"))
        batch = [("Product Viewed", view, None, None)] * 10_000
        taken = times_ms(lambda: pz.track_all(batch), 3)
        rows.append(("ingest", "≥ 50k events/s", f"{1e7 / taken.min() / 1e3:.0f}k"))
        count = pz.events.count()
        taken = times_ms(lambda: pz.events.read(["product_view"]), 3)
        rate = 1000 * count / taken.min() / 1e3
        rows.append(("replay (decrypt and parse)", "≥ 80k events/s", f"{rate:.0f}k"))
        decision = pz.recommend(k=K)
        pz.shown(decision.id)
        shown = [item.item_id for item in decision.items]
        told = times_ms(lambda: pz.explain(decision.id, shown[0]), 3)
        rows.append((f"explain, {count:,} events", "—", f"{np.median(told):.0f} ms"))
        files = b"".join(path.read_bytes() for path in folder.glob("p.db*"))
        needles = [b"Product Viewed", b"product_id", decision.id.encode(), shown[0].encode()]
        hits = sum(files.count(needle) for needle in needles if len(needle) > 3)
        rows.append(("plaintext in db, wal, shm", "0 hits", f"{hits} hits"))
        started = time.process_time()
        pz.forget(all=True)
        taken_s = time.process_time() - started
        rows.append((f"forget(all), {count:,} events", "≤ 1 s", f"{taken_s:.2f} s"))
    return rows


def exploration_row() -> tuple[str, str, str]:
    from tacit.client.slate import Exploration, fill, system_uniforms

    explored = slots = 0
    while slots < 100_000:
        slate = fill(
            np.arange(100.0),
            np.zeros(100, dtype=np.bool_),
            K,
            vectors=lambda items: np.eye(100)[items],
            diversity=0.0,
            exploration=Exploration(0.1),
            uniforms=system_uniforms,
        )
        explored += int(slate.explored.sum())
        slots += len(slate.items)
    share = f"{100 * explored / slots:.2f}%"
    return ("exploration over 100,000 slots", "10% ± 0.5%", share)


def scan_rows(n_items: int) -> list[tuple[str, str, str]]:
    """Scan one catalogue for one user: numpy, faiss flat and onnxruntime, the same float32 rows."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((n_items, WIDTH), dtype=np.float32)
    user = rng.standard_normal(WIDTH, dtype=np.float32)
    count = 100 if n_items <= 100_000 else 30
    found: dict[str, Any] = {}

    def by_numpy() -> object:
        values = rows @ user
        top = np.argpartition(values, -K)[-K:]
        found["numpy"] = set(top.tolist())
        return top

    told = {"numpy": times_ms(by_numpy, count)}
    try:
        import faiss  # type: ignore[import-not-found, import-untyped, unused-ignore]

        faiss.omp_set_num_threads(1)
        index = faiss.IndexFlatIP(WIDTH)
        index.add(rows)
        told["faiss"] = times_ms(lambda: index.search(user[np.newaxis], K), count)
        found["faiss"] = set(index.search(user[np.newaxis], K)[1][0].tolist())
    except ImportError:
        pass
    try:
        session = onnx_session(rows)
        told["onnxruntime"] = times_ms(lambda: session.run(None, {"u": user[np.newaxis]}), count)
        found["onnxruntime"] = set(session.run(None, {"u": user[np.newaxis]})[1][0].tolist())
    except ImportError:
        pass
    same = "same top 10" if all(one == found["numpy"] for one in found.values()) else "DIFFERENT"
    figures = ", ".join(f"{name} {np.percentile(ms, 50):.2f}" for name, ms in told.items())
    missing = [name for name in ("faiss", "onnxruntime") if name not in told]
    note = f"; not installed: {', '.join(missing)}" if missing else f"; {same}"
    return [(f"scan {n_items:,} × {WIDTH}, p50 ms", "side by side", figures + note)]


def onnx_session(rows: np.ndarray[Any, Any]) -> Any:
    import onnx  # type: ignore[import-not-found, unused-ignore]
    import onnxruntime  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from onnx import TensorProto, helper, numpy_helper  # type: ignore[unused-ignore]

    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["u", "rows"], ["scores"]),
            helper.make_node("TopK", ["scores", "k"], ["values", "places"]),
        ],
        "scan",
        [helper.make_tensor_value_info("u", TensorProto.FLOAT, [1, WIDTH])],
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
    del onnx
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def main() -> None:
    parser = argparse.ArgumentParser(description="The device's goals, measured.")
    parser.add_argument("--million", action="store_true", help="decide over a million items too")
    parser.add_argument("--decide", nargs=2, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.decide:
        print(json.dumps(decide(*arguments.decide)))
        return
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    load = os.getloadavg()[0]
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}, commit {commit}, CPU time"
    )
    print(f"{'goal':34} {'target':16} measured")

    def tell(rows: list[tuple[str, str, str]]) -> None:
        for name, target, measured in rows:
            print(f"{name:34} {target:16} {measured}", flush=True)

    sizes = [(10_000, 400, "≤ 2 ms", "≤ 50 MB"), (100_000, 200, "≤ 6 ms", "≤ 70 MB")]
    if arguments.million:
        sizes.append((1_000_000, 30, "≤ 30 ms", "≤ 130 MB"))
    for n_items, count, limit, memory in sizes:
        told = in_a_process(n_items, count)
        measured = f"{told['p99']:.1f} ms (p50 {told['p50']:.1f})"
        tell([(f"recommend p99, {n_items:,} × {WIDTH}", limit, measured)])
        tell([(f"memory, {n_items:,} × {WIDTH}", memory, f"{told['resident_mb']:.0f} MB resident")])
    tell(store_rows())
    tell([exploration_row()])
    tell([("import tacit.client", "≤ 250 ms", f"{import_ms('import tacit.client'):.0f} ms")])
    tell([("  of that numpy, cryptography", "—", f"{import_ms(_DEPENDENCIES):.0f} ms")])
    for n_items in (10_000, 100_000, 1_000_000):
        tell(scan_rows(n_items))


_DEPENDENCIES = "import numpy; from cryptography.hazmat.primitives.ciphers.aead import AESGCM"


if __name__ == "__main__":
    main()
