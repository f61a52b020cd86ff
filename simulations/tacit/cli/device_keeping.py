"""`tacit device forget | export | link | card | rotate-keys | recover`."""

from __future__ import annotations

from pathlib import Path

import click

from tacit.cli._device_options import Device, of_a_device
from tacit.cli._device_store import PROFILE_FILE, keys_of, looks_like_a_store, one_line
from tacit.cli._report_file import check_writable
from tacit.client import DeviceError, PassphraseKeyProvider, Personalizer

_NEW = click.Path(dir_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@of_a_device
@click.option("--item", help="Everything about this item.")
@click.option("--since", type=click.IntRange(0), help="Everything since then, Unix milliseconds.")
@click.option("--all", "everything", is_flag=True, help="Everything, and the key that opened it.")
@click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")
def forget(
    device: Device, item: str | None, since: int | None, everything: bool, yes: bool
) -> None:
    """Forget an item, everything since a time, or everything. It does not come back."""
    if (item is not None) + (since is not None) + everything != 1:
        raise click.UsageError("expected exactly one of --item, --since and --all")
    if not yes:
        click.confirm("forget it for good?", abort=True, err=True)
    with device.opened() as opened:
        done = opened.forget(item=item, since=since, all=everything)
    scanned = f", {done.bytes_scanned} bytes searched for the key" if done.bytes_scanned else ""
    device.say(done, [f"{done.rows_erased} records erased{scanned}"])


@click.command()
@of_a_device
@click.option("--out", type=_NEW, required=True, help="Write to this file.")
@click.option("--for", "recipient", type=_FILE, help="The other device's card; else a passphrase.")
def export(device: Device, out: Path, recipient: Path | None) -> None:
    """Write events and instructions for another device of the person, encrypted."""
    check_writable(out, "--out")
    secret = None if recipient is not None else _passphrase("passphrase for the copy")
    card = None if recipient is None else recipient.read_bytes()
    with device.opened() as opened:
        content = opened.export(passphrase=secret, recipient=card)
    _write(out, content)
    device.say({"file": str(out), "bytes": len(content)}, [f"{out}: {len(content)} bytes"])


@click.command()
@of_a_device
@click.argument("file", type=_FILE)
@click.option("--from", "sender", type=_FILE, help="The other device's card; else a passphrase.")
def link(device: Device, file: Path, sender: Path | None) -> None:
    """Take over FILE, which `export` wrote on another device of the person."""
    secret = None
    if sender is None:
        secret = click.prompt("passphrase of the copy", hide_input=True, err=True)
    card = None if sender is None else sender.read_bytes()
    with device.opened() as opened:
        linked = opened.link(file.read_bytes(), passphrase=secret, sender=card)
    left = linked.not_permitted + linked.expired
    device.say(linked, [f"{linked.new} of {linked.events} events are new; {left} were left out"])


@click.command()
@of_a_device
@click.option("--out", type=_NEW, required=True, help="Write to this file.")
def card(device: Device, out: Path) -> None:
    """Write this device's card: public, and what another needs to write for this one alone."""
    check_writable(out, "--out")
    with device.opened() as opened:
        content = opened.link_card()
    _write(out, content)
    device.say({"file": str(out), "bytes": len(content)}, [f"{out}: {len(content)} bytes"])


@click.command("rotate-keys")
@of_a_device
@click.option("--new-passphrase", is_flag=True, help="Ask for the passphrase from now on.")
def rotate_keys(device: Device, new_passphrase: bool) -> None:
    """Seal everything anew under a new key; what copies still hold of the past is noise then."""
    keys = PassphraseKeyProvider(_passphrase("new passphrase")) if new_passphrase else None
    with device.opened() as opened:
        done = opened.rotate_keys(keys)
    device.say(done, [f"epoch {done.epoch}: {done.records} records sealed anew"])


@click.command()
@of_a_device
@click.option("--yes", is_flag=True, help="Do not ask about a file that does not look like one.")
def recover(device: Device, yes: bool) -> None:
    """Save what a damaged store still holds in a new one; the damaged one is moved aside."""
    # Not `device.store`: a damaged file need not look like one. Neither does a mistyped path.
    place = device.path / PROFILE_FILE if device.path.is_dir() else device.path
    keys = keys_of(place, device.key, device.passphrase)
    if place.is_file() and not yes and not looks_like_a_store(place):
        click.confirm(
            f"{place} does not look like a device's store: move it aside, and begin a new one?",
            abort=True,
            err=True,
        )
    try:
        found = Personalizer.recover(place, keys)
    except DeviceError as error:
        raise one_line(error) from None
    if found is None:
        device.say(None, ["nothing is damaged"])
        return
    anew = "; the device is a new one that has everything refused" if found.started_anew else ""
    device.say(
        found,
        [f"{found.kept} records kept, {found.lost} lost{anew}", f"moved to {found.moved_to}"],
    )


def _passphrase(what: str) -> str:
    return str(click.prompt(what, hide_input=True, confirmation_prompt=True, err=True))


def _write(out: Path, content: bytes) -> None:
    unfinished = out.with_name(out.name + ".part")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(out)
    except OSError as error:
        raise click.ClickException(f"{out}: cannot be written ({error.strerror})") from None
