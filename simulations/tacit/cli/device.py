"""`tacit device`: consents and rights of the person whose device it is, offline."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from rich.console import Console
from rich.table import Table

from tacit.cli._device_store import opened_device
from tacit.cli._report_file import check_writable
from tacit.client.personalizer import Personalizer
from tacit.client.retrainings import labels
from tacit.client.rights import HandedOut
from tacit.client.rights_log import RightsReceipt
from tacit.privacy.signals import PURPOSES

_Command = TypeVar("_Command", bound=Callable[..., Any])
_PURPOSE = click.Choice(list(PURPOSES))


def _of_a_device(command: _Command) -> _Command:
    """Give a command the argument PATH and the options that every one of them has."""
    for wrap in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--passphrase", is_flag=True, help="Ask for the store's passphrase."),
        click.option(
            "--key",
            type=click.Path(path_type=Path, dir_okay=False),
            help="The store's key file; by default where a demo keeps it.",
        ),
        click.argument("path", type=click.Path(exists=True, path_type=Path)),
    ):
        command = wrap(command)
    return command


@click.group()
def device() -> None:
    """Consents and rights of the person whose device it is, offline.

    PATH is a device's store, or a directory with profile.db in it. Decisions are in force on the
    device at once; the ledger learns of them when the device syncs next.
    """


@device.group()
def consent() -> None:
    """Show, grant or withdraw consent."""


@consent.command("show")
@_of_a_device
def show_consent(path: Path, key: Path | None, passphrase: bool, as_json: bool) -> None:
    """Show what is permitted now, and every decision made."""
    with opened_device(path, key, passphrase) as opened:
        permitted = opened.consents.state(opened.clock_ms())
        decisions = [event for _, event in opened.consents.signed()]
        waiting = {one.seq for one in opened.consents.pending()}
    if as_json:
        document = {
            "permitted": {purpose: sorted(signals) for purpose, signals in permitted.items()},
            "decisions": [
                {"on_record": event.seq not in waiting, **event.to_json()} for event in decisions
            ],
        }
        click.echo(json.dumps(document, indent=2))
        return
    for purpose, signals in permitted.items():
        click.echo(f"{purpose:8} {', '.join(sorted(signals)) or 'nothing'}")
    table = Table("", "time (UTC)", "purpose", "decision", "signals", "at the ledger", box=None)
    for event in decisions:
        state = "refused (GPC)" if event.gpc_conflict else event.state
        recorded = "next sync" if event.seq in waiting else "on record"
        table.add_row(
            str(event.seq), _time(event.event_time_ms), event.purpose, state,
            ", ".join(event.signals), recorded,
        )  # fmt: skip
    if decisions:
        Console().print(table)


@consent.command("grant")
@_of_a_device
@click.argument("purpose", type=_PURPOSE)
@click.option("--signal", "signals", multiple=True, help="A signal; all basic ones by default.")
def grant(
    path: Path,
    key: Path | None,
    passphrase: bool,
    as_json: bool,
    purpose: str,
    signals: tuple[str, ...],
) -> None:
    """Agree to PURPOSE."""
    with opened_device(path, key, passphrase) as opened:
        opened.consent(purpose, signals or None, True)
        permitted = sorted(opened.consents.permitted(purpose, opened.clock_ms()))
    if as_json:
        click.echo(json.dumps({"purpose": purpose, "permitted": permitted}, indent=2))
    else:
        click.echo(f"{purpose}: {', '.join(permitted) or 'nothing (a privacy signal forbids it)'}")


@consent.command("withdraw")
@_of_a_device
@click.argument("purpose", type=_PURPOSE, required=False)
@click.option(
    "--signal", "signals", multiple=True, help="A signal; all that are granted otherwise."
)
def withdraw_consent(
    path: Path,
    key: Path | None,
    passphrase: bool,
    as_json: bool,
    purpose: str | None,
    signals: tuple[str, ...],
) -> None:
    """Withdraw consent to PURPOSE, or to everything."""
    _exercise(path, key, passphrase, as_json, lambda d: d.rights.withdraw(purpose, signals or None))


@device.group()
def rights() -> None:
    """Access, rectify, erase, export, object, withdraw; and the receipts of having done so."""


@rights.command()
@_of_a_device
def access(path: Path, key: Path | None, passphrase: bool, as_json: bool) -> None:
    """Show everything the device holds about the person."""
    _hand_out(path, key, passphrase, as_json, lambda d: d.rights.access())


@rights.command()
@_of_a_device
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
def export(path: Path, key: Path | None, passphrase: bool, as_json: bool, out: Path | None) -> None:
    """Hand out the consent records (ISO/IEC TS 27560, DPV) with their proofs."""
    _hand_out(path, key, passphrase, as_json, lambda d: d.rights.export(), out)


@rights.command()
@_of_a_device
@click.argument("event_id")
@click.option("--event", default="", help="Name of the corrected event; deleted without one.")
@click.option("--properties", default="{}", help="Its properties, a JSON object.")
def rectify(
    path: Path,
    key: Path | None,
    passphrase: bool,
    as_json: bool,
    event_id: str,
    event: str,
    properties: str,
) -> None:
    """Correct or delete the event that was recorded under EVENT_ID."""
    try:
        document: Any = json.loads(properties)
    except json.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise click.BadParameter("expected a JSON object", param_hint="'--properties'")
    corrected = cast(dict[str, object], document)
    _exercise(
        path, key, passphrase, as_json, lambda d: d.rights.rectify(event_id, event, corrected)
    )


@rights.command()
@_of_a_device
@click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")
def erase(path: Path, key: Path | None, passphrase: bool, as_json: bool, yes: bool) -> None:
    """Erase everything: here at once, at the ledger with the next sync."""
    if not yes:
        click.confirm("erase everything about this person?", abort=True, err=True)
    _exercise(path, key, passphrase, as_json, lambda d: d.rights.erase())


@rights.command("object")
@_of_a_device
@click.argument("purpose", type=_PURPOSE)
def object_to(path: Path, key: Path | None, passphrase: bool, as_json: bool, purpose: str) -> None:
    """Object to PURPOSE."""
    _exercise(path, key, passphrase, as_json, lambda d: d.rights.object(purpose))


@rights.command()
@_of_a_device
@click.argument("purpose", type=_PURPOSE, required=False)
def withdraw(
    path: Path, key: Path | None, passphrase: bool, as_json: bool, purpose: str | None
) -> None:
    """Withdraw consent to PURPOSE, or to everything."""
    _exercise(path, key, passphrase, as_json, lambda d: d.rights.withdraw(purpose))


@rights.command()
@_of_a_device
def receipts(path: Path, key: Path | None, passphrase: bool, as_json: bool) -> None:
    """List the receipts that the device keeps."""
    with opened_device(path, key, passphrase) as opened:
        held = opened.rights.receipts()
    if as_json:
        click.echo(json.dumps([_document(one) for one in held], indent=2))
        return
    table = Table("", "time (UTC)", "verb", "what", "at the ledger", box=None)
    for one in held:
        concerns = one.consents or one.verb == "erase"
        state = ("next sync" if one.pending else "done") if concerns else "–"
        table.add_row(str(one.number), _time(one.at_ms), one.verb, one.summary, state)
    Console().print(table)


def _exercise(
    path: Path,
    key: Path | None,
    passphrase: bool,
    as_json: bool,
    verb: Callable[[Personalizer], RightsReceipt],
) -> None:
    with opened_device(path, key, passphrase) as opened:
        receipt = verb(opened)
    if as_json:
        click.echo(json.dumps(_document(receipt), indent=2))
    else:
        _print(receipt)


def _hand_out(
    path: Path,
    key: Path | None,
    passphrase: bool,
    as_json: bool,
    verb: Callable[[Personalizer], HandedOut],
    out: Path | None = None,
) -> None:
    check_writable(out, "--out")  # before there is a receipt for what was not handed out
    with opened_device(path, key, passphrase) as opened:
        handed = verb(opened)
    text = json.dumps(handed.document, indent=2, ensure_ascii=False)
    if out is None:
        click.echo(text)
        _print(handed.receipt, err=True)
        return
    try:
        out.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{out}: cannot be written ({error.strerror})") from None
    if as_json:
        click.echo(json.dumps(_document(handed.receipt), indent=2))
    else:
        _print(handed.receipt)


def _print(receipt: RightsReceipt, *, err: bool = False) -> None:
    pending = "; the ledger learns of it at the next sync" if receipt.pending else ""
    click.echo(f"receipt {receipt.number}: {receipt.summary}{pending}", err=err)


def _document(receipt: RightsReceipt) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(receipt.to_bytes())
    if now := labels(receipt):
        document["labels"] = list(now)
    return document


def _time(at_ms: int) -> str:
    at = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}"
