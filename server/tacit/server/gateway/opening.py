"""What the coordinator asks for, verified before any device hears of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tacit.privacy.canonical import parse_canonical
from tacit.privacy.errors import BadDocument, BadParameter, BadSignature
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.quantize import integer_target
from tacit.privacy.signatures import key_id, verify
from tacit.privacy.task import RoundHeader, TaskManifest
from tacit.server.errors import InvalidRequest
from tacit.v1 import gateway_pb2


@dataclass(frozen=True, slots=True)
class Opening:
    """A verified request to open a round.

    Attributes:
        manifest: the task.
        header: the round.
        header_bytes, header_signature: the header as the coordinator signed it, for devices.
        task_index: where the task stands in the governance log.
        context: the public context blob that the header names.
    """

    manifest: TaskManifest
    header: RoundHeader
    header_bytes: bytes
    header_signature: bytes
    task_index: int
    context: bytes


def verify_opening(
    request: gateway_pb2.RunRoundRequest, coordinator_key: bytes, population: str, now_ms: int
) -> Opening:
    """Verify a request to open a round.

    1. The task's entry is of kind `task` and signed by the coordinator.
    2. The header is signed by the coordinator.
    3. The task is for this gateway's population and has the round, with figures under which
       contributions can be checked.
    4. The header names this task and this context.
    5. Neither header nor task has expired.

    Raises:
        InvalidRequest: naming what does not hold.
    """
    try:
        entry = GovernanceEntry.parse(request.task.entry)
        entry.verify(coordinator_key, key_id(coordinator_key))
        if entry.kind != "task":
            raise InvalidRequest(f"the round was refused: expected a task, got {entry.kind!r}")
        manifest = TaskManifest.from_json(entry.body)
        header_bytes, signature = request.round_header, request.round_signature
        verify(coordinator_key, RoundHeader.SIGNING_CONTEXT, header_bytes, signature)
        header = RoundHeader.from_json(parse_canonical(header_bytes))
        plan = manifest.round_plan(header.round_id)
        integer_target(plan.integer_norm, plan.length)
    except (BadSignature, BadDocument, BadParameter) as error:
        raise InvalidRequest(f"the round was refused: {error}") from None
    if manifest.population != population:
        raise InvalidRequest("the round was refused: its task is for another population")
    if header.task_sha256 != manifest.digest().hex():
        raise InvalidRequest("the round was refused: its header names another task")
    if header.context_sha256 != hashlib.sha256(request.context).hexdigest():
        raise InvalidRequest("the round was refused: its context does not match its header")
    if not now_ms < min(header.closes_at_ms, manifest.expires_at_ms):
        raise InvalidRequest("the round was refused: it has expired")
    return Opening(manifest, header, header_bytes, signature, request.task.index, request.context)
