"""Explanations: the arithmetic of a score, said so that a person can follow it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.client.basis import Scorer
from tacit.client.catalogue import Catalogue
from tacit.client.decision import Basis, CitedEvent, Control, Explanation, Source
from tacit.client.events import Event
from tacit.client.guardrails.document import GuardrailPolicy
from tacit.client.guardrails.kinds import ALWAYS, RULE_KINDS
from tacit.client.profile import PREFERENCE, History

MAX_CITED = 3
"""Events named in the text; more would not be read."""

MAX_RANKED = 10
"""Cited events for which a rank without them is worked out; each takes a scan of the catalogue."""

_VERBS = {
    "product_view": "viewed",
    "add_to_cart": "put {} in your cart",
    "purchase": "bought",
    "rating": "rated",
    "preference": "said you like",
    "seed": "started from",
}

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a decision rested on, as far as an explanation needs it.

    Attributes:
        catalogue: the items.
        past: the history that was folded in.
        basis, scorer: what the scores are made of.
        values: `(n_items,)` scores.
        allowed: `(n_items,)` what might have been shown.
    """

    catalogue: Catalogue
    past: History
    basis: Basis
    scorer: Scorer | None
    values: FloatArray
    allowed: BoolArray


def reasons(
    catalogue: Catalogue,
    past: History,
    basis: Basis,
    source: Source,
    index: int,
    shares: FloatArray,
) -> tuple[str, ...]:
    """Give the short reasons shown beside one recommended item.

    Args:
        catalogue: the items.
        past: the history.
        basis: what the scores are made of.
        source: where the item comes from.
        index: the item.
        shares: `(n,)` what each entry of the history adds to its score.
    """
    if source == "explore":
        return ("something new, chosen by chance",)
    if source == "promoted":
        return ("promoted by this app",)
    if basis == "rule":
        shared = shared_categories(catalogue, past, index)
        return (f"more {_listed(shared[:2])}",) if shared else ("something different",)
    if basis == "model":
        told = [
            f"you {_did(catalogue, past, int(entries[0]))} ({percent:.0f}%)"
            for entries, _, percent in _telling(past, shares, 2)
        ]
        return tuple(told) or ("popular, whatever you looked at before",)
    if basis == "popular":
        return ("popular with everyone",)
    return ("to get you started",)


def shared_categories(catalogue: Catalogue, past: History, index: int) -> tuple[str, ...]:
    """Return the categories an item shares with the history, in the item's own order."""
    known = {c for i in past.items for c in catalogue.items[int(i)].categories}
    return tuple(c for c in catalogue.items[index].categories if c in known)


def explain(decision_id: str, grounds: Grounds, source: Source, index: int) -> Explanation:
    """Explain one recommended item from what it was ranked with.

    Post-condition: everything cited is the user's own or a seed the app gave, and the score falls
    when it is deleted (`deletion_delta > 0`, recomputed on the history without it).
    """
    item = grounds.catalogue.items[index]
    score = float(grounds.values[index])
    base, added = score, 0.0
    cited: tuple[CitedEvent, ...] = ()
    if grounds.scorer is not None:
        past = grounds.past
        shares = grounds.scorer.shares(past.items, past.weights, index)
        base, added = grounds.scorer.base(index), float(np.sum(shares))
        cited = _cited(grounds, grounds.scorer, shares, index)
    rank = _rank(grounds.values, grounds.allowed, index)
    return Explanation(
        decision_id=decision_id,
        item_id=item.item_id,
        title=item.title,
        source=source,
        score=score,
        base=base,
        history=added,
        cited=cited,
        text=_text(grounds, source, index, cited, rank),
        rank=rank,
        rules=(),
        controls=_item_controls(item.item_id),
    )


def explain_removed(
    decision_id: str,
    grounds: Grounds,
    index: int,
    rules: tuple[str, ...],
    policy: GuardrailPolicy,
) -> Explanation:
    """Explain why an item that might have been recommended was not."""
    item = grounds.catalogue.items[index]
    kinds = {rule.id: rule.kind for rule in policy.rules}
    told = [
        ALWAYS.get(r) or f"{r}: {RULE_KINDS[kinds[r]].meaning}"
        for r in rules
        if r in kinds or r in ALWAYS
    ]
    return Explanation(
        decision_id=decision_id,
        item_id=item.item_id,
        title=item.title,
        source=grounds.basis,
        score=float(grounds.values[index]),
        base=float(grounds.values[index]),
        history=0.0,
        cited=(),
        text="Not shown. " + " ".join(told or rules),
        rank=0,
        rules=rules,
        controls=(),
    )


def _cited(
    grounds: Grounds, scorer: Scorer, shares: FloatArray, index: int
) -> tuple[CitedEvent, ...]:
    past, catalogue = grounds.past, grounds.catalogue
    full = float(np.sum(shares))
    cited: list[CitedEvent] = []
    for entries, share, percent in _telling(past, shares, len(past.items)):
        kept = np.ones(len(past.items), dtype=np.bool_)
        kept[entries] = False
        items, weights = past.items[kept], past.weights[kept]
        delta = full - float(np.sum(scorer.shares(items, weights, index)))
        if delta <= 0.0:
            continue
        rank_without = None
        if len(cited) < MAX_RANKED:
            rank_without = _rank(scorer.scores(items, weights), grounds.allowed, index)
        entry = int(entries[0])
        event = past.events[entry]
        name, title = _named(catalogue, past, entry)
        controls = () if event.sequence == 0 else _event_controls(event.event, name)
        cited.append(
            CitedEvent(
                sequence=event.sequence,
                signal=event.event.signal,
                item_id=name,
                title=title,
                share=share,
                percent=percent,
                deletion_delta=delta,
                sequences=tuple(sorted({s for e in entries for s in past.behind[int(e)]})),
                rank_without=rank_without,
                controls=controls,
            )
        )
    return tuple(cited)


def _telling(past: History, shares: FloatArray, most: int) -> list[tuple[IntArray, float, float]]:
    """Return (entries, share, percent of all that speaks for the item), most telling first."""
    sums = np.bincount(past.groups, weights=shares)
    total = float(sums[sums > 0.0].sum())
    order = np.argsort(-sums, kind="stable")[:most]
    return [
        (
            np.flatnonzero(past.groups == group),
            float(sums[group]),
            100.0 * float(sums[group]) / total,
        )
        for group in order
        if sums[group] > 0.0
    ]


def _rank(values: FloatArray, allowed: BoolArray, index: int) -> int:
    if not allowed[index]:
        return 0
    own = values[index]
    ahead = (values > own) | ((values == own) & (np.arange(len(values)) < index))
    return int(np.sum(ahead & allowed)) + 1


def _named(catalogue: Catalogue, past: History, entry: int) -> tuple[str, str]:
    event = past.events[entry].event
    if event.signal == PREFERENCE and event.properties.get("kind") == "category":
        name = str(event.properties["name"])
        return name, name
    item = catalogue.items[int(past.items[entry])]
    return item.item_id, item.title


def _event_controls(event: Event, name: str) -> tuple[Control, ...]:
    if event.signal == PREFERENCE:
        kind = str(event.properties["kind"])
        arguments: dict[str, str | float] = {"kind": kind, "value": name, "weight": 0.0}
        return (Control("forget_this", "Take this back", "prefer", arguments),)
    return (
        Control("forget_this", "Forget that I did this", "forget", {"item": name}),
        Control(
            "not_interested",
            "I am not interested in this",
            "prefer",
            {"kind": "item", "value": name, "weight": -1.0},
        ),
    )


def _item_controls(item_id: str) -> tuple[Control, ...]:
    arguments: dict[str, str | float] = {"kind": "item", "value": item_id, "weight": -1.0}
    return (Control("not_interested", "Not interested", "prefer", arguments),)


def _did(catalogue: Catalogue, past: History, entry: int) -> str:
    _, title = _named(catalogue, past, entry)
    return _phrase(past.events[entry].event.signal, title)


def _phrase(signal: str, title: str) -> str:
    verb = _VERBS.get(signal, "came across")
    return verb.format(title) if "{}" in verb else f"{verb} {title}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _text(
    grounds: Grounds, source: Source, index: int, cited: Sequence[CitedEvent], rank: int
) -> str:
    if source == "explore":
        return "Chosen by chance, to find out what else you might like."
    because = _because(grounds, index, cited, rank)
    return f"Promoted by this app. {because}" if source == "promoted" else because


def _because(grounds: Grounds, index: int, cited: Sequence[CitedEvent], rank: int) -> str:
    if cited and grounds.basis == "model":
        told = [
            f"{_phrase(event.signal, event.title)} ({event.percent:.0f}%)"
            for event in cited[:MAX_CITED]
        ]
        return f"Because you {_listed(told)}.{_counterfactual(cited[0], rank)}"
    if grounds.basis == "model":
        return "It is popular; nothing in your history speaks for it in particular."
    if grounds.basis == "popular":
        return "It is popular with everyone. Nothing of yours was used."
    if grounds.basis == "rule":
        shared = shared_categories(grounds.catalogue, grounds.past, index)
        if shared:
            return f"Because you looked at things from {_listed(shared[:2])}."
        return "Something different from what you looked at so far."
    return "To get you started: this device does not know your taste yet."


def _counterfactual(strongest: CitedEvent, rank: int) -> str:
    without = strongest.rank_without
    if without is None or rank == 0 or without == rank:
        return ""
    return (
        f" Without the first of these it would have ranked {ordinal(without)}, not {ordinal(rank)}."
    )


def ordinal(number: int) -> str:
    """Write 1 as 1st, 14 as 14th."""
    ending = (
        "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    )
    return f"{number}{ending}"
