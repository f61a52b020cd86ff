"""`tacit simulate`: train and evaluate on one machine, with the device's own statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import click
from click.core import ParameterSource
from rich.console import Console

from tacit.cli._interrupt import Interrupted, stop_once
from tacit.cli._progress import Bars
from tacit.cli._report_file import check_writable, write_report
from tacit.cli._simulate_series import show_series
from tacit.cli._simulate_target import TARGETS, show_target, simulate_target
from tacit.cli._simulation_tables import show_curve, show_notes, show_report, show_spread
from tacit.privacy.errors import PrivacyError
from tacit.privacy.trust import CENTRAL, CONSENT_ONLY, LEVELS
from tacit.server.coordinator.learners import LearnerError
from tacit.simulations.continual import SeriesReport, simulate_series
from tacit.simulations.datasets import Dataset, load
from tacit.simulations.errors import BadExperiment, DatasetError
from tacit.simulations.holdout import SPLITS, SplitKind
from tacit.simulations.learners import LEARNERS
from tacit.simulations.population import generate
from tacit.simulations.report import Row, SimulationReport, spread
from tacit.simulations.simulate import OnPhase, SimulationOptions, utility_by_cohort
from tacit.simulations.simulate import simulate as run_simulation
from tacit.simulations.splits import PUBLIC_SPLIT_SEED
from tacit.simulations.time_order import time_warnings

_SHORT = {"view": "product_view", "cart": "add_to_cart"}
_RANKING_OPTIONS = (
    *("kind", "recency", "signals", "target", "unseen_share", "subsample"),
    *("baselines", "paper_protocol", "audit_leaks", "split_seed", "seeds", "tasks", "trust_level"),
)
"""Parameters that mean nothing to the linear learner, which predicts instead of ranking."""


@click.command()
@click.option(
    "--data",
    "path",
    type=click.Path(path_type=Path),
    help="A MovieLens folder, a RecBole .inter file, or CSV or Parquet with "
    "user,item[,event,value,timestamp]. Without it, a generated population.",
)
@click.option(
    "--learner",
    type=click.Choice((*LEARNERS, "linear")),
    default="spectral",
    show_default=True,
    help="What to train; popularity is the floor, linear predicts instead of ranking.",
)
@click.option(
    "--predict",
    type=click.Choice(TARGETS),
    help="What `linear` predicts; the other learners rank items and take none.",
)
@click.option(
    "--epsilon",
    type=float,
    default=8.0,
    show_default=True,
    help="Total budget per user over all rounds; `inf` trains without noise and claims nothing.",
)
@click.option(
    "--trust-level",
    type=click.Choice(LEVELS),
    default=CENTRAL,
    show_default=True,
    help="Who adds noise: the coordinator (central), each device itself (local), nobody "
    "(consent-only, which takes no --epsilon). For spectral, factorization and popularity.",
)
@click.option("--delta", type=float, help="Default: the smaller of 1e-5 and 0.1 / users.")
@click.option("--rounds", type=click.IntRange(1, 10_000), help="Default: the learner's rule.")
@click.option(
    "--split",
    "kind",
    type=click.Choice(SPLITS),
    default="random",
    show_default=True,
    help="What is held out: 20% of each user's items, everybody's last item, or all that comes "
    "after one cut-off time (the honest one for claims about the future).",
)
@click.option(
    "--recency",
    type=click.Choice(("auto", "on", "off")),
    default="auto",
    show_default=True,
    help="Whether devices weigh newer items more when they rank; costs no epsilon. "
    "auto: on where the split is by time.",
)
@click.option(
    "--signals",
    help="Consented signals that learning and ranking may use, such as view,cart,purchase. "
    "Default: all there are. What is held out and masked stays the same.",
)
@click.option(
    "--target",
    help="Signal whose events are held out, such as purchase. Default: any. All events of a "
    "held-out pair of user and item leave the history.",
)
@click.option(
    "--unseen-users",
    "unseen_share",
    type=float,
    default=0.0,
    show_default=True,
    help="Share of users that take no part in training and only fold in on their own device; "
    "reported in a row of their own.",
)
@click.option(
    "--subsample",
    help="Train on N[,N...] users instead of all and show how utility grows, on users never "
    "trained on.",
)
@click.option(
    "--baselines",
    is_flag=True,
    help="Also fit EASE, iALS and the learner without noise on the same split: none is private.",
)
@click.option(
    "--paper-protocol",
    is_flag=True,
    help="Also rank the last item among 99 sampled negatives, to compare with papers only.",
)
@click.option(
    "--audit-leaks",
    is_flag=True,
    help="Also train once more on decoys, to see whether training reads what is held out; exit "
    "code 1 if it does.",
)
@click.option(
    "--split-seed",
    type=click.IntRange(min=0),
    default=PUBLIC_SPLIT_SEED,
    show_default=True,
    help="Public seed of the train/test split; never of protective noise.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Repeat with this many split seeds and fresh noise; reports mean and spread.",
)
@click.option(
    "--tasks",
    type=click.IntRange(min=2),
    help="Continual training: so many tasks within the one budget, each starting from the "
    "release before it.",
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the report here as well; docs/simulate.md describes it.",
)
def simulate(
    path: Path | None,
    learner: str,
    predict: str | None,
    epsilon: float,
    trust_level: str,
    delta: float | None,
    rounds: int | None,
    kind: str,
    recency: str,
    signals: str | None,
    target: str | None,
    unseen_share: float,
    subsample: str | None,
    baselines: bool,
    paper_protocol: bool,
    audit_leaks: bool,
    split_seed: int,
    seeds: int,
    tasks: int | None,
    json_path: Path | None,
) -> None:
    """Train a learner under a privacy budget on this machine and score its rankings.

    The same device statistics, clipping, rounding, discrete Gaussian noise and learner as in the
    federation, without the network. Noise comes from the operating system and cannot be seeded.

    At trust level local every user's contribution is noised on its own, so the noise in a sum grows
    with the users: expect little more than popularity, unless they are very many.
    """
    if not epsilon > 0.0:
        raise click.BadParameter(
            f"expected a number above zero, or inf, got {epsilon}", param_hint="'--epsilon'"
        )
    if (learner == "linear") != (predict is not None):
        raise click.UsageError("expected --predict with --learner linear, and only there")
    if trust_level == CONSENT_ONLY:
        _no_figures()
    check_writable(json_path)
    if predict is not None:
        _simulate_target(path, predict, epsilon, delta, rounds, json_path)
        return
    sizes = _sizes(subsample)
    if sizes and audit_leaks:
        raise click.UsageError("expected --audit-leaks without --subsample, got both")
    beside = sizes or seeds > 1 or baselines or paper_protocol or unseen_share or audit_leaks
    if tasks is not None and trust_level != CENTRAL:
        raise click.UsageError(f"expected --tasks at trust level central, got {trust_level}")
    if tasks is not None and beside:
        raise click.UsageError(
            "expected --tasks alone, without --subsample, --seeds, --baselines, --unseen-users, "
            "--paper-protocol or --audit-leaks"
        )
    options = SimulationOptions(
        learner=learner,
        epsilon=epsilon,
        delta=delta,
        rounds=rounds,
        split_seed=split_seed,
        split=cast(SplitKind, kind),
        recency={"auto": None, "on": True, "off": False}[recency],
        signals=None if signals is None else tuple(_signal(s) for s in signals.split(",")),
        target=None if target is None else _signal(target),
        unseen_share=unseen_share,
        baselines=baselines,
        paper_protocol=paper_protocol,
        audit_leaks=audit_leaks,
        trust_level=trust_level,
    )
    bars, console = Bars(Console(stderr=True)), Console()
    try:
        with stop_once(), bars:
            bars.step("reading data" if path else "making a population")
            dataset: Dataset = generate() if path is None else load(path)
            points: tuple[tuple[int, Row], ...] = ()
            reports: list[SimulationReport] = []
            series: SeriesReport | None = None
            if tasks is not None:
                series = simulate_series(dataset, options, tasks, _percent(bars))
                document: dict[str, Any] = {
                    "dataset": {"name": dataset.name, "users": dataset.n_users},
                    "series": series.to_json(),
                }
            elif sizes:
                points = utility_by_cohort(dataset, options, sizes, _percent(bars))
                document = {
                    "dataset": {"name": dataset.name, "users": dataset.n_users},
                    "curve": [{"users_trained": n} | row.to_json() for n, row in points],
                    "notes": _curve_notes(dataset, options, points),
                }
            else:
                reports = [
                    run_simulation(
                        dataset, replace(options, split_seed=split_seed + turn), _percent(bars)
                    )
                    for turn in range(seeds)
                ]
                document = reports[0].to_json()
                if seeds > 1:
                    document["seeds"] = {
                        "notes": [
                            {"split_seed": report.split.seed, "note": note}
                            for report in reports
                            for note in (*report.warnings, *report.trained.notes)
                        ],
                        "split_seeds": [report.split.seed for report in reports],
                        "metrics": spread(reports),
                    }
    except BadExperiment as error:
        raise click.UsageError(str(error)) from error
    except Interrupted:
        raise click.ClickException("interrupted; nothing was written") from None
    except (DatasetError, LearnerError, PrivacyError) as error:
        raise click.ClickException(str(error)) from error
    if json_path is not None:
        write_report(json_path, document)
    if series is not None:
        show_series(console, dataset, series)
        return
    if sizes:
        show_notes(console, _curve_notes(dataset, options, points))
        show_curve(console, dataset, points)
        return
    show_report(console, reports[0])
    if seeds > 1:
        show_spread(console, reports)
    if any(report.audit is not None and report.audit.leaks for report in reports):
        raise click.exceptions.Exit(1)


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
    _only_for_ranking()
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


def _no_figures() -> None:
    """Refuse options about a budget where there is none, rather than ignore them."""
    context = click.get_current_context()
    for option in ("epsilon", "delta"):
        if context.get_parameter_source(option) is not ParameterSource.DEFAULT:
            raise click.UsageError(
                f"expected no --{option} at trust level consent-only, which adds no noise; drop "
                f"--{option}, or choose --trust-level central or local"
            )


def _only_for_ranking() -> None:
    """Refuse options of rankings that were given on the command line rather than ignore them."""
    context = click.get_current_context()
    for option in _RANKING_OPTIONS:
        if context.get_parameter_source(option) is not ParameterSource.DEFAULT:
            raise click.UsageError(
                "--learner linear takes --predict, --data, --epsilon, --delta and --json; got "
                f"{option!r}, which is about rankings"
            )


def _signal(name: str) -> str:
    return _SHORT.get(name.strip(), name.strip())


def _curve_notes(
    dataset: Dataset, options: SimulationOptions, points: Sequence[tuple[int, Row]]
) -> list[str]:
    warnings = time_warnings(dataset, options.split, options.uses_recency)
    said = [
        f"at {size:,} users: {note}"
        for size, row in points
        for note in (row.trained.notes if row.trained else ())
    ]
    return [*dataset.notes, *warnings, *said]


def _sizes(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    parts = text.split(",")
    if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise click.BadParameter(
            f"expected whole numbers of users such as 100,400,900, got {text!r}",
            param_hint="'--subsample'",
        )
    return tuple(int(part) for part in parts)


def _percent(bars: Bars) -> OnPhase:
    """Show the share of each phase that is done."""

    def show(phase: str, share: float) -> None:
        bars.count(f"{phase}, percent", int(100 * share), 100)

    return show
