from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.server.errors import StateCorrupt
from tacit.server.ledger import event_packing
from tacit.server.ledger.event_packing import pack, unpack
from tacit.server.ledger.tables import consent_events, subjects


@given(st.binary(max_size=2000))
def test_what_was_packed_reads_back_byte_for_byte(data: bytes) -> None:
    assert unpack(pack(data)) == data


def test_the_dictionary_is_part_of_the_format() -> None:
    """Rows of before a change of it could not be read any more: a new one needs a new version."""
    module: Any = event_packing
    assert hashlib.sha256(module._DICTIONARY).hexdigest()[:16] == "d8e435c2577088ac"
    event = b'{"controller":"Shop"}'
    assert unpack(event) == event  # as rows were before events were packed


@pytest.mark.parametrize(
    "packed", [b"", b"\2abc", b"\1", b"\1\xff\xff", pack(b"{}")[:-1], pack(b"{}") + b"x"]
)
def test_damage_is_told(packed: bytes) -> None:
    with pytest.raises(StateCorrupt):
        unpack(packed)


def test_an_event_takes_less_than_half_of_itself(deployment: Any) -> None:
    data = deployment.device().event(seq=2, prev_commitment="7f" * 32).to_bytes()
    assert len(pack(data)) < len(data) / 2


def test_events_stored_before_are_answered_as_ever(deployment: Any) -> None:
    """A row that holds the plain event, as an older node wrote it."""
    device = deployment.device()
    event = device.event()
    receipt = device.append(event)
    node = deployment.node
    store, name, data = node.consent, device.key.key_id, event.to_bytes()
    plain = receipt.commitment_key + device.key.sign("consent", data) + data
    with node.logs.writing() as connection:
        (wrapped,) = connection.execute(subjects.select()).one()[1:2]
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key = AESGCM(store._unwrap(wrapped, name))
        label = f"tacit/v1/consent-event/{name}/1".encode()
        sealed = bytes(12) + key.encrypt(bytes(12), plain, label)
        connection.execute(consent_events.update().values(sealed=sealed))
    again = device.append(event)
    assert (again.index, again.commitment_key) == (receipt.index, receipt.commitment_key)
    device.append(device.event("withdrawn"))
