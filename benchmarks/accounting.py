"""Print epsilon by accountant for standard settings, beside published values.

    python benchmarks/accounting.py          (its output stands in docs/accounting.md)

Then what the closed form gains over Renyi accounting, in noise, and the time of a curve.
"""

from __future__ import annotations

import logging
import time
from importlib.metadata import version

from tacit.privacy.accounting import GaussianEvent, PoissonEvent, calibrate, epsilon_bound
from tacit.privacy.accounting_interface import ACCOUNTANTS
from tacit.privacy.accounting_modes import Event
from tacit.privacy.accounting_rdp import epsilon_rdp
from tacit.privacy.errors import BadParameter

MNIST = 256 / 60_000

SETTINGS: tuple[tuple[str, Event, float, str], ...] = (
    ("one release, z=1", GaussianEvent(1.0), 1e-5, "4.377 (Balle, Wang 2018, Theorem 8)"),
    ("one release, z=4", GaussianEvent(4.0), 1e-6, "-"),
    ("5 releases, z=2", GaussianEvent(2.0, 5), 1e-5, "-"),
    ("5 releases, z=5", GaussianEvent(5.0, 5), 1e-6, "-"),
    ("100 releases, z=20", GaussianEvent(20.0, 100), 1e-6, "-"),
    ("10,000 releases, z=100", GaussianEvent(100.0, 10_000), 1e-5, "-"),
    ("10 releases, z=1 (no sampling claimed)", GaussianEvent(1.0, 10), 1e-5, "-"),
    ("q=0.01, z=4, T=10,000", PoissonEvent(4.0, 0.01, 10_000), 1e-5, "1.26 (Abadi et al. 2016)"),
    ("q=256/60,000, z=1.2, T=2,343", PoissonEvent(1.2, MNIST, 2343), 1e-5, "1.20 (TF Privacy)"),
    ("q=256/60,000, z=1.12, T=14,062", PoissonEvent(1.12, MNIST, 14_062), 1e-5, "2.92 (same)"),
    ("q=256/60,000, z=0.6, T=7,031", PoissonEvent(0.6, MNIST, 7031), 1e-5, "9.74 (same)"),
    ("q=0.01, z=1, T=1,000", PoissonEvent(1.0, 0.01, 1000), 1e-5, "-"),
    ("q=1e-4, z=1, T=100,000", PoissonEvent(1.0, 1e-4, 100_000), 1e-9, "-"),
)


def show(label: str, event: Event, delta: float, published: str) -> None:
    cells: list[str] = []
    for accountant in ACCOUNTANTS:
        try:
            found = accountant.bounds([event], delta)
        except BadParameter:
            cells.append("-")
            continue
        lower = f"{found.lower:.4f} – " if found.lower else ""
        cells.append(f"{lower}{found.upper:.4f}")
    print(f"| {label} | {delta:.0e} | {' | '.join(cells)} | {published} |", flush=True)


def renyi_multiplier(target: float, delta: float) -> float:
    low, high = 0.01, 1e4
    for _ in range(200):
        middle = (low + high) / 2
        above = epsilon_rdp([GaussianEvent(middle)], delta) > target
        low, high = (middle, high) if above else (low, middle)
    return high


def main() -> None:
    logging.disable(logging.WARNING)  # orders that do not converge are left out by the library
    print(f"opacus {version('opacus')}, dp-accounting {version('dp-accounting')}\n")
    print("| setting | δ | " + " | ".join(one.name for one in ACCOUNTANTS) + " | published |")
    print("|---|---|" + "---:|" * len(ACCOUNTANTS) + "---|")
    for setting in SETTINGS:
        show(*setting)
    print(
        "\n| ε at δ=1e-5 | z by Rényi | z by the closed form | less noise |\n|---|---:|---:|---:|"
    )
    for target in (8.0, 3.0, 1.0):
        (z,), renyi = calibrate(target, 1e-5, [1.0]), renyi_multiplier(target, 1e-5)
        print(f"| {target:g} | {renyi:.4f} | {z:.4f} | {1 - z / renyi:.1%} |")
    started = time.process_time()
    for rounds in range(1, 101):
        epsilon_bound([GaussianEvent(5.0, rounds)], 1e-6)
    print(f"\nA curve of 100 points takes {time.process_time() - started:.2f} s of one core.")


if __name__ == "__main__":
    main()
