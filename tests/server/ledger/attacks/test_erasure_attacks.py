"""What could be left of an erased device: in files, backups, logs, answers to others, memory."""

from __future__ import annotations

import gc
import logging
from typing import Any

import grpc
import pytest
from sqlalchemy import select

from tacit.server.errors import StateCorrupt
from tacit.server.ledger.contents import read_node
from tacit.server.ledger.export import write_export
from tacit.server.ledger.tables import consent_events, map_entries, subjects
from tacit.v1 import ledger_pb2

MARKER = "Marker-Controller"


def live_and_erase(deployment: Any) -> tuple[Any, list[bytes]]:
    """Have a device agree, err, withdraw and be erased; returns it and what must be gone."""
    device = deployment.device()
    replies = [device.append(device.event(controller=MARKER))]
    with pytest.raises(grpc.RpcError):
        device.append(device.event("withdrawn", controller=MARKER, seq=9))
    replies.append(device.append(device.event("withdrawn", controller=MARKER)))
    name = device.key.key_id
    with deployment.node.database.reading() as connection:
        held: list[bytes] = []
        for column in (consent_events.c.sealed, subjects.c.key, map_entries.c.value):
            query = select(column).where(column.table.c.device_id == name)
            held += [bytes(value) for value in connection.execute(query).scalars()]
    secrets = [*held, *(one.commitment_key for one in replies), *device.chain]
    assert len(secrets) == 8
    return device, [*secrets, MARKER.encode(), name.encode(), device.key.public_key]


def test_backups_and_exports_made_afterwards_hold_nothing(deployment: Any, tmp_path: Any) -> None:
    device, secrets = live_and_erase(deployment)
    device.erase()
    deployment.stop()
    write_export(read_node(deployment.config), tmp_path / "export")
    files = [path for path in (tmp_path / "export").rglob("*") if path.is_file()]
    if not deployment.database:
        files += [path for path in deployment.keep_copy().rglob("*") if path.is_file()]
    assert len(files) >= 6
    for path in files:
        assert not [one for one in secrets if one in path.read_bytes()], path.name


def test_a_backup_made_before_cannot_be_put_back(deployment: Any) -> None:
    device, _ = live_and_erase(deployment)
    deployment.stop()
    kept = deployment.keep_copy()
    device.stub = deployment.stub()
    device.erase()
    deployment.stop()
    deployment.put_back(kept)
    with pytest.raises(StateCorrupt, match="put back to an older state"):
        deployment.start()


def test_the_nodes_log_names_no_device(deployment: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "tacit"):
        device, secrets = live_and_erase(deployment)
        stranger = deployment.device(device.stub)
        event = device.event()
        with pytest.raises(grpc.RpcError, match=device.key.key_id):  # its caller is told
            device.append(event, signature=stranger.key.sign("consent", event.to_bytes()))
        device.erase()
        with pytest.raises(grpc.RpcError):
            device.append(device.event())
    assert "refused AppendConsent" in caplog.text  # the refusals are there, without the name
    for one in secrets:
        assert one not in caplog.text.encode()
        assert one.hex() not in caplog.text


def test_answers_to_others_hold_nothing(deployment: Any) -> None:
    other = deployment.device()
    first = other.append(other.event())
    device, secrets = live_and_erase(deployment)
    device.erase()
    client = deployment.client("gateway")
    answers = [
        first,
        other.append(other.event("withdrawn"), known_size=1),
        other.state_proof(),
        client.checkpoint(ledger_pb2.LOG_CONSENT),
        *client.consent_states("learn"),
        *client.entries(),
    ]
    for answer in answers:
        data = answer.SerializeToString() if hasattr(answer, "SerializeToString") else answer
        data = data if isinstance(data, bytes) else repr(data).encode()
        assert not [one for one in secrets if one in data]


def test_caches_hold_nothing(deployment: Any) -> None:
    """Search everything alive in this process that the node's objects lead to."""
    device, secrets = live_and_erase(deployment)
    node = deployment.node
    assert node.registry.public_key(device.key.key_id) == device.key.public_key
    device.erase()
    assert node.registry.public_key(device.key.key_id) is None
    reached = reachable(node.registry, node.consent, node.consent_map, node.erasure, node.logs)
    assert any(one == node.logs.consent.latest()[0] for one in reached)  # the search reaches
    for one in reached:
        data = one.encode("utf-8", "replace") if isinstance(one, str) else one
        assert not [secret for secret in secrets if secret in data]


def reachable(*roots: Any) -> list[bytes | str]:
    """Return all bytes and strings that plain objects lead to."""
    seen: set[int] = set()
    found: list[bytes | str] = []
    queue = list(roots)
    while queue:
        one = queue.pop()
        if id(one) in seen or isinstance(one, type) or callable(one):
            continue
        seen.add(id(one))
        if isinstance(one, bytes | str):
            found.append(one)
        elif type(one).__module__.startswith(("tacit", "builtins", "collections")):
            queue.extend(gc.get_referents(one))
    return found


def test_an_old_grant_does_not_come_back_with_a_new_key(deployment: Any) -> None:
    """Erase, enrol anew, and play what the erased device once signed."""
    device, _ = live_and_erase(deployment)
    old, signature = device.chain[0], device.key.sign("consent", device.chain[0])
    device.erase()
    again = deployment.device(device.stub)
    with pytest.raises(grpc.RpcError) as refused:
        again.send(old, signature, 0)
    error: Any = refused.value
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    (state,) = deployment.client("gateway").consent_states("learn")
    assert (state.device_id, state.granted, state.sequence) == (again.key.key_id, False, 0)
