"""Decide at one size of catalogue, in a process of its own, and tell what it took.

`build DIR N WIDTH` makes a store with a model and 100 events; `decide DIR COUNT` opens it as an app
would and prints JSON. Two processes, so that making the model is not in the memory of using it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from tacit.client import Catalogue, DevicePolicy, FileKeyProvider, Personalizer

N_EVENTS, K = 100, 10
POLICY = DevicePolicy(max_model_bytes=1 << 30)
"""A million rows of 32 floats are 128 MB, twice what a device accepts unless the app says so."""


def build(folder: Path, n_items: int, width: int) -> None:
    """Make the store, and the catalogue's bytes beside it."""
    from tacit.client.installed import InstalledRelease
    from tacit.privacy.arrays import pack_arrays
    from tacit.privacy.release import ReleaseManifest

    catalogue = Catalogue.build((f"i{n}", f"Item {n}", [f"C{n % 50}"]) for n in range(n_items))
    (folder / "catalogue.json").write_bytes(catalogue.to_bytes())
    rng = np.random.default_rng(0)
    popularity = np.full(n_items, 1 / n_items, dtype=np.float32)
    loadings = rng.standard_normal((n_items, width), dtype=np.float32)
    loadings /= 10 * n_items
    blob = pack_arrays(
        {
            "popularity": popularity,
            "item_variance": popularity,
            "loadings": loadings,
            "prior_variance": np.ones(width, dtype=np.float32),
        }
    )
    digest = catalogue.digest.hex()
    manifest = ReleaseManifest(
        "people", 1, "0" * 64, "0" * 64, len(blob), digest, ("r",), 1.0, 1e-4, 0
    )
    with Personalizer.open(
        folder / "p.db", FileKeyProvider(folder / "key"), catalogue, policy=POLICY
    ) as pz:
        pz.releases.put(InstalledRelease(manifest, blob))
        step = max(1, n_items // (2 * N_EVENTS))
        pz.track_all(
            ("Product Viewed", {"product_id": f"i{step * n}"}, None, None) for n in range(N_EVENTS)
        )


def opened(folder: Path) -> Personalizer:
    """Open a store that was built."""
    catalogue = Catalogue.from_bytes((folder / "catalogue.json").read_bytes())
    keys = FileKeyProvider(folder / "key")
    return Personalizer.open(folder / "p.db", keys, catalogue, policy=POLICY)


def times_ms(work: Callable[[], object], count: int) -> np.ndarray[Any, Any]:
    """Return the CPU milliseconds of each of some calls, after three to warm up."""
    for _ in range(3):
        work()
    taken: list[float] = []
    for _ in range(count):
        started = time.process_time_ns()
        work()
        taken.append((time.process_time_ns() - started) / 1e6)
    return np.array(taken)


def resident_mb() -> float:
    """Return what this process holds in memory, interpreter and libraries included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def decide(folder: Path, count: int) -> dict[str, float]:
    """Open, decide `count` times in five parts, and tell."""
    pz = opened(folder)
    started = time.process_time()
    first = pz.recommend(k=K)
    first_ms = 1000 * (time.process_time() - started)
    if first.basis != "model" or len(first.items) != K:
        raise SystemExit(f"expected {K} items by the model, got {len(first.items)} {first.basis}")
    parts = [times_ms(lambda: pz.recommend(k=K), count // 5) for _ in range(5)]
    told = {
        "p50": float(np.percentile(np.concatenate(parts), 50)),
        "p99": float(np.percentile(np.concatenate(parts), 99)),
        # Whoever shares the cores evicts caches and slows the clock; the least disturbed part.
        "p99_best_part": min(float(np.percentile(part, 99)) for part in parts),
        "first_ms": first_ms,
        "resident_mb": resident_mb(),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    pz.close()
    return told


if __name__ == "__main__":
    if sys.argv[1] == "build":
        build(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        print(json.dumps(decide(Path(sys.argv[2]), int(sys.argv[3]))))
