"""Print one markdown table: data sets by learners by epsilon, beside the baselines.

    python benchmarks/learning.py DATA_FOLDER [--sets ml-100k] [--learners spectral popularity]
        [--epsilons inf 8 3 1] [--seeds 3] [--split random] [--write docs/learning.md]

`DATA_FOLDER` holds the data sets. Every private figure is a mean over split seeds with fresh noise
from the operating system; the interval is the mean over seeds of the 95% bootstrap interval over
users. Shares are of EASE on the same splits. `--write` replaces what stands between the markers
`<!-- learning:begin -->` and `<!-- learning:end -->`.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import subprocess
import time
from pathlib import Path

import numpy as np

from tacit.simulations.datasets import Dataset, load
from tacit.simulations.holdout import SPLITS
from tacit.simulations.learners import LEARNERS
from tacit.simulations.report import Row, SimulationReport
from tacit.simulations.simulate import SimulationOptions, simulate
from tacit.simulations.splits import PUBLIC_SPLIT_SEED

BEGIN, END = "<!-- learning:begin -->", "<!-- learning:end -->"
HEADER = (
    "| data | model | ε (δ, per user) | NDCG@100 | 95% interval | recall@20 | HR@10 | of EASE "
    "| coverage | light/heavy | group ratio | bytes per device | train s |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def rows_of(dataset: Dataset, arguments: argparse.Namespace) -> list[str]:
    """Run every learner at every epsilon on every seed, baselines once per seed."""
    seeds = [PUBLIC_SPLIT_SEED + turn for turn in range(arguments.seeds)]
    ease: list[Row] = []
    lines: list[str] = []
    first = True
    for learner in arguments.learners:
        for epsilon in arguments.epsilons:
            reports: list[SimulationReport] = [
                simulate(
                    dataset,
                    SimulationOptions(
                        learner=learner,
                        epsilon=epsilon,
                        split=arguments.split,
                        split_seed=seed,
                        baselines=first,
                    ),
                )
                for seed in seeds
            ]
            if first:
                ease = [row for r in reports for row in r.rows if row.label == "EASE"]
                for label in ("popularity", "EASE", "iALS"):
                    found = [row for r in reports for row in r.rows if row.label == label]
                    if found:
                        lines.append(line(dataset, label, found, ease, ()))
                first = False
            lines.append(
                line(
                    dataset,
                    reports[0].trained.learner,
                    [report.rows[0] for report in reports],
                    ease,
                    reports[0].trained.payload_bytes,
                )
            )
            print(lines[-1], flush=True)
    return lines


def line(
    dataset: Dataset, label: str, rows: list[Row], ease: list[Row], payload: tuple[int, ...]
) -> str:
    """Write one row of the table."""

    def mean(name: str) -> float:
        return float(np.mean([row.evaluation.means[name] for row in rows]))

    low = float(np.mean([row.intervals["ndcg@100"].low for row in rows]))
    high = float(np.mean([row.intervals["ndcg@100"].high for row in rows]))
    reference = float(np.mean([row.evaluation.means["ndcg@100"] for row in ease])) if ease else 0.0
    trained = rows[0].trained
    budget = "not private"
    label = f"{label}, exact" if trained is None and label == "popularity" else label
    if trained is not None:
        budget = "∞, no claim"
        if trained.guarantees:
            claim = trained.guarantees[0]
            budget = f"{claim.epsilon:.3g} ({claim.delta:.0e}, {claim.unit})"

    def optional(values: list[float | None]) -> str:
        known = [value for value in values if value is not None]
        return f"{np.mean(known):.3f}" if known else "-"

    share = f"{mean('ndcg@100') / reference:.1%}" if reference else "-"
    return (
        f"| {dataset.name} | {label} | {budget} | {mean('ndcg@100'):.4f} | {low:.3f}-{high:.3f} "
        f"| {mean('recall@20'):.4f} | {mean('hit_rate@10'):.4f} "
        f"| {share} "
        f"| {np.mean([row.slices.coverage for row in rows]):.1%} "
        f"| {optional([row.slices.light_to_heavy for row in rows])} "
        f"| {optional([row.slices.group_ratio for row in rows])} "
        f"| {f'{sum(payload):,}' if payload else '-'} "
        f"| {np.mean([row.wall_s for row in rows]):.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="+", default=["ml-100k", "ml-1m"])
    parser.add_argument("--learners", nargs="+", default=list(LEARNERS), choices=list(LEARNERS))
    parser.add_argument("--epsilons", type=float, nargs="+", default=[math.inf, 8.0, 3.0, 1.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--split", choices=SPLITS, default="random")
    parser.add_argument("--write", type=Path, help="page whose table is replaced")
    arguments = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    started = time.perf_counter()
    lines: list[str] = []
    for name in arguments.sets:
        lines += rows_of(load(arguments.folder / name), arguments)
    about = (
        f"{arguments.split} split, {arguments.seeds} seed(s), full ranking; user-level (ε, δ), "
        f"add/remove, trust level central, full participation, no sampling claimed. Commit "
        f"{commit}, {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, {time.perf_counter() - started:.0f} s in all."
    )
    table = "\n".join([HEADER, *lines, "", about])
    print(table)
    if arguments.write is not None:
        page = arguments.write.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        _, found, after = rest.partition(END)
        if not found:
            raise SystemExit(f"{arguments.write}: expected the markers {BEGIN} and {END}")
        text = f"{before}{BEGIN}\n{table}\n{END}{after}"
        arguments.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
