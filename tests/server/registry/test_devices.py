"""Enrolment tokens: what a stranger can do with a guess."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from tacit.privacy.signatures import SigningKey
from tacit.server.errors import Unauthenticated
from tacit.server.ledger.database_opening import open_database
from tacit.server.registry.devices import ENROL_CONTEXT, DeviceRegistry


def test_guessing_tokens_does_not_hold_up_those_who_write(deployment: Any) -> None:
    database = open_database(deployment.config)
    registry = DeviceRegistry(database, os.urandom)
    key = SigningKey(b"\1" * 32)
    refused: list[str] = []

    def guess() -> None:
        try:
            registry.enrol("guess", key.public_key, key.sign(ENROL_CONTEXT, b"guess"), 0)
        except Unauthenticated as error:
            refused.append(str(error))

    with database.writing():
        thread = threading.Thread(target=guess)
        thread.start()
        thread.join(10)
        answered = not thread.is_alive()
    thread.join(10)
    assert answered
    assert refused == ["enrolment: the token is unknown"]
    (token,) = registry.create_tokens("shop", 1, expires_at_ms=10, now_ms=0)
    proof = key.sign(ENROL_CONTEXT, token.encode())
    assert registry.enrol(token, key.public_key, proof, 0).population == "shop"
    other = SigningKey(b"\2" * 32)
    claim = other.sign(ENROL_CONTEXT, token.encode())
    with pytest.raises(Unauthenticated, match="used before"):
        registry.enrol(token, other.public_key, claim, 0)
    database.close()
