"""The parts of one open profile, which the verbs of `Personalizer` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from tacit.client.catalogue import Catalogue
from tacit.client.consents import ConsentLog
from tacit.client.decide import Recency
from tacit.client.decider import Decider
from tacit.client.decision import HandOver
from tacit.client.errors import BadCatalogue, StoreUnavailable
from tacit.client.events import EventLog
from tacit.client.facts import Facts
from tacit.client.features import Features
from tacit.client.guardrails import DEFAULT_GUARDRAILS, GuardrailPolicy, InstalledGuardrails
from tacit.client.handover import HandOvers
from tacit.client.installed import InstalledReleases
from tacit.client.journal import DecisionJournal
from tacit.client.moment import Moments
from tacit.client.next_action import NextAction
from tacit.client.participation import ParticipationLog
from tacit.client.past import PermittedPast
from tacit.client.policy import DevicePolicy
from tacit.client.retention import Retention, retention_days
from tacit.client.rights_log import RightsLog
from tacit.client.slate import Exploration
from tacit.client.sources import Sources
from tacit.client.store import Store
from tacit.client.suppressions import Suppressions
from tacit.client.terms import ConsentTerms

_POPULATION = "population"


class Parts:
    """What a profile is made of while it is open.

    The parts are public for code that drives a device step by step (`DeviceSession`).

    Attributes:
        store: the sealed file.
        policy: the device's own limits.
        clock_ms: Unix milliseconds.
        facts, events, consents, participation, releases, rights_log, journal, suppressions,
            hand_overs, retention: what lies in the store, each in the hands of its own class.
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
        self.store = store
        self.policy = policy
        self.clock_ms = clock_ms
        self.facts = Facts(store)
        self.events = EventLog(store)
        self.consents = ConsentLog(store, self.facts)
        self.participation = ParticipationLog(store, self.facts)
        self.releases = InstalledReleases(self.facts)
        self.rights_log = RightsLog(self.facts)
        self.journal = DecisionJournal(store)
        self.suppressions = Suppressions(self.facts)
        self.hand_overs = HandOvers(self.facts)
        self._catalogue = catalogue
        self._terms = terms
        self._guardrails = InstalledGuardrails(self.facts)
        self._guardrail_policy: GuardrailPolicy | None = None
        self._exploration = exploration
        self._moments = Moments(
            PermittedPast(self.events), self.journal, self.suppressions, recency
        )
        sources = Sources(
            self.events, self.releases, self.journal, self._moments, policy.max_model_bytes
        )
        self.retention = Retention(self.events, self.facts, retention_days(policy.retention_days))
        self._decider = Decider(sources)
        self._next_action = NextAction(sources)

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

    def _sweep(self, now_ms: int) -> None:
        """Enforce retention, when the profile opens and once a day."""
        if not self.retention.due(now_ms):
            return
        try:
            deleted = self.retention.sweep(now_ms)
            if deleted:
                self.store.checkpoint()
                self._moments.drop()
        except StoreUnavailable:
            # A full disk keeps nobody from their profile; the next sweep tries again.
            return

    def _hand_over(self, surface: str) -> Callable[[str], HandOver]:
        permitted = self.consents.permitted("decide", self.clock_ms())
        return lambda reason: self.hand_overs.make(reason, surface, self._moments.events(permitted))

    def _features(self, now_ms: int) -> Features:
        permitted = self.consents.permitted("decide", now_ms)
        return self._moments.features(self._catalogue, permitted, now_ms, self.guardrails)
