"""`tacit console`: the privacy officer's pages over a ledger, on loopback."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from tacit.privacy.cosignature import Quorum, Witness
from tacit.privacy.errors import BadParameter, PrivacyError
from tacit.server.budget.statement import AccountStatement
from tacit.server.console import (
    Certificate,
    Console,
    ConsoleConfig,
    Head,
    LedgerSource,
    Role,
    find_source,
    serve,
)
from tacit.server.errors import ServerError
from tacit.simulations.what_if import answer

_STATE = click.argument("state", type=click.Path(exists=True, path_type=Path))
_FIRST = "operator"
_KEY_BYTES = 32
_DIRECTORY = click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where people, sessions and the access log are kept. Default: beside the ledger, with "
    ".console added to its name.",
)


class _ServesByDefault(click.Group):
    """Takes a first word that is no verb for the ledger to serve."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the verb."""
        if args and args[0] not in self.commands:
            args = ["serve", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=_ServesByDefault, subcommand_metavar="[serve | invite | log] STATE …")
def console() -> None:
    """Open the privacy officer's console over the ledger at STATE.

    STATE is a demo's state directory, a ledger node's state directory, its database file or
    configuration, or an export. The first start prints a one-time link for the operator, who then
    makes accounts for everybody else.
    """


@console.command(name="serve", short_help="Serve the console (the default).")
@_STATE
@click.option("--port", type=click.IntRange(0, 65535), default=8443, show_default=True)
@_DIRECTORY
@click.option("--ledger", help="HOST:PORT of the running ledger, for what officers sign.")
@click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificate of the authority behind it.",
)
@click.option("--key", "key_hex", help="The ledger's public key, 64 hex digits, known beforehand.")
@click.option(
    "--witness",
    "witness_keys",
    multiple=True,
    metavar="KEY",
    help="Verifier key of a witness you trust; may be repeated. Default: those the node's "
    "configuration names.",
)
@click.option(
    "--idle-minutes",
    type=click.FloatRange(0.01, 1440),
    default=15.0,
    show_default=True,
    help="A session that nobody used for so long ends.",
)
def serve_console(
    state: Path,
    port: int,
    directory: Path | None,
    ledger: str | None,
    ca: Path | None,
    key_hex: str | None,
    witness_keys: tuple[str, ...],
    idle_minutes: float,
) -> None:
    """Serve the console over the ledger at STATE until interrupted."""
    key = None if key_hex is None else _key(key_hex)
    quorum = _quorum(witness_keys)
    try:
        source = find_source(state, ledger or "", ca)
        config = ConsoleConfig(
            source=source,
            directory=directory or _beside(source),
            port=port,
            idle_s=idle_minutes * 60,
            ledger_key=key,
            quorum=quorum,
        )
        opened = Console(config, _plan)
        try:
            serve(opened, lambda origin, certificate: _greet(opened, origin, certificate))
        finally:
            opened.close()
    except (ServerError, PrivacyError) as error:
        raise click.ClickException(str(error)) from None


@console.command(short_help="Make a one-time link for NAME.")
@_STATE
@click.argument("name")
@click.option("--role", type=click.Choice([str(role) for role in Role]), help="For a new account.")
@_DIRECTORY
def invite(state: Path, name: str, role: str | None, directory: Path | None) -> None:
    """Make a one-time link for NAME: a new account, or one whose password is lost.

    The password, the signing key and the sessions that NAME had are gone with it.
    """
    opened = _open(state, directory)
    try:
        token = opened.people.invite(name, None if role is None else Role(role))
        opened.log.append("", "", "command line", "invite", "done", f"link for {name}")
    except ServerError as error:
        raise click.ClickException(str(error)) from None
    finally:
        opened.close()
    click.echo(f"/first-use/{token}")
    click.echo("Open it at the console's address within 30 minutes; it works once.", err=True)


@console.command(short_help="Verify the access log, and print its head.")
@_STATE
@click.option("--known", metavar="SEQUENCE:HASH", help="A head from before, to be contained.")
@_DIRECTORY
def log(state: Path, known: str | None, directory: Path | None) -> None:
    """Verify the access log of the console over STATE, and print its head.

    Keep the head elsewhere: entries cut off at the log's end are found with --known alone.
    """
    try:
        head = None if known is None else Head.parse(known)
    except ValueError:
        raise click.BadParameter("expected SEQUENCE:HASH", param_hint="'--known'") from None
    opened = _open(state, directory)
    try:
        found = opened.log.verify(head)
    except ServerError as error:
        raise click.ClickException(str(error)) from None
    finally:
        opened.close()
    click.echo(f"the access log holds together; its head is {found}")


def _open(state: Path, directory: Path | None) -> Console:
    try:
        source = find_source(state)
        return Console(ConsoleConfig(source, directory or _beside(source)), _plan)
    except ServerError as error:
        raise click.ClickException(str(error)) from None


def _greet(console: Console, origin: str, certificate: Certificate) -> None:
    click.echo(f"ready {origin}")
    click.echo(f"certificate SHA-256 {certificate.fingerprint}")
    click.echo(f"to have browsers trust it, import {certificate.authority}")
    if not any(person.has_password for person in console.people.everyone()):
        token = console.people.invite(_FIRST, Role.OPERATOR)
        click.echo(f"first use, once, within 30 minutes: {origin}/first-use/{token}")


def _plan(
    statement: AccountStatement | None,
    *,
    epsilon: float | None,
    noise_multiplier: float | None,
    rounds: int | None,
    n_users: int | None,
    purpose: str,
) -> Mapping[str, object]:
    found = answer(
        statement,
        epsilon=epsilon,
        noise_multiplier=noise_multiplier,
        rounds=rounds,
        target_delta=None,
        n_users=n_users,
        purpose=purpose,
    )
    return found.to_json()


def _beside(source: LedgerSource) -> Path:
    path = source.path.resolve()
    return path.with_name(path.name + ".console")


def _key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise click.BadParameter("expected 64 hexadecimal digits", param_hint="'--key'")
    return key


def _quorum(keys: tuple[str, ...]) -> Quorum | None:
    if not keys:
        return None
    try:
        witnesses = tuple(Witness.parse(one) for one in keys)
        return Quorum(witnesses, len(witnesses))
    except BadParameter as error:
        raise click.BadParameter(str(error), param_hint="'--witness'") from None
