"""The facade an app embeds: track, consent, recommend, explain, sync.

Everything but `sync` works without a network and opens no socket.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from tacit.client.catalogue import Catalogue
from tacit.client.consents import BASIC_SIGNALS, ConsentLog
from tacit.client.decide import Recency
from tacit.client.decider import Decider, Request
from tacit.client.decision import (
    Ack,
    Decision,
    DeviceState,
    Explanation,
    Forgotten,
    HandOver,
)
from tacit.client.erasure import erase
from tacit.client.errors import BadCatalogue, BadEvent, UnknownDecision
from tacit.client.events import Event, EventLog
from tacit.client.facts import Facts
from tacit.client.features import Features
from tacit.client.guardrails import DEFAULT_GUARDRAILS, GuardrailPolicy, InstalledGuardrails
from tacit.client.guardrails.kinds import CHANNELS
from tacit.client.handover import HandOvers
from tacit.client.ingest import read_event
from tacit.client.installed import InstalledReleases
from tacit.client.journal import DecisionJournal
from tacit.client.keys import KeyProvider
from tacit.client.moment import ItemFilter, Moments
from tacit.client.participation import ParticipationLog
from tacit.client.past import PermittedPast
from tacit.client.policy import DevicePolicy, Endpoints, TrustRoots
from tacit.client.rights_log import RightsLog
from tacit.client.slate import Exploration
from tacit.client.store import Store
from tacit.client.suppressions import Suppressions
from tacit.client.terms import ConsentTerms
from tacit.privacy.consent import ConsentEvent
from tacit.privacy.release import KINDS, RANKING
from tacit.privacy.signals import PURPOSES

if TYPE_CHECKING:
    # What no decision of items needs is loaded by the verb that needs it.
    from tacit.client.actions import Action, ActionDecision, Strategy
    from tacit.client.content import Component, Content
    from tacit.client.exposure import DeviceExposure
    from tacit.client.questions import Question
    from tacit.client.rights import Rights
    from tacit.client.sync import SyncReport

_POPULATION = "population"
_GPC = "gpc"
_GPC_PURPOSES = ("learn", "measure")

DEFAULT_EXPLORATION = Exploration(0.1)
"""One slot in ten is filled by chance, so that taste is not only confirmed."""

_SUPPRESSIBLE = {"item": "items", "category": "categories", "channel": "channels"}


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
        exploration: Exploration | None,
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
        self._catalogue = catalogue
        self._terms = terms
        self.journal = DecisionJournal(store)
        self.suppressions = Suppressions(self.facts)
        self.hand_overs = HandOvers(self.facts)
        self._guardrails = InstalledGuardrails(self.facts)
        self._guardrail_policy: GuardrailPolicy | None = None
        self._exploration = exploration
        self._moments = Moments(
            PermittedPast(self.events), self.journal, self.suppressions, recency
        )
        self._decider = Decider(
            self.events, self.releases, self.journal, self._moments, policy.max_model_bytes
        )

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
        exploration: Exploration | None = DEFAULT_EXPLORATION,
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
            exploration: how often chance fills a slot; None for never.
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
            exploration=exploration,
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

    @cached_property
    def rights(self) -> Rights:
        """The verbs of a data subject."""
        from tacit.client.rights import Rights

        return Rights(self)

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

    def page(
        self, name: str, dwell_ms: int = 0, scroll: float = 0.0, *, event_id: str | None = None
    ) -> Ack:
        """Record that a page was opened.

        Args:
            name: of the page; one about help (`Returns`, `Contact`) tells of looking for help.
            dwell_ms: how long it was looked at.
            scroll: how far it was scrolled, 0 to 1.
            event_id: see `track`.
        """
        properties = {"name": name, "dwell_ms": dwell_ms, "scroll": scroll}
        return self.track("Page Viewed", properties, event_id=event_id)

    def prefer(self, kind: str, value: str, weight: float) -> Ack | None:
        """Record a preference the person stated; in force when this returns.

        Above zero it is an event of the signal `preference` and speaks for what it names. Below
        zero it is an instruction: what it names is never shown, whatever the consents. Zero takes
        both back.

        Args:
            kind: `item` or `category`; `channel` below or at zero only (opting out, and in again).
            value: id of the item, name of the category or channel.
            weight: from -1 to 1.

        Returns:
            The event's acknowledgement, or None if there was no event to record.

        Raises:
            BadEvent: if kind or weight cannot be used.
        """
        if kind not in _SUPPRESSIBLE or not -1.0 <= weight <= 1.0 or not value:
            raise BadEvent("prefer: expected item, category or channel, and a weight in [-1, 1]")
        if kind == "channel" and (weight > 0.0 or value not in CHANNELS):
            raise BadEvent(f"prefer: expected a channel among {', '.join(CHANNELS)}, weight <= 0")
        held = getattr(self.suppressions.get(), _SUPPRESSIBLE[kind])
        if (value in held) != (weight < 0.0):
            self.suppressions.change(_SUPPRESSIBLE[kind], value, suppressed=weight < 0.0)
        if kind == "channel":
            return None
        # A dislike takes an earlier liking back as well.
        stated = {"kind": kind, "name": value, "value": max(weight, 0.0)}
        return self.track("Preference Set", stated)

    def opt_out(self, channel: str, opted_out: bool = True) -> None:
        """Opt the person out of a channel, or in again; beats every other rule."""
        self.prefer("channel", channel, -1.0 if opted_out else 0.0)

    def context(
        self,
        *,
        out_of_stock: Collection[str] | None = None,
        urgent_until_ms: Mapping[str, int] | None = None,
        time_zone: str | None = None,
    ) -> None:
        """Tell the device what only the app knows now; what is None stays as it was.

        Args:
            out_of_stock: ids of items that cannot be had.
            urgent_until_ms: items offered with urgency → their true deadline, Unix ms; 0 for none.
            time_zone: IANA name of the zone the person is in.
        """
        inventory = self._moments.inventory
        if out_of_stock is not None:
            inventory.out_of_stock = frozenset(out_of_stock)
        if urgent_until_ms is not None:
            inventory.urgent_until_ms = dict(urgent_until_ms)
        if time_zone is not None:
            inventory.time_zone = time_zone

    def install_guardrails(self, signed: bytes, public_key: bytes) -> GuardrailPolicy:
        """Verify and install a signed guardrail policy; it replaces the default one.

        Args:
            signed: what `tacit policy sign` wrote.
            public_key: the app's policy key, pinned in the app.

        Raises:
            BadGuardrails: if it is malformed or not signed by the key.
            RollbackRefused: if a newer version is installed.
        """
        self._guardrail_policy = self._guardrails.install(signed, public_key)
        return self._guardrail_policy

    @property
    def guardrails(self) -> GuardrailPolicy:
        """The guardrail policy in force."""
        if self._guardrail_policy is None:
            self._guardrail_policy = self._guardrails.get() or DEFAULT_GUARDRAILS
        return self._guardrail_policy

    def recommend(
        self,
        surface: str = "home",
        k: int = 10,
        exclude: Collection[str] = (),
        *,
        seed_items: Collection[str] = (),
        filter: ItemFilter | None = None,  # noqa: A002 - the verb's public name
        promote: Collection[str] = (),
        diversity: float = 0.3,
    ) -> Decision:
        """Recommend up to `k` items the user has not met yet, with reasons.

        The first 20 items carry short reasons; `explain` gives them for any item, in full, also
        after a restart. Reads only signals permitted for `decide`. What a guardrail forbids is
        never shown; what was only looked at comes back before a screen stays blank.

        Args:
            surface: where it is shown; `push`, `email`, `sms`, `web`, and anything below them
                (`push/cart`), are channels of their own, everything else is in the app.
            k: most items.
            exclude: item ids never to show in this decision.
            seed_items: items to start from, as if each had been looked at; for new users.
            filter: categories to keep to, or a function of an item.
            promote: items that take the first slots, at most half of them.
            diversity: from 0, scores alone, to 1, difference alone.

        Raises:
            BadCatalogue: if the profile was opened without a catalogue.
            BadEvent: if `k` is below 1 or `diversity` out of range.
        """
        return self._decide(
            Request(
                surface=surface,
                k=k,
                seeds=tuple(seed_items),
                keep=filter,
                exclude=tuple(exclude),
                promote=tuple(promote),
                diversity=diversity,
                exploration=self._exploration,
            )
        )

    def rank(self, surface: str, items: Collection[str]) -> Decision:
        """Rank the app's own items, best first, without exploration; guardrails hold.

        Items the catalogue does not list are left out.

        Raises:
            BadCatalogue: if the profile was opened without a catalogue.
            BadEvent: if there are no items.
        """
        named = tuple(items)
        return self._decide(Request(surface, len(named), diversity=0.0, candidates=named))

    def _decide(self, request: Request) -> Decision:
        now_ms = self.clock_ms()
        permitted = self.consents.permitted("decide", now_ms)
        return self._decider.decide(
            self.catalogue,
            self.guardrails,
            permitted,
            request,
            now_ms,
            self._hand_over(request.surface),
        )

    def next_action(
        self, surface: str, actions: Sequence[Action], *, strategy: Strategy = "thompson"
    ) -> ActionDecision:
        """Choose what to do next: an offer, a message, to wait, or to hand over to a person.

        The installed bandit chooses if it knows as many actions as are given, in their order; else
        rules do, with the profile's exploration. What a guardrail forbids has probability 0.

        Args:
            surface: where it is asked.
            actions: what could be done; `wait` is added if it is not among them.
            strategy: how the bandit chooses.

        Raises:
            BadCatalogue: if the profile was opened without a catalogue.
            BadEvent: if the actions cannot be used.
        """
        from tacit.client.next_action import NextAction

        now_ms = self.clock_ms()
        chooser = NextAction(
            self.events, self.releases, self.journal, self._moments, self.policy.max_model_bytes
        )
        return chooser.choose(
            self.catalogue,
            self.guardrails,
            self.consents.permitted("decide", now_ms),
            surface,
            actions,
            now_ms,
            strategy=strategy,
            exploration=self._exploration,
            hand_over=self._hand_over(surface),
        )

    def compose(
        self,
        channel: str,
        components: Collection[Component],
        item: str | None = None,
        values: Mapping[str, str] | None = None,
    ) -> Content:
        """Assemble a message for a channel and this moment; see `tacit.client.content`.

        Args:
            channel: for which.
            components: what there is to choose from.
            item: what it is about; gives the value `title` and the deadline.
            values: further values.

        Raises:
            BadEvent: if the channel is unknown or no headline fits.
        """
        from tacit.client.content import assemble

        now_ms = self.clock_ms()
        told = self._features(now_ms)
        named = {} if item is None else {"title": self.catalogue.title(item)}
        return assemble(
            channel,
            components,
            {**named, **(values or {})},
            intent=told.intent,
            stage=told.stage,
            deadline_ms=self._moments.inventory.urgent_until_ms.get(item or "", 0),
            now_ms=now_ms,
        )

    def next_question(self) -> Question | None:
        """Return the question whose answer would tell most, or None if nothing is left to ask.

        Raises:
            BadCatalogue: if the profile was opened without a catalogue.
        """
        now_ms = self.clock_ms()
        permitted = self.consents.permitted("decide", now_ms)
        return self._decider.next_question(self.catalogue, self.guardrails, permitted, now_ms)

    def shown(self, decision_id: str, items: Collection[str] | None = None) -> None:
        """Record that a decision was shown; no kill of the process can lose it once this returns.

        Showings count for guardrails. For an action that the bandit may learn from, an event with
        the action and its propensity is recorded, if `page_view` may be.

        Args:
            decision_id: of a decision or an action.
            items: what was really shown; None for everything in the decision.

        Raises:
            UnknownDecision: if the decision is not recorded or an item is not in it.
        """
        document = self._document(decision_id, items or ())
        named = document["items"] if items is None else list(items)
        self.journal.append("shown", decision_id, self.clock_ms(), items=named)
        if document.get("place") is not None:
            properties = {"action": document["place"], "propensity": document["propensity"]}
            self.track("Page Viewed", properties, event_id=f"shown/{decision_id}")

    def outcome(self, decision_id: str, item: str, event: str, value: float | None = None) -> Ack:
        """Record what came of a decision: an event about one of its items.

        Args:
            decision_id: of the decision.
            item: one of its items.
            event: as in `track`.
            value: a number that came with it.

        Raises:
            UnknownDecision: if the decision is not recorded or the item is not in it.
            UnknownEvent, BadEvent: see `track`.
        """
        self._document(decision_id, [item])
        properties: dict[str, object] = {"product_id": item, "decision_id": decision_id}
        if value is not None:
            properties["value"] = value
        name = f"outcome/{decision_id}/{item}/{event}"
        ack = self.track(event, properties, event_id=name)
        if not ack.duplicate:
            self.journal.append("outcome", decision_id, self.clock_ms(), items=[item], event=event)
        return ack

    def _document(self, decision_id: str, items: Collection[str]) -> Mapping[str, Any]:
        found = self.journal.find(decision_id)
        if found is None or not set(items) <= set(found[0]["items"]):
            raise UnknownDecision("expected a recorded decision and items that are in it")
        return found[0]

    def explain(self, decision_id: str, item: str) -> Explanation:
        """Explain one item of a recorded decision: why it was shown, or which rules removed it.

        Decisions are kept for 90 days, at most 5,000 rows of them; the explanation is worked out
        again from the same events and model, and is exact or refused.

        Raises:
            UnknownDecision: if the decision is not recorded, the item was no candidate, or what it
                rested on was forgotten, replaced or is no longer permitted.
        """
        permitted = self.consents.permitted("decide", self.clock_ms())
        return self._decider.explain(self.catalogue, self.guardrails, permitted, decision_id, item)

    def _hand_over(self, surface: str) -> Callable[[str], HandOver]:
        permitted = self.consents.permitted("decide", self.clock_ms())
        return lambda reason: self.hand_overs.make(reason, surface, self._moments.events(permitted))

    def _features(self, now_ms: int) -> Features:
        permitted = self.consents.permitted("decide", now_ms)
        return self._moments.features(self._catalogue, permitted, now_ms, self.guardrails)

    def state(self) -> DeviceState:
        """Return what the device knows about itself, and expects of its user.

        Predictions read only signals permitted for `decide`.
        """
        from tacit.client.predictions import predict_now

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
            features=self._features(now_ms),
        )

    def exposure(self) -> DeviceExposure:
        """Return this device's own privacy account: what it was exposed to, and its cap.

        By trust level, purpose and task, from the rounds it entered itself over its whole life. No
        server can reset it; `forget` ends it with the identity it belongs to.
        """
        from tacit.client.exposure import exposure_of

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

    def reread(self) -> None:
        """Drop what was read of the events, after something rewrote them."""
        self._moments.drop()

    def start_over(self) -> None:
        """Drop what is remembered of a store whose content was erased."""
        self.consents = ConsentLog(self.store, self.facts)
        self.participation = ParticipationLog(self.store, self.facts)
        self.suppressions.drop()
        self._decider.forget()

    def forget_item(self, item: str) -> Forgotten:
        """Forget everything about one item; as if it had never been met.

        Its events are deleted (one about other items too loses only this one), as is every record
        of a decision that showed it; what other decisions rested on it can no longer be explained.
        The write-ahead log is cut. A dislike of the item stays until it is taken back.
        """
        erased = len(self.events.forget_item(item)) + self.journal.forget_items([item])
        self.store.checkpoint()
        self._moments.drop()
        return Forgotten(erased, 0)

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
