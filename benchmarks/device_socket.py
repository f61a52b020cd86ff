"""What the socket adds to a verb: `python benchmarks/device_socket.py [--calls N] [--json]`.

A client and the service in two processes, 10,000 items with a model, one call after another. Two
rows: the round trip of a verb that does next to nothing (`Context`), which is what the socket and
the gate cost; and `Recommend` as a whole beside the decision inside it (`took_us`). In CPU time of
both processes, and in wall time, which on a shared machine measures the neighbours.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
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

HERE = Path(__file__).resolve()
N_ITEMS, WIDTH, N_EVENTS = 10_000, 32, 100
TARGET = "≤ 2 ms + decision"


def measure(calls: int = 2_000) -> dict[str, float]:
    """Return p50 and p99 in milliseconds, as `empty_p50`, `empty_p99` and so on.

    `empty` is the round trip of `Context`, `recommend` that of `Recommend`, `beyond_decision` what
    the latter took beyond its decision; each also as `…_cpu_…`, the CPU time of both processes.
    """
    import grpc

    from tacit.v1 import personalizer_pb2 as pb
    from tacit.v1 import personalizer_pb2_grpc

    taken: dict[str, list[float]] = {}

    def note(name: str, wall_ms: float, cpu_ms: float) -> None:
        taken.setdefault(name, []).append(wall_ms)
        taken.setdefault(f"{name}_cpu", []).append(cpu_ms)

    with (
        tempfile.TemporaryDirectory(prefix="tacit-") as folder,
        serving(folder) as (path, token, server),
        grpc.insecure_channel(f"unix:{path}") as channel,
    ):
        stub = personalizer_pb2_grpc.PersonalizerServiceStub(channel)
        metadata = (("authorization", f"Bearer {token}"),)
        nothing, ten = pb.ContextRequest(), pb.RecommendRequest(surface="home", k=10)
        for turn in range(calls + 100):
            took = timed(lambda: stub.Context(nothing, metadata=metadata, timeout=20), server)
            if turn >= 100:
                note("empty", *took[:2])
        for turn in range(calls // 4 + 20):
            wall_ms, cpu_ms, decision = timed(
                lambda: stub.Recommend(ten, metadata=metadata, timeout=20), server
            )
            if turn >= 20:
                note("recommend", wall_ms, cpu_ms)
                taken.setdefault("beyond_decision", []).append(wall_ms - decision.took_us / 1000)
    return {
        f"{name}_p{percent}": float(np.percentile(values, percent))
        for name, values in taken.items()
        for percent in (50, 99)
    }


def timed(call: Callable[[], Any], server: int) -> tuple[float, float, Any]:
    """Return wall and CPU milliseconds of a call, the latter of both processes, and its answer."""
    before_ns = server_cpu_ns(server)
    started, own = time.perf_counter(), time.process_time()
    answer = call()
    wall_ms = 1000 * (time.perf_counter() - started)
    cpu_ms = 1000 * (time.process_time() - own) + (server_cpu_ns(server) - before_ns) / 1e6
    return wall_ms, cpu_ms, answer


def server_cpu_ns(pid: int) -> int:
    """Return nanoseconds that all threads of a process ran (Linux; else 0)."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            total += int(task.read_text().split()[0])
    return total


@contextlib.contextmanager
def serving(folder: str) -> Any:
    """Serve a profile in a process of its own; yields its socket, a token and its process id."""
    command = [sys.executable, str(HERE), "--serve", folder]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        output: Any = process.stdout
        path, token = output.readline().split()
        try:
            yield path, token, process.pid
        finally:
            # Its standard input ends, and with it the serving.
            process.communicate()


def serve(folder: Path) -> None:
    """Serve until standard input ends."""
    sys.path.insert(0, str(HERE.parent))
    from device import opened  # the same profile as the device's other figures

    from tacit.client import Catalogue, FileKeyProvider, Personalizer
    from tacit.client.service import EVERYDAY_VERBS, PersonalizerServer

    opened(folder, N_ITEMS).close()
    catalogue = Catalogue.build((f"i{n}", f"Item {n}", [f"C{n % 50}"]) for n in range(N_ITEMS))
    keys = FileKeyProvider(folder / "key")

    def open_again() -> Personalizer:
        return Personalizer.open(folder / "p.db", keys, catalogue)

    with PersonalizerServer(folder / "run" / "s", open_again, keys) as server:
        print(server.socket, server.tokens.issue("b", EVERYDAY_VERBS, ["home"], 0), flush=True)
        sys.stdin.read()


def row(figures: dict[str, float]) -> tuple[str, str, str]:
    """Return goal, target and measured, as one row of the device's table."""
    return (
        "round trip on the socket p99",
        TARGET,
        f"{figures['empty_cpu_p99']:.2f} ms CPU of both ends (p50 {figures['empty_cpu_p50']:.2f}); "
        f"wall {figures['empty_p99']:.2f} (p50 {figures['empty_p50']:.2f}), beyond a decision "
        f"{figures['beyond_decision_p99']:.2f} (p50 {figures['beyond_decision_p50']:.2f})",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
        return
    figures = measure(options.calls)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    goal, target, measured = row(figures)
    print(f"{goal:34} {target:20} {measured}")
    print(
        f"{'Recommend over the socket p99':34} {'—':20} {figures['recommend_cpu_p99']:.2f} ms CPU "
        f"(p50 {figures['recommend_cpu_p50']:.2f}); wall {figures['recommend_p99']:.2f} "
        f"(p50 {figures['recommend_p50']:.2f})"
    )
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
