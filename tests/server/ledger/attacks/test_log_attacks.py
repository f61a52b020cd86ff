"""Every attack on a log, many thousand times: none is accepted, and the genuine thing always is."""

from __future__ import annotations

import random
import sys
from collections import Counter
from typing import Any

import pytest

from tacit.privacy.cosignature import NO_QUORUM
from tacit.privacy.errors import PrivacyError
from tacit.privacy.tiles import MAX_ENTRY_BYTES
from tacit.server.errors import InvalidRequest

NAMES = (
    "edit",
    "delete",
    "reorder",
    "duplicate",
    "truncate and re-append",
    "same-size fork",
    "restored snapshot",
    "second preimage leaf/node",
    "wrong index with a valid path",
    "short/long proofs",
    "sizes 0, 1, 2^k±1",
    "unknown or duplicate key ids",
    "oversized entries",
    "one flipped bit",
)


def attack(module: Any, count: int, seed: int, names: tuple[str, ...] = NAMES) -> Counter[str]:
    """Attack `count` times; returns how often each way, having checked that none was accepted."""
    pick, tried = random.Random(seed), Counter[str]()
    while tried.total() < count:
        world = module.make_world(pick, pick.choice(module.SIZES))
        world.verify(world.receipt, world.known, world.quorum)  # the genuine one verifies
        world.verify(world.receipt, None, NO_QUORUM)
        for name in names:
            for _ in range(3):
                receipt, known, quorum = module.LOG_ATTACKS[name](world)
                if receipt == world.receipt and known == world.known:
                    continue  # chance gave the genuine thing back
                try:
                    world.verify(receipt, known, quorum)
                except PrivacyError:
                    tried[name] += 1
                else:
                    pytest.fail(f"{name} accepted: {len(world.data)} leaves, seed {seed}")
    return tried


def test_the_attacks_are_those(log_attacks: Any) -> None:
    assert tuple(log_attacks.LOG_ATTACKS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_no_attack_is_accepted(log_attacks: Any, name: str) -> None:
    assert attack(log_attacks, 200, 1, (name,))[name] >= 200


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_of_a_hundred_thousand_attacks_none_is_accepted(
    log_attacks: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = attack(log_attacks, 105_000, 2)
    assert min(tried[name] for name in NAMES) >= 2000
    with capsys.disabled():
        sys.stdout.write(f"\n0 of {tried.total():,} attacks on a log accepted: {dict(tried)}\n")


def test_entries_larger_than_a_tile_can_name_are_not_appended(deployment: Any) -> None:
    logs = deployment.node.logs
    with pytest.raises(InvalidRequest, match="at most 65535"), logs.writing() as connection:
        logs.governance.append(connection, bytes(MAX_ENTRY_BYTES + 1))
    assert logs.governance.size == 0
