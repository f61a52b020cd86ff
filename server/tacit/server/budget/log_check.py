"""Hold the reservations' rows against the governance log that they are derived from."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from tacit.privacy.budget import ReservationState
from tacit.privacy.budget_documents import AbortDocument, CommitDocument, ReserveDocument
from tacit.privacy.errors import PrivacyError
from tacit.privacy.governance import GovernanceEntry
from tacit.server.errors import StateCorrupt
from tacit.server.ledger.log import GOVERNANCE
from tacit.server.ledger.tables import leaves, reservations


@dataclass(slots=True)
class _Expected:
    """What the row of one reservation has to say."""

    position: int
    body: bytes
    state: ReservationState = ReservationState.RESERVED
    settled_at: int | None = None
    release_sha256: str = ""


def check_rows_follow_log(connection: Connection) -> None:
    """Check that each reservation in the log has one row, which says what the log says.

    The leaves were held against the checkpoint that this node signed when they were loaded, so
    whoever edits, deletes or adds a row without the node's key is found here, before it spends.

    Raises:
        StateCorrupt: naming the first reservation that differs.
    """
    expected = _from_log(connection)
    columns = reservations.c
    query = select(
        columns.reservation_id,
        columns.position,
        columns.body,
        columns.state,
        columns.settled_at,
        columns.release_sha256,
    )
    for name, *stored in connection.execute(query):
        one = expected.pop(name, None)
        if one is None or stored != [
            one.position,
            one.body,
            one.state.value,
            one.settled_at,
            one.release_sha256,
        ]:
            raise StateCorrupt(f"reservation {name}: its row is not what the governance log says")
    for name in expected:
        raise StateCorrupt(f"reservation {name}: is in the governance log but has no row")


def _from_log(connection: Connection) -> dict[str, _Expected]:
    found: dict[str, _Expected] = {}
    query = select(leaves.c.position, leaves.c.data).where(leaves.c.log == GOVERNANCE)
    for position, data in connection.execute(query.order_by(leaves.c.position)):
        try:
            _follow(GovernanceEntry.parse(data), position, found)
        except (PrivacyError, KeyError) as error:
            raise StateCorrupt(f"governance entry {position}: {error}") from None
    return found


def _follow(entry: GovernanceEntry, position: int, found: dict[str, _Expected]) -> None:
    if entry.kind == "budget.reserve":
        document = ReserveDocument.from_json(entry.body)
        found[document.reservation_id] = _Expected(position, document.to_bytes())
    elif entry.kind == "budget.commit":
        commit = CommitDocument.from_json(entry.body)
        one = found[commit.reservation_id]
        one.state, one.settled_at = ReservationState.COMMITTED, position
        one.release_sha256 = commit.release_sha256
    elif entry.kind == "budget.abort":
        one = found[AbortDocument.from_json(entry.body).reservation_id]
        one.state, one.settled_at = ReservationState.ABORTED, position
