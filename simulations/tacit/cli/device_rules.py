"""`tacit device guardrails | flags | variant`: signed data of the app, and the person's say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import click

from tacit.cli._device_options import Device, of_a_device, read_value
from tacit.client.flags import FlagValue

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_KEY = click.option("--policy-key", required=True, help="The app's public policy key, 64 hex.")


@click.group()
def guardrails() -> None:
    """Install the app's signed guardrails (`tacit policy sign`); show those in force."""


@guardrails.command("install", short_help="Verify FILE and install it.")
@of_a_device
@click.argument("file", type=_FILE)
@_KEY
def install_guardrails(device: Device, file: Path, policy_key: str) -> None:
    """Verify FILE under the app's key and install it; an older version does not come back."""
    with device.opened() as opened:
        policy = opened.install_guardrails(file.read_bytes(), _public_key(policy_key))
    device.say(policy.to_json(), [f"version {policy.version} of {policy.app} is in force"])


@guardrails.command("show")
@of_a_device
def show_guardrails(device: Device) -> None:
    """Show the guardrails in force."""
    with device.opened() as opened:
        policy = opened.guardrails
    lines = [f"version {policy.version} of {policy.app}"]
    device.say(policy.to_json(), lines + [f"  {rule.id}: {rule.kind}" for rule in policy.rules])


@click.group()
def flags() -> None:
    """Install the app's signed flags (`tacit flags sign`); opt out of them."""


@flags.command("install", short_help="Verify FILE and install it.")
@of_a_device
@click.argument("file", type=_FILE)
@_KEY
def install_flags(device: Device, file: Path, policy_key: str) -> None:
    """Verify FILE under the app's key and install it; an older version does not come back."""
    with device.opened() as opened:
        held = opened.install_flags(file.read_bytes(), _public_key(policy_key))
    device.say(held.to_json(), [f"version {held.version} of {held.app}: {len(held.flags)} flags"])


@flags.command("opt-out", short_help="Opt the person out of FLAG, or of all.")
@of_a_device
@click.argument("flag", default="*")
@click.option("--in", "again", is_flag=True, help="Opt in again.")
def opt_out_of_flags(device: Device, flag: str, again: bool) -> None:
    """Opt the person out of FLAG, or of all of them: the app's default from now on."""
    with device.opened() as opened:
        opened.opt_out_of_flags(flag, not again)
        held = opened.flags.opted_out()
    device.say({"opted_out": held}, [f"opted out: {', '.join(sorted(held)) or 'nothing'}"])


@click.command()
@of_a_device
@click.argument("flag")
@click.argument("default")
def variant(device: Device, flag: str, default: str) -> None:
    """Show this device's variant of FLAG; DEFAULT is JSON, and its kind is what is asked for."""
    value = cast(FlagValue, read_value(default, "DEFAULT"))
    with device.opened() as opened:
        found = opened.variant(flag, value)
    told = f"{json.dumps(found.value)}  ({found.variant or 'default'}, {found.reason})"
    device.say(found, [told, *([found.error_message] if found.error_message else [])])


def _public_key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise click.BadParameter("expected 64 hexadecimal digits", param_hint="'--policy-key'")
    return key
