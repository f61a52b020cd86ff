"""What a device promises beside speed, counted: explanations, exploration, guardrails, secrecy."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from device_sizes import K, opened, times_ms

_ON_DEVICE = ("tacit/client/", "tacit/privacy/", "tacit/v1/")

sockets: list[str] = []
"""Every socket event of this process, from the moment `watch_sockets` was called."""


def watch_sockets() -> None:
    """Count what touches a socket; an audit hook sees all of it and cannot be taken out again."""

    def note(event: str, _: tuple[object, ...]) -> None:
        if event.startswith("socket."):
            sockets.append(event)

    sys.addaudithook(note)


def store(folder: Path) -> dict[str, float]:
    """Record, read, look for plain text, explain and forget, in a store that was built."""
    pz = opened(folder)
    view = {"product_id": "i5"}
    tracked = 1000 * times_ms(lambda: pz.track("Product Viewed", view), 5000)
    batch = [("Product Viewed", view, None, None)] * 10_000
    told = {
        "track_p50_us": float(np.percentile(tracked, 50)),
        "track_p99_us": float(np.percentile(tracked, 99)),
        "ingest_per_s": 1e7 / times_ms(lambda: pz.track_all(batch), 3).min(),
    }
    count = pz.events.count()
    taken = times_ms(lambda: pz.events.read(["product_view"]), 3)
    told |= {"events": count, "replay_per_s": 1000 * count / taken.min()}
    decision = pz.recommend(k=K)
    pz.shown(decision.id)
    shown = decision.items[0].item_id
    explained = times_ms(lambda: pz.explain(decision.id, shown), 3)
    told["explain_ms"] = float(np.median(explained))
    files = b"".join(path.read_bytes() for path in folder.glob("p.db*"))
    needles = [b"Product Viewed", b"product_view", b"product_id", decision.id.encode()]
    told["plaintext_hits"] = sum(files.count(needle) for needle in needles)
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    pz.forget(all=True)
    told["forget_cpu_s"] = time.process_time() - cpu_s
    told["forget_wall_s"] = time.perf_counter() - wall_s
    return told


def explanations(folder: Path) -> dict[str, int]:
    """Count cited events, and those whose removal lowers the score, by a scan without them."""
    from tacit.client.decide import read_model, scores
    from tacit.privacy.arrays import unpack_arrays

    with opened(folder) as pz:
        release = pz.releases.get()
        if release is None:
            raise SystemExit("expected a store with a model")
        model = read_model(unpack_arrays(release.model_blob, 1 << 30))
        catalogue = pz.catalogue
        events = pz.events.read(["product_view"])
        where = {e.sequence: catalogue.index(e.event.items[0]) for e in events}
        history = np.array(sorted({i for i in where.values() if i is not None}), dtype=np.int64)
        cited = lower = 0
        for _ in range(5):
            decision = pz.recommend(k=K)
            for item in decision.items[:4]:
                index = catalogue.index(item.item_id)
                full = scores(model, history, np.ones(len(history)))[index]
                for event in pz.explain(decision.id, item.item_id).cited:
                    gone = {where[sequence] for sequence in event.sequences}
                    rest = np.array([i for i in history.tolist() if i not in gone], dtype=np.int64)
                    cited += 1
                    lower += int(scores(model, rest, np.ones(len(rest)))[index] < full)
    return {"cited": cited, "lower": lower}


def exploration(slots: int) -> float:
    """Return the share of slots that chance filled."""
    from tacit.client.slate import Exploration, fill, system_uniforms

    explored = filled = 0
    while filled < slots:
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
        filled += len(slate.items)
    return explored / filled


def guardrails(everything: bool) -> str:
    """Run the random decisions held against an oracle: 10⁴ of them, or 10⁶."""
    tests = Path(__file__).resolve().parents[1] / "tests/client/guardrails/test_violations.py"
    chosen = "long" if everything else "not long"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", chosen, "--timeout=7200", str(tests)],
        capture_output=True,
        text=True,
        check=False,
    )
    many = "10⁶" if everything else "10⁴"
    if done.returncode:
        return f"FAILED over {many}: see pytest {tests.name}"
    return f"0 in {many} (--violations for 10⁶)" if not everything else f"0 in {many}"


def sizes(root: Path, folder: Path) -> dict[str, Any]:
    """Build the wheel and add up what `pip install tacit` puts on a device."""
    from importlib.metadata import distribution

    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check",
         "--no-deps", "-w", str(folder), str(root)],
        capture_output=True, text=True, check=False, env=dict(os.environ),
    )  # fmt: skip
    wheels = list(folder.glob("*.whl"))
    dependencies = 0
    for name in ("numpy", "cryptography", "cffi", "pycparser"):
        for file in distribution(name).files or ():
            path = Path(str(file.locate()))
            if path.suffix != ".pyc" and path.is_file():
                dependencies += path.stat().st_size
    told: dict[str, Any] = {"wheel_kb": None, "closure_mb": dependencies / 1e6}
    if done.returncode == 0 and wheels:
        told["wheel_kb"] = wheels[0].stat().st_size / 1e3
        with zipfile.ZipFile(wheels[0]) as wheel:
            parts = [i for i in wheel.infolist() if i.filename.startswith(_ON_DEVICE)]
        told["device_kb"] = sum(part.compress_size for part in parts) / 1e3
    return told
