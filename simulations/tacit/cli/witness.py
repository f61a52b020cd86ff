"""`tacit ledger witness`: watch other people's ledgers and cosign what only ever grew."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tacit.server.errors import ServerError
from tacit.server.key_file import write_key_file
from tacit.server.process import stop_event
from tacit.server.witness import WitnessConfig, WitnessServer

_KEY_FILE = "witness.key"
_STATE_FILE = "witness.sqlite"


@click.command(short_help="Run a witness, until Ctrl-C.")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--name", required=True, help="Your key name, such as witness.example/w1.")
@click.option(
    "--log",
    "logs",
    required=True,
    multiple=True,
    metavar="KEY",
    help="Verifier key of a log to watch, as `tacit ledger verify` prints it; may be repeated.",
)
@click.option("--address", default="127.0.0.1:0", show_default=True, help="Where to listen.")
@click.option("--tls-certificate", default="", metavar="PEM", help="Speak HTTPS with this.")
@click.option("--tls-key", default="", metavar="PEM", help="The certificate's private key.")
@click.option("--json", "as_json", is_flag=True, help="Say where it listens in one line of JSON.")
def witness(
    directory: Path,
    name: str,
    logs: tuple[str, ...],
    address: str,
    tls_certificate: str,
    tls_key: str,
    as_json: bool,
) -> None:
    """Run a witness that keeps its key and its memory in DIRECTORY, until Ctrl-C.

    A witness remembers how far each log has come and cosigns a checkpoint only if it extends that
    (https://c2sp.org/tlog-witness). Whoever demands a quorum of witnesses cannot be shown a history
    of his own, nor one that was rolled back. Run it where the ledger's operator is not in charge.

    Put the printed key and URL under `witnesses` in the ledger's configuration, and the key into
    what devices pin.
    """
    key_file = directory / _KEY_FILE
    made = not key_file.exists()
    try:
        _make_key(key_file)
        stopped = stop_event()
        server = WitnessServer(
            WitnessConfig(
                name=name,
                address=address,
                state_file=str(directory / _STATE_FILE),
                signing_key=str(key_file),
                logs=list(logs),
                tls_certificate=tls_certificate,
                tls_key=tls_key,
            )
        )
    except OSError as error:
        raise click.ClickException(
            f"{directory}: expected a directory that can be written: {error.strerror}"
        ) from None
    except ServerError as error:
        if made:  # what was refused leaves no key behind that nobody knows of
            key_file.unlink(missing_ok=True)
        raise click.ClickException(str(error)) from None
    server.start()
    key = server.node.witness.verifier_key
    origins = [log.partition("+")[0] for log in logs]
    if as_json:
        click.echo(json.dumps({"key": key, "url": server.url, "logs": origins}))
    else:
        click.echo(f"witness   {key}\nlistening {server.url}\nwatching  {', '.join(origins)}")
    stopped.wait()
    server.stop()


def _make_key(path: Path) -> None:
    """Make a key of its own on the first start; keep it ever after."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        write_key_file(path)
