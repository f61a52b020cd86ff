"""`tacit policy`: check and sign guardrail policies."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import click

from tacit.cli._catalogue_file import read_catalogue
from tacit.cli._report_file import check_writable
from tacit.client.errors import DeviceError
from tacit.client.guardrails.default import DEFAULT_GUARDRAILS
from tacit.client.guardrails.document import GuardrailPolicy, read_json
from tacit.client.guardrails.lint import Finding, lint, summary
from tacit.client.guardrails.schema import json_schema
from tacit.client.guardrails.signed import sign_policy
from tacit.privacy.signatures import SigningKey

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def policy() -> None:
    """Check and sign guardrail policies: what a device must not show."""


@policy.command(short_help="Find what is wrong with FILE; non-zero exit if anything is.")
@click.argument("file", type=_FILE)
@click.option("--key", "key_hex", help="The app's public policy key, 64 hex digits.")
@click.option("--catalogue", "catalogue_file", type=_FILE, help="Look categories and items up.")
@click.option("--draft", is_flag=True, help="Do not ask for a signature yet.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def check(
    file: Path, key_hex: str | None, catalogue_file: Path | None, draft: bool, as_json: bool
) -> None:
    """Find unknown fields, contradictions, rules that never fire, unknown names, no signature."""
    key = None if key_hex is None else _key(key_hex, "--key")
    catalogue = None if catalogue_file is None else read_catalogue(catalogue_file)
    findings = lint(file.read_bytes(), public_key=key, catalogue=catalogue)
    if draft:
        findings = [one for one in findings if one.code != "unsigned"]
    if as_json:
        click.echo(json.dumps(summary(findings), indent=2))
    else:
        _print(file, findings)
        if not findings and key is None and not draft:
            click.echo("  its signature was not checked: pass --key with the app's public key")
    if findings:
        raise SystemExit(1)


@policy.command(short_help="Sign FILE with the app's policy key.")
@click.argument("file", type=_FILE)
@click.option(
    "--key-file", type=click.Path(dir_okay=False, path_type=Path), required=True,
    help="32 private bytes, mode 0600; made if there is none.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Signed policy."
)
def sign(file: Path, key_file: Path, out: Path) -> None:
    """Sign FILE, once it has no finding but that it is not signed."""
    if not key_file.exists():
        check_writable(key_file, "--key-file")
    check_writable(out, "--out")
    findings = [one for one in lint(file.read_bytes()) if one.code != "unsigned"]
    if findings:
        _print(file, findings)
        raise SystemExit(1)
    try:
        document = read_json(file.read_bytes())
        body = document.get("policy", document)
        parsed = GuardrailPolicy.from_json(body)  # type: ignore[arg-type]  # pyright: ignore
        key = signing_key(key_file)
        unfinished = out.with_name(out.name + ".part")
        unfinished.write_bytes(sign_policy(parsed, key))
        unfinished.replace(out)
    except (DeviceError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{out}: version {parsed.version} of {parsed.app}, {len(parsed.rules)} rules")
    click.echo(f"  public key  {key.public_key.hex()}")


@policy.command(short_help="Print a policy to start from.")
@click.option("--app", default="app.example", show_default=True, help="Name of the app.")
def example(app: str) -> None:
    """Print the guardrails of an app that brought none, as an unsigned draft to change."""
    draft = replace(DEFAULT_GUARDRAILS, app=app, issued_at_ms=int(time.time() * 1000))
    click.echo(json.dumps(draft.to_json(), indent=2))


@policy.command(short_help="Print the JSON schema of policies.")
def schema() -> None:
    """Print the JSON schema of policies."""
    click.echo(json.dumps(json_schema(), indent=2))


def _print(file: Path, findings: list[Finding]) -> None:
    for finding in findings:
        click.echo(f"{file}: {finding}")
    if not findings:
        click.echo(f"{file}: ok")


def _key(text: str, option: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise click.BadParameter("expected 64 hexadecimal digits", param_hint=f"'{option}'")
    return key


def signing_key(path: Path) -> SigningKey:
    """Read the app's policy key, making it if there is none.

    Raises:
        ClickException: if it is not 32 bytes that only their owner can read.
        OSError: if it cannot be read or made.
    """
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(32))
    content = path.read_bytes()
    if len(content) != 32 or path.stat().st_mode & 0o077:
        raise click.ClickException(f"{path}: expected 32 bytes that only their owner can read")
    return SigningKey(content)
