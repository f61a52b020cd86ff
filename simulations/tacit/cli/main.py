"""The root command. Subcommands are imported when they are called, so `--help` stays instant."""

from __future__ import annotations

import importlib
import os

import click

# A server that does not answer, or not with the expected certificate, is reported in one line of
# our own; gRPC reads this when it is first imported, and would print several more.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

_COMMANDS = {
    "demo": "tacit.cli.demo:demo",
    "simulate": "tacit.cli.simulate:simulate",
    "ledger": "tacit.cli.ledger:ledger",
    "device": "tacit.cli.device:device",
    "audit": "tacit.cli.audit:audit",
    "budget": "tacit.cli.budget:budget",
    "policy": "tacit.cli.policy:policy",
}
_SUMMARIES = {
    "demo": "Train, release and recommend with real processes on this machine.",
    "simulate": "Train on one machine, vectorised: the same statistics, noise and learner.",
    "ledger": "Verify, show or export a ledger, offline.",
    "device": "Consents and rights of the person whose device it is, offline.",
    "audit": "Look for privacy violations: noise, sensitivity, canaries; states its power.",
    "budget": "Show, explain, plan and govern privacy budgets; the facts of releases.",
    "policy": "Check and sign guardrails: what a device must not show.",
}


class LazyGroup(click.Group):
    """Loads a subcommand's module when the subcommand is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the subcommands in the order people meet them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one subcommand."""
        target = _COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, name = target.partition(":")
        command = getattr(importlib.import_module(module), name)
        if not isinstance(command, click.Command):
            raise click.ClickException(f"{target} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands from their summaries, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _SUMMARIES[name]) for name in _COMMANDS])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tacit")
def main() -> None:
    """Privacy-first, on-device personalization, trained federatedly.

    Start with `tacit demo`: it brings up a ledger, a Flower coordinator, a gateway and a fleet of
    devices on this machine, trains within a stated epsilon, and shows what was spent and learned.
    """
