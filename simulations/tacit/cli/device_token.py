"""`tacit device token`: the tokens of apps; works while the device is served."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import click

from tacit.cli._device_options import Device, of_a_device
from tacit.cli._device_store import one_line
from tacit.client import DeviceError
from tacit.client.service.grants import EVERYDAY_VERBS, EVERYWHERE, PERSONAL_VERBS, VERBS
from tacit.client.service.tokens import AppTokens

_Answer = TypeVar("_Answer")


@click.group()
def token() -> None:
    """Issue, list and revoke the tokens with which apps call `tacit device serve`.

    They lie in one file beside the store, hashed, and only who holds the store's key can change it.
    """


@token.command()
@of_a_device
@click.argument("app")
@click.option(
    "--verb",
    "verbs",
    multiple=True,
    type=click.Choice(VERBS),
    help=f"A verb it may call; by default {', '.join(EVERYDAY_VERBS)}.",
)
@click.option(
    "--also",
    multiple=True,
    type=click.Choice(PERSONAL_VERBS),
    help="A verb besides those, which acts for the person or reads the whole profile.",
)
@click.option(
    "--surface",
    "surfaces",
    multiple=True,
    required=True,
    help=f"Where it may act: `home` is home and everything below; `{EVERYWHERE}` is everywhere.",
)
def issue(
    device: Device,
    app: str,
    verbs: tuple[str, ...],
    also: tuple[str, ...],
    surfaces: tuple[str, ...],
) -> None:
    """Give APP a token. It is printed this once; keep it as a secret of the app."""
    granted = tuple(dict.fromkeys((*(verbs or EVERYDAY_VERBS), *also)))
    now_ms = time.time_ns() // 1_000_000
    made = _done(lambda: _tokens(device).issue(app, granted, surfaces, now_ms))
    device.say({"app": app, "token": made, "verbs": granted, "surfaces": surfaces}, [made])


@token.command("list")
@of_a_device
def list_tokens(device: Device) -> None:
    """List the apps that have a token, and what each may do."""
    grants = _done(lambda: _tokens(device).grants())
    lines = [
        f"{one.app}  on {', '.join(one.surfaces)}  may {', '.join(one.verbs)}" for one in grants
    ]
    device.say(grants, lines or ["no app has a token"])


@token.command()
@of_a_device
@click.argument("app")
def revoke(device: Device, app: str) -> None:
    """Take APP's token back; it holds for no call from now on."""
    grant = _done(lambda: _tokens(device).revoke(app))
    device.say(grant, [f"{app} has no token any more"])


def _tokens(device: Device) -> AppTokens:
    return AppTokens(device.store, device.keys())


def _done(work: Callable[[], _Answer]) -> _Answer:
    try:
        return work()
    except DeviceError as error:
        raise one_line(error) from None
