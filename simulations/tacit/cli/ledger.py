"""`tacit ledger`: verify, show or export a ledger, offline."""

from __future__ import annotations

import datetime
import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tacit.cli._ledger_path import check_is_ledger, ledger_at, read_ledger
from tacit.cli._trust_options import ledger_key, witness_quorum
from tacit.cli.retrain import retrain
from tacit.cli.witness import witness
from tacit.privacy.checkpoint import verify_checkpoint
from tacit.privacy.errors import PrivacyError
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.trust import CLAIMS
from tacit.server.errors import ServerError, VerificationFailed
from tacit.server.ledger.config import LedgerConfig
from tacit.server.ledger.contents import LOGS, read_database, read_export, read_node
from tacit.server.ledger.database import DATABASE_FILE
from tacit.server.ledger.export import export_ledger, write_export
from tacit.server.ledger.log import GOVERNANCE
from tacit.server.ledger.verification_report import VerificationReport
from tacit.server.ledger.verify import verify_export

_PATH = click.Path(exists=True, path_type=Path)


@click.group()
def ledger() -> None:
    """Verify, show or export a ledger, offline; print its checkpoint, or witness one.

    `retrain` asks a running ledger to announce a retraining after an erasure.

    PATH is an exported directory, a ledger node's state directory, its database file, or the state
    directory of a demo.
    """


ledger.add_command(witness)
ledger.add_command(retrain)


@ledger.command(short_help="Re-derive roots, signatures, budgets and epsilon of PATH.")
@click.argument("path", type=_PATH)
@click.option("--key", "key_hex", help="The ledger's public key, 64 hex digits, known beforehand.")
@click.option(
    "--known",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="A signed checkpoint from elsewhere that this ledger must extend; may be repeated.",
)
@click.option(
    "--witness",
    "witness_keys",
    multiple=True,
    metavar="KEY",
    help="Verifier key of a witness you trust; may be repeated.",
)
@click.option(
    "--quorum",
    type=click.IntRange(min=1),
    help="How many of the witnesses must have cosigned the newest checkpoints; by default all.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def verify(
    path: Path,
    key_hex: str | None,
    known: tuple[Path, ...],
    witness_keys: tuple[str, ...],
    quorum: int | None,
    as_json: bool,
) -> None:
    """Re-derive every root, signature, budget and epsilon of the ledger at PATH."""
    key = None if key_hex is None else ledger_key(key_hex)
    demanded = witness_quorum(witness_keys, quorum)
    path = ledger_at(path)
    if not as_json:
        check_is_ledger(path)
    notes = [one.read_bytes() for one in known]
    try:
        with _patience("re-deriving roots and epsilon"):
            report = verify_export(path, key, notes, witnesses=demanded)
    except VerificationFailed as error:
        if as_json:
            click.echo(json.dumps({"ok": False, "findings": list(error.findings)}, indent=2))
        else:
            for finding in error.findings:
                click.echo(f"  {finding}", err=True)
            plural = "finding" if len(error.findings) == 1 else "findings"
            click.echo(f"does not verify: {len(error.findings)} {plural}", err=True)
        raise SystemExit(1) from None
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2))
    else:
        _print_report(report)


@ledger.command()
@click.argument("path", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="Print the entries as JSON.")
def show(path: Path, as_json: bool) -> None:
    """List the governance log at PATH, without verifying it."""
    path = ledger_at(path)
    check_is_ledger(path)
    try:
        is_export = path.is_dir() and not (path / DATABASE_FILE).exists()
        contents = read_export(path) if is_export else read_database(path)
        entries = [GovernanceEntry.parse(data) for data in contents.logs[GOVERNANCE].entries]
    except (ServerError, PrivacyError) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps([json.loads(entry.to_bytes()) for entry in entries], indent=2))
        return
    table = Table("index", "time (UTC)", "kind", "by", "what", box=None)
    for index, entry in enumerate(entries):
        at = datetime.datetime.fromtimestamp(entry.recorded_at_ms / 1000, datetime.UTC)
        signer = contents.keys.principal(entry.signer)
        name = signer.name if signer else entry.signer
        table.add_row(str(index), f"{at:%Y-%m-%d %H:%M:%S}", entry.kind, name, _summary(entry))
    Console().print(table)


@ledger.command(short_help="Print the newest signed checkpoint of PATH.")
@click.argument("path", type=_PATH)
@click.option(
    "--log", "name", type=click.Choice(LOGS), default=GOVERNANCE, help="Which of both logs."
)
@click.option("--json", "as_json", is_flag=True, help="Print size, root and note as JSON.")
def checkpoint(path: Path, name: str, as_json: bool) -> None:
    """Print the newest signed checkpoint of the ledger at PATH, to hold later histories against.

    Its signature is verified with the key the ledger names; `verify --known` takes the output.
    """
    contents = read_ledger(path)
    origin, notes = contents.keys.origins[name], contents.logs[name].notes
    if not notes:
        raise click.ClickException(f"the {name} log is empty: there is no checkpoint yet")
    try:
        newest = verify_checkpoint(notes[-1], origin, origin, contents.keys.ledger_key)
    except PrivacyError as error:
        raise click.ClickException(f"{name} log: {error}") from None
    note = notes[-1].decode("utf-8")
    if as_json:
        document = {
            "origin": newest.origin,
            "size": newest.size,
            "root": newest.root.hex(),
            "note": note,
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        click.echo(note, nl=False)


@ledger.command(short_help="Write everything the ledger published to DIRECTORY.")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--database", type=_PATH, help="The node's database file or state directory.")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Instead: the node's configuration, which names its database (SQLite or PostgreSQL).",
)
def export(directory: Path, database: Path | None, config: Path | None) -> None:
    """Write everything the ledger published to DIRECTORY, for anyone to verify."""
    try:
        if config is not None and database is None:
            contents = write_export(read_node(LedgerConfig.load(config)), directory)
        elif database is not None and config is None:
            check_is_ledger(database)
            contents = export_ledger(database, directory)
        else:
            raise click.UsageError("expected exactly one of --database and --config")
    except ServerError as error:
        raise click.ClickException(str(error)) from None
    counts = ", ".join(f"{len(log.entries)} {name}" for name, log in contents.logs.items())
    click.echo(f"exported {counts} entries to {directory}")


@contextmanager
def _patience(doing: str) -> Generator[None]:
    """Show a spinner on a terminal's standard error while something slow runs."""
    with Console(stderr=True).status(f"{doing} …"):
        yield


def _print_report(report: VerificationReport) -> None:
    pinned = "pinned" if report.ledger_key_pinned else "not pinned: pass --key to pin it"
    click.echo("verified")
    click.echo(f"  ledger key    {report.ledger_key} ({pinned})")
    click.echo(f"  governance    {report.governance_size} entries, root {report.governance_root}")
    click.echo(f"  consent       {report.consent_size} leaves, root {report.consent_root}")
    click.echo(
        f"  checkpoints   {report.checkpoints} signed, {report.known_checkpoints} from elsewhere"
    )
    for witness_name, cosigned in report.witnesses.items():
        click.echo(f"  witness       {witness_name} cosigned {cosigned} of them")
    for log_key in report.log_keys:
        click.echo(f"  log key       {log_key}")
    if report.map_epochs:
        how = "re-derived" if report.map_root_rederived else "signed; its entries are not published"
        click.echo(f"  consent map   epoch {report.map_epochs}, root {report.map_root} ({how})")
    for account in report.accounts:
        click.echo(
            f"  account       {account.account_id}: window {account.window}, spent ε "
            f"{account.window_epsilon} of {account.cap_epsilon}; lifetime, spent ε "
            f"{account.spent_epsilon}, released ε {account.released_epsilon}; δ "
            f"{account.target_delta} ({account.committed} committed, {account.reserved} open, "
            f"{account.aborted} aborted, terms changed {account.changes} times)"
        )
    for release in report.releases:
        figures = (
            f"ε {release.epsilon}, δ {release.target_delta}, trust level {release.trust_level}"
            if release.epsilon is not None
            else f"trust level {release.trust_level}: {CLAIMS[release.trust_level]}"
        )
        click.echo(f"  release       {release.population} {release.version}: {figures}")
    for account in report.accounts:
        click.echo(
            f"  accounting    {account.account_id}: per {account.context['unit']}, "
            f"{account.context['neighboring_relation']}, trust level "
            f"{account.context['trust_level']}, every round assumed; {report.accountant}"
        )
    for one in report.retrainings:
        outcome = (
            f"release {one.release} superseded {', '.join(map(str, one.superseded)) or 'none'}: "
            "retrained-exact"
            if one.release
            else "announced, not done"
        )
        click.echo(
            f"  retraining    {one.population} {one.kind}: {one.tasks} affected tasks, from "
            f"{f'release {one.base_release}' if one.base_release else 'nothing'}, erased before "
            f"consent leaf {one.consent_size}; {outcome} ({one.reason})"
        )
    for audit in report.audits:
        click.echo(
            f"  audit         {audit.report_sha256[:16]}… of {audit.log_size} entries, "
            f"{audit.tool}: {audit.statement}"
        )


def _summary(entry: GovernanceEntry) -> str:
    if entry.kind == "round":
        return f"round {entry.body.get('round_id')} of {str(entry.body.get('task_sha256'))[:12]}"
    if entry.kind == "audit":
        return f"{str(entry.body.get('report_sha256'))[:16]}…: {entry.body.get('statement')}"
    if entry.kind == "retraining":
        affected = entry.body.get("tasks")
        count = len(affected) if isinstance(affected, list) else 0
        return (
            f"{entry.body.get('population')} {entry.body.get('kind')}, {count} affected tasks, "
            f"from release {entry.body.get('base_release')}: {entry.body.get('reason')}"
        )
    for field in ("reservation_id", "task_id", "account_id", "notice_id"):
        if field in entry.body:
            return str(entry.body[field])
    if "epoch" in entry.body:
        return f"epoch {entry.body['epoch']}, {entry.body['consent_size']} consent leaves"
    gone = entry.body.get("supersedes")
    superseding = f", supersedes {', '.join(map(str, gone))}" if isinstance(gone, list) else ""
    return f"{entry.body.get('population')} {entry.body.get('version')}{superseding}"
