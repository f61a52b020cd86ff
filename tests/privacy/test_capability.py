from __future__ import annotations

import dataclasses

import pytest

from tacit.privacy.canonical import canonical_json
from tacit.privacy.capability import Capability, issue, verify
from tacit.privacy.errors import BadDocument, BadParameter, BadSignature
from tacit.privacy.requests import request_bytes
from tacit.privacy.signatures import SigningKey

KEY = SigningKey(b"\5" * 32)
GOOD = Capability("device", "ab" * 32, 1, ("rating",), 3, 2, 1000, "00" * 16)


def check(data: bytes, now_ms: int = 999, device: str = "device", round_id: int = 1) -> Capability:
    return verify(KEY.public_key, data, now_ms, device, "ab" * 32, round_id)


def test_a_capability_reads_back() -> None:
    assert check(issue(KEY, GOOD)) == GOOD


def test_it_is_bound_to_device_task_round_time_and_key() -> None:
    data = issue(KEY, GOOD)
    other_task = issue(KEY, dataclasses.replace(GOOD, task_sha256="cd" * 32))
    other_key = issue(SigningKey(b"\6" * 32), GOOD)
    with pytest.raises(BadSignature, match="another device"):
        check(data, device="another")
    with pytest.raises(BadSignature, match="another task or round"):
        check(data, round_id=2)
    with pytest.raises(BadSignature, match="another task or round"):
        check(other_task)
    with pytest.raises(BadSignature, match="expired"):
        check(data, now_ms=1000)
    with pytest.raises(BadSignature, match="does not verify"):
        check(other_key)


def test_edited_and_malformed_capabilities_are_refused() -> None:
    data = issue(KEY, GOOD)
    for edited in (data.replace(b"1000", b"9999"), data.replace(b"rating", b"search")):
        with pytest.raises(BadSignature):
            check(edited)
    signature = KEY.sign("capability", b"{}").hex()
    for bad in (
        b"",
        b"{}",
        data + b" ",
        canonical_json({"capability": "x", "signature": "00"}),
        canonical_json({"capability": {}, "signature": "zz"}),
        canonical_json({"capability": {}, "signature": signature}),
        canonical_json({"capability": {}, "signature": signature, "more": 1}),
        b"x" * 9000,
    ):
        with pytest.raises(BadDocument):
            check(bad)


def test_request_bytes_are_injective() -> None:
    nonce = bytes(range(16))
    framed = {
        request_bytes(method, at, nonce, body)
        for method, at, body in (
            ("/a", 1, b""),
            ("/a", 1, b"\0"),
            ("/a", 256, b""),
            ("/a\0", 1, b""),
            ("/", 1, b"a"),
        )
    }
    assert len(framed) == 5
    for method, at, wrong in (("/a", 1, b"short"), ("/a", -1, nonce), ("", 1, nonce)):
        with pytest.raises(BadParameter):
            request_bytes(method, at, wrong, b"")
