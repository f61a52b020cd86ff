"""`tacit device consent | rights`: what the person permits, and what is theirs to ask for."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import click
from rich.console import Console
from rich.table import Table

from tacit.cli._device_options import Device, of_a_device
from tacit.cli._report_file import check_writable, write_whole
from tacit.client.personalizer import Personalizer
from tacit.client.retrainings import labels
from tacit.client.rights import HandedOut
from tacit.client.rights_log import RightsReceipt
from tacit.privacy.signals import PURPOSES

_PURPOSE = click.Choice(list(PURPOSES))


@click.group()
def consent() -> None:
    """Show, grant or withdraw consent."""


@consent.command("show")
@of_a_device
def show_consent(device: Device) -> None:
    """Show what is permitted now, and every decision made."""
    with device.opened() as opened:
        permitted = opened.consents.state(opened.clock_ms())
        decisions = [event for _, event in opened.consents.signed()]
        waiting = {one.seq for one in opened.consents.pending()}
    if device.as_json:
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
@of_a_device
@click.argument("purpose", type=_PURPOSE)
@click.option("--signal", "signals", multiple=True, help="A signal; all basic ones by default.")
def grant(
    device: Device,
    purpose: str,
    signals: tuple[str, ...],
) -> None:
    """Agree to PURPOSE."""
    with device.opened() as opened:
        opened.consent(purpose, signals or None, True)
        permitted = sorted(opened.consents.permitted(purpose, opened.clock_ms()))
    if device.as_json:
        click.echo(json.dumps({"purpose": purpose, "permitted": permitted}, indent=2))
    else:
        click.echo(f"{purpose}: {', '.join(permitted) or 'nothing (a privacy signal forbids it)'}")


@consent.command("withdraw")
@of_a_device
@click.argument("purpose", type=_PURPOSE, required=False)
@click.option(
    "--signal", "signals", multiple=True, help="A signal; all that are granted otherwise."
)
def withdraw_consent(
    device: Device,
    purpose: str | None,
    signals: tuple[str, ...],
) -> None:
    """Withdraw consent to PURPOSE, or to everything."""
    _exercise(device, lambda d: d.rights.withdraw(purpose, signals or None))


@click.group()
def rights() -> None:
    """Access, rectify, erase, export, object, withdraw; and the receipts of having done so."""


@rights.command()
@of_a_device
def access(device: Device) -> None:
    """Show everything the device holds about the person."""
    _hand_out(device, lambda d: d.rights.access())


@rights.command(short_help="Hand out the consent records with their proofs.")
@of_a_device
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
def export(device: Device, out: Path | None) -> None:
    """Hand out the consent records (ISO/IEC TS 27560, DPV) with their proofs."""
    _hand_out(device, lambda d: d.rights.export(), out)


@rights.command()
@of_a_device
@click.argument("event_id")
@click.option("--event", default="", help="Name of the corrected event; deleted without one.")
@click.option("--properties", default="{}", help="Its properties, a JSON object.")
def rectify(
    device: Device,
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
    _exercise(device, lambda d: d.rights.rectify(event_id, event, corrected))


@rights.command(short_help="Erase everything, here and at the ledger.")
@of_a_device
@click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")
def erase(device: Device, yes: bool) -> None:
    """Erase everything: here at once, at the ledger with the next sync."""
    if not yes:
        click.confirm("erase everything about this person?", abort=True, err=True)
    _exercise(device, lambda d: d.rights.erase())


@rights.command("object")
@of_a_device
@click.argument("purpose", type=_PURPOSE)
def object_to(device: Device, purpose: str) -> None:
    """Object to PURPOSE."""
    _exercise(device, lambda d: d.rights.object(purpose))


@rights.command()
@of_a_device
@click.argument("purpose", type=_PURPOSE, required=False)
def withdraw(device: Device, purpose: str | None) -> None:
    """Withdraw consent to PURPOSE, or to everything."""
    _exercise(device, lambda d: d.rights.withdraw(purpose))


@rights.command()
@of_a_device
def receipts(device: Device) -> None:
    """List the receipts that the device keeps."""
    with device.opened() as opened:
        held = opened.rights.receipts()
    if device.as_json:
        click.echo(json.dumps([_document(one) for one in held], indent=2))
        return
    table = Table("", "time (UTC)", "verb", "what", "at the ledger", box=None)
    for one in held:
        concerns = one.consents or one.verb == "erase"
        state = ("next sync" if one.pending else "done") if concerns else "–"
        table.add_row(str(one.number), _time(one.at_ms), one.verb, one.summary, state)
    Console().print(table)


def _exercise(
    device: Device,
    verb: Callable[[Personalizer], RightsReceipt],
) -> None:
    with device.opened() as opened:
        receipt = verb(opened)
    if device.as_json:
        click.echo(json.dumps(_document(receipt), indent=2))
    else:
        _print(receipt)


def _hand_out(
    device: Device,
    verb: Callable[[Personalizer], HandedOut],
    out: Path | None = None,
) -> None:
    check_writable(out, "--out")  # before there is a receipt for what was not handed out
    with device.opened() as opened:
        handed = verb(opened)
    text = json.dumps(handed.document, indent=2, ensure_ascii=False)
    if out is None:
        click.echo(text)
        _print(handed.receipt, err=True)
        return
    # About a person: for its owner alone.
    write_whole(out, (text + "\n").encode(), mode=0o600)
    if device.as_json:
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
