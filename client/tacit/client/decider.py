"""Decisions: rank with what is installed, remember what was shown, explain it on request."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

from tacit.client import explain as _explain
from tacit.client.catalogue import Catalogue
from tacit.client.decide import DecideError, Recency, ReleasedModel, read_model
from tacit.client.decision import Decision, Explanation, RecommendedItem
from tacit.client.errors import BadEvent, UnknownDecision
from tacit.client.events import EventLog
from tacit.client.installed import InstalledRelease, InstalledReleases
from tacit.client.profile import History, history
from tacit.client.ranking import Ranking, rank
from tacit.privacy.arrays import unpack_arrays
from tacit.privacy.errors import PrivacyError

REMEMBERED_DECISIONS = 64
"""Decisions that can be explained; older ones are dropped."""

REASONED_ITEMS = 20
"""Items of a decision that carry short reasons."""


@dataclass(frozen=True, slots=True)
class _Remembered:
    catalogue: Catalogue
    past: History
    ranking: Ranking
    model: ReleasedModel | None
    shown: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Installed:
    """The ranking release, decoded for one catalogue."""

    catalogue_digest: bytes
    version: int = 0
    model: ReleasedModel | None = None


class Decider:
    """Decide from the event log and the installed release; see `Personalizer`."""

    def __init__(
        self,
        events: EventLog,
        releases: InstalledReleases,
        max_model_bytes: int,
        recency: Recency | None,
    ) -> None:
        self._events = events
        self._releases = releases
        self._max_model_bytes = max_model_bytes
        self._recency = recency
        self._installed: _Installed | None = None
        self._decisions: OrderedDict[str, _Remembered] = OrderedDict()

    def recommend(
        self,
        catalogue: Catalogue,
        permitted: Collection[str],
        surface: str,
        k: int,
        exclude: Collection[str],
    ) -> Decision:
        """Rank, give reasons, and remember the decision.

        Args:
            catalogue: what there is.
            permitted: signals that may be read.
            surface: where it is shown.
            k: most items, at least 1.
            exclude: item ids not to show.

        Raises:
            BadEvent: if `k` is below 1.
        """
        started_ns = time.perf_counter_ns()
        if k < 1:
            raise BadEvent(f"k: expected at least 1, got {k}")
        installed = self._read_installed(catalogue)
        past = history(self._events, catalogue, permitted, recency=self._recency)
        ranking = rank(catalogue, past, installed.model, exclude, k)
        items = tuple(
            self._item(catalogue, past, installed.model, ranking, place)
            for place in range(len(ranking.order))
        )
        decision_id = os.urandom(8).hex()
        shown = frozenset(item.item_id for item in items)
        self._decisions[decision_id] = _Remembered(catalogue, past, ranking, installed.model, shown)
        while len(self._decisions) > REMEMBERED_DECISIONS:
            self._decisions.popitem(last=False)
        took_us = (time.perf_counter_ns() - started_ns) // 1000
        return Decision(decision_id, surface, items, installed.version, took_us)

    def explain(self, decision_id: str, item: str) -> Explanation:
        """Explain one item of a remembered decision.

        Raises:
            UnknownDecision: if the decision is not remembered or did not show the item.
        """
        told = self._decisions.get(decision_id)
        index = None if told is None else told.catalogue.index(item)
        if told is None or item not in told.shown or index is None:
            raise UnknownDecision("expected a recent decision and one of its items")
        score = float(told.ranking.scores[index])
        return _explain.explain(
            decision_id, told.catalogue, told.past, told.model, told.ranking.source, index, score
        )

    def reload(self) -> None:
        """Read the installed release again before the next decision."""
        self._installed = None

    def forget(self) -> None:
        """Drop every remembered decision and the model."""
        self._decisions.clear()
        self.reload()

    def _item(
        self,
        catalogue: Catalogue,
        past: History,
        model: ReleasedModel | None,
        ranking: Ranking,
        place: int,
    ) -> RecommendedItem:
        index = int(ranking.order[place])
        reasons: tuple[str, ...] = ()
        if place < REASONED_ITEMS:
            reasons = _explain.reasons(catalogue, past, model, ranking.source, index)
        return RecommendedItem(
            item_id=catalogue.items[index].item_id,
            title=catalogue.items[index].title,
            score=float(ranking.scores[index]),
            source=ranking.source,
            reasons=reasons,
        )

    def _read_installed(self, catalogue: Catalogue) -> _Installed:
        if self._installed is None or self._installed.catalogue_digest != catalogue.digest:
            self._installed = _Installed(catalogue.digest)
            release = self._releases.get()
            # A model of another catalogue ranks nothing here: fall back until a release fits.
            if release and release.manifest.catalogue_sha256 == catalogue.digest.hex():
                self._installed = self._decode(release, catalogue)
        return self._installed

    def _decode(self, release: InstalledRelease, catalogue: Catalogue) -> _Installed:
        try:
            model = read_model(unpack_arrays(release.model_blob, self._max_model_bytes))
        except (PrivacyError, DecideError):
            # It was checked when it was installed, by a client of another version than this one.
            return _Installed(catalogue.digest)
        return _Installed(catalogue.digest, release.manifest.version, model)
