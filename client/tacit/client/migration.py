"""Migration: from the format a store was written in to the one this client writes.

A store is migrated when it is opened, in one transaction: a kill leaves the old format whole or the
new one. Steps only ever add; what they add is filled by whoever owns it when it is next written
(`Facts.get` seals an old fact anew). A store of a newer format is left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

FORMAT = 2
"""What this client writes. 1: as first released, later with `decisions`. 2: the index key lies
beside the data key, so that data keys rotate; facts are bound to their tags; ids of forgotten
events are remembered."""

STEPS: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {
        1: (
            "CREATE TABLE IF NOT EXISTS decisions ("
            "sequence INTEGER PRIMARY KEY AUTOINCREMENT, epoch INTEGER NOT NULL, "
            "decision_tag BLOB NOT NULL, sealed BLOB NOT NULL)",
            "CREATE INDEX IF NOT EXISTS decisions_by_tag ON decisions (decision_tag)",
            "CREATE TABLE index_keys (epoch INTEGER PRIMARY KEY, sealed BLOB NOT NULL)",
            "CREATE TABLE forgotten (event_tag BLOB PRIMARY KEY) WITHOUT ROWID",
        )
    }
)
"""Format → statements that lead to the next one."""


def steps_from(found: int) -> list[str]:
    """Return the statements that lead from a format to `FORMAT`, in order."""
    return [statement for number in range(found, FORMAT) for statement in STEPS[number]]
