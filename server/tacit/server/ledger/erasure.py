"""Erasure at the ledger: one transaction destroys, states and commits; then the old pages go.

What goes: events, their commitment keys, the subject's key, consent states, map entries, the row
that gave the device its name and key, and whose token enrolled it. What stays: the leaves, which
without their keys say nothing, and the digest of the device's name, so that its old key cannot
begin a new chain and a repeated request is answered; and the tasks the device took part in, in one
set with those of everybody erased, so that they can be trained again without them.

Crash points: before the commit, nothing happened. After it and before `scrub`, the rows are
gone but old pages may still lie in the write-ahead log; opening the database or the next erasure
cuts it, and the device, which got no reply, asks again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from tacit.privacy.accounting import GaussianEvent, epsilon_bound
from tacit.privacy.budget import ReservationState
from tacit.privacy.budget_documents import ReserveDocument
from tacit.privacy.canonical import parse_canonical
from tacit.privacy.erasure import (
    DP_BOUNDED,
    STOPPED,
    UNBOUNDED,
    ErasureRequest,
    ErasureStatement,
    LabelledRound,
)
from tacit.privacy.errors import BadSignature
from tacit.privacy.receipt import COMMITMENT_KEY_BYTES, leaf
from tacit.privacy.signatures import SigningKey, verify
from tacit.privacy.task import TaskManifest
from tacit.server.errors import InvalidRequest, Unauthenticated
from tacit.server.ledger.consent import MAX_CLOCK_SKEW_MS
from tacit.server.ledger.database import retried
from tacit.server.ledger.erased_names import is_erased, note_name
from tacit.server.ledger.lineage_rows import load_lineage
from tacit.server.ledger.log import Logs, Proof
from tacit.server.ledger.retraining import note_erased, releases_in_force
from tacit.server.ledger.tables import (
    consent_events,
    consent_states,
    devices,
    map_entries,
    map_removals,
    reservations,
    subjects,
    tasks,
    tokens,
)


@dataclass(frozen=True, slots=True)
class Erased:
    """The answer to an erasure.

    Attributes:
        statement: canonical bytes of the `ErasureStatement`.
        signature: the ledger's, over them.
        commitment_key: opens the leaf that commits to both; the ledger keeps no copy.
        proof: of that leaf.
    """

    statement: bytes
    signature: bytes
    commitment_key: bytes
    proof: Proof


class ErasureStore:
    """Erase devices; `was_erased` answers for those that were."""

    def __init__(
        self,
        logs: Logs,
        key: SigningKey,
        random_bytes: Callable[[int], bytes],
        forget_device: Callable[[str], None],
    ) -> None:
        """Set up.

        Args:
            logs: where leaves and rows are.
            key: the node's.
            random_bytes: the operating system's randomness in production.
            forget_device: drops a device from memory once it is gone from the database.
        """
        self._logs = logs
        self._key = key
        self._random_bytes = random_bytes
        self._forget_device = forget_device

    def was_erased(self, device_id: str) -> bool:
        """Whether this device was erased before."""
        with self._logs.database.reading() as connection:
            return is_erased(connection, device_id)

    @retried
    def erase(
        self,
        device_id: str,
        public_key: bytes,
        request_bytes: bytes,
        signature: bytes,
        known_size: int,
        now_ms: int,
    ) -> Erased:
        """Destroy what the node holds of a device, and state it; doing it again states it anew.

        Everybody else's leaves, proofs and the roots so far stay as they are. When this returns,
        admission no longer knows the device, and no byte of its events or keys is left in the
        database or its write-ahead log.

        Raises:
            BadDocument: if the request is malformed.
            Unauthenticated: if the device did not sign it, or it is of another device.
            InvalidRequest: if it lies in the future, lists a round no task of the log has or rounds
                of several populations, or the log never had `known_size` leaves.
            StateCorrupt: if a reader kept the write-ahead log from being cut; the rows are gone.
        """
        request = ErasureRequest.from_json(parse_canonical(request_bytes))
        try:
            verify(public_key, ErasureRequest.SIGNING_CONTEXT, request_bytes, signature)
        except BadSignature:
            raise Unauthenticated(f"{device_id}: the request's signature fails") from None
        if request.device_id != device_id:
            raise Unauthenticated(f"{device_id}: expected a request about the calling device")
        if request.requested_at_ms > now_ms + MAX_CLOCK_SKEW_MS:
            raise InvalidRequest("erasure.requested_at_ms: expected a time not in the future")
        self._logs.consent.check_known(known_size)
        commitment_key = self._random_bytes(COMMITMENT_KEY_BYTES)
        with self._logs.writing() as connection:
            rounds, epsilon, delta = _labels(connection, request)
            remaining = {one.task_sha256 for one in rounds if one.label != STOPPED}
            population = _population(connection, request)
            statement = ErasureStatement(
                request_sha256=hashlib.sha256(request_bytes).hexdigest(),
                erased_at_ms=now_ms,
                rounds=rounds,
                epsilon=epsilon,
                target_delta=delta,
                population=population,
                releases=releases_in_force(load_lineage(connection, population).lineage, remaining)
                if remaining
                else (),
            ).to_bytes()
            stated = self._key.sign(ErasureStatement.SIGNING_CONTEXT, statement)
            _destroy(connection, device_id)
            note_erased(connection, remaining)
            position = self._logs.consent.append(
                connection, leaf(statement, stated, commitment_key)
            )
        self._forget_device(device_id)
        self._logs.database.scrub()
        proof = self._logs.consent.proof(position, known_size)
        return Erased(statement, stated, commitment_key, proof)


def _destroy(connection: Connection, device_id: str) -> None:
    gone = select(map_entries.c.key).where(map_entries.c.device_id == device_id)
    removed = [{"key": key} for key in connection.execute(gone).scalars()]
    if removed:
        # Opaque without the device's keys, and dropped when the next epoch leaves them out.
        connection.execute(insert(map_removals), removed)
    for table in (map_entries, consent_events, consent_states, subjects, devices):
        connection.execute(delete(table).where(table.c.device_id == device_id))
    connection.execute(update(tokens).where(tokens.c.used_by == device_id).values(used_by=""))
    note_name(connection, device_id)


def _labels(
    connection: Connection, request: ErasureRequest
) -> tuple[tuple[LabelledRound, ...], float, float]:
    """Label the rounds of a request; returns them with the (ε, δ) of what cannot be stopped."""
    states: dict[tuple[str, int], set[str]] = {}
    if request.rounds:
        rows = connection.execute(select(reservations.c.body, reservations.c.state)).all()
        for body, state in rows:
            document = ReserveDocument.from_json(parse_canonical(body))
            states.setdefault((document.task_sha256, document.round_id), set()).add(state)
    labelled: list[LabelledRound] = []
    events: list[GaussianEvent] = []
    deltas: list[float] = []
    for task_sha256, round_id in request.rounds:
        body = connection.execute(
            select(tasks.c.body).where(tasks.c.task_sha256 == task_sha256)
        ).scalar_one_or_none()
        if body is None:
            raise InvalidRequest("erasure.rounds: expected rounds of tasks in the governance log")
        task = TaskManifest.from_json(parse_canonical(body))
        given_up = states.get((task_sha256, round_id)) == {ReservationState.ABORTED.value}
        event = task.event(task.round_plan(round_id))
        label = STOPPED if given_up else UNBOUNDED if event is None else DP_BOUNDED
        labelled.append(LabelledRound(task_sha256, round_id, label))
        if label == DP_BOUNDED and event is not None and task.target_delta is not None:
            events.append(event)
            deltas.append(task.target_delta)
    if not events:
        return tuple(labelled), 0.0, 0.0
    return tuple(labelled), epsilon_bound(events, min(deltas)), min(deltas)


def _population(connection: Connection, request: ErasureRequest) -> str:
    """Return whose tasks a request lists, empty for none; they were found in the log before."""
    named = {task_sha256 for task_sha256, _ in request.rounds}
    bodies = (
        connection.execute(select(tasks.c.body).where(tasks.c.task_sha256 == one)).scalar_one()
        for one in named
    )
    populations = {TaskManifest.from_json(parse_canonical(body)).population for body in bodies}
    if len(populations) > 1:
        raise InvalidRequest("erasure.rounds: expected rounds of one population's tasks")
    return populations.pop() if populations else ""
