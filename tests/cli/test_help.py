"""`--help` of every command, as somebody meets it: nothing cut off, nothing of click's markup."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from tacit.cli.main import main


def _all(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _all(found, click.Context(found, info_name=name, parent=context))


HELP = dict(_all(main, click.Context(main, info_name="tacit")))


@pytest.mark.parametrize("path", HELP)
def test_no_summary_is_cut_off_and_no_markup_is_shown(path: str) -> None:
    usage, _, text = HELP[path].partition("\n\n")
    assert usage.startswith(f"Usage: {path}")
    assert text.strip()
    assert not [line for line in text.splitlines() if line.endswith("...")]
    assert not [line for line in text.splitlines() if line.endswith("...")]
