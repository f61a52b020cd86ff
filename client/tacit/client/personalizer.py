"""The facade an app embeds: track, consent, recommend, explain, sync.

Everything but `sync` works without a network and opens no socket.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from tacit.client.catalogue import Catalogue
from tacit.client.consents import BASIC_SIGNALS, ConsentLog
from tacit.client.decide import Recency
from tacit.client.decider import Decider
from tacit.client.decision import (
    Ack,
    Decision,
    DeviceState,
    Explanation,
    Forgotten,
)
from tacit.client.erasure import erase
from tacit.client.errors import BadCatalogue
from tacit.client.events import Event, EventLog
from tacit.client.exposure import DeviceExposure, exposure_of
from tacit.client.facts import Facts
from tacit.client.ingest import read_event
from tacit.client.installed import InstalledReleases
from tacit.client.keys import KeyProvider
from tacit.client.participation import ParticipationLog
from tacit.client.policy import DevicePolicy, Endpoints, TrustRoots
from tacit.client.predictions import predict_now
from tacit.client.rights import Rights
from tacit.client.rights_log import RightsLog
from tacit.client.store import Store
from tacit.client.terms import ConsentTerms
from tacit.privacy.consent import ConsentEvent
from tacit.privacy.release import KINDS, RANKING
from tacit.privacy.signals import PURPOSES

if TYPE_CHECKING:
    from tacit.client.sync import SyncReport

_POPULATION = "population"
_GPC = "gpc"
_GPC_PURPOSES = ("learn", "measure")


def system_clock_ms() -> int:
    """Return Unix milliseconds from the operating system."""
    return time.time_ns() // 1_000_000


class Personalizer:
    """One user's personalization on one device.

    The parts are public for code that drives a device step by step (`DeviceSession`): `store`,
    `facts`, `events`, `consents`, `participation`, `releases`, `rights_log`. `rights` has the
    verbs of a data subject.
    """

    def __init__(
        self,
        store: Store,
        *,
        catalogue: Catalogue | None,
        policy: DevicePolicy,
        terms: ConsentTerms,
        recency: Recency | None,
        clock_ms: Callable[[], int],
    ) -> None:
        """Not for callers; use `Personalizer.open`."""
        self.store = store
        self.policy = policy
        self.clock_ms = clock_ms
        self.facts = Facts(store)
        self.events = EventLog(store)
        self.consents = ConsentLog(store, self.facts)
        self.participation = ParticipationLog(store, self.facts)
        self.releases = InstalledReleases(self.facts)
        self.rights_log = RightsLog(self.facts)
        self.rights = Rights(self)
        self._catalogue = catalogue
        self._terms = terms
        self._decider = Decider(self.events, self.releases, policy.max_model_bytes, recency)

    @classmethod
    def open(
        cls,
        path: Path | str,
        keys: KeyProvider,
        catalogue: Catalogue | None = None,
        *,
        policy: DevicePolicy | None = None,
        terms: ConsentTerms | None = None,
        recency: Recency | None = None,
        clock_ms: Callable[[], int] = system_clock_ms,
    ) -> Personalizer:
        """Open a profile, making it on first use.

        Args:
            path: the database file.
            keys: wraps the store's data key.
            catalogue: the items there are; without one, events and consents can be recorded but
                nothing can be recommended or contributed.
            policy: the device's own limits.
            terms: what consent events say the person was told.
            recency: how much more new items weigh in decisions, `DEFAULT_RECENCY` for what
                people do next; None for all items alike.
            clock_ms: Unix milliseconds.

        Raises:
            KeyUnavailable, StoreDamaged, StoreUnavailable: see `Store.open`.
        """
        return cls(
            Store.open(Path(path), keys),
            catalogue=catalogue,
            policy=policy or DevicePolicy(),
            terms=terms or ConsentTerms(),
            recency=recency,
            clock_ms=clock_ms,
        )

    def close(self) -> None:
        """Close the profile; closing twice is harmless."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def catalogue(self) -> Catalogue:
        """The items there are.

        Raises:
            BadCatalogue: if the profile was opened without a catalogue.
        """
        if self._catalogue is None:
            raise BadCatalogue("expected a catalogue when the profile was opened, got none")
        return self._catalogue

    @property
    def device_id(self) -> str:
        """Name of the device's key."""
        return self.facts.identity().key_id

    @property
    def population(self) -> str | None:
        """Where the device is enrolled; None before."""
        content = self.facts.get(_POPULATION)
        return None if content is None else content.decode("utf-8")

    def enrolled(self, population: str) -> None:
        """Remember where the device was enrolled."""
        self.facts.put(_POPULATION, population.encode("utf-8"))

    def track(
        self,
        event: str,
        properties: Mapping[str, object] | None = None,
        *,
        event_id: str | None = None,
        ts: int | None = None,
    ) -> Ack:
        """Record an event; no kill of the process can lose it once this returns.

        Args:
            event: a Segment event name (`Product Viewed`) or a signal (`product_view`).
            properties: JSON values; `product_id` names the item.
            event_id: names the event for good: the same id again records nothing.
            ts: Unix milliseconds; now if None.

        Raises:
            UnknownEvent: if the event stands for no signal of the catalogue.
            BadEvent: if a property cannot be used.
        """
        return self.track_all([(event, properties or {}, event_id, ts)])[0]

    def track_all(
        self, events: Iterable[tuple[str, Mapping[str, object], str | None, int | None]]
    ) -> list[Ack]:
        """Record many `(event, properties, event_id, ts)` in one transaction, all or none."""
        now_ms = self.clock_ms()
        permitted = frozenset[str]().union(*self.consents.state(now_ms).values())
        kept: list[tuple[Event, str]] = []
        acks: list[Ack] = []
        for name, properties, event_id, ts in events:
            event = read_event(name, properties, now_ms if ts is None else ts)
            known_as = os.urandom(16).hex() if event_id is None else event_id
            if event.signal in permitted:
                kept.append((event, known_as))
            acks.append(Ack(known_as, None, event.signal in permitted, False))
        logged = iter(self.events.append_all(kept))
        for position, ack in enumerate(acks):
            if ack.recorded:
                sequence, new = next(logged)
                acks[position] = Ack(ack.event_id, sequence, True, not new)
        return acks

    def rate(self, item: str, value: float, *, event_id: str | None = None) -> Ack:
        """Record a rating the user gave."""
        return self.track("Product Rated", {"product_id": item, "value": value}, event_id=event_id)

    def consent(
        self,
        purpose: str,
        signals: Collection[str] | None,
        granted: bool,
        *,
        gpc: bool = False,
    ) -> None:
        """Record a person's decision: in force, and on the disk, when this returns.

        Args:
            purpose: `decide` (on this device), `learn` (train the shared model) or `measure`.
            signals: signals the decision is about; None for every basic signal when granting, and
                for everything granted when refusing.
            granted: yes or no.
            gpc: a Global Privacy Control signal is present; also true while `observe_gpc` says so.

        Raises:
            BadEvent: if purpose or signals are unknown, or no consent can cover them.
        """
        now_ms = self.clock_ms()
        if signals is None:
            stands = self.consents.permitted(purpose, now_ms) if purpose in PURPOSES else None
            signals = BASIC_SIGNALS if granted or not stands else stands
        self.decide(
            purpose,
            signals,
            granted=granted,
            gpc=gpc or (self.gpc_present and purpose in _GPC_PURPOSES),
        )

    @property
    def gpc_present(self) -> bool:
        """Whether a Global Privacy Control signal was present when last observed."""
        return self.facts.get(_GPC) == b"1"

    def observe_gpc(self, present: bool) -> None:
        """Tell the device whether a Global Privacy Control signal is present.

        It contradicts a stored opt-in to anything that leaves the device: the conflict is recorded,
        and counts as a refusal. When the signal is gone nothing comes back by itself; the person
        may agree again.
        """
        self.facts.put(_GPC, b"1" if present else b"0")
        for purpose in _GPC_PURPOSES if present else ():
            if stands := self.consents.permitted(purpose, self.clock_ms()):
                self.decide(purpose, stands, granted=True, gpc=True)

    def decide(
        self, purpose: str, signals: Collection[str], *, granted: bool, gpc: bool = False
    ) -> ConsentEvent:
        """Record a decision under this app's terms, and return the event; see `ConsentLog`."""
        return self.consents.decide(
            purpose,
            signals,
            granted=granted,
            now_ms=self.clock_ms(),
            terms=self._terms,
            gpc=gpc,
        )

    def recommend(
        self, surface: str = "home", k: int = 10, exclude: Collection[str] = ()
    ) -> Decision:
        """Recommend up to `k` items the user has not met yet, with reasons.

        The first 20 items carry short reasons; `explain` gives them for any item, in full.

        Reads only signals permitted for `decide`. Items bought or in `exclude` are never shown.

        Raises:
            BadCatalogue: if the profile was opened without a catalogue.
            BadEvent: if `k` is below 1.
        """
        permitted = self.consents.permitted("decide", self.clock_ms())
        return self._decider.recommend(self.catalogue, permitted, surface, k, exclude)

    def explain(self, decision_id: str, item: str) -> Explanation:
        """Explain one item of one of the latest 64 decisions of this process.

        Raises:
            UnknownDecision: if the decision is not remembered or did not show the item.
        """
        return self._decider.explain(decision_id, item)

    def state(self) -> DeviceState:
        """Return what the device knows about itself, and expects of its user.

        Predictions read only signals permitted for `decide`.
        """
        now_ms = self.clock_ms()
        held = {kind: self.releases.get(kind) for kind in KINDS}
        installed = {kind: release for kind, release in held.items() if release is not None}
        versions = {kind: release.manifest.version for kind, release in installed.items()}
        return DeviceState(
            device_id=self.device_id,
            population=self.population,
            consents=self.consents.state(now_ms),
            pending_consents=len(self.consents.pending()),
            events=self.events.count(),
            rounds=len(self.participation.entries()),
            exposure=self.exposure(),
            release_version=versions.get(RANKING, 0),
            releases=versions,
            predictions=predict_now(
                self.events,
                installed,
                self.consents.permitted("decide", now_ms),
                now_ms,
                self.policy.max_model_bytes,
            ),
        )

    def exposure(self) -> DeviceExposure:
        """Return this device's own privacy account: what it was exposed to, and its cap.

        By trust level, purpose and task, from the rounds it entered itself over its whole life. No
        server can reset it; `forget` ends it with the identity it belongs to.
        """
        policy = self.policy
        return exposure_of(self.participation.entries(), policy.max_epsilon, policy.max_delta)

    def sync(
        self, servers: Endpoints, trust: TrustRoots, *, token: str | None = None
    ) -> SyncReport:
        """Talk to the servers once; the only verb that opens a socket.

        Sends pending consents, takes part in a round if one is offered and acceptable, and
        installs a newer release. Needs the `device` extra.

        Args:
            servers: where they are.
            trust: pinned names and keys.
            token: one-time enrolment token, on first use.

        Raises:
            NotEnrolled: if the device has no identity at the ledger and no token was given.
            TransportError: if a server cannot be reached.
            OfferRefused, ReleaseRefused, RollbackRefused, ReceiptRefused: see `DeviceSession`.
        """
        from tacit.client.sync import sync

        report = sync(self, servers, trust, token=token)
        self.reload()
        return report

    def reload(self) -> None:
        """Read the installed release again, after something else installed one."""
        self._decider.reload()

    def start_over(self) -> None:
        """Drop what is remembered of a store whose content was erased."""
        self.consents = ConsentLog(self.store, self.facts)
        self.participation = ParticipationLog(self.store, self.facts)
        self._decider.forget()
        self._decider.reload()

    def forget(self, *, all: Literal[True]) -> Forgotten:  # noqa: A002 - the verb's public name
        """Erase everything on this device and close the profile.

        The data key is destroyed, the write-ahead log cut, and the files searched for the key's
        bytes. Opening the path again starts a new device with a new identity; what noised sums
        already hold stays bounded by the (ε, δ) that `state` showed.
        """
        del all
        forgotten = erase(self.store)
        self.close()
        self._decider.forget()
        return forgotten
