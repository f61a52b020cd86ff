"""Print one table: data sets by epsilon, against popularity and a non-private EASE.

    python benchmarks/simulate_ml.py DATA_FOLDER [--draws 3] [--epsilons inf 8] [--sets ml-1m]

`DATA_FOLDER` holds `ml-100k` and `ml-1m`. Every figure is NDCG@100 and recall@20 under the same
public split; private ones are means over independent noise draws from the operating system.
"""

from __future__ import annotations

import argparse
import math
import platform
import subprocess
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tacit.simulations.datasets import Dataset, load
from tacit.simulations.metrics import Evaluation, evaluate
from tacit.simulations.simulate import SimulationOptions, simulate
from tacit.simulations.splits import per_user_split

FloatArray = npt.NDArray[np.float64]


def ease(dataset: Dataset) -> Evaluation:
    """Fit EASE (Steck 2019, equation 8) on raw training data in one place; not private."""
    split = per_user_split(dataset.profiles())
    rows = np.zeros((dataset.n_users, dataset.n_items), dtype=np.float32)
    rows[split.train.users, split.train.items] = 1.0
    gram = (rows.T @ rows).astype(np.float64)
    # Regularisation by cohort size, no search: 200 at 943 users and 500 at 6,040.
    gram[np.diag_indices_from(gram)] += 6.5 * math.sqrt(dataset.n_users)
    precision = np.linalg.inv(gram)
    weights = -precision / np.diag(precision)
    np.fill_diagonal(weights, 0.0)

    def scorer(items: npt.NDArray[np.int64], strengths: FloatArray) -> FloatArray:
        del strengths
        return np.asarray(weights[items].sum(axis=0), dtype=np.float64)

    return evaluate(split, scorer)


def show(label: str, epsilon: str, means: dict[str, float], wall_s: float) -> None:
    print(
        f"| {label} | {epsilon} | {means['ndcg@100']:.4f} | {means['recall@20']:.4f} | "
        f"{wall_s:.1f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--epsilons", type=float, nargs="+", default=[math.inf, 8.0, 3.0, 1.0])
    parser.add_argument("--sets", nargs="+", default=["ml-100k", "ml-1m"])
    arguments = parser.parse_args()
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    print(f"{platform.machine()}, Python {platform.python_version()}, {revision.stdout.strip()}")
    print("| data, learner | epsilon | ndcg@100 | recall@20 | wall s |\n|---|---|---|---|---|")
    for name in arguments.sets:
        dataset = load(arguments.folder / name)
        started = time.perf_counter()
        show(f"{name}, EASE, not private", "-", ease(dataset).means, time.perf_counter() - started)
        for position, epsilon in enumerate(arguments.epsilons):
            draws = 1 if math.isinf(epsilon) else arguments.draws
            reports = [simulate(dataset, SimulationOptions(epsilon=epsilon)) for _ in range(draws)]
            if position == 0:
                show(f"{name}, popularity, exact", "-", reports[0].popularity.means, 0.0)
            means = {
                metric: float(np.mean([report.evaluation.means[metric] for report in reports]))
                for metric in reports[0].evaluation.means
            }
            wall_s = float(np.mean([report.wall_s for report in reports]))
            show(f"{name}, spectral, {draws} draw(s)", f"{epsilon:g}", means, wall_s)


if __name__ == "__main__":
    main()
