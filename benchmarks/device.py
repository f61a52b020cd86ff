"""The device's goals and what is measured: `python benchmarks/device.py [--json FILE]`.

One user with 100 events, 32 dimensions, 50 categories, default guardrails and exploration. Figures
are CPU time of the process that did it, unless they say otherwise: wall time on a shared machine
measures the neighbours. Memory is what the process holds in all (RSS), interpreter, numpy and
cryptography included. The scans run beside onnxruntime and faiss flat, one thread each; these are
in the `benchmark` extra and are left out, saying so, where they are not installed.

Takes about eight minutes; `--small` leaves out the million items, `--kills 1000` and `--violations`
run those two in full.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

HERE = Path(__file__).resolve().parent
Row = tuple[str, str, str]
"""A goal, its target, what was measured."""

SIZES = [
    (10_000, 500, "≤ 2 ms", "≤ 50 MB"),
    (100_000, 300, "≤ 6 ms", "≤ 70 MB"),
    (1_000_000, 50, "≤ 30 ms", "≤ 130 MB"),
]
_DEPENDENCIES = "import numpy; from cryptography.hazmat.primitives.ciphers.aead import AESGCM"
_FIRST_DECISION = "from tacit.client import Catalogue, FileKeyProvider, Personalizer"


def run_json(program: str, *arguments: object) -> dict[str, Any]:
    """Run one of the programs beside this one; returns what it printed."""
    done = subprocess.run(
        [sys.executable, str(HERE / program), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    told: dict[str, Any] = json.loads(done.stdout or "{}")
    return told


def size_rows(folder: Path, raw: dict[str, Any], most: int) -> Iterator[Row]:
    for n_items, count, limit, memory in SIZES:
        if n_items > most:
            continue
        part = folder / str(n_items)
        part.mkdir()
        run_json("device_sizes.py", "build", part, n_items, 32)
        told = raw[f"recommend_{n_items}"] = run_json("device_sizes.py", "decide", part, count)
        best = f"; {told['p99_best_part']:.1f} in the best fifth"
        yield (
            f"recommend p99, {n_items:,} × 32",
            limit,
            f"{told['p99']:.1f} ms (p50 {told['p50']:.1f}{best})",
        )
        told_mb = f"{told['resident_mb']:.0f} MB (peak while loading {told['peak_mb']:.0f})"
        yield (f"memory, {n_items:,} × 32", memory, told_mb)
    if most >= 1_000_000:
        part = folder / "wide"
        part.mkdir()
        run_json("device_sizes.py", "build", part, 1_000_000, 64)
        told = raw["recommend_wide"] = run_json("device_sizes.py", "decide", part, 25)
        told_mb = f"{told['resident_mb']:.0f} MB (decision p50 {told['p50']:.0f} ms)"
        yield ("memory, 1,000,000 × 64", "≤ 130 MB", told_mb)


def store_rows(folder: Path, raw: dict[str, Any]) -> Iterator[Row]:
    import device_promises as promises

    promises.watch_sockets()
    told = raw["explanations"] = promises.explanations(folder)
    share = 100 * told["lower"] / max(1, told["cited"])
    yield (
        "explanations: cited events that lower",
        "100%",
        f"{share:.0f}% of {told['cited']:,} cited",
    )
    kept: dict[str, Any] = promises.store(folder)
    raw["store"] = kept
    tracked = f"{kept['track_p50_us']:.0f} / {kept['track_p99_us']:.0f} µs"
    yield ("track p50 / p99", "50 µs / 1 ms", tracked)
    yield ("ingest", "≥ 50k events/s", f"{kept['ingest_per_s'] / 1e3:.0f}k")
    yield ("replay (decrypt and parse)", "≥ 80k events/s", f"{kept['replay_per_s'] / 1e3:.0f}k")
    yield (f"explain, {kept['events']:,} events", "—", f"{kept['explain_ms']:.0f} ms")
    yield ("plaintext in db, wal, shm", "0 hits", f"{kept['plaintext_hits']:.0f} hits")
    forgotten = f"{kept['forget_cpu_s']:.2f} s CPU, {kept['forget_wall_s']:.2f} s wall"
    yield (f"forget(all), {kept['events']:,} events", "≤ 1 s", forgotten)
    raw["exploration"] = promises.exploration(100_000)
    yield ("exploration over 100,000 slots", "10% ± 0.5%", f"{100 * raw['exploration']:.2f}%")
    raw["sockets"] = len(promises.sockets)
    yield ("sockets outside sync", "0", f"{raw['sockets']} in all rows so far of this process")


def import_rows(raw: dict[str, Any]) -> Iterator[Row]:
    """Time fresh interpreters over compiled bytecode, as an installed package has it."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = cache

        def once(code: str) -> float:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", code], check=True, env=environment)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            return 1000 * spent

        empty = min(once("pass") for _ in range(8))
        ours = min(once(_FIRST_DECISION) for _ in range(8)) - empty
        theirs = min(once(_DEPENDENCIES) for _ in range(8)) - empty
    raw["import_ms"] = {"tacit": ours, "dependencies": theirs}
    yield ("import, all that a decision needs", "≤ 250 ms", f"{ours:.0f} ms")
    yield ("  of that numpy, cryptography", "—", f"{theirs:.0f} ms")


def kill_rows(folder: Path, raw: dict[str, Any], kills: int) -> Iterator[Row]:
    told = raw["kills"] = run_json("device_kill.py", folder, kills)
    lost = f"{told['lost']} of {told['acknowledged']:,} lost in {told['kills']:,} kills"
    yield ("kill -9, acknowledged events lost", "0 in 1,000 kills", lost)
    yield ("  slowest reopening", "≤ 300 ms", f"{told['slowest_reopen_ms']:.0f} ms wall")


def socket_round_trip_row(raw: dict[str, Any]) -> Row:
    import device_socket

    told = raw["socket"] = device_socket.measure()
    cpu, wall, half = told["empty_cpu_p99"], told["empty_p99"], told["empty_cpu_p50"]
    measured = f"{cpu:.2f} ms of CPU at both ends, {wall:.2f} ms wall (p50 {half:.2f} of CPU)"
    return ("gRPC round trip on the socket p99", "≤ 2 ms + decision", measured)


def install_rows(folder: Path, raw: dict[str, Any]) -> Iterator[Row]:
    import device_promises as promises

    told = raw["install"] = promises.sizes(HERE.parent, folder)
    wheel = told["wheel_kb"]
    measured = (
        "not measured: no wheel could be built"
        if wheel is None
        else (f"{wheel:.0f} kB with the servers; {told['device_kb']:.0f} kB of it for devices")
    )
    yield ("install: own wheel", "≤ 300 KB", measured)
    yield ("install: numpy, cryptography, cffi", "≤ 80 MB", f"{told['closure_mb']:.0f} MB")


def scan_row(n_items: int, raw: dict[str, Any]) -> Row:
    import device_scan

    told = raw[f"scan_{n_items}"] = device_scan.scan(n_items, 32)
    figures = ", ".join(
        f"{name} {told[name]:.2f}" if told[name] is not None else f"{name} not installed"
        for name in ("tacit", "numpy", "faiss", "onnxruntime")
    )
    alone = told["recall_at_100_codes_alone"]
    recall = f"; recall of the top 100: {told['recall_at_100']:.2f}"
    recall += "" if alone is None else f" (codes alone {alone:.2f})"
    same = "same top 10" if told["same_top_10"] else "DIFFERENT top 10"
    return (f"scan {n_items:,} × 32, p50 ms", "side by side", f"{figures}; {same}{recall}")


def rows(arguments: argparse.Namespace, raw: dict[str, Any]) -> Iterator[Row]:
    import device_promises as promises

    most = 100_000 if arguments.small else 1_000_000
    # Beside the code, not in the system's temporary folder: that may be memory.
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        yield from size_rows(folder, raw, most)
        yield socket_round_trip_row(raw)
        yield from store_rows(folder / "10000", raw)
        yield from import_rows(raw)
        (folder / "kills").mkdir()
        yield from kill_rows(folder / "kills", raw, arguments.kills)
        yield from install_rows(folder, raw)
        raw["violations"] = promises.guardrails(arguments.violations)
        yield ("guardrail violations, random decisions", "0 in 10⁶", raw["violations"])
    for n_items, *_ in SIZES:
        if n_items <= most:
            yield scan_row(n_items, raw)


def main() -> None:
    parser = argparse.ArgumentParser(description="The device's goals, measured.")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parser.add_argument("--small", action="store_true", help="leave out a million items")
    parser.add_argument("--kills", type=int, default=100, help="writers to kill (100)")
    parser.add_argument("--violations", action="store_true", help="10⁶ random decisions")
    parser.add_argument("--folder", type=Path, help="where to put stores; not a folder in memory")
    arguments = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    raw: dict[str, Any] = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "commit": commit,
    }
    print(
        f"{raw['machine']}, {raw['cores']} cores, load {raw['load']:.1f}, commit {commit}, CPU time"
    )
    print(f"{'goal':38} {'target':18} measured")
    started = time.monotonic()
    for name, target, measured in rows(arguments, raw):
        print(f"{name:38} {target:18} {measured}", flush=True)
        print(f"[{time.monotonic() - started:.0f} s]", end="\r", file=sys.stderr, flush=True)
    raw["load_after"] = os.getloadavg()[0]
    print(f"load at the end {raw['load_after']:.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(raw, indent=2) + "\n")


if __name__ == "__main__":
    main()
