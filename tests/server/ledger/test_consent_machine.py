"""Random histories of consents on a real node, on both databases, against a model of a few lines.

Every verb that changes what the ledger holds of a device is a step: agree, withdraw, object, be
erased, enrol anew; beside them epochs, time, restarts, repeats, replays, and several at once.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tacit.privacy.accounting import epsilon_without_opacus
from tacit.privacy.checkpoint import Checkpoint, stated_checkpoint
from tacit.privacy.consent import NO_PREDECESSOR, ConsentEvent, NoticeShown, event_digest
from tacit.privacy.consent_map import blinding_key, map_key, map_value
from tacit.privacy.erasure import ErasureRequest
from tacit.privacy.errors import PrivacyError
from tacit.privacy.receipt import Receipt, leaf, verify_receipt
from tacit.privacy.signatures import SigningKey
from tacit.privacy.state_map import verify_absence, verify_value
from tacit.server.budget.accountant import Accountant
from tacit.server.errors import Refused
from tacit.server.ledger import node as node_module
from tacit.server.ledger.admission import admission_states
from tacit.server.ledger.node import LedgerNode

PURPOSES = ("decide", "learn", "measure")
SIGNALS = (("rating",), ("product_view", "rating"), ("search",))
ORIGIN = "test.example/consent"
HOUR_MS = 3_600_000
STEPS = (
    *("agree",) * 4,
    *("withdraw", "withdraw", "object", "at once", "at once", "publish", "publish"),
    *("repeat", "replay", "skip", "erase", "enrol", "wait", "wait", "restart"),
)


@dataclasses.dataclass
class Sent:
    """One event that was taken, with its receipt."""

    event: ConsentEvent
    data: bytes
    signature: bytes
    receipt: Receipt


@dataclasses.dataclass
class Person:
    """What the model knows of one device."""

    key: SigningKey
    sent: list[Sent] = dataclasses.field(default_factory=list[Sent])
    erased: bool = False

    def latest(self, purpose: str) -> Sent | None:
        return next((one for one in reversed(self.sent) if one.event.purpose == purpose), None)

    def granted(self, purpose: str, now_ms: int) -> tuple[str, ...]:
        one = self.latest(purpose)
        stands = one and one.event.state == "given" and now_ms < one.event.valid_until_ms
        return tuple(one.event.signals) if one and stands else ()


class ConsentMachine(RuleBasedStateMachine):
    """The model is what people said last; the node must agree at every step."""

    new_deployment: ClassVar[Any]
    histories: ClassVar[int] = 0
    node: LedgerNode
    now_ms: int
    people: list[Person]
    leaves: int
    known: Checkpoint | None
    published: int
    refused: int

    @initialize()
    def open(self) -> None:
        type(self).histories += 1
        self.deployment = type(self).new_deployment(f"history-{self.histories}")
        self.now_ms, self.people, self.leaves = 1_800_000_000_000, [], 0
        self.known, self.published, self.refused = None, 0, 0
        self.start()
        for _ in range(3):
            self.enrol()

    def start(self) -> None:
        self.node = LedgerNode(self.deployment.config, now_ms=lambda: self.now_ms)
        # A node may publish as it starts.
        self.published = self.leaves if self.leaves else self.published

    def teardown(self) -> None:
        if hasattr(self, "node"):
            self.node.close()

    # --- what people do

    def enrol(self) -> None:
        (token,) = self.node.registry.create_tokens("shop", 1, self.now_ms + 1, self.now_ms)
        key = SigningKey(os.urandom(32))
        proof = key.sign("enrol", token.encode())
        self.node.registry.enrol(token, key.public_key, proof, self.now_ms)
        self.people.append(Person(key))

    def event(self, person: Person, state: str, purpose: str, signals: Any) -> ConsentEvent:
        before = person.sent[-1].data if person.sent else None
        return ConsentEvent(
            record_id=os.urandom(16).hex(),
            subject_pseudonym="p" * 16,
            controller="Example Shop",
            purpose=purpose,
            signals=signals,
            lawful_basis="consent",
            notice=NoticeShown("privacy", "1", "0" * 64, "en", self.now_ms),
            method="settings",
            state=state,
            event_time_ms=self.now_ms,
            valid_until_ms=self.now_ms + HOUR_MS,
            retention_days=365,
            storage_location="EU",
            recipients=(),
            jurisdiction="EU",
            withdrawal_uri="app:settings",
            gpc_present=False,
            gpc_conflict=False,
            prev_commitment=event_digest(before) if before else NO_PREDECESSOR,
            seq=len(person.sent) + 1,
        )

    def send(self, person: Person, data: bytes, signature: bytes) -> Receipt:
        known_size = 0 if self.known is None else self.known.size
        key, proof = self.node.consent.append(
            person.key.key_id, person.key.public_key, data, signature, known_size, self.now_ms
        )
        return Receipt(
            key, proof.index, tuple(proof.inclusion), proof.checkpoint, tuple(proof.consistency)
        )

    def check(self, data: bytes, signature: bytes, receipt: Receipt, known: Any) -> Checkpoint:
        return verify_receipt(
            receipt,
            data,
            signature,
            origin=ORIGIN,
            name=ORIGIN,
            ledger_key=self.deployment.node_key.public_key,
            known=known,
        )

    def say(self, person: Person, event: ConsentEvent) -> None:
        data = event.to_bytes()
        signature = person.key.sign("consent", data)
        receipt = self.send(person, data, signature)
        assert receipt.index == self.leaves
        self.known = self.check(data, signature, receipt, self.known)
        person.sent.append(Sent(event, data, signature, receipt))
        self.leaves += 1

    def refuse(self, person: Person, data: bytes, signature: bytes) -> None:
        with pytest.raises((PrivacyError, Refused)):
            self.send(person, data, signature)
        self.refused += 1

    # One rule, so that no history lacks a kind of step.
    @rule(kind=st.sampled_from(STEPS), data=st.data())
    def step(self, kind: str, data: st.DataObject) -> None:
        alive = [one for one in self.people if not one.erased]
        if kind in ("enrol", "wait", "restart", "publish") or not alive:
            self.of_the_node(kind)
            return
        person = data.draw(st.sampled_from(alive))
        purpose = data.draw(st.sampled_from(PURPOSES))
        signals = data.draw(st.sampled_from(SIGNALS))
        states = {"agree": "given", "withdraw": "withdrawn", "object": "refused"}
        if kind in states:
            self.say(person, self.event(person, states[kind], purpose, signals))
        elif kind == "at once":
            self.at_once(alive, purpose, signals)
        elif kind == "erase":
            self.erase(person)
        elif kind == "skip":
            event = dataclasses.replace(
                self.event(person, "given", purpose, signals),
                seq=len(person.sent) + 2,
                prev_commitment="1" * 64,
            )
            self.refuse(person, event.to_bytes(), person.key.sign("consent", event.to_bytes()))
        elif person.sent:
            self.again(person, data.draw(st.sampled_from(person.sent)), kind)

    def of_the_node(self, kind: str) -> None:
        if kind == "wait":
            self.now_ms += HOUR_MS
        elif kind == "restart":
            self.node.close()
            self.start()
        elif kind == "publish":
            grown = self.node.consent_map.publish(self.now_ms)
            assert grown is (self.leaves > self.published)
            self.published = self.leaves
        else:
            self.enrol()

    def again(self, person: Person, old: Sent, kind: str) -> None:
        """Repeat an event, which is answered alike, or replay it as if it were the next."""
        if kind == "repeat":
            receipt = self.send(person, old.data, old.signature)
            assert (receipt.index, receipt.commitment_key) == (
                old.receipt.index,
                old.receipt.commitment_key,
            )
            self.check(old.data, old.signature, receipt, self.known)
        else:
            event = dataclasses.replace(
                old.event, seq=len(person.sent) + 1, prev_commitment=event_digest(old.data)
            )
            self.refuse(person, event.to_bytes(), old.signature)

    def at_once(self, alive: list[Person], purpose: str, signals: Any) -> None:
        """Everybody says something in the same moment; two thirds agree, the rest withdraws."""
        events = [
            self.event(one, "withdrawn" if n % 3 == 2 else "given", purpose, signals)
            for n, one in enumerate(alive)
        ]
        sent: dict[int, Sent] = {}
        together = threading.Barrier(len(alive))

        def work(number: int) -> None:
            person, data = alive[number], events[number].to_bytes()
            signature = person.key.sign("consent", data)
            together.wait()
            receipt = self.send(person, data, signature)
            sent[number] = Sent(events[number], data, signature, receipt)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(len(alive))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(sent) == len(alive)
        known, before = self.known, self.leaves
        for number, one in sent.items():
            seen = self.check(one.data, one.signature, one.receipt, known)
            if self.known is None or seen.size > self.known.size:
                self.known = seen
            alive[number].sent.append(one)
        self.leaves += len(alive)
        assert sorted(one.receipt.index for one in sent.values()) == [*range(before, self.leaves)]

    def erase(self, person: Person) -> None:
        request = ErasureRequest(os.urandom(16).hex(), person.key.key_id, self.now_ms, ())
        data = request.to_bytes()
        signature = person.key.sign(ErasureRequest.SIGNING_CONTEXT, data)
        erased = self.node.erasure.erase(
            person.key.key_id, person.key.public_key, data, signature, 0, self.now_ms
        )
        assert erased.proof.index == self.leaves
        self.leaves += 1
        person.erased = True
        # The old key begins no new chain.
        (token,) = self.node.registry.create_tokens("shop", 1, self.now_ms + 1, self.now_ms)
        proof = person.key.sign("enrol", token.encode())
        with pytest.raises(Refused, match="erased"):
            self.node.registry.enrol(token, person.key.public_key, proof, self.now_ms)

    # --- what must hold

    @invariant()
    def the_ledger_goes_by_what_was_said_last(self) -> None:
        if not hasattr(self, "node"):
            return
        for purpose in PURPOSES:
            states = admission_states(self.node.database, purpose, (), self.now_ms)
            assert {one.device_id: (one.signals, one.sequence) for one in states} == {
                one.key.key_id: (one.granted(purpose, self.now_ms), len(one.sent))
                for one in self.people
                if not one.erased
            }

    @invariant()
    def the_log_grew_by_what_was_taken(self) -> None:
        if not hasattr(self, "node"):
            return
        assert self.node.logs.consent.size == self.leaves
        note, consistency = self.node.logs.consent.checkpoint(self.known.size if self.known else 0)
        assert stated_checkpoint(note).size == self.leaves
        assert bool(consistency) is (self.known is not None and self.known.size < self.leaves)

    @invariant()
    def the_newest_epoch_says_it_too(self) -> None:
        if not hasattr(self, "node") or self.published != self.leaves or not self.leaves:
            return
        consent_map: Any = self.node.consent_map
        published = consent_map._published
        assert published is not None
        root = published.tree.root
        for one in (one for one in self.people if one.sent):
            blinding = blinding_key(one.sent[0].receipt.commitment_key)
            for purpose in PURPOSES:
                key, latest = map_key(blinding, purpose), one.latest(purpose)
                proof = published.tree.prove(key)
                if one.erased or latest is None:
                    verify_absence(root, key, proof)
                else:
                    data = leaf(latest.data, latest.signature, latest.receipt.commitment_key)
                    value = map_value(blinding, latest.receipt.index, data)
                    verify_value(root, key, value, proof)


@pytest.mark.timeout(600)
def test_random_histories(
    new_deployment: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "Accountant", lambda: Accountant(epsilon_without_opacus))
    total = {"refused": 0, "erased": 0, "leaves": 0, "expired": 0}

    class Bound(ConsentMachine):
        def teardown(self) -> None:
            if hasattr(self, "node"):
                total["refused"] += self.refused
                total["leaves"] += self.leaves
                total["erased"] += sum(one.erased for one in self.people)
                total["expired"] += sum(
                    one.event.valid_until_ms <= self.now_ms
                    for person in self.people
                    for one in person.sent
                )
            super().teardown()
            assert not self.leaves or self.deployment.verify().consent_size == self.leaves

    Bound.new_deployment = staticmethod(new_deployment)
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=5,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            phases=(Phase.generate,),
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
    # The histories went where they should.
    assert min(total.values()) > 0, total
