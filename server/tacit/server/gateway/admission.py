"""Who may take part now: the ledger's word, asked anew for every decision.

Consent is never remembered. What keeps the ledger from drowning is that questions travel together:
while one question is on its way, those that come up wait, and then go as one.

    device A ─▶ ┐
    device B ─▶ ├─ one GetConsentStates ─▶ ledger      while this one is away …
    device C ─▶ ┘
    device D ─▶ ┐
    device E ─▶ ┘─ the next one                        … this one fills
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from tacit.privacy.task import TaskManifest
from tacit.server.gateway.errors import NotAdmitted
from tacit.server.ledger.client import ConsentState

_LEARN = "learn"


class ConsentSource(Protocol):
    """What admission asks of the ledger (`tacit.server.ledger.client.LedgerClient` has it)."""

    def consent_states(self, purpose: str, device_ids: Sequence[str]) -> list[ConsentState]:
        """Return present consent; all devices when no ids are given."""
        ...


@dataclass(frozen=True, slots=True)
class Admitted:
    """What one device allows a task now.

    Attributes:
        signals: signals of the task that it consents to, at least one.
        consent_sequence: number of consent events the ledger holds of it.
        map_epoch: newest epoch of the current-state map when the ledger answered.
    """

    signals: frozenset[str]
    consent_sequence: int
    map_epoch: int = 0


@dataclass(slots=True)
class _Question:
    """Devices asked about in one call, and the answer to come."""

    device_ids: set[str] = field(default_factory=set[str])
    answer: Future[dict[str, ConsentState]] = field(default_factory=Future[dict[str, ConsentState]])


class Admission:
    """Answers for one device or for a cohort; safe to call from many threads.

    Guarantee: every answer about consent was read from the ledger after the question was put, so
    whatever a device was told is on record before it asks, is seen. A ledger that was put back to
    an older state answers from an older map epoch than it did before; then nobody is admitted.

    Public keys are remembered: a device's name is the digest of its key, so the pair never changes.
    """

    def __init__(self, source: ConsentSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._line = threading.Lock()
        self._filling: dict[str, _Question] = {}
        self._public_keys: dict[str, bytes] = {}
        self._map_epoch = 0

    def public_key_of(self, device_id: str) -> bytes | None:
        """Return an enrolled device's public key, or None."""
        known = self._public_keys.get(device_id)
        if known is not None:
            return known
        state = self._state(_LEARN, device_id)
        return None if state is None else state.public_key

    def eligible(self, manifest: TaskManifest) -> frozenset[str]:
        """Return the names of the devices that a task may ask now."""
        states = self._consent_states(manifest.purpose, [])
        self._remember_keys(states)
        return frozenset(
            state.device_id
            for state in states
            if state.granted
            and state.population == manifest.population
            and not set(manifest.signals).isdisjoint(state.signals)
        )

    def admit(self, manifest: TaskManifest, device_id: str) -> Admitted:
        """Return what a device allows a task now.

        Raises:
            NotAdmitted: if it may not take part, or has no signal to take part with.
        """
        state = self._state(manifest.purpose, device_id)
        if state is None:
            raise NotAdmitted("not enrolled", "the device is not enrolled")
        if state.population != manifest.population:
            raise NotAdmitted("other population", "the task is for another population")
        if not state.granted:
            raise NotAdmitted("no consent", f"consent to {manifest.purpose!r} is not granted")
        signals = frozenset(state.signals).intersection(manifest.signals)
        if not signals:
            raise NotAdmitted("no signal", "no signal of the task is consented to")
        return Admitted(signals, state.sequence, state.map_epoch)

    def signals_granted(
        self, purpose: str, device_ids: Sequence[str]
    ) -> Mapping[str, frozenset[str]]:
        """Return what each named device grants now; those that grant nothing are left out."""
        if not device_ids:
            return {}
        return {
            state.device_id: frozenset(state.signals)
            for state in self._consent_states(purpose, device_ids)
            if state.granted
        }

    def _state(self, purpose: str, device_id: str) -> ConsentState | None:
        with self._lock:
            question = self._filling.get(purpose)
            leads = question is None
            if question is None:
                question = self._filling[purpose] = _Question()
            question.device_ids.add(device_id)
        if leads:
            self._ask(purpose, question)
        return question.answer.result().get(device_id)

    def _ask(self, purpose: str, question: _Question) -> None:
        with self._line:
            with self._lock:
                # From here on nobody joins: they would get an answer older than their question.
                del self._filling[purpose]
            try:
                states = self._consent_states(purpose, sorted(question.device_ids))
            except BaseException as error:
                question.answer.set_exception(error)
                raise
        self._remember_keys(states)
        question.answer.set_result({state.device_id: state for state in states})

    def _consent_states(self, purpose: str, device_ids: Sequence[str]) -> list[ConsentState]:
        # Answers may overtake one another: each is held against what was known when it was asked.
        known = self._map_epoch
        states = self._source.consent_states(purpose, device_ids)
        epochs = [state.map_epoch for state in states]
        if epochs and min(epochs) < known:
            raise NotAdmitted(
                "stale consents",
                f"expected the ledger's map epoch {known} or newer, got {min(epochs)}",
            )
        with self._lock:
            self._map_epoch = max([self._map_epoch, *epochs])
        return states

    def _remember_keys(self, states: Sequence[ConsentState]) -> None:
        for state in states:
            self._public_keys[state.device_id] = state.public_key
