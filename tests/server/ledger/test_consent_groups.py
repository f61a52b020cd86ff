"""Consents of many devices at once: written together, answered and refused one by one."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import Engine, event

from tacit.privacy.errors import RollbackDetected
from tacit.privacy.receipt import Receipt, verify_receipt
from tacit.server.errors import FailedPrecondition, Unauthenticated
from tacit.server.ledger.admission import admission_states

DEVICES = 12


def append(deployment: Any, device: Any, data: bytes, signature: bytes = b"") -> Any:
    node = deployment.node
    key, proof = node.consent.append(
        device.key.key_id,
        device.key.public_key,
        data,
        signature or device.key.sign("consent", data),
        0,
        node.now_ms(),
    )
    return Receipt(
        key, proof.index, tuple(proof.inclusion), proof.checkpoint, tuple(proof.consistency)
    )


def at_once(deployment: Any, sent: list[tuple[Any, bytes, bytes]]) -> list[Any]:
    """Append all of them by a thread each; returns receipts and errors in order."""
    together, outcomes = threading.Barrier(len(sent)), dict[int, Any]()

    def work(number: int, device: Any, data: bytes, signature: bytes) -> None:
        together.wait()
        try:
            outcomes[number] = append(deployment, device, data, signature)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            outcomes[number] = error

    threads = [
        threading.Thread(target=work, args=(number, *one)) for number, one in enumerate(sent)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    return [outcomes[number] for number in range(len(sent))]


def check_receipt(deployment: Any, device: Any, data: bytes, receipt: Any) -> None:
    verify_receipt(
        receipt,
        data,
        device.key.sign("consent", data),
        origin="test.example/consent",
        name="test.example/consent",
        ledger_key=deployment.node_key.public_key,
    )


def test_each_gets_a_receipt_that_verifies_and_the_bad_ones_a_refusal(deployment: Any) -> None:
    stub = deployment.stub()
    devices = [deployment.device(stub) for _ in range(DEVICES)]
    firsts = [device.event().to_bytes() for device in devices]
    for device, data in zip(devices, firsts, strict=True):
        append(deployment, device, data)
        device.chain.append(data)
    sent: list[tuple[Any, bytes, bytes]] = []
    for number, device in enumerate(devices):
        match number % 4:
            case 0:  # a withdrawal
                sent.append((device, device.event("withdrawn").to_bytes(), b""))
            case 1:  # one that does not continue the chain
                data = device.event("withdrawn", seq=5).to_bytes()
                sent.append((device, data, b""))
            case 2:  # one signed by somebody else
                data = device.event("withdrawn").to_bytes()
                sent.append((device, data, devices[0].key.sign("consent", data)))
            case _:  # the first one again, because its answer was lost
                sent.append((device, firsts[number], b""))
    outcomes = at_once(deployment, sent)
    node = deployment.node
    for number, (device, data, _) in enumerate(sent):
        outcome = outcomes[number]
        if number % 4 == 1:
            assert isinstance(outcome, RollbackDetected)
        elif number % 4 == 2:
            assert isinstance(outcome, Unauthenticated)
        else:
            check_receipt(deployment, device, data, outcome)
            assert (outcome.index == number) is (number % 4 == 3)
    assert node.logs.consent.size == DEVICES + DEVICES // 4
    states = admission_states(node.database, "learn", (), node.now_ms())
    granted = {one.device_id for one in states if one.signals}
    assert granted == {one.key.key_id for n, one in enumerate(devices) if n % 4 != 0}
    deployment.stop()
    assert deployment.verify().consent_size == DEVICES + DEVICES // 4


def test_one_device_sending_much_at_once_keeps_one_chain(deployment: Any) -> None:
    """Ten candidates for the same place in a chain: one is taken, the rest are refused."""
    device = deployment.device()
    sent = [(device, device.event().to_bytes(), b"") for _ in range(10)]
    outcomes = at_once(deployment, sent)
    taken = [number for number, one in enumerate(outcomes) if isinstance(one, Receipt)]
    assert len(taken) == 1
    assert sum(isinstance(one, RollbackDetected) for one in outcomes) == 9
    check_receipt(deployment, device, sent[taken[0]][1], outcomes[taken[0]])
    assert deployment.node.logs.consent.size == 1


def test_the_same_event_sent_by_many_threads_is_one_leaf(deployment: Any) -> None:
    device = deployment.device()
    data = device.event().to_bytes()
    outcomes = at_once(deployment, [(device, data, b"")] * 8)
    assert {(one.commitment_key, one.index) for one in outcomes} == {
        (outcomes[0].commitment_key, 0)
    }


def test_what_is_written_together_takes_one_commit(deployment: Any) -> None:
    stub = deployment.stub()
    devices = [deployment.device(stub) for _ in range(DEVICES)]
    sent = [(device, device.event().to_bytes(), b"") for device in devices]
    node, held = deployment.node, threading.Event()
    statements: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(("INSERT INTO leaves", "INSERT INTO consent_events")):
            statements.append(statement)

    batches: list[int] = []
    node.logs.on_commit(lambda: batches.append(node.logs.consent.size))
    event.listen(Engine, "before_cursor_execute", note)

    def hold() -> None:
        with node.logs.writing():
            held.set()
            while len(node.consent._combining._queue) < DEVICES - 1:
                pass

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(30)
    try:
        outcomes = at_once(deployment, sent)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
        holder.join(30)
    assert all(isinstance(one, Receipt) for one in outcomes)
    assert sorted(one.index for one in outcomes) == list(range(DEVICES))
    # One caller comes while the holder writes, the rest while that one does.
    assert len(batches) <= 3
    assert len(statements) <= 6
    for (device, data, _), receipt in zip(sent, outcomes, strict=True):
        check_receipt(deployment, device, data, receipt)


def test_a_consent_that_was_under_way_begins_no_chain_after_the_erasure(deployment: Any) -> None:
    """It was let in as the device's own, and gets its turn when the device has been erased."""
    device = deployment.device()
    data = device.event().to_bytes()
    device.erase()
    with pytest.raises(FailedPrecondition, match="erased"):
        append(deployment, device, data)
    assert deployment.execute("SELECT * FROM subjects") == []
    assert deployment.execute("SELECT * FROM consent_events") == []
    assert deployment.node.logs.consent.size == 1  # the erasure's
    deployment.stop()
