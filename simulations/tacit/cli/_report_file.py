"""The file that `--json` names: refused before the work, written whole or not at all."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping

import click

from tacit.server.durable_file import write_durably


def check_writable(path: pathlib.Path | None, option: str = "--json") -> None:
    """Refuse a report file that could not be written, before anything else is done.

    Args:
        path: what the option named; `None` for no file.
        option: which one.

    Raises:
        BadParameter: the folder is not there, or it or the file cannot be written.
    """
    if path is None:
        return
    folder = path.parent
    if not folder.is_dir():
        reason = "is a file" if folder.exists() else "does not exist"
        raise _refusal(
            f"expected a file in an existing folder, got {path}: {folder} {reason}", option
        )
    target = path if path.exists() else folder
    if not os.access(target, os.W_OK):
        raise _refusal(f"expected a file that can be written, got {path}: no permission", option)


def write_report(path: pathlib.Path, report: Mapping[str, object]) -> None:
    """Write a report; a reader finds the old file or the whole new one.

    Raises:
        ClickException: it cannot be written after all.
    """
    write_whole(path, (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())


def write_whole(path: pathlib.Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file; a reader finds the old one or the whole new one.

    Raises:
        ClickException: it cannot be written after all.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe or a terminal
            path.write_bytes(content)
            return
        beside = path.resolve().with_name(f".{path.name}.{os.getpid()}")
        try:
            write_durably(path.resolve(), content, temporary=beside, mode=mode)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None


def _refusal(message: str, option: str) -> click.BadParameter:
    return click.BadParameter(message, param_hint=f"'{option}'")
