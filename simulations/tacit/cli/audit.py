"""`tacit audit`: look for privacy violations in this build, and in a deployment's ledger."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from tacit.cli._progress import Bars
from tacit.cli._report_file import check_writable, write_report
from tacit.server.errors import ServerError
from tacit.server.ledger.database import DATABASE_FILE
from tacit.server.ledger.keys import KEYS_FILE
from tacit.simulations import audit as audits
from tacit.simulations.errors import SimulationError


@click.command()
@click.argument("state", required=False, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--json",
    "json_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the report to FILE.",
)
def audit(state: Path | None, json_file: Path | None) -> None:
    """Look for privacy violations: noise, sampling, sensitivity, canaries; exit 1 on a violation.

    STATE is a demo's state directory, an exported ledger, or a ledger node's state: it is verified,
    and the noise is tested at the multipliers it released with.

    An audit can find a violation, never rule one out: the report states its power.
    """
    check_writable(json_file)
    if state is not None:
        _check_is_state(state)
    try:
        with Bars(Console(stderr=True)) as bars:
            report = audits.audit(state, on_step=bars.count)
    except (ServerError, SimulationError) as error:
        raise click.ClickException(str(error)) from None
    _print_report(report)
    if json_file is not None:
        write_report(json_file, report.to_json())
    if report.findings:
        raise SystemExit(1)


def _check_is_state(path: Path) -> None:
    """Refuse what is plainly no deployment, before the work."""
    places = (path, path / "ledger-export", path / "ledger")
    names = (DATABASE_FILE, KEYS_FILE)
    if path.name == DATABASE_FILE or any((p / n).is_file() for p in places[:2] for n in names):
        return
    hint = f"; try {places[2]}" if (places[2] / DATABASE_FILE).is_file() else ""
    raise click.BadParameter(
        f"expected a demo's state directory with a ledger-export, an exported ledger or a ledger's "
        f"state, got {path}{hint}",
        param_hint="'STATE'",
    )


def _print_report(report: audits.AuditReport) -> None:
    for known in report.calibration:
        click.echo(
            f"auditor      {known.mechanism} {known.setting:g}: true ε {known.true_epsilon:.3f}, "
            f"median bound {known.median_bound:.3f}, exceeded in {known.n_exceeding} of "
            f"{known.n_runs} runs"
        )
    for result in report.noise:
        click.echo(
            f"noise        z {result.noise_multiplier:.4f}, L {result.integer_norm}: "
            f"{result.test.scale_ratio:.4f} of the scale it must have, {result.test.n_draws} draws"
        )
    for drawn in report.sampling:
        click.echo(f"sampling     rate {drawn.rate}: {drawn.n_chosen} of {drawn.n_trials}")
    for one in report.sensitivity:
        click.echo(
            f"sensitivity  {one.statistic}: at most {one.largest_change:.5f} L in {one.n_trials} "
            f"pairs, {one.n_clipped} clipped, {one.n_refused} refused"
        )
    canaries = report.canaries
    click.echo(
        f"canaries     {canaries.n_correct} of {canaries.n_guesses} guesses right, "
        f"{canaries.n_canaries} canaries: refutes ε up to {canaries.refuted_epsilon:.3f}, "
        f"claimed {canaries.claimed_epsilon:.3f} at δ {canaries.delta:g}"
    )
    if report.ledger is not None:
        click.echo(
            f"ledger       {report.ledger.path}: {len(report.ledger.plans)} planned rounds, "
            f"{report.ledger.n_releases} releases"
        )
    if report.findings:
        click.echo("VIOLATION DETECTED")
        for finding in report.findings:
            click.echo(f"  {finding}")
        return
    click.echo(f"no violation detected at power {_power(report)}")


def _power(report: audits.AuditReport) -> str:
    """Say what would have been caught, and how surely."""
    noise = ", ".join(
        f"{power:.3f} against noise of {scale} of its scale"
        for scale, power in report.noise_power.items()
    )
    canaries = ", ".join(
        f"{power:.2f} against noise of {scale} of its scale"
        for scale, power in report.canaries.power.items()
    )
    trials = sum(one.n_trials for one in report.sensitivity)
    clipped = sum(one.n_clipped for one in report.sensitivity)
    return (
        f"{noise} (white box, false alarms {audits.ALPHA:g} a test); {clipped} of {trials} pairs "
        f"would have shown a missing clip; canaries at {report.canaries.confidence:.0%} "
        f"confidence: {canaries}"
    )
