"""How fast noise is drawn: `python benchmarks/noise.py [--draws 4000000]`.

One table: the exact discrete Gaussian on one and on two threads, beside the floor (the bytes it
takes from the operating system's CSPRNG, and nothing else) and beside numpy's continuous Gaussian,
which is seedable, works on floats and may not protect anybody. CPU time is this process's own; wall
time includes waiting for whoever else uses the machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tacit.privacy.discrete_gaussian import sample_discrete_gaussian

SIGMAS = (1.0, 1000.0, 8192.0, 32768.0, float(1 << 24))
BYTES_PER_DRAW = 20  # 8 for the table, 4 for the offset, 8 for the acceptance, 1/8 for the sign


def show(label: str, draws: int, work: Callable[[], object]) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"| {label} | {draws / wall / 1e6:.1f} | {draws / cpu / 1e6:.1f} |", flush=True)


def threaded(sigma: float, draws: int) -> None:
    with ThreadPoolExecutor(2) as pool:
        halves = [
            pool.submit(sample_discrete_gaussian, sigma, draws // 2, os.urandom) for _ in range(2)
        ]
        for half in halves:
            half.result()


def random_bytes(draws: int) -> None:
    for _ in range(draws * BYTES_PER_DRAW >> 20):
        os.urandom(1 << 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=4_000_000)
    draws: int = parser.parse_args().draws
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    print(
        f"commit {commit.stdout.strip()}, {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, numpy {np.__version__}, {draws:,} draws each\n"
    )
    print("| what | M/s of wall time | M/s of one core |\n|---|---:|---:|")
    show(f"floor: os.urandom, {BYTES_PER_DRAW} bytes a draw", draws, lambda: random_bytes(draws))
    show("not for protection: numpy", draws, lambda: np.random.default_rng().normal(size=draws))
    for sigma in SIGMAS:
        sample_discrete_gaussian(sigma, 1, os.urandom)  # makes the table
        label = f"discrete Gaussian, sigma {sigma:,.0f}"
        show(
            f"{label}, one thread",
            draws,
            lambda sigma=sigma: sample_discrete_gaussian(sigma, draws, os.urandom),
        )
        show(f"{label}, two threads", draws, lambda sigma=sigma: threaded(sigma, draws))
    print("\nEvery draw is exact: total-variation error 0, nothing to add to delta.")


if __name__ == "__main__":
    main()
