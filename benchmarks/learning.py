"""Make the tables of `docs/learning.md`: learners by epsilon beside baselines, on real data.

    python benchmarks/learning.py DATA_FOLDER [--tables main last signals curve]
        [--sets ml-100k ml-1m] [--learners spectral factorization popularity factorization-opacus]
        [--epsilons inf 8 3 1] [--seeds 1 2 3] [--results out-learning.json]
        [--write docs/learning.md]

`DATA_FOLDER` holds the data sets. Every figure is a mean over split seeds, with fresh noise from
the operating system each. Each run is written to `--results` when it is done, and a run that is
there is not made again: start the same command again to go on after an interruption. Runs of
another commit are refused unless `--any-commit` is given; every table names the commits it is of.
`--write` replaces what stands between the markers of each table, after every row.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from learning_tables import TABLES, Group, fill, render

from tacit.simulations.datasets import Dataset, load
from tacit.simulations.learners import LEARNERS
from tacit.simulations.report import Row
from tacit.simulations.simulate import SimulationOptions, simulate

SHOP, SIGNALS = "retailrocket", ("product_view", "add_to_cart", "purchase")
CURVE_SET, CURVE_SIZES = "ml-1m", (300, 600, 1200, 2400, 4800)
OPACUS, OPACUS_SET = "factorization-opacus", "ml-100k"

# A run that fails must not take the others with it; anything else is a defect of this script.
FAILURES = (ValueError, ArithmeticError, LookupError, ImportError, MemoryError, RuntimeError)


@dataclass(frozen=True)
class Plan:
    """One group of runs: the same but for the seed, and one row of a table."""

    table: str
    data: str
    options: SimulationOptions
    baselines: bool = False

    @property
    def group(self) -> Group:
        """Say what all runs of the group share, as a key."""
        o = self.options
        learner = "baselines" if self.baselines else o.learner
        return (self.table, self.data, learner, f"{o.epsilon:g}", self.variant)

    @property
    def variant(self) -> str:
        """Say what a row varies besides the learner and epsilon."""
        if self.table == "signals":
            return ",".join(self.options.signals or ())
        if self.table == "curve":
            return str(self.options.cohort_size)
        return "no recency" if self.options.recency is False else ""


def plans(arguments: argparse.Namespace) -> Iterator[Plan]:
    """List the rows of the wanted tables, in order."""
    for table in arguments.tables:
        if table in ("main", "last"):
            base = SimulationOptions()
            if table == "last":
                base = SimulationOptions(split="leave-one-out", paper_protocol=True)
            for data in arguments.sets:
                beside = replace(base, learner="popularity", epsilon=math.inf, baselines=True)
                yield Plan(table, data, beside, baselines=True)
                for learner in arguments.learners:
                    if learner == OPACUS and (table, data) != ("main", OPACUS_SET):
                        continue  # minutes a run; elsewhere `factorization` stands for it
                    for epsilon in arguments.epsilons:
                        yield Plan(table, data, replace(base, learner=learner, epsilon=epsilon))
                    if table == "last" and learner == "spectral":
                        yield Plan(table, data, replace(base, epsilon=8.0, recency=False))
        elif table == "signals":
            for epsilon in arguments.epsilons:
                for count in range(1, len(SIGNALS) + 1):
                    some = SimulationOptions(
                        epsilon=epsilon, target="purchase", signals=SIGNALS[:count]
                    )
                    yield Plan(table, SHOP, some)
        else:
            for size in arguments.sizes:
                for epsilon in (math.inf, 8.0, 1.0):
                    curve = SimulationOptions(epsilon=epsilon, unseen_share=0.2, cohort_size=size)
                    yield Plan(table, arguments.curve_set, curve)


def run_one(dataset: Dataset, plan: Plan, seed: int) -> dict[str, Any]:
    """Make one run and return what the tables need of it."""
    started = time.perf_counter()
    report = simulate(dataset, replace(plan.options, split_seed=seed))
    rows = {row.label: _record(row) for row in report.rows if row.trained is None}
    at = 1 if plan.table == "curve" else 0  # on users never trained on
    return {
        "learner": report.trained.learner,
        "main": _record(report.rows[at]),
        "beside": {name: rows[name] for name in ("popularity", "EASE", "iALS") if name in rows},
        "payload_bytes": list(report.trained.payload_bytes),
        "notes": [*report.warnings, *report.trained.notes],
        "users_trained": report.split.cohort.n_users,
        "run_s": time.perf_counter() - started,
    }


def _record(row: Row) -> dict[str, Any]:
    return row.to_json()


class Results:
    """The runs made so far, in a file that is whole after each."""

    def __init__(self, path: Path, commit: str, any_commit: bool) -> None:
        self._path, self._commit = path, commit
        self.runs: dict[str, dict[str, Any]] = {}
        if path.exists():
            self.runs = json.loads(path.read_text(encoding="utf-8"))
        others = {run["commit"] for run in self.runs.values()} - {commit}
        if others and not any_commit:
            raise SystemExit(
                f"{path} holds runs of commit {', '.join(sorted(others))}, this is {commit}: "
                "name another file with --results, or mix them with --any-commit"
            )

    def key(self, plan: Plan, seed: int) -> str:
        return "|".join((*plan.group, str(seed)))

    def add(self, plan: Plan, seed: int, run: dict[str, Any]) -> None:
        self.runs[self.key(plan, seed)] = run | {"commit": self._commit, "machine": machine()}
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        beside.write_text(json.dumps(self.runs), encoding="utf-8")
        beside.replace(self._path)

    def groups(self, seeds: list[int]) -> dict[Group, list[dict[str, Any]]]:
        """Gather runs by group, those of the wanted seeds."""
        found: dict[Group, list[dict[str, Any]]] = {}
        for key, run in self.runs.items():
            table, data, learner, epsilon, variant, seed = key.split("|")
            if int(seed) in seeds:
                found.setdefault((table, data, learner, epsilon, variant), []).append(run)
        return found


@cache
def machine() -> str:
    """Name this machine: processor, cores, threads, Python."""
    name = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line for line in lines if line.startswith("model name")), "")
        name = model.partition(":")[2].strip() or name
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    return f"{name}, {os.cpu_count()} cores ({threads} used), Python {platform.python_version()}"


def commit() -> str:
    """Name the commit of this code, marked where the working tree differs from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    here = Path(__file__).parent
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=here)
    return done.stdout.strip() or "unknown"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--sets", nargs="+", default=["ml-100k", "ml-1m"])
    parser.add_argument(
        "--learners",
        nargs="+",
        default=["spectral", "factorization", "popularity", OPACUS],
        choices=list(LEARNERS),
    )
    parser.add_argument("--epsilons", type=float, nargs="+", default=[math.inf, 8.0, 3.0, 1.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--curve-set", default=CURVE_SET)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(CURVE_SIZES))
    parser.add_argument("--results", type=Path, default=Path("out-learning.json"))
    parser.add_argument("--any-commit", action="store_true")
    parser.add_argument("--write", type=Path, help="page whose tables are replaced")
    arguments = parser.parse_args()
    if arguments.write is not None and not arguments.write.is_file():
        raise SystemExit(f"expected a page with markers, got {arguments.write}: no such file")
    results = Results(arguments.results, commit(), arguments.any_commit)
    print(f"commit {commit()}; {machine()}", file=sys.stderr, flush=True)
    read: Callable[[str], Dataset] = cache(lambda name: load(arguments.folder / name))
    wanted, failed = list(plans(arguments)), 0
    for at, plan in enumerate(wanted, start=1):
        for seed in arguments.seeds:
            if results.key(plan, seed) in results.runs:
                continue
            try:
                run = run_one(read(plan.data), plan, seed)
            except FAILURES as error:
                failed += 1
                print(f"FAILED {results.key(plan, seed)}: {error}", file=sys.stderr, flush=True)
                continue
            results.add(plan, seed, run)
            score = run["main"]["metrics"]["ndcg@100"]
            print(
                f"{at}/{len(wanted)} {results.key(plan, seed)}: NDCG@100 {score:.4f}, "
                f"{run['run_s']:.0f} s",
                file=sys.stderr,
                flush=True,
            )
        if arguments.write is not None:
            write(arguments, results, [one.group for one in wanted])
    for table in arguments.tables:
        print(f"\n{_table(table, arguments, results, [one.group for one in wanted])}", flush=True)
    return 1 if failed else 0


def _table(table: str, arguments: argparse.Namespace, results: Results, wanted: list[Group]) -> str:
    groups = results.groups(arguments.seeds)
    return render(table, [g for g in wanted if g[0] == table], groups, arguments.seeds)


def write(arguments: argparse.Namespace, results: Results, wanted: list[Group]) -> None:
    page = arguments.write.read_text(encoding="utf-8")
    for table in arguments.tables:
        page = fill(page, table, _table(table, arguments, results, wanted))
    arguments.write.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
