"""`tacit simulate`: train and evaluate on one machine, with the device's own statistics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tacit.cli._interrupt import Interrupted, stop_once
from tacit.cli._progress import Bars
from tacit.cli._report_file import check_writable, write_report
from tacit.cli._simulate_target import TARGETS, show_target, simulate_target
from tacit.privacy.errors import PrivacyError
from tacit.server.coordinator.learners import LearnerError
from tacit.simulations.datasets import Dataset, load
from tacit.simulations.errors import BadExperiment, DatasetError
from tacit.simulations.learners import LEARNERS
from tacit.simulations.metrics import METRICS
from tacit.simulations.population import generate
from tacit.simulations.simulate import SimulationOptions, SimulationReport
from tacit.simulations.simulate import simulate as run_simulation
from tacit.simulations.splits import PUBLIC_SPLIT_SEED


@click.command()
@click.option(
    "--data",
    "path",
    type=click.Path(path_type=Path),
    help="A MovieLens folder, or CSV with user,item[,event,value,timestamp]. "
    "Without it, a generated population.",
)
@click.option(
    "--learner",
    type=click.Choice((*LEARNERS, "linear")),
    default="spectral",
    show_default=True,
)
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    help="What `linear` predicts; the other learners rank items and take none.",
)
@click.option(
    "--epsilon",
    type=float,
    default=8.0,
    show_default=True,
    help="Total budget per user over all rounds; `inf` trains without noise.",
)
@click.option("--delta", type=float, help="Default: the smaller of 1e-5 and 0.1 / users.")
@click.option("--rounds", type=click.IntRange(min=1), help="Default: the learner's rule.")
@click.option(
    "--split-seed",
    type=click.IntRange(min=0),
    default=PUBLIC_SPLIT_SEED,
    show_default=True,
    help="Public seed of the train/test split; never of protective noise.",
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the report here as well.",
)
def simulate(
    path: Path | None,
    learner: str,
    target: str | None,
    epsilon: float,
    delta: float | None,
    rounds: int | None,
    split_seed: int,
    json_path: Path | None,
) -> None:
    """Train a learner under a privacy budget on this machine and score what it says.

    The same device statistics, clipping, rounding, discrete Gaussian noise and learner as in the
    federation, without the network. Noise comes from the operating system and cannot be seeded.
    """
    if not epsilon > 0.0:
        raise click.BadParameter(
            f"expected a number above zero, or inf, got {epsilon}", param_hint="'--epsilon'"
        )
    if (learner == "linear") != (target is not None):
        raise click.UsageError("expected --target with --learner linear, and only there")
    check_writable(json_path)
    if target is not None:
        _simulate_target(path, target, epsilon, delta, rounds, json_path)
        return
    options = SimulationOptions(learner, epsilon, delta, rounds, split_seed)
    bars = Bars(Console(stderr=True))
    try:
        with stop_once(), bars:
            bars.step("reading data" if path else "making a population")
            dataset: Dataset = generate() if path is None else load(path)
            report = run_simulation(dataset, options, _percent(bars, dataset.n_users))
    except BadExperiment as error:
        raise click.UsageError(str(error)) from error
    except Interrupted:
        raise click.ClickException("interrupted; nothing was written") from None
    except (DatasetError, LearnerError, PrivacyError) as error:
        raise click.ClickException(str(error)) from error
    if json_path is not None:
        write_report(json_path, report.to_json())
    _show(Console(), report)


def _simulate_target(
    path: Path | None,
    target: str,
    epsilon: float,
    delta: float | None,
    rounds: int | None,
    json_path: Path | None,
) -> None:
    """Predict a target with the linear learner; see `tacit.cli._simulate_target`."""
    if rounds not in (None, 1):
        raise click.UsageError(f"the linear learner has 1 round, got {rounds}")
    bars = Bars(Console(stderr=True))
    try:
        with stop_once(), bars:
            bars.step("reading data" if path else "making a population")
            report = simulate_target(path, target, epsilon, delta, bars.count)
    except BadExperiment as error:
        raise click.UsageError(str(error)) from error
    except Interrupted:
        raise click.ClickException("interrupted; nothing was written") from None
    except (DatasetError, LearnerError, PrivacyError) as error:
        raise click.ClickException(str(error)) from error
    show_target(Console(), report, json_path)


def _percent(bars: Bars, users: int) -> Callable[[float], None]:
    """Show the share of the work done; what follows the last of it is the accounting."""
    phase = f"training and scoring, {users:,} users, percent"
    bars.count(phase, 0, 100)

    def show(share: float) -> None:
        bars.count(phase, int(100 * share), 100)
        if share >= 1.0:
            bars.step("accounting for the spend")

    return show


def _show(console: Console, report: SimulationReport) -> None:
    """Print the report as a person would like to read it."""
    data = report.dataset
    console.print(
        f"[bold]{data.name}[/bold]: {data.n_users:,} users, {data.n_items:,} items, "
        f"{data.n_interactions:,} interactions"
    )
    table = Table(title=None)
    table.add_column("ranking of held-out items")
    for name in METRICS:
        table.add_column(name, justify="right")
    for label, evaluation in (
        (report.trained.learner, report.evaluation),
        ("exact popularity, not private", report.popularity),
    ):
        table.add_row(label, *(f"{evaluation.means[name]:.4f}" for name in METRICS))
    console.print(table)
    evaluated = report.evaluation
    console.print(
        f"Full ranking, training items masked; {evaluated.users_evaluated:,} users evaluated, "
        f"{evaluated.users_dropped:,} without held-out items dropped."
    )
    console.print(_privacy_sentence(report))
    payloads = report.trained.payload_bytes
    console.print(
        f"Each device would send {len(payloads)} vectors, {sum(payloads) / 1e3:,.1f} kB in all. "
        f"Took {report.wall_s:.1f} s, {report.cpu_s:.1f} s of processor time, "
        f"{report.peak_rss_bytes / 1e6:,.0f} MB."
    )


def _privacy_sentence(report: SimulationReport) -> str:
    """State the claim with everything it rests on, or that there is none."""
    if not report.trained.guarantees:
        return "No noise was added: no differential privacy is claimed."
    claim = report.trained.guarantees[0]
    return (
        f"Spent epsilon {claim.epsilon:.4f} at delta {claim.delta:.1e} per {claim.unit} "
        f"({claim.neighboring_relation.replace('_', '/')} adjacency, trust level {claim.trust}, "
        f"{claim.participation} participation in {claim.rounds} rounds, sampling claimed: "
        f"{claim.sampling}; {claim.accountant}). Excluded: the evaluation, which a deployment "
        "cannot do."
    )
