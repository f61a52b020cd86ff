"""Plain values: what the facade answers, as JSON takes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast


def plain(value: object) -> Any:
    """Return dataclasses and mappings as objects, and any other collection as a list.

    Sets are sorted, so that the same answer is the same text.
    """
    if dataclasses.is_dataclass(value):
        names = (field.name for field in dataclasses.fields(value))
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        items = cast(Mapping[object, object], value).items()
        return {str(name): plain(one) for name, one in items}
    if isinstance(value, set | frozenset):
        return sorted(plain(one) for one in cast(Collection[object], value))
    if isinstance(value, Collection) and not isinstance(value, str | bytes):
        return [plain(one) for one in cast(Collection[object], value)]
    return str(value) if isinstance(value, Path) else value
