from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.privacy.canonical import canonical_json
from tacit.privacy.checkpoint import Checkpoint, sign
from tacit.privacy.consent import (
    NO_PREDECESSOR,
    ConsentEvent,
    NoticeShown,
    check_continues,
    current_state,
    event_digest,
)
from tacit.privacy.errors import (
    BadDocument,
    BadParameter,
    BadProof,
    BadSignature,
    RollbackDetected,
)
from tacit.privacy.merkle import MerkleTree, leaf_hash
from tacit.privacy.receipt import LEAF_BYTES, Receipt, leaf, verify_receipt
from tacit.privacy.signals import (
    EVENT_SIGNALS,
    PURPOSES,
    SIGNALS,
    Sensitivity,
    catalogue_digest,
    signal_of_event,
)
from tacit.privacy.signatures import SigningKey

T0 = 1_750_000_000_000
EVENT = ConsentEvent(
    record_id="0" * 32,
    subject_pseudonym="pseudonym",
    controller="Example Shop",
    purpose="learn",
    signals=("product_view", "rating"),
    lawful_basis="consent",
    notice=NoticeShown("privacy", "1", "a" * 64, "en", T0),
    method="settings",
    state="given",
    event_time_ms=T0,
    valid_until_ms=T0 + 1000,
    retention_days=365,
    storage_location="EU",
    recipients=("Example Lab",),
    jurisdiction="EU",
    withdrawal_uri="app:settings",
    gpc_present=False,
    gpc_conflict=False,
    prev_commitment=NO_PREDECESSOR,
    seq=1,
)


def chain(*steps: dict[str, Any]) -> list[ConsentEvent]:
    events: list[ConsentEvent] = []
    for step in steps:
        previous = event_digest(events[-1].to_bytes()) if events else NO_PREDECESSOR
        numbered: dict[str, Any] = {"seq": len(events) + 1, "prev_commitment": previous}
        events.append(dataclasses.replace(EVENT, **(numbered | step)))
    return events


def test_an_event_reads_back() -> None:
    assert ConsentEvent.parse(EVENT.to_bytes()) == EVENT


@pytest.mark.parametrize(
    "changes",
    [
        {"purpose": "advertise"},
        {"signals": ("no_such_signal",)},
        {"signals": ("rating", "product_view")},
        {"signals": ("rating", "rating")},
        {"signals": ()},
        {"signals": ("health",)},
        {"signals": ("health",), "purpose": "decide"},
        {"method": "implied"},
        {"method": "browser_signal"},
        {"method": "shouted"},
        {"method": "implied", "purpose": "decide", "signals": ("coarse_location",)},
        {"method": "implied", "purpose": "decide", "signals": ("precise_location",)},
        {"lawful_basis": "legitimate_interest"},
        {"lawful_basis": "because"},
        {"state": "maybe"},
        {"valid_until_ms": T0},
        {"retention_days": 0},
        {"gpc_present": True},
        {"gpc_conflict": True},
        {"gpc_present": True, "gpc_conflict": True, "state": "refused"},
        {"record_id": "short"},
        {"subject_pseudonym": "a b"},
        {"prev_commitment": "b" * 64},
        {"seq": 2},
        {"seq": 0},
        {"seq": 2**53},
        {"notice": NoticeShown("privacy", "1", "xyz", "en", T0)},
    ],
)
def test_decisions_that_are_not_accepted(changes: dict[str, Any]) -> None:
    with pytest.raises(BadDocument):
        ConsentEvent.parse(dataclasses.replace(EVENT, **changes).to_bytes())


def test_decisions_that_are() -> None:
    accepted: list[dict[str, Any]] = [
        {"method": "implied", "purpose": "decide", "lawful_basis": "contract"},
        {"purpose": "decide", "signals": ("precise_location",)},
        {"state": "withdrawn", "signals": (), "valid_until_ms": 0},
        {"state": "refused", "method": "browser_signal", "gpc_present": True},
        {"gpc_present": True, "gpc_conflict": True},
    ]
    for changes in accepted:
        event = dataclasses.replace(EVENT, **changes)
        assert ConsentEvent.parse(event.to_bytes()) == event


def test_other_spellings_are_refused() -> None:
    good = EVENT.to_bytes()
    for bad in (
        good + b" ",
        good.replace(b'"seq":1', b'"seq":1.0'),
        good.replace(b'"seq":1', b'"seq":true'),
        good.replace(b'"seq":1', b'"seq":NaN'),
        good.replace(b'"seq":1', b'"seq":1,"seq":1'),
        good.replace(b'"seq":1', b'"seq":1,"zzz":1'),
        good.replace(b',"seq":1', b""),
        good.replace(b'"conflict":false,', b""),
        b"[]",
        b"\xff",
        b"[" * 5000,
        b'"' + b"x" * 20_000 + b'"',
    ):
        with pytest.raises(BadDocument):
            ConsentEvent.parse(bad)


class TestState:
    def test_nothing_is_granted_by_default(self) -> None:
        assert current_state([], T0) == {name: frozenset() for name in PURPOSES}

    def test_the_latest_event_of_a_purpose_decides(self) -> None:
        events = chain({}, {"purpose": "measure", "signals": ("search",)}, {"signals": ("rating",)})
        assert current_state(events[:1], T0)["learn"] == {"product_view", "rating"}
        state = current_state(events, T0)
        assert state["learn"] == {"rating"}
        assert state["measure"] == {"search"}
        assert state["decide"] == frozenset()

    @pytest.mark.parametrize(
        "ending", ["withdrawn", "refused", "expired", "invalidated", "requested"]
    )
    def test_every_other_state_grants_nothing(self, ending: str) -> None:
        assert current_state(chain({}, {"state": ending}), T0)["learn"] == frozenset()

    def test_expiry_and_gpc(self) -> None:
        assert current_state([EVENT], T0 + 999)["learn"]
        assert not current_state([EVENT], T0 + 1000)["learn"]
        conflict = chain({"gpc_present": True, "gpc_conflict": True})
        assert not current_state(conflict, T0)["learn"]

    @given(st.lists(st.sampled_from(["given", "withdrawn", "refused"]), min_size=2, max_size=6))
    def test_only_the_unbroken_chain_folds(self, states: list[str]) -> None:
        events = chain(*({"state": state} for state in states))
        assert bool(current_state(events, T0)["learn"]) == (states[-1] == "given")
        for broken in (events[1:], [*events, events[0]], [events[0], *events], events[::-1]):
            with pytest.raises(RollbackDetected):
                current_state(broken, T0)

    def test_a_rewritten_predecessor_is_noticed(self) -> None:
        first, second = chain({}, {"state": "withdrawn"})
        other = dataclasses.replace(first, signals=("rating",))
        with pytest.raises(RollbackDetected):
            check_continues(second, 1, event_digest(other.to_bytes()))
        check_continues(second, 1, event_digest(first.to_bytes()))


class TestReceipt:
    KEY = SigningKey(b"\3" * 32)
    LEDGER = SigningKey(b"\4" * 32)
    NAME = "test.example/consent"

    def made(self) -> tuple[Receipt, bytes, bytes, MerkleTree]:
        data = EVENT.to_bytes()
        signature = self.KEY.sign("consent", data)
        tree = MerkleTree(leaf_hash(bytes([index])) for index in range(5))
        index = tree.append(leaf_hash(leaf(data, signature, b"k" * 32)))
        note = sign(Checkpoint(self.NAME, tree.size, tree.root()), self.LEDGER, self.NAME)
        proof, since = tree.inclusion_proof(index), tree.consistency_proof(3)
        return Receipt(b"k" * 32, index, tuple(proof), note, tuple(since)), data, signature, tree

    def check(self, receipt: Receipt, data: bytes, signature: bytes, **more: Any) -> Checkpoint:
        return verify_receipt(
            receipt,
            data,
            signature,
            origin=self.NAME,
            name=self.NAME,
            ledger_key=self.LEDGER.public_key,
            **more,
        )

    def test_a_receipt_verifies(self) -> None:
        receipt, data, signature, tree = self.made()
        known = Checkpoint(self.NAME, 3, tree.root(3))
        found = self.check(receipt, data, signature, known=known)
        assert (found.size, found.root) == (6, tree.root())

    def test_anything_else_is_refused(self) -> None:
        receipt, data, signature, _ = self.made()
        other = dataclasses.replace(EVENT, signals=("rating",)).to_bytes()
        with pytest.raises(BadProof):
            self.check(receipt, other, signature)
        with pytest.raises(BadProof):
            self.check(receipt, data, bytes(64))
        with pytest.raises(BadProof):
            self.check(dataclasses.replace(receipt, commitment_key=b"j" * 32), data, signature)
        with pytest.raises(BadProof):
            self.check(dataclasses.replace(receipt, index=4), data, signature)
        with pytest.raises(BadProof):
            self.check(receipt, data, signature, known=Checkpoint(self.NAME, 3, b"\0" * 32))
        with pytest.raises(BadProof):
            self.check(receipt, data, signature, known=Checkpoint(self.NAME, 7, b"\0" * 32))
        with pytest.raises(BadSignature):
            self.check(dataclasses.replace(receipt, checkpoint=b""), data, signature)
        with pytest.raises(BadParameter):
            self.check(dataclasses.replace(receipt, commitment_key=b""), data, signature)

    def test_a_leaf_hides_and_binds(self) -> None:
        data = EVENT.to_bytes()
        leaves = {leaf(data, bytes(64), bytes([k]) * 32) for k in range(20)}
        assert len(leaves) == 20
        assert {len(one) for one in leaves} == {LEAF_BYTES}
        assert leaf(data, bytes(64), b"k" * 32) != leaf(data, b"\1" * 64, b"k" * 32)
        smuggled = canonical_json(EVENT.to_json() | {"device_sig": "00" * 64})
        with pytest.raises(BadDocument):
            leaf(smuggled, bytes(64), b"k" * 32)


class TestSignals:
    def test_the_catalogue(self) -> None:
        names = "page_view product_view dwell scroll search add_to_cart purchase rating preference"
        basic = {s.name for s in SIGNALS.values() if s.sensitivity is Sensitivity.BASIC}
        assert basic == set(names.split())
        assert all(s.description for s in SIGNALS.values())
        assert set(EVENT_SIGNALS.values()) <= set(SIGNALS)
        assert len(catalogue_digest()) == 32

    def test_events_stand_for_signals(self) -> None:
        assert signal_of_event("Product Viewed").name == "product_view"
        assert signal_of_event("Order Completed").name == "purchase"
        assert signal_of_event("rating").name == "rating"
        with pytest.raises(BadDocument):
            signal_of_event("Tea Brewed")
