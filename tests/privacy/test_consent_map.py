from __future__ import annotations

import dataclasses
import hashlib
import hmac

import pytest

from tacit.privacy.consent_map import (
    MapEpoch,
    blinding_key,
    check_follows,
    map_key,
    map_value,
)
from tacit.privacy.erasure import ErasureRequest, ErasureStatement, LabelledRound
from tacit.privacy.errors import BadDocument, BadParameter, RollbackDetected

ROOT = "ab" * 32
FIRST = MapEpoch(1, 3, ROOT, ROOT)
LEAF = b"\1" + b"h" * 32


def test_keys_and_values_are_the_hmacs_that_are_documented() -> None:
    blinding = blinding_key(b"k" * 32)
    assert blinding == hmac.digest(b"k" * 32, b"tacit/v1/consent-map", hashlib.sha256)
    assert map_key(blinding, "learn") == hmac.digest(blinding, b"index\0learn", hashlib.sha256)
    body = b"value\0" + (7).to_bytes(8, "big") + LEAF
    assert map_value(blinding, 7, LEAF) == hmac.digest(blinding, body, hashlib.sha256)


def test_purposes_devices_and_leaves_stand_apart() -> None:
    one, other = blinding_key(b"k" * 32), blinding_key(b"l" * 32)
    keys = {map_key(b, p) for b in (one, other) for p in ("decide", "learn", "measure")}
    assert len(keys) == 6
    assert len({map_value(one, 0, LEAF), map_value(one, 1, LEAF), map_value(other, 0, LEAF)}) == 3


def test_bad_parts_are_refused() -> None:
    with pytest.raises(BadParameter):
        blinding_key(b"short")
    with pytest.raises(BadDocument):
        map_key(b"b" * 32, "sell")
    for position, leaf in ((-1, LEAF), (2**63, LEAF), (0, LEAF[:-1])):
        with pytest.raises(BadParameter):
            map_value(b"b" * 32, position, leaf)


def test_an_epoch_reads_back_and_follows_its_predecessor() -> None:
    assert MapEpoch.from_json(FIRST.to_json()) == FIRST
    check_follows(FIRST, None)
    check_follows(MapEpoch(2, 4, ROOT, ROOT), FIRST)
    for later in (MapEpoch(1, 4, ROOT, ROOT), MapEpoch(3, 4, ROOT, ROOT)):
        with pytest.raises(RollbackDetected, match="expected map epoch 2"):
            check_follows(later, FIRST)
    with pytest.raises(RollbackDetected, match="more than 3 leaves"):
        check_follows(MapEpoch(2, 3, ROOT, ROOT), FIRST)
    with pytest.raises(RollbackDetected):
        check_follows(MapEpoch(2, 4, ROOT, ROOT), None)


@pytest.mark.parametrize(
    "change",
    [{"epoch": 0}, {"consent_size": 0}, {"map_root": "AB" * 32}, {"consent_root": "ab"}],
)
def test_a_malformed_epoch_is_refused(change: dict[str, int | str]) -> None:
    with pytest.raises(BadDocument):
        MapEpoch.from_json(FIRST.to_json() | change)
    with pytest.raises(BadDocument):
        MapEpoch.from_json(FIRST.to_json() | {"more": 1})


def test_erasure_documents_read_back_and_are_checked() -> None:
    from tacit.privacy.canonical import parse_canonical

    request = ErasureRequest("0" * 32, "device", 5, ((ROOT, 1), (ROOT, 2)))
    assert ErasureRequest.from_json(parse_canonical(request.to_bytes())) == request
    for change in (
        {"record_id": "x"},
        {"rounds": ((ROOT, 1), (ROOT, 1))},
        {"rounds": (("ab", 1),)},
    ):
        data = dataclasses.replace(request, **change).to_bytes()
        with pytest.raises(BadDocument):
            ErasureRequest.from_json(parse_canonical(data))
    rounds = (LabelledRound(ROOT, 1, "stopped"), LabelledRound(ROOT, 2, "dp-bounded"))
    statement = ErasureStatement(ROOT, 6, rounds, 1.5, 1e-6)
    assert ErasureStatement.from_json(parse_canonical(statement.to_bytes())) == statement
    for changed in (
        statement.to_json() | {"from_now_on": "continued"},
        dataclasses.replace(statement, rounds=(LabelledRound(ROOT, 1, "gone"),)).to_json(),
        statement.to_json() | {"target_delta": "2.0"},
    ):
        with pytest.raises(BadDocument):
            ErasureStatement.from_json(changed)
