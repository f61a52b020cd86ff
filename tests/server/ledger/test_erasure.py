from __future__ import annotations

import hashlib
import os
from typing import Any

import grpc
import pytest
from sqlalchemy import select

from tacit.privacy.accounting import GaussianEvent, epsilon_bound
from tacit.privacy.canonical import parse_canonical
from tacit.privacy.consent_map import blinding_key, map_key
from tacit.privacy.erasure import DP_BOUNDED, STOPPED, ErasureStatement
from tacit.privacy.receipt import Receipt, verify_receipt
from tacit.privacy.signatures import SigningKey, verify
from tacit.privacy.state_map import verify_absence
from tacit.server.ledger.tables import consent_events, devices, map_entries, subjects

CONSENT = "test.example/consent"


def refusal(call: Any, *arguments: Any, **named: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as raised:
        call(*arguments, **named)
    error: Any = raised.value
    return error.code(), error.details()


def as_receipt(reply: Any) -> Receipt:
    return Receipt(
        reply.commitment_key,
        reply.index,
        tuple(reply.inclusion),
        reply.checkpoint,
        tuple(reply.consistency),
    )


def statement_of(deployment: Any, reply: Any) -> ErasureStatement:
    """Return a statement, its signature and its place in the log verified."""
    key = deployment.node_key.public_key
    verify(key, ErasureStatement.SIGNING_CONTEXT, reply.statement, reply.statement_signature)
    verify_receipt(
        as_receipt(reply.receipt),
        reply.statement,
        reply.statement_signature,
        origin=CONSENT,
        name=CONSENT,
        ledger_key=key,
    )
    return ErasureStatement.from_json(parse_canonical(reply.statement))


def secrets_of(deployment: Any, device: Any, replies: list[Any]) -> list[bytes]:
    """Everything that must not be left of a device: events, keys, sealed rows, names."""
    name = device.key.key_id
    with deployment.node.database.reading() as connection:
        held: list[bytes] = []
        for column in (consent_events.c.sealed, subjects.c.key, map_entries.c.value):
            query = select(column).where(column.table.c.device_id == name)
            held += [bytes(value) for value in connection.execute(query).scalars()]
    markers = [b"Marker-Controller", b"Marker-Pseudonym", name.encode(), device.key.public_key]
    return [*held, *(reply.commitment_key for reply in replies), *device.chain, *markers]


def test_no_byte_is_left_in_database_or_log(deployment: Any) -> None:
    device, other = deployment.device(), deployment.device()
    replies = [
        device.append(
            device.event(controller="Marker-Controller", subject_pseudonym="Marker-Pseudonym")
        ),
        device.append(device.event("withdrawn", controller="Marker-Controller")),
        device.append(device.event(purpose="measure")),
    ]
    other.append(other.event())
    secrets = secrets_of(deployment, device, replies)
    assert len(secrets) == 3 + 1 + 2 + 3 + 3 + 4
    blinding = blinding_key(replies[0].commitment_key)
    keys = [map_key(blinding, purpose) for purpose in ("learn", "measure")]
    other.state_proof(4)  # the map holds both
    before = b"".join(stored(deployment))
    plain = {b"Marker-Controller", b"Marker-Pseudonym", *device.chain}
    plain.update(reply.commitment_key for reply in replies)
    assert [one in before for one in secrets] == [one not in plain for one in secrets]
    statement = statement_of(deployment, device.erase())
    assert (statement.rounds, statement.epsilon) == ((), 0.0)
    for content in stored(deployment):
        assert not [one for one in secrets if one in content]
    # The removed keys of the map stay, opaque, until the next epoch leaves them out.
    reply = other.state_proof(5, *keys)
    from tacit.privacy.governance import GovernanceEntry

    root = bytes.fromhex(str(GovernanceEntry.parse(reply.epoch.entry).body["map_root"]))
    for key, proof in zip(keys, reply.proofs, strict=True):
        verify_absence(root, key, proof)
    deployment.node.database.scrub()
    for content in stored(deployment):
        assert not [one for one in keys if one in content]


def stored(deployment: Any) -> list[bytes]:
    """Return every file of the state directory, and those that hold the rows."""
    kept = [p for p in deployment.state_dir.rglob("*") if p.is_file()]
    return [*(p.read_bytes() for p in kept), *deployment.table_files()]


def test_everybody_elses_proofs_stay_valid(deployment: Any) -> None:
    devices_ = [deployment.device() for _ in range(3)]
    events = [device.event() for device in devices_]
    receipts = [device.append(event) for device, event in zip(devices_, events, strict=True)]
    names: dict[str, Any] = {
        "origin": CONSENT,
        "name": CONSENT,
        "ledger_key": deployment.node_key.public_key,
    }
    known = None
    for number in (0, 2):
        data = events[1].to_bytes()
        signature = devices_[1].key.sign("consent", data)
        known = verify_receipt(as_receipt(receipts[1]), data, signature, **names)
        devices_[number].erase()
        again = as_receipt(devices_[1].append(events[1], known_size=known.size))
        verify_receipt(again, data, signature, known=known, **names)
        verify_receipt(as_receipt(receipts[1]), data, signature, **names)
    report = deployment.verify(ledger_key=deployment.node_key.public_key)
    assert report.consent_size == 5  # three events and two erasures, alike from outside
    gateway = deployment.client("gateway")
    assert [one.device_id for one in gateway.consent_states("learn")] == [devices_[1].key.key_id]


def test_past_contributions_are_labelled(deployment: Any) -> None:
    device = deployment.device()
    device.append(device.event())
    task = deployment.open_account()
    coordinator = deployment.client("coordinator")
    for number in (1, 2):
        coordinator.reserve(deployment.reserve(task, number))
    coordinator.commit("main", f"{task.task_id}/1", hashlib.sha256(b"sum").hexdigest())
    coordinator.abort(f"{task.task_id}/2", "too few")
    digest = task.digest().hex()
    statement = statement_of(deployment, device.erase((digest, 1), (digest, 2), (digest, 3)))
    assert [one.label for one in statement.rounds] == [DP_BOUNDED, STOPPED, DP_BOUNDED]
    assert [one.round_id for one in statement.rounds] == [1, 2, 3]
    event = GaussianEvent(task.rounds[0].noise_multiplier, 2)
    assert statement.epsilon == pytest.approx(epsilon_bound([event], task.target_delta))
    assert statement.target_delta == task.target_delta


def test_a_lost_reply_is_answered_again_also_after_a_restart(deployment: Any) -> None:
    device = deployment.device()
    device.append(device.event())
    first = statement_of(deployment, device.erase())
    assert statement_of(deployment, device.erase()).request_sha256 != first.request_sha256
    deployment.stop()
    device.stub = deployment.stub()
    statement_of(deployment, device.erase())


def test_erase_then_enrol_anew(deployment: Any) -> None:
    device = deployment.device()
    grant = device.event()
    signature = device.key.sign("consent", grant.to_bytes())
    device.append(grant)
    device.erase()
    (token,) = deployment.client("operator").create_tokens("shop", 1, 2**52)
    # The old key begins no new chain, so an old grant cannot be played again …
    assert "erased" in refusal(device.enrol, token)[1]
    assert "does not know" in refusal(device.send, grant.to_bytes(), signature, 0)[1]
    # … and a new one does, with the same token.
    device.key, device.chain = SigningKey.generate(os.urandom), []
    device.enrol(token)
    device.append(device.event())
    (state,) = deployment.client("gateway").consent_states("learn", [device.key.key_id])
    assert (state.granted, state.sequence) == (True, 1)


def test_who_may_not_erase_whom(deployment: Any) -> None:
    device, other = deployment.device(), deployment.device()
    device.append(device.event())
    code, line = refusal(other.erase, device_id=device.key.key_id)
    assert (code, "calling device" in line) == (grpc.StatusCode.UNAUTHENTICATED, True)
    code, line = refusal(device.erase, requested_at_ms=2**52)
    assert (code, "future" in line) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    code, line = refusal(device.erase, ("ab" * 32, 1))
    assert (code, "governance log" in line) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    stranger = deployment.device_type(device.stub)
    assert "does not know" in refusal(stranger.erase)[1]
    request = device.sealed(_request(device, signed_by=other), "Erase")
    assert "signature" in refusal(device.stub.Erase, request)[1]
    with deployment.node.database.reading() as connection:
        names = set(connection.execute(select(devices.c.device_id)).scalars())
    assert names == {device.key.key_id, other.key.key_id}
    assert deployment.client("gateway").consent_states("learn", [device.key.key_id])[0].granted


def _request(device: Any, signed_by: Any) -> Any:
    from tacit.privacy.erasure import ErasureRequest
    from tacit.v1 import ledger_pb2

    data = ErasureRequest("ab" * 16, device.key.key_id, 0, ()).to_bytes()
    return ledger_pb2.EraseRequest(
        request=data,
        request_signature=signed_by.key.sign("erasure", data),
        public_key=device.key.public_key,
    )
