from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tacit.server.errors import LedgerUnavailable
from tacit.server.gateway.admission import Admission
from tacit.server.gateway.errors import NotAdmitted
from tacit.server.ledger.client import ConsentState

NewRound = Callable[..., Any]


class Ledger:
    """Answers like the ledger, when it is let; the answer is fixed when the question arrives."""

    def __init__(self) -> None:
        self.states: dict[str, ConsentState] = {}
        self.asked: list[list[str]] = []
        self.arrived = threading.Semaphore(0)
        self.let = threading.Semaphore(0)
        self.holds = False
        self.fails = False

    def set(self, device_id: str, *signals: str, population: str = "shop") -> None:
        key = device_id.encode().ljust(32)
        self.states[device_id] = ConsentState(device_id, key, population, bool(signals), signals, 1)

    def consent_states(self, purpose: str, device_ids: Sequence[str]) -> list[ConsentState]:
        assert purpose == "learn"
        self.asked.append(list(device_ids))
        wanted = device_ids or list(self.states)
        answer = [self.states[one] for one in wanted if one in self.states]
        self.arrived.release()
        if self.holds:
            assert self.let.acquire(timeout=10)
        if self.fails:
            raise LedgerUnavailable("the ledger did not answer")
        return answer


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def manifest(new_round: NewRound) -> Any:
    return new_round().round.manifest


def test_admits_with_the_signals_that_task_and_consent_share(ledger: Ledger, manifest: Any) -> None:
    ledger.set("a", "rating", "product_view")
    admitted = Admission(ledger).admit(manifest, "a")
    assert admitted.signals == {"rating"}
    assert admitted.consent_sequence == 1


@pytest.mark.parametrize(
    ("signals", "population", "reason"),
    [
        ((), "shop", "no consent"),
        (("product_view",), "shop", "no signal"),
        (("rating",), "other", "other population"),
        (None, "", "not enrolled"),
    ],
)
def test_refuses(ledger: Ledger, manifest: Any, signals: Any, population: str, reason: str) -> None:
    if signals is not None:
        ledger.set("a", *signals, population=population)
    with pytest.raises(NotAdmitted) as raised:
        Admission(ledger).admit(manifest, "a")
    assert raised.value.reason == reason


def test_asks_anew_for_each_decision(ledger: Ledger, manifest: Any) -> None:
    admission = Admission(ledger)
    ledger.set("a", "rating")
    admission.admit(manifest, "a")
    ledger.set("a")
    with pytest.raises(NotAdmitted, match="not granted"):
        admission.admit(manifest, "a")


def test_questions_that_wait_travel_together(ledger: Ledger, manifest: Any) -> None:
    names = [f"d{n}" for n in range(12)]
    for name in names:
        ledger.set(name, "rating")
    ledger.holds = True
    admission = Admission(ledger)
    with ThreadPoolExecutor(12) as pool:
        first = pool.submit(admission.admit, manifest, "d0")
        assert ledger.arrived.acquire(timeout=10)
        others = [pool.submit(admission.admit, manifest, name) for name in names[1:]]
        gathered = admission._filling  # pyright: ignore[reportPrivateUsage]
        while len(gathered["learn"].device_ids if "learn" in gathered else ()) < 11:
            pass
        ledger.let.release(2)
        for one in (first, *others):
            assert one.result(10).signals == {"rating"}
    assert ledger.asked == [["d0"], sorted(names[1:])]


def test_a_withdrawal_before_the_question_is_seen_though_an_older_answer_is_on_its_way(
    ledger: Ledger, manifest: Any
) -> None:
    ledger.set("a", "rating")
    ledger.holds = True
    admission = Admission(ledger)
    with ThreadPoolExecutor(2) as pool:
        before = pool.submit(admission.admit, manifest, "a")
        assert ledger.arrived.acquire(timeout=10)  # the ledger has read the grant
        ledger.set("a")  # the withdrawal is on record
        after = pool.submit(admission.admit, manifest, "a")
        ledger.let.release(2)
        assert before.result(10).signals == {"rating"}
        with pytest.raises(NotAdmitted, match="not granted"):
            after.result(10)


def test_a_ledger_that_fails_admits_nobody_and_is_asked_again(
    ledger: Ledger, manifest: Any
) -> None:
    ledger.set("a", "rating")
    ledger.fails = True
    admission = Admission(ledger)
    with ThreadPoolExecutor(4) as pool:
        for one in [pool.submit(admission.admit, manifest, "a") for _ in range(4)]:
            assert isinstance(one.exception(10), LedgerUnavailable)
    ledger.fails = False
    assert admission.admit(manifest, "a").signals == {"rating"}


def test_public_keys_are_remembered_and_unknown_devices_are_not(
    ledger: Ledger, manifest: Any
) -> None:
    admission = Admission(ledger)
    assert admission.public_key_of("a") is None
    ledger.set("a", "rating")
    key = admission.public_key_of("a")
    assert key == b"a".ljust(32)
    asked = len(ledger.asked)
    assert admission.public_key_of("a") == key
    ledger.set("b")
    assert len(admission.eligible(manifest)) == 1
    assert admission.public_key_of("b") == b"b".ljust(32)
    assert len(ledger.asked) == asked + 1


def test_counts_those_the_task_may_ask(ledger: Ledger, manifest: Any) -> None:
    ledger.set("a", "rating")
    ledger.set("b", "rating", "product_view")
    ledger.set("narrow", "product_view")
    ledger.set("withdrew")
    ledger.set("elsewhere", "rating", population="other")
    assert len(Admission(ledger).eligible(manifest)) == 2


def test_the_cut_off_asks_nothing_about_nobody(ledger: Ledger) -> None:
    # An empty list of devices means everybody to the ledger.
    ledger.set("a", "rating")
    assert Admission(ledger).signals_granted("learn", []) == {}
    assert ledger.asked == []
    ledger.set("b")
    assert Admission(ledger).signals_granted("learn", ["a", "b"]) == {"a": {"rating"}}


def test_a_ledger_that_went_back_to_an_older_state_admits_nobody(
    ledger: Ledger, manifest: Any
) -> None:
    ledger.set("a", "rating")
    grant = ledger.states["a"]
    ledger.states["a"] = dataclasses.replace(grant, map_epoch=7)
    admission = Admission(ledger)
    assert admission.admit(manifest, "a").map_epoch == 7
    ledger.states["a"] = dataclasses.replace(grant, map_epoch=6)
    for ask in (
        lambda: admission.admit(manifest, "a"),
        lambda: admission.signals_granted("learn", ["a"]),
        lambda: admission.eligible(manifest),
    ):
        with pytest.raises(NotAdmitted, match="epoch 7 or newer, got 6"):
            ask()
    ledger.states["a"] = dataclasses.replace(grant, map_epoch=8)
    assert admission.admit(manifest, "a").map_epoch == 8


def test_an_answer_that_was_overtaken_is_no_rollback(ledger: Ledger, manifest: Any) -> None:
    ledger.set("a", "rating")
    ledger.holds = True
    admission = Admission(ledger)
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(admission.eligible, manifest)
        assert ledger.arrived.acquire(timeout=10)
        ledger.states["a"] = dataclasses.replace(ledger.states["a"], map_epoch=1)
        fast = pool.submit(admission.signals_granted, "learn", ["a"])
        assert ledger.arrived.acquire(timeout=10)
        ledger.let.release(2)
        assert fast.result(10) == {"a": {"rating"}}
        assert slow.result(10) == {"a"}
