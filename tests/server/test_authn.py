from __future__ import annotations

import os

import pytest

from tacit.privacy.signatures import SigningKey
from tacit.server.authn import RequestVerifier, seal
from tacit.server.errors import Unauthenticated
from tacit.v1.auth_pb2 import SignedRequest

KEY = SigningKey(b"\1" * 32)
METHOD = "/tacit.v1.DeviceService/CheckIn"


class Clock:
    def __init__(self) -> None:
        self.now = 1_750_000_000_000

    def __call__(self) -> int:
        return self.now


def verifier(clock: Clock) -> RequestVerifier:
    return RequestVerifier({KEY.key_id: KEY.public_key}.get, clock)


def test_a_request_opens_once() -> None:
    clock = Clock()
    opener, request = verifier(clock), seal(KEY, METHOD, b"body", clock.now, os.urandom)
    assert opener.open(METHOD, request) == (KEY.key_id, b"body")
    with pytest.raises(Unauthenticated, match="seen before"):
        opener.open(METHOD, request)


def test_a_replay_is_refused_for_as_long_as_its_time_would_pass() -> None:
    clock = Clock()
    opener = verifier(clock)
    request = seal(KEY, METHOD, b"", clock.now + 60_000, os.urandom)
    opener.open(METHOD, request)
    for _ in range(13):
        clock.now += 10_000
        with pytest.raises(Unauthenticated):
            opener.open(METHOD, request)


def test_nonces_are_forgotten_once_stale() -> None:
    clock = Clock()
    opener = verifier(clock)
    for _ in range(50):
        opener.open(METHOD, seal(KEY, METHOD, b"", clock.now, os.urandom))
        clock.now += 30_000
    assert len(opener._seen) < 10  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("skew", [-60_001, 60_001])
def test_stale_and_early_requests(skew: int) -> None:
    clock = Clock()
    request = seal(KEY, METHOD, b"", clock.now + skew, os.urandom)
    with pytest.raises(Unauthenticated, match="clock"):
        verifier(clock).open(METHOD, request)


def test_changed_requests() -> None:
    clock = Clock()
    good = seal(KEY, METHOD, b"body", clock.now, os.urandom)
    for changes in (
        {"body": b"other"},
        {"nonce": bytes(16)},
        {"nonce": b"short"},
        {"issued_at_ms": clock.now + 1},
        {"issued_at_ms": -1},
        {"signature": bytes(64)},
        {"signature": b""},
        {"key_id": "nobody"},
    ):
        request = SignedRequest()
        request.CopyFrom(good)
        for name, value in changes.items():
            setattr(request, name, value)
        with pytest.raises(Unauthenticated):
            verifier(clock).open(METHOD, request)
    with pytest.raises(Unauthenticated):
        verifier(clock).open(METHOD + "2", good)
    assert verifier(clock).open(METHOD, good)[1] == b"body"
