"""`tacit device serve`: the verbs on a unix socket, for apps in other languages."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tacit.cli._catalogue_file import read_catalogue
from tacit.cli._device_options import CATALOGUE_FILE, Device, of_a_device
from tacit.cli._device_store import one_line
from tacit.cli._servers_file import read_servers
from tacit.client import DeviceError
from tacit.client.personalizer import Personalizer
from tacit.server.process import stop_event

SOCKET_FILE = "run/tacit.sock"
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@of_a_device
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    help=f"Where; by default {SOCKET_FILE} beside the store. Its directory is made private.",
)
@click.option("--servers", type=_FILE, help="For the verb sync; without it nothing ever connects.")
def serve(device: Device, socket: Path | None, servers: Path | None) -> None:
    """Serve the verbs on a socket that only this user can open, to apps with a token.

    `tacit device token issue PATH APP --surface home` gives an app one. SIGTERM or Ctrl-C ends it:
    calls under way get five seconds.
    """
    # gRPC takes a quarter of a second to import; no other command waits for it.
    from tacit.client.service import PersonalizerServer, Syncing

    store, keys = device.store, device.keys()
    beside = store.with_name(CATALOGUE_FILE)
    file = device.catalogue or (beside if beside.is_file() else None)
    catalogue = None if file is None else read_catalogue(file)
    syncing = None if servers is None else Syncing(*read_servers(servers))
    place = socket or store.resolve().parent / SOCKET_FILE
    stopped = stop_event()
    try:
        with PersonalizerServer(
            place, lambda: Personalizer.open(store, keys, catalogue), keys, syncing
        ) as server:
            device.say({"socket": str(server.socket)}, [f"serving on unix:{server.socket}"])
            sys.stdout.flush()
            stopped.wait()
    except DeviceError as error:
        raise one_line(error) from None
