"""`tacit audit`: look for privacy violations in this build, and in a deployment's ledger."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from tacit.cli._progress import Bars
from tacit.cli._report_file import check_writable, write_report
from tacit.privacy.errors import PrivacyError
from tacit.server.errors import ServerError
from tacit.server.ledger.database import DATABASE_FILE
from tacit.server.ledger.keys import KEYS_FILE
from tacit.simulations import audit as audits
from tacit.simulations.audit_bounds import Bounds, Claim
from tacit.simulations.audit_record import LedgerAccess, record_audit
from tacit.simulations.audit_report import AuditReport
from tacit.simulations.errors import SimulationError

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("state", required=False, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--json",
    "json_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the report to FILE.",
)
@click.option(
    "--record",
    is_flag=True,
    help="Append the outcome, good or bad, to the governance log of STATE's ledger, running or "
    "stopped. Elsewhere than in a demo's state this needs the three options below.",
)
@click.option(
    "--ledger-config", type=_FILE, metavar="FILE", help="The ledger node's configuration."
)
@click.option("--auditor-key", type=_FILE, metavar="FILE", help="Signing key of role auditor.")
@click.option(
    "--authority", type=_FILE, metavar="FILE", help="Certificate the node's TLS rests on."
)
def audit(
    state: Path | None,
    json_file: Path | None,
    record: bool,
    ledger_config: Path | None,
    auditor_key: Path | None,
    authority: Path | None,
) -> None:
    """Look for privacy violations: noise, sampling, sensitivity, canaries; exit 1 on a violation.

    STATE is a demo's state directory, an exported ledger, or a ledger node's state: it is verified,
    and the noise is tested at the multipliers it released with.

    An audit can find a violation, never rule one out: the report states its power.
    """
    check_writable(json_file)
    if state is not None:
        _check_is_state(state)
    named = (ledger_config, auditor_key, authority)
    access = _access(state, named) if record else None
    if access is None and any(named):
        raise click.UsageError("expected --record together with the options it uses")
    try:
        with Bars(Console(stderr=True)) as bars:
            report = audits.audit(state, on_step=bars.count)
    except (ServerError, SimulationError) as error:
        raise click.ClickException(str(error)) from None
    _print_report(report)
    if json_file is not None:
        write_report(json_file, report.to_json())
    if access is not None:
        try:
            index = record_audit(report, access)
        except (ServerError, SimulationError, PrivacyError) as error:
            raise click.ClickException(f"not recorded: {error}") from None
        click.echo(f"recorded as entry {index} of the governance log")
    if report.findings:
        raise SystemExit(1)


def _access(state: Path | None, named: tuple[Path | None, ...]) -> LedgerAccess:
    """Find configuration, key and authority: as named, or where a demo's state has them."""
    if state is None:
        raise click.UsageError("--record: expected the STATE whose ledger is to hold the outcome")
    usual = (
        state / "ledger" / "config.json",
        state / "keys" / "auditor.key",
        state / "tls" / "authority.pem",
    )
    options = ("--ledger-config", "--auditor-key", "--authority")
    for option, given, path in zip(options, named, usual, strict=True):
        if given is None and not path.is_file():
            raise click.UsageError(f"--record: expected {option} FILE, for there is no {path}")
    return LedgerAccess(*(given or path for given, path in zip(named, usual, strict=True)))


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


def _print_report(report: AuditReport) -> None:
    for known in report.calibration:
        click.echo(
            f"auditor      {known.mechanism} {known.setting:g}, {known.bound}: true ε "
            f"{known.true_epsilon:.3f}, median bound {known.median_bound:.3f}, exceeded in "
            f"{known.n_exceeding} of {known.n_runs} runs"
            + (
                f"; claimed {known.claimed_epsilon:.3f}, refuted in {known.n_refuting}"
                if known.claimed_epsilon < known.true_epsilon
                else ""
            )
        )
    for result in report.noise:
        click.echo(
            f"noise        level {result.trust_level}, z {result.noise_multiplier:.4f}, "
            f"L {result.integer_norm}: "
            f"{result.test.scale_ratio:.4f} of the scale it must have, {result.test.n_draws} draws"
        )
    for drawn in report.sampling:
        click.echo(f"sampling     rate {drawn.rate}: {drawn.n_chosen} of {drawn.n_trials}")
    for one in report.sensitivity:
        click.echo(
            f"sensitivity  {one.statistic}: at most {one.largest_change:.5f} L in {one.n_trials} "
            f"pairs, {one.n_clipped} clipped, {one.n_refused} refused"
        )
    for compared in report.replacement:
        click.echo(
            f"replacement  {compared.statistic}: at most {compared.largest_change:.5f} L of 2 L in "
            f"{compared.n_trials} pairs, {compared.n_clipped} clipped, {compared.n_refused} refused"
        )
    for held in report.rounds:
        click.echo(
            f"canaries     {held.setting.statistic}, level {held.setting.trust_level}, z "
            f"{held.setting.noise_multiplier:.4f}, {held.n_trials} rounds: refute ε up to "
            f"{held.refuted_epsilon:.3f}; claimed {held.claim.epsilon:.3f} at δ "
            f"{held.claim.delta:g}"
        )
    _print_canaries("popularity/1", report.canaries.bounds, report.canaries.claim)
    for training in report.trainings:
        name = training.shape.task_id or f"default {training.shape.learner}"
        if training.bounds is None:
            click.echo(f"canaries     {name}: not covered: {training.not_covered}")
            continue
        _print_canaries(f"{name}, all rounds", training.bounds, training.claim)
    if report.ledger is not None:
        click.echo(
            f"ledger       {report.ledger.path}: {len(report.ledger.plans)} planned rounds, "
            f"{len(report.ledger.releases)} releases"
        )
    if report.findings:
        click.echo("VIOLATION DETECTED")
        for finding in report.findings:
            click.echo(f"  {finding}")
    click.echo(report.record().statement)


def _print_canaries(name: str, found: Bounds, claim: Claim) -> None:
    refuted = ", ".join(f"{value:.3f} ({bound})" for bound, value in found.refuted_epsilon.items())
    click.echo(
        f"canaries     {name}: {found.n_correct} of {found.n_guesses} guesses right, "
        f"{found.n_canaries} canaries: refute ε up to {refuted}; claimed {claim.epsilon:.3f} at δ "
        f"{claim.delta:g}"
    )
