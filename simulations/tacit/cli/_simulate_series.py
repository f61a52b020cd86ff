"""`tacit simulate --tasks K`: continual training within one budget."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from tacit.simulations.continual import SeriesReport
from tacit.simulations.datasets import Dataset


def show_series(console: Console, dataset: Dataset, report: SeriesReport) -> None:
    """Print how utility and spend grow from task to task."""
    total = report.tasks[-1].spent_epsilon
    (guarantee,) = report.tasks[-1].warm.guarantees
    table = Table(title=f"{dataset.name}: {len(report.tasks)} tasks, ε = {total:.3g} together")
    for column in ("task", "its own ε", "ε of all so far", "NDCG@100", "from nothing"):
        table.add_column(column, justify="right")
    for result, warm, cold in zip(report.tasks, report.warm, report.cold, strict=True):
        table.add_row(
            str(result.task),
            f"{result.epsilon:.3f}",
            f"{result.spent_epsilon:.3f}",
            f"{warm.means['ndcg@100']:.4f}",
            f"{cold.means['ndcg@100']:.4f}" if result.task > 1 else "-",
        )
    console.print(table)
    console.print(
        "Each task starts from the release before it, which has been paid for. “From nothing” is a "
        "model at the same ε without that; it is no part of the series' budget. "
        f"Per user, add/remove, δ = {report.delta:.1e}, trust level central, every user in every "
        "round of every task, no sampling claimed. "
        f"Accountant: {guarantee.accountant}. Excluded: {'; '.join(guarantee.exclusions)}."
    )
