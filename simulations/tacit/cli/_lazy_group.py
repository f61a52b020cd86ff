"""A group whose subcommands are imported when they are called, so `--help` stays instant."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """Loads a subcommand's module when the subcommand is asked for."""

    def __init__(
        self, *args: Any, commands_by_name: Mapping[str, tuple[str, str]], **options: Any
    ) -> None:
        """Name the subcommands.

        Args:
            args: of `click.Group`.
            commands_by_name: name → (`module:attribute`, one-line summary), in the order people
                meet them.
            options: of `click.Group`.
        """
        super().__init__(*args, **options)
        self._by_name = commands_by_name

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the subcommands in the order people meet them."""
        return list(self._by_name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one subcommand."""
        if cmd_name not in self._by_name:
            return None
        target, _ = self._by_name[cmd_name]
        module, _, name = target.partition(":")
        command = getattr(importlib.import_module(module), name)
        if not isinstance(command, click.Command):
            raise click.ClickException(f"{target} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands from their summaries, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, told) in self._by_name.items()])
