"""Names of devices that were erased: all that is kept of them, as digests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sqlalchemy import Connection, insert, select

from tacit.server.ledger.tables import erased_devices


def erased_among(connection: Connection, device_ids: Sequence[str]) -> set[str]:
    """Return those devices that were erased before, within the caller's transaction."""
    if not device_ids:
        return set()
    named = {_digest(one): one for one in device_ids}
    query = select(erased_devices.c.device_sha256).where(
        erased_devices.c.device_sha256.in_(list(named))
    )
    return {named[found] for found in connection.execute(query).scalars()}


def is_erased(connection: Connection, device_id: str) -> bool:
    """Whether a device was erased before, within the caller's transaction."""
    return bool(erased_among(connection, [device_id]))


def note_name(connection: Connection, device_id: str) -> None:
    """Keep the digest of an erased device's name; repeating it changes nothing."""
    if not is_erased(connection, device_id):
        connection.execute(insert(erased_devices), {"device_sha256": _digest(device_id)})


def _digest(device_id: str) -> bytes:
    return hashlib.sha256(b"tacit/v1/erased\0" + device_id.encode("ascii")).digest()
