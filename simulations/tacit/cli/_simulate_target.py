"""The part of `tacit simulate` that predicts a target instead of ranking items."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tacit.cli._report_file import write_report
from tacit.privacy.trust import exclusions
from tacit.simulations.bandit import BanditReport, play_bandit
from tacit.simulations.datasets import load
from tacit.simulations.errors import BadExperiment
from tacit.simulations.journeys import generate_journeys
from tacit.simulations.prediction import PREDICTED, PredictionReport, predict_target
from tacit.simulations.simulate import default_delta
from tacit.simulations.trained import EVALUATION

TARGETS = (*PREDICTED, "bandit")

_PEOPLE, _PLAYERS = 2_000, 10_000


def simulate_target(
    path: Path | None,
    target: str,
    epsilon: float,
    delta: float | None,
    on_users: Callable[[str, int, int], None],
) -> PredictionReport | BanditReport:
    """Run one experiment with the linear learner.

    Args:
        path: data set; `None` generates one.
        target: one of `TARGETS`.
        epsilon: total budget; infinity trains without noise.
        delta: target delta; `None` applies the default.
        on_users: called with what is done, users done and users in all.

    Raises:
        BadExperiment: the options contradict each other or are out of range.
        DatasetError: the data cannot be read, or holds nothing to predict.
    """
    if target == "bandit":
        if path is not None:
            raise BadExperiment("target bandit plays in a generated environment; leave --data out")
        chosen = _delta(delta, _PLAYERS)
        return play_bandit(_PLAYERS, epsilon, chosen, on_users=_counter(_PLAYERS, on_users))
    dataset = generate_journeys(_PEOPLE) if path is None else load(path)
    chosen = _delta(delta, dataset.n_users)
    return predict_target(
        dataset, target, epsilon, chosen, on_users=_counter(dataset.n_users, on_users)
    )


def show_target(
    console: Console, report: PredictionReport | BanditReport, json_path: Path | None
) -> None:
    """Write the report where it was asked for, and print it as a person would read it."""
    document = report.to_json()
    if json_path is not None:
        write_report(json_path, document)
    if isinstance(report, PredictionReport):
        _show_prediction(console, report)
    else:
        _show_bandit(console, report)
    for note in document["notes"]:
        console.print(f"[bold]Note[/bold]: {note}.")
    console.print(_privacy_sentence(report))
    console.print(
        f"Each device would send 1 vector of {report.payload_bytes / 1e3:.1f} kB. "
        f"Took {report.wall_s:.1f} s, {report.cpu_s:.1f} s of processor time, "
        f"{report.peak_rss_bytes / 1e6:,.0f} MB."
    )


def _show_prediction(console: Console, report: PredictionReport) -> None:
    console.print(
        f"[bold]{report.dataset.name}[/bold]: {report.dataset.n_users:,} users; target "
        f"{report.target}, {report.rows:,} later moments of {report.users:,} users, "
        f"{report.positive_share:.1%} of them positive"
    )
    table = Table(title=None)
    table.add_column("prediction of what came later")
    for name in ("auc", "log_loss", "rmse"):
        table.add_column(f"{name} (95%)", justify="right")
    labels = {"ridge": "ridge, not private", "base_rate": "base rate, not private"}
    for name, measured in report.measured.items():
        cells = [
            f"{measured.means[metric]:.4f} ({low:.3f}–{high:.3f})"
            for metric, (low, high) in measured.intervals.items()
        ]
        table.add_row(labels.get(name, name), *cells)
    console.print(table)


def _show_bandit(console: Console, report: BanditReport) -> None:
    console.print(
        f"[bold]generated bandit[/bold]: {report.users:,} users learned from, their decisions "
        "logged under a uniform policy"
    )
    table = Table(title=None)
    table.add_column("choosing for others")
    table.add_column("reward (95%)", justify="right")
    table.add_column("regret (95%)", justify="right")
    for name in report.regrets:
        cells = [
            f"{mean:.4f} ({low:.3f}–{high:.3f})"
            for mean, low, high in (report.rewards[name], report.regrets[name])
        ]
        table.add_row(name, *cells)
    console.print(table)


def _privacy_sentence(report: PredictionReport | BanditReport) -> str:
    """State the claim with everything it rests on, or that there is none."""
    claim = report.claim
    if claim is None:
        return "No noise was added: no differential privacy is claimed."
    return (
        f"Spent epsilon {claim.epsilon:.4f} at delta {claim.target_delta:.1e} per {claim.unit} "
        f"({claim.neighboring_relation.replace('_', '/')} adjacency, trust level "
        f"{claim.trust_level}, full participation in 1 round, no sampling claimed; "
        f"{claim.accountant} "
        f"{claim.accountant_version}). Excluded: {'; '.join((*exclusions(claim), EVALUATION))}."
    )


def _delta(delta: float | None, users: int) -> float:
    chosen = default_delta(users) if delta is None else delta
    if not (math.isfinite(chosen) and 0.0 < chosen < 1.0 / users):
        raise BadExperiment(
            f"expected delta above 0 and below 1/{users} (one over the users), got {chosen}"
        )
    return chosen


def _counter(users: int, on_users: Callable[[str, int, int], None]) -> Callable[[int], None]:
    """Turn counts of users into a running total."""
    done = 0

    def advance(more: int) -> None:
        nonlocal done
        done += more
        on_users(f"summing, {users:,} users", done, users)

    return advance
