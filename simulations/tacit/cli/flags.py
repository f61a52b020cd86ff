"""`tacit flags`: check and sign the variants of an app."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tacit.cli._report_file import check_writable
from tacit.cli.policy import signing_key
from tacit.client.errors import BadFlags
from tacit.client.flags import FlagSet, read_source, sign_flags

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_NEW = click.Path(dir_okay=False, path_type=Path)


@click.group()
def flags() -> None:
    """Check and sign flags: the variants of an app, decided on each device by itself.

    A file has `type` ("tacit.flags/1"), `app`, `version`, `issued_at_ms` and `flags`, each with
    `flag`, `variants` (each `variant`, `weight`, `value`) and, if wanted, `enabled`, `purpose`
    ("measure": only who consented is assigned) and `shuffle`.
    """


@flags.command()
@click.argument("file", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(file: Path, as_json: bool) -> None:
    """Check FILE; one line and a non-zero exit if something is wrong."""
    read = _read(file)
    if as_json:
        click.echo(json.dumps(read.to_json(), indent=2))
        return
    for flag in read.flags:
        total = sum(one.weight for one in flag.variants)
        shares = ", ".join(f"{one.name} {one.weight / total:.1%}" for one in flag.variants)
        click.echo(f"{flag.name} ({flag.kind}): {shares if flag.enabled else 'off'}")


@flags.command(short_help="Sign FILE with the app's policy key.")
@click.argument("file", type=_FILE)
@click.option("--key-file", type=_NEW, required=True, help="The app's policy key; made if absent.")
@click.option("--out", type=_NEW, required=True, help="Signed flags.")
def sign(file: Path, key_file: Path, out: Path) -> None:
    """Sign FILE with the app's policy key, the one `tacit policy sign` uses."""
    if not key_file.exists():
        check_writable(key_file, "--key-file")
    check_writable(out, "--out")
    read = _read(file)
    try:
        key = signing_key(key_file)
        unfinished = out.with_name(out.name + ".part")
        unfinished.write_bytes(sign_flags(read, key))
        unfinished.replace(out)
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    click.echo(f"{out}: version {read.version} of {read.app}, {len(read.flags)} flags")
    click.echo(f"  public key  {key.public_key.hex()}")


def _read(file: Path) -> FlagSet:
    try:
        return read_source(file.read_bytes())
    except BadFlags as error:
        raise click.ClickException(f"{file}: {error}") from None
