"""`tacit ledger retrain`: announce that releases are trained again without who was erased."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from tacit.cli._officer_connection import officer_client, print_json
from tacit.privacy.release import KINDS, RANKING
from tacit.privacy.retraining import Retraining
from tacit.server.coordinator.config import CoordinatorConfig
from tacit.server.coordinator.retraining import retraining_config
from tacit.server.errors import BadConfig

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(short_help="Announce a retraining without whoever was erased.")
@click.argument(
    "state", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option("--key", type=_FILE, required=True, help="The operator's key file.")
@click.option("--ledger", help="HOST:PORT of the running ledger.")
@click.option("--ca", type=_FILE, help="Certificate of the authority behind the ledger.")
@click.option("--population", required=True, help="Whose releases.")
@click.option(
    "--kind", type=click.Choice(KINDS), default=RANKING, show_default=True, help="Which releases."
)
@click.option("--reason", default="erasure", show_default=True, help="Why; it is published.")
@click.option(
    "--coordinator",
    type=_FILE,
    help="Configuration of the task that trained last; with --out, made into one that retrains.",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Where to write it.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def retrain(
    state: Path | None,
    key: Path,
    ledger: str | None,
    ca: Path | None,
    population: str,
    kind: str,
    reason: str,
    coordinator: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Announce that a population is trained again without people who were erased.

    The ledger publishes which tasks rest on somebody who was erased since, not who, and what the
    retraining starts from: the release before the first of these tasks. A coordinator started with
    the configuration that --out writes then trains among the devices that consent now, pays for it
    like for any task, and its release supersedes every affected one.

    STATE is a demo's state directory, which says where its ledger listens; else --ledger and --ca.
    """
    if (coordinator is None) != (out is None):
        raise click.UsageError("expected --coordinator and --out together")
    before = _read(coordinator, out, population)
    with officer_client(state, ledger, ca, key) as (client, _):
        index, entry = client.retrain(population, kind, reason)
    announced = Retraining.from_json(entry.body)
    if before is not None and out is not None:
        _write(before, announced, out)
    if as_json:
        print_json({"index": index, "retrains": announced.digest(), **announced.to_json()})
        return
    base = f"release {announced.base_release}" if announced.base_release else "nothing"
    click.echo(f"retraining {announced.digest()}")
    click.echo(f"  entry         {index} of the governance log")
    click.echo(f"  affected      {len(announced.tasks)} tasks of {population}, kind {kind}")
    click.echo(f"  starts from   {base}")
    click.echo(f"  erased        before consent leaf {announced.consent_size}")
    if out is not None:
        click.echo(f"  coordinator   {out}; start it as any task: flwr run … coordinator-config")
    else:
        click.echo(
            f'  coordinator   set "retrains" to the digest above, "base_release" to '
            f"{announced.base_release}, and a new task_id and state_dir"
        )


def _read(coordinator: Path | None, out: Path | None, population: str) -> CoordinatorConfig | None:
    """Read the configuration first: nothing is announced that could not be carried out."""
    if coordinator is None or out is None:
        return None
    if out.exists():
        raise click.ClickException(f"{out}: expected a new file; a configuration is not replaced")
    try:
        config = CoordinatorConfig.load(coordinator)
    except BadConfig as error:
        raise click.ClickException(str(error)) from None
    if config.population != population:
        raise click.ClickException(
            f"{coordinator}: expected a task of population {population}, got {config.population}"
        )
    return config


def _write(before: CoordinatorConfig, announced: Retraining, out: Path) -> None:
    suffix = f"retrain-{announced.digest()[:12]}"
    try:
        config = retraining_config(
            before, announced, f"{before.task_id}-{suffix}", f"{before.state_dir}-{suffix}"
        )
        document = json.dumps(dataclasses.asdict(config), indent=2)
        out.write_text(document + "\n", encoding="utf-8")
    except BadConfig as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{out}: cannot be written ({error.strerror})") from None
