"""The moment of a decision: permitted past, history, guardrails' situation; cached between them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tacit.client.catalogue import Catalogue, CatalogueItem
from tacit.client.categories import CategoryIndex
from tacit.client.decide import Recency
from tacit.client.errors import BadEvent
from tacit.client.events import LoggedEvent
from tacit.client.feature_state import FeatureState
from tacit.client.features import Features, read_features
from tacit.client.guardrails.document import GuardrailPolicy
from tacit.client.guardrails.masks import Guardrails
from tacit.client.guardrails.situation import Situation, channel_of, no_items
from tacit.client.journal import Contacts, DecisionJournal
from tacit.client.past import PermittedPast
from tacit.client.profile import (
    ITEMS_OF_CATEGORY,
    PREFERENCE,
    History,
    history,
    stated_preference,
)
from tacit.client.session_intent import HELP_MS, seeks_help
from tacit.client.suppressions import Suppressions

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

ItemFilter = Collection[str] | Callable[[CatalogueItem], bool]
"""Categories to keep to, or a function that says which items to keep."""

_BEHAVIOURS = frozenset({"product_view", "add_to_cart", "rating"})


@dataclass(slots=True)
class Inventory:
    """What only the app knows about its items right now.

    Attributes:
        out_of_stock: item ids.
        urgent_until_ms: items offered with urgency → true deadline, Unix ms; 0 for none.
        time_zone: IANA name of the zone the person is in; None if not known.
    """

    out_of_stock: frozenset[str] = frozenset()
    urgent_until_ms: Mapping[str, int] = field(default_factory=dict[str, int])
    time_zone: str | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """Everything one decision reads.

    Attributes:
        catalogue, categories: the items.
        permitted: signals read.
        past: the history.
        barred: items from which nothing was inferred.
        situation: what guardrails are asked about.
        guardrails: compiled.
        through: newest event of the log.
    """

    catalogue: Catalogue
    categories: CategoryIndex
    permitted: frozenset[str]
    past: History
    barred: IntArray
    situation: Situation
    guardrails: Guardrails
    through: int


class Moments:
    """Make moments of one store; what has not changed since the last is not read again."""

    def __init__(
        self,
        past: PermittedPast,
        journal: DecisionJournal,
        suppressions: Suppressions,
        recency: Recency | None,
    ) -> None:
        self.inventory = Inventory()
        self._past = past
        self._journal = journal
        self._suppressions = suppressions
        self._recency = recency
        self._catalogue: Catalogue | None = None
        self._categories: CategoryIndex | None = None
        self._guardrails: Guardrails | None = None
        self._features = FeatureState()
        self._features_of: tuple[object, ...] = ()
        self._features_through = 0
        self._held: tuple[object, FloatArray | None, History] | None = None
        self._behaved: tuple[object, tuple[IntArray, IntArray]] | None = None
        self._help_ms: tuple[int, list[int]] | None = None
        self._stated: tuple[int, frozenset[str]] | None = None
        self._contacts: Contacts | None = None
        self._shown = (no_items(), no_items())

    def events(self, permitted: Collection[str]) -> Sequence[LoggedEvent]:
        """Return the permitted events, oldest first."""
        return self._past.events(permitted)

    def categories(self, catalogue: Catalogue) -> CategoryIndex:
        """Return a catalogue's categories as numbers."""
        if self._categories is None or self._catalogue is not catalogue:
            self._catalogue, self._categories = catalogue, CategoryIndex.build(catalogue)
            self._guardrails = self._contacts = None
            self._held = self._behaved = None
        return self._categories

    def guardrails(self, policy: GuardrailPolicy, catalogue: Catalogue) -> Guardrails:
        """Return a policy compiled for a catalogue."""
        categories = self.categories(catalogue)
        if self._guardrails is None or self._guardrails.policy is not policy:
            self._guardrails = Guardrails(policy, catalogue, categories)
        return self._guardrails

    def now(
        self,
        catalogue: Catalogue,
        policy: GuardrailPolicy,
        permitted: Collection[str],
        surface: str,
        now_ms: int,
        *,
        popularity: FloatArray | None = None,
        seeds: Collection[str] = (),
        exclude: Collection[str] = (),
        keep: ItemFilter | None = None,
    ) -> Moment:
        """Read the moment of a decision.

        Args:
            catalogue: the items.
            policy: the guardrails in force.
            permitted: signals that may be read.
            surface: where the decision is shown.
            now_ms: Unix milliseconds.
            popularity: `(n_items,)` of the installed model, to pick examples of a category.
            seeds: item ids to start from.
            exclude: item ids to leave out.
            keep: see `ItemFilter`.
        """
        guardrails = self.guardrails(policy, catalogue)
        categories = self.categories(catalogue)
        events = self._past.events(permitted)
        if self._stated is None or self._stated[0] != self._past.version:
            self._stated = (self._past.version, stated_categories(events))
        suppressed = self._suppressions.get()
        behaved, behaved_at_ms = self._behaviours(events, catalogue)
        shown, shown_at_ms, messages_ms = self._contacts_now(catalogue, now_ms)
        urgent = self.inventory.urgent_until_ms
        deadlines = [urgent[item] for item in urgent if item in catalogue]
        situation = Situation(
            now_ms=now_ms,
            surface=surface,
            channel=channel_of(surface),
            time_zone=self.inventory.time_zone,
            opted_out=suppressed.channels,
            seeking_help=self._seeking_help(events, now_ms),
            out_of_stock=_indices(catalogue, self.inventory.out_of_stock),
            behaved=behaved,
            behaved_at_ms=behaved_at_ms,
            shown=shown,
            shown_at_ms=shown_at_ms,
            messages_ms=messages_ms,
            urgent=_indices(catalogue, urgent),
            urgent_until_ms=np.array(deadlines, dtype=np.int64),
            disliked=_indices(catalogue, suppressed.items),
            disliked_categories=suppressed.categories,
            stated_categories=self._stated[1],
            excluded=_indices(catalogue, exclude),
            filtered=_left_out(catalogue, categories, keep),
        )
        barred = guardrails.no_evidence(situation)
        past = self._history(events, catalogue, barred, popularity, seeds)
        owned = np.array(sorted(past.owned), dtype=np.int64)
        return Moment(
            catalogue=catalogue,
            categories=categories,
            permitted=frozenset(permitted),
            past=past,
            barred=barred,
            situation=_with_owned(situation, owned),
            guardrails=guardrails,
            through=events[-1].sequence if events else 0,
        )

    def rebuild(
        self,
        events: Sequence[LoggedEvent],
        catalogue: Catalogue,
        barred: IntArray,
        popularity: FloatArray | None,
        seeds: Collection[str],
    ) -> History:
        """Build the history a decision was made with from its events; see `history`."""
        return history(
            events,
            catalogue,
            recency=self._recency,
            barred=barred,
            examples=_examples(self.categories(catalogue), popularity),
            seeds=_indices(catalogue, seeds).tolist(),
        )

    def features(
        self,
        catalogue: Catalogue | None,
        permitted: Collection[str],
        now_ms: int,
        policy: GuardrailPolicy,
    ) -> Features:
        """Return the features as of now, reading only what was added since.

        Categories from which the policy lets nothing be inferred are no affinities; features that
        the person switched off are absent.
        """
        hidden = {
            name
            for rule in policy.rules
            if rule.kind == "sensitive_inference"
            for name in rule.categories
        }
        events = self._past.events(permitted)
        zone = self.inventory.time_zone
        key = (catalogue and catalogue.digest, zone, self._past.readings)
        if key != self._features_of:
            self._features, self._features_through = FeatureState(), 0
            self._features_of = key
        self._features.update(events[self._features_through :], catalogue, zone)
        self._features_through = len(events)
        switched_off = self._suppressions.get().features
        return read_features(self._features, permitted, zone, now_ms, hidden, switched_off)

    def drop(self) -> None:
        """Drop everything read."""
        self._past.drop()
        self._held = self._behaved = self._contacts = None
        self._features, self._features_of = FeatureState(), ()

    def _history(
        self,
        events: Sequence[LoggedEvent],
        catalogue: Catalogue,
        barred: IntArray,
        popularity: FloatArray | None,
        seeds: Collection[str],
    ) -> History:
        if seeds:
            return self.rebuild(events, catalogue, barred, popularity, seeds)
        key = (self._past.version, barred.tobytes())
        held = self._held
        # The model's own array is kept and compared, so that a new model is never mistaken for it.
        if held is None or held[0] != key or held[1] is not popularity:
            built = self.rebuild(events, catalogue, barred, popularity, ())
            self._held = held = (key, popularity, built)
        return held[2]

    def _seeking_help(self, events: Sequence[LoggedEvent], now_ms: int) -> bool:
        # What is within a quarter of an hour is in the session under way: see `session_intent`.
        if self._help_ms is None or self._help_ms[0] != self._past.version:
            times = [e.event.recorded_at_ms for e in events[-200:] if seeks_help(e.event)]
            self._help_ms = (self._past.version, times)
        return any(0 <= now_ms - at_ms <= HELP_MS for at_ms in self._help_ms[1])

    def _behaviours(
        self, events: Sequence[LoggedEvent], catalogue: Catalogue
    ) -> tuple[IntArray, IntArray]:
        key = self._past.version
        if self._behaved is None or self._behaved[0] != key:
            last: dict[int, int] = {}
            for logged in events:
                if logged.event.signal in _BEHAVIOURS:
                    for item in logged.event.items:
                        index = catalogue.index(item)
                        if index is not None:
                            last[index] = max(last.get(index, 0), logged.event.recorded_at_ms)
            items = np.array(list(last), dtype=np.int64)
            self._behaved = (key, (items, np.array(list(last.values()), dtype=np.int64)))
        return self._behaved[1]

    def _contacts_now(
        self, catalogue: Catalogue, now_ms: int
    ) -> tuple[IntArray, IntArray, Mapping[str, IntArray]]:
        contacts = self._journal.contacts(now_ms)
        if contacts is not self._contacts:
            self._contacts, self._shown, self._shown_count = contacts, (no_items(), no_items()), 0
        fresh = contacts.shown[self._shown_count :]
        if fresh:
            known = [(i, at) for item, at in fresh if (i := catalogue.index(item)) is not None]
            added = np.array(known, dtype=np.int64).reshape(-1, 2)
            self._shown = (
                np.concatenate([self._shown[0], added[:, 0]]),
                np.concatenate([self._shown[1], added[:, 1]]),
            )
            self._shown_count = len(contacts.shown)
        messages = {c: np.array(t, dtype=np.int64) for c, t in contacts.messages_ms.items()}
        return *self._shown, messages

    _shown_count = 0


def stated_categories(events: Sequence[LoggedEvent]) -> frozenset[str]:
    """Return the categories a person said they like and did not take back."""
    weights: dict[str, float] = {}
    for logged in events:
        if logged.event.signal == PREFERENCE:
            stated = stated_preference(logged.event)
            if stated is not None and stated[0] == "category":
                weights[stated[1]] = stated[2]
    return frozenset(name for name, weight in weights.items() if weight > 0.0)


def _examples(
    categories: CategoryIndex, popularity: FloatArray | None
) -> Callable[[str], Sequence[int]]:
    def examples(name: str) -> Sequence[int]:
        members = categories.members([name])
        if popularity is not None:
            members = members[np.argsort(-popularity[members], kind="stable")]
        chosen: list[int] = members[:ITEMS_OF_CATEGORY].tolist()
        return chosen

    return examples


def _indices(catalogue: Catalogue, items: Collection[str]) -> IntArray:
    found = [index for item in items if (index := catalogue.index(item)) is not None]
    return np.array(found, dtype=np.int64)


def _left_out(catalogue: Catalogue, categories: CategoryIndex, keep: ItemFilter | None) -> IntArray:
    if keep is None:
        return no_items()
    if callable(keep):
        out = [place for place, item in enumerate(catalogue.items) if not keep(item)]
        return np.array(out, dtype=np.int64)
    if isinstance(keep, str):
        raise BadEvent("filter: expected categories or a function, got one text")
    return np.setdiff1d(np.arange(len(catalogue)), categories.members(keep))


def _with_owned(situation: Situation, owned: IntArray) -> Situation:
    # `dataclasses.replace` checks every field again; this runs at every decision.
    object.__setattr__(situation, "owned", owned)
    return situation
