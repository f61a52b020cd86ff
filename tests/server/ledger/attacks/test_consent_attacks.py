"""Every attack on consents at a real node, on both databases: none comes to stand as a grant."""

from __future__ import annotations

import random
import sys
from collections import Counter
from typing import Any

import pytest

from tacit.privacy.canonical import canonical_json
from tacit.privacy.consent import MAX_EVENT_BYTES, NoticeShown
from tacit.privacy.errors import PrivacyError
from tacit.privacy.merkle import leaf_hash
from tacit.privacy.notice import NoticeDocument
from tacit.privacy.receipt import LEAF_VERSION, leaf
from tacit.server.errors import Refused
from tacit.server.ledger.admission import admission_states

NAMES = (
    "replayed grant after withdrawal",
    "replayed grant with another number",
    "grant that ignores the withdrawal",
    "clock skew",
    "expired",
    "wrong notice hash or language",
    "signal superset",
    "purpose swap",
    "unknown signal",
    "duplicate JSON keys",
    "NaN, 2^53+1",
    "confusables",
    "another spelling",
    "signed by somebody else",
    "signed for something else",
    "one flipped bit",
)


def append(
    deployment: Any, device: Any, data: bytes, signature: bytes, now_ms: int | None = None
) -> Any:
    node = deployment.node
    now_ms = node.now_ms() if now_ms is None else now_ms
    return node.consent.append(device.key.key_id, device.key.public_key, data, signature, 0, now_ms)


def grants(deployment: Any, device: Any) -> bool:
    """Whether anything stands as granted, for any purpose."""
    node = deployment.node
    return any(
        state.signals
        for purpose in ("decide", "learn", "measure")
        for state in admission_states(node.database, purpose, [device.key.key_id], node.now_ms())
    )


def world_of(module: Any, deployment: Any, pick: random.Random) -> tuple[Any, Any]:
    """Have a device agree and withdraw under a published notice; returns it with its world."""
    notice = NoticeDocument("privacy", "1", "en", "We learn from clipped, noised sums.")
    deployment.client("operator").append_governance("notice", notice.to_json())
    shown = NoticeShown("privacy", "1", notice.text_digest(), "en", 0)
    device = deployment.device()
    sent: list[tuple[bytes, bytes]] = []
    for state in ("given", "withdrawn"):
        data = device.event(state, notice=shown).to_bytes()
        sent.append((data, device.key.sign("consent", data)))
        append(deployment, device, *sent[-1])
        device.chain.append(data)
    fresh = device.event(notice=shown).to_json()
    return device, module.World(pick, device.key, tuple(sent), fresh, deployment.node.now_ms())


def attack(module: Any, deployment: Any, count: int, seed: int) -> Counter[str]:
    pick, tried = random.Random(seed), Counter[str]()
    device, world = world_of(module, deployment, pick)
    log = deployment.node.logs.consent
    size = log.size
    control = canonical_json(world.fresh)
    while tried.total() < count:
        for name in NAMES:
            data, signature = module.CONSENT_ATTACKS[name](world)
            assert (data, signature) != world.signed(control)
            try:
                append(deployment, device, data, signature, world.now_ms)
            except (PrivacyError, Refused):
                pass
            else:
                # Only a very event that is on record is answered, with its old receipt.
                assert (data, signature) in world.chain, name
            assert log.size == size, name
            tried[name] += 1
        assert not grants(deployment, device)
    # The next true word of the device is taken: it was the attacks that were refused.
    append(deployment, device, *world.signed(control))
    assert grants(deployment, device)
    assert log.size == size + 1
    return tried


def test_the_attacks_are_those(consent_attacks: Any) -> None:
    assert tuple(consent_attacks.CONSENT_ATTACKS) == NAMES


def test_no_attack_comes_to_stand(consent_attacks: Any, deployment: Any) -> None:
    tried = attack(consent_attacks, deployment, 60 * len(NAMES), 1)
    assert set(tried.values()) == {60}


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_of_fifty_thousand_attacks_on_each_database_none_comes_to_stand(
    consent_attacks: Any, deployment: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = attack(consent_attacks, deployment, 50_000, 2)
    assert min(tried.values()) >= 3000
    kind = "postgresql" if deployment.database else "sqlite"
    with capsys.disabled():
        sys.stdout.write(f"\n{kind}: 0 of {tried.total():,} attacks on consents accepted\n")


def test_a_withdrawal_before_any_grant_takes_the_grants_place(deployment: Any) -> None:
    device = deployment.device()
    grant = device.event().to_bytes()
    withdrawal = device.event("withdrawn").to_bytes()
    append(deployment, device, withdrawal, device.key.sign("consent", withdrawal))
    with pytest.raises(PrivacyError):
        append(deployment, device, grant, device.key.sign("consent", grant))
    assert not grants(deployment, device)


def test_leaves_of_one_device_share_nothing(deployment: Any) -> None:
    """Two purposes, two decisions, the same words: nothing in the log says who belongs together."""
    device, other = deployment.device(), deployment.device()
    for purpose in ("learn", "measure", "learn"):
        for one in (device, other):
            one.append(one.event(purpose=purpose))
    node = deployment.node
    with node.database.reading() as connection:
        data = node.logs.consent.entries(connection, 0, 6)
    assert all(len(one) == 33 and one[:1] == LEAF_VERSION for one in data)
    parts = [one[1:][n : n + 6] for one in data for n in range(27)]
    assert len(set(parts)) == len(parts)
    names = [device.key.key_id.encode(), device.key.public_key, b"learn", b"measure"]
    assert not any(name in one for one in data for name in names)


def test_a_dictionary_of_whole_events_finds_no_leaf(deployment: Any) -> None:
    """Who knows event and signature to the last byte still cannot tell whether it is in the log."""
    device = deployment.device()
    event = device.event()
    receipt = device.append(event)
    data, signature = event.to_bytes(), device.key.sign("consent", event.to_bytes())
    node = deployment.node
    with node.database.reading() as connection:
        (held,) = node.logs.consent.entries(connection, 0, 1)
    assert held == leaf(data, signature, receipt.commitment_key)  # who has the key can
    public = device.key.public_key
    keys = [bytes(32), b"\xff" * 32, public, leaf_hash(data), leaf_hash(signature), held[1:]]
    keys += [n.to_bytes(32, "big") for n in range(5000)]
    assert held not in {leaf(data, signature, key) for key in keys}


def test_an_event_larger_than_any_is_refused_before_it_is_read(deployment: Any) -> None:
    device = deployment.device()
    data = device.event(recipients=("x" * MAX_EVENT_BYTES,)).to_bytes()
    with pytest.raises(PrivacyError, match="at most"):
        append(deployment, device, data, device.key.sign("consent", data))
    assert deployment.node.logs.consent.size == 0
