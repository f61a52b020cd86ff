"""Decisions: read the moment, mask, score, fill the slate, keep a record, explain it on request."""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tacit.client import explain as _explain
from tacit.client.basis import Scored, score, scorer_of, similarity_vectors
from tacit.client.catalogue import Catalogue
from tacit.client.decide import DecideError, ReleasedModel, read_model
from tacit.client.decision import Basis, Decision, Explanation, HandOver, RecommendedItem, Source
from tacit.client.errors import BadEvent, UnknownDecision
from tacit.client.guardrails.document import GuardrailPolicy
from tacit.client.guardrails.kinds import OUTBOUND
from tacit.client.guardrails.masks import Removals
from tacit.client.installed import InstalledRelease
from tacit.client.moment import ItemFilter, Moment
from tacit.client.profile import History
from tacit.client.questions import Question, next_question
from tacit.client.slate import POOL, Exploration, Slate, best, fill, unlike
from tacit.client.sources import Sources
from tacit.privacy.arrays import unpack_arrays
from tacit.privacy.errors import PrivacyError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

REASONED_ITEMS = 20
"""Items of a decision that carry short reasons."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for; see `Personalizer.recommend` and `Personalizer.rank`.

    Attributes:
        candidates: only these items, whether met or not; None for the whole catalogue.
    """

    surface: str
    k: int
    seeds: tuple[str, ...] = ()
    keep: ItemFilter | None = None
    exclude: tuple[str, ...] = ()
    promote: tuple[str, ...] = ()
    diversity: float = 0.3
    serendipity: float = 0.0
    candidates: tuple[str, ...] | None = None
    exploration: Exploration | None = None


@dataclass(frozen=True, slots=True)
class _Installed:
    """A ranking release, decoded for one catalogue."""

    catalogue_digest: bytes
    version: int = 0
    model: ReleasedModel | None = None

    @property
    def popularity(self) -> FloatArray | None:
        """Popularity of the items, or None without a model."""
        return None if self.model is None else self.model.popularity


class Decider:
    """Decide from the event log and the installed release; see `Personalizer`."""

    def __init__(self, sources: Sources) -> None:
        self._events = sources.events
        self._releases = sources.releases
        self._journal = sources.journal
        self._moments = sources.moments
        self._max_model_bytes = sources.max_model_bytes
        self._uniforms = sources.uniforms
        self._installed: _Installed | None = None

    def decide(
        self,
        catalogue: Catalogue,
        policy: GuardrailPolicy,
        permitted: Collection[str],
        request: Request,
        now_ms: int,
        hand_over: Callable[[str], HandOver],
    ) -> Decision:
        """Fill a slate, give reasons, and write the record.

        Raises:
            BadEvent: if `k` is below 1, or `diversity` or `serendipity` out of range.
        """
        started_ns = time.perf_counter_ns()
        if request.k < 1:
            raise BadEvent(f"k: expected at least 1, got {request.k}")
        installed = self.installed(catalogue)
        moment = self._moments.now(
            catalogue,
            policy,
            permitted,
            request.surface,
            now_ms,
            popularity=installed.popularity,
            seeds=request.seeds,
            exclude=request.exclude,
            keep=request.keep,
        )
        scored = score(moment.past, installed.model, moment.categories, len(catalogue))
        removals = moment.guardrails.apply(moment.situation)
        mask = _mask(moment, removals, request)
        slate = fill(
            scored.values,
            mask,
            request.k,
            vectors=lambda items: similarity_vectors(installed.model, moment.categories, items),
            diversity=request.diversity,
            exploration=request.exploration,
            uniforms=self._uniforms,
            promoted=_promoted(catalogue, scored.values, request.promote),
            serendipity=request.serendipity,
            unexpected=lambda items: unlike(
                similarity_vectors(installed.model, moment.categories, items),
                similarity_vectors(installed.model, moment.categories, moment.past.items),
            ),
        )
        items = _items(moment, scored, slate)
        removed = _removed_candidates(scored.values, removals)
        decision_id = os.urandom(8).hex()
        self._record(
            decision_id, moment, installed, scored, request, removals, mask, items, removed
        )
        return Decision(
            id=decision_id,
            surface=request.surface,
            items=items,
            model_version=installed.version,
            took_us=(time.perf_counter_ns() - started_ns) // 1000,
            basis=scored.basis,
            confidence=scored.confidence,
            removed={rule: len(places) for rule, places in removed.items()},
            closed=removals.closed,
            escalate=_escalate(moment, items, hand_over),
        )

    def explain(
        self,
        catalogue: Catalogue,
        policy: GuardrailPolicy,
        permitted: Collection[str],
        decision_id: str,
        item: str,
    ) -> Explanation:
        """Explain one item of a recorded decision: why it was shown, or which rules removed it.

        Raises:
            UnknownDecision: if there is no such record, the item was no candidate, or what the
                decision rested on was forgotten, replaced or is no longer permitted.
        """
        found = self._journal.find(decision_id)
        index = catalogue.index(item)
        if found is None or index is None or "basis" not in found[0]:
            raise UnknownDecision("expected a recorded decision and one of its items")
        document, blob = found
        shown: list[str] = document["items"]
        removed: Mapping[str, list[str]] = document["removed"]
        closed: list[str] = document["closed"]
        rules = (*closed, *(rule for rule, names in removed.items() if item in names))
        if item not in shown and not rules:
            raise UnknownDecision("expected an item that the decision showed or had to leave out")
        grounds = self._grounds(catalogue, permitted, document, blob)
        if item in shown:
            source = cast(Source, document["sources"][shown.index(item)])
            return _explain.explain(decision_id, grounds, source, index)
        return _explain.explain_removed(decision_id, grounds, index, rules, policy)

    def next_question(
        self,
        catalogue: Catalogue,
        policy: GuardrailPolicy,
        permitted: Collection[str],
        now_ms: int,
        about: str | None = None,
    ) -> Question | None:
        """Pick the question whose answer would tell most; see `tacit.client.questions`."""
        installed = self.installed(catalogue)
        moment = self._moments.now(
            catalogue, policy, permitted, "home", now_ms, popularity=installed.popularity
        )
        now = moment.situation
        sensitive = {
            name
            for rule in policy.rules
            if rule.kind == "sensitive_inference"
            for name in rule.categories
        }
        skip = now.stated_categories | now.disliked_categories | sensitive
        return next_question(
            catalogue, moment.categories, moment.past, installed.model, skip, about
        )

    def installed(self, catalogue: Catalogue) -> _Installed:
        """Return the installed ranking, decoded; an empty one if none is for this catalogue."""
        if self._installed is None or self._installed.catalogue_digest != catalogue.digest:
            self._installed = self._decode(self._releases.get(), catalogue)
        return self._installed

    def reload(self) -> None:
        """Read the installed release again before the next decision."""
        self._installed = None

    def forget(self) -> None:
        """Drop the model and everything read."""
        self.reload()
        self._moments.drop()

    def _grounds(
        self,
        catalogue: Catalogue,
        permitted: Collection[str],
        document: Mapping[str, Any],
        blob: bytes,
    ) -> _explain.Grounds:
        """Build again what a decision was made with, and prove by its digest that it is that."""
        signals: list[str] = document["signals"]
        installed = self.installed(catalogue)
        if document["version"] not in (0, installed.version):
            installed = self._decode(self._releases.ranking(document["version"]), catalogue)
        elif document["version"] == 0:
            installed = _Installed(catalogue.digest)
        unchanged = document["catalogue"] == catalogue.digest.hex()
        if installed.version != document["version"] or not unchanged:
            raise UnknownDecision("the model or the catalogue of this decision was replaced")
        if not set(signals) <= set(permitted):
            raise UnknownDecision("expected signals that are still permitted for `decide`")
        past = self._moments.rebuild(
            self._events.read(signals, through=document["through"], linked=True),
            catalogue,
            np.array(document["barred"], dtype=np.int64),
            installed.popularity,
            document["seeds"],
        )
        if _digest(past) != document["history"]:
            raise UnknownDecision("something that this decision rested on was forgotten")
        basis: Basis = document["basis"]
        categories = self._moments.categories(catalogue)
        scorer = scorer_of(basis, installed.model, categories)
        values = installed.popularity
        if scorer is not None:
            values = scorer.scores(past.items, past.weights)
        bits = np.frombuffer(zlib.decompress(blob), dtype=np.uint8)
        mask = np.unpackbits(bits, count=len(catalogue)).astype(np.bool_)
        return _explain.Grounds(
            catalogue=catalogue,
            past=past,
            basis=basis,
            scorer=scorer,
            values=np.zeros(len(catalogue)) if values is None else values,
            allowed=~mask,
        )

    def _record(
        self,
        decision_id: str,
        moment: Moment,
        installed: _Installed,
        scored: Scored,
        request: Request,
        removals: Removals,
        mask: BoolArray,
        items: tuple[RecommendedItem, ...],
        removed: Mapping[str, IntArray],
    ) -> None:
        situation, catalogue = moment.situation, moment.catalogue
        sends = situation.channel in OUTBOUND and bool(items)
        self._journal.append(
            "decision",
            decision_id,
            situation.now_ms,
            zlib.compress(np.packbits(mask).tobytes(), 1),
            surface=request.surface,
            items=[item.item_id for item in items],
            sources=[item.source for item in items],
            propensities=[item.propensity for item in items],
            basis=scored.basis,
            version=installed.version,
            catalogue=catalogue.digest.hex(),
            through=moment.through,
            signals=sorted(moment.permitted),
            seeds=list(request.seeds),
            barred=moment.barred.tolist(),
            history=_digest(moment.past),
            closed=list(removals.closed),
            removed={
                rule: [catalogue.items[int(place)].item_id for place in places]
                for rule, places in removed.items()
                if removals.by_rule[rule] is not None
            },
            message=situation.channel if sends else None,
        )

    def _decode(self, release: InstalledRelease | None, catalogue: Catalogue) -> _Installed:
        # A model of another catalogue ranks nothing here: fall back until a release fits.
        if release is None or release.manifest.catalogue_sha256 != catalogue.digest.hex():
            return _Installed(catalogue.digest)
        try:
            model = read_model(unpack_arrays(release.model_blob, self._max_model_bytes))
        except (PrivacyError, DecideError):
            # It was checked when it was installed, by a client of another version than this one.
            return _Installed(catalogue.digest)
        return _Installed(catalogue.digest, release.manifest.version, model)


def _mask(moment: Moment, removals: Removals, request: Request) -> BoolArray:
    """Mask what guardrails removed, and what the person has met unless nothing else is left."""
    if request.candidates is not None:
        mask = np.ones(len(moment.catalogue), dtype=np.bool_)
        asked = [
            i for item in request.candidates if (i := moment.catalogue.index(item)) is not None
        ]
        mask[asked] = False
        return np.asarray(mask | removals.mask)
    mask = removals.mask.copy()
    mask[moment.past.met] = True
    # What was only looked at comes back before a screen stays blank; what a rule removed never.
    return removals.mask if bool(mask.all()) else mask


def _promoted(catalogue: Catalogue, values: FloatArray, promote: tuple[str, ...]) -> IntArray:
    found = [i for item in dict.fromkeys(promote) if (i := catalogue.index(item)) is not None]
    indices = np.array(found, dtype=np.int64)
    return indices[np.argsort(-values[indices], kind="stable")]


def _items(moment: Moment, scored: Scored, slate: Slate) -> tuple[RecommendedItem, ...]:
    items: list[RecommendedItem] = []
    indices: list[int] = slate.items.tolist()
    past, reasoned = moment.past, slate.items[:REASONED_ITEMS]
    shares = np.zeros((len(reasoned), len(past.items)))
    if scored.basis == "model" and scored.scorer is not None and len(reasoned):
        shares = scored.scorer.many_shares(past.items, past.weights, reasoned)
    for place, index in enumerate(indices):
        source: Source = scored.basis
        if slate.promoted[place]:
            source = "promoted"
        elif slate.explored[place]:
            source = "explore"
        told: tuple[str, ...] = ()
        if place < REASONED_ITEMS:
            told = _explain.reasons(
                moment.catalogue, past, scored.basis, source, index, shares[place]
            )
        items.append(
            RecommendedItem(
                item_id=moment.catalogue.items[index].item_id,
                title=moment.catalogue.items[index].title,
                score=float(scored.values[index]),
                source=source,
                reasons=told,
                propensity=float(slate.propensities[place]),
            )
        )
    return tuple(items)


def _removed_candidates(values: FloatArray, removals: Removals) -> dict[str, IntArray]:
    """Return, by rule, which of the best items it removed; others nobody would have seen anyway."""
    if not removals.by_rule:
        return {}
    pool = best(values, np.ones(len(values), dtype=np.bool_), POOL)
    removed: dict[str, IntArray] = {}
    for rule, items in removals.by_rule.items():
        places = pool if items is None else pool[np.isin(pool, items)]
        if len(places):
            removed[rule] = places
    return removed


def _escalate(
    moment: Moment, items: tuple[RecommendedItem, ...], hand_over: Callable[[str], HandOver]
) -> HandOver | None:
    if moment.situation.seeking_help:
        return hand_over("looking for help")
    return None if items else hand_over("nothing left that may be shown")


def _digest(past: History) -> str:
    digest = hashlib.sha256(past.items.tobytes())
    digest.update(past.weights.tobytes())
    digest.update(np.array([e.sequence for e in past.events], dtype=np.int64).tobytes())
    return digest.hexdigest()[:32]
