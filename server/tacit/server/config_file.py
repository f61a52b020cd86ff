"""Configuration files: one JSON object for one frozen dataclass, unknown keys refused."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tacit.server.errors import BadConfig

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    _Config = TypeVar("_Config", bound=DataclassInstance)
else:
    _Config = TypeVar("_Config")


def load_config(kind: type[_Config], path: pathlib.Path, what: str) -> _Config:
    """Read a configuration file; its dataclass checks ranges as it is made.

    Args:
        kind: the dataclass; its fields are the keys.
        path: the file.
        what: names the configuration in messages.

    Raises:
        BadConfig: if it cannot be read, or a key is unknown or missing; or as `kind` raises it.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise BadConfig(f"{what}: expected a JSON file, {error}") from None
    if not isinstance(document, dict):
        raise BadConfig(f"{what}: expected a JSON object")
    values = cast("dict[str, Any]", document)
    known = {f.name for f in dataclasses.fields(kind)}
    if unknown := sorted(set(values) - known):
        raise BadConfig(f"{what}: unknown key {unknown[0]!r}")
    try:
        return kind(**values)
    except TypeError as error:
        raise BadConfig(f"{what}: {error}") from None
