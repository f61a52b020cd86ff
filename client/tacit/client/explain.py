"""Explanations: the arithmetic of a score, said so that a person can follow it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tacit.client.catalogue import Catalogue
from tacit.client.decide import ReleasedModel, attribution, base_score, deletion_deltas
from tacit.client.decision import CitedEvent, Explanation, Source
from tacit.client.profile import History
from tacit.client.ranking import shared_categories

MAX_CITED = 3
"""Events named in the text; more would not be read."""

_VERBS = {
    "product_view": "viewed",
    "add_to_cart": "put {} in your cart",
    "purchase": "bought",
    "rating": "rated",
}


def reasons(
    catalogue: Catalogue, past: History, model: ReleasedModel | None, source: Source, index: int
) -> tuple[str, ...]:
    """Give the short reasons shown beside one recommended item."""
    if source == "model" and model is not None:
        shares = attribution(model, past.items, past.weights, index)
        told = [
            f"you {_did(catalogue, past, int(entry))} ({percent:.0f}%)"
            for entry, percent in _telling(shares)[:2]
        ]
        if told:
            return tuple(told)
        return ("popular, whatever you looked at before",)
    if source == "popular":
        return ("popular with everyone",)
    shared = shared_categories(catalogue, past, index)
    if shared:
        return (f"more {_listed(shared[:2])}",)
    return ("something different",) if len(past.items) else ("to get you started",)


def explain(
    decision_id: str,
    catalogue: Catalogue,
    past: History,
    model: ReleasedModel | None,
    source: Source,
    index: int,
    score: float,
) -> Explanation:
    """Explain one recommended item from the history it was ranked with.

    Post-condition: every cited event is the user's own, and the score falls when it is deleted
    (`deletion_delta > 0`, recomputed on the history without it).
    """
    item = catalogue.items[index]
    base = score
    added = 0.0
    cited: tuple[CitedEvent, ...] = ()
    if source == "model" and model is not None:
        shares = attribution(model, past.items, past.weights, index)
        base, added = base_score(model, index), float(np.sum(shares))
        deltas = deletion_deltas(model, past.items, past.weights, index)
        cited = tuple(
            CitedEvent(
                sequence=past.events[entry].sequence,
                signal=past.events[entry].event.signal,
                item_id=catalogue.items[int(past.items[entry])].item_id,
                title=catalogue.items[int(past.items[entry])].title,
                share=float(shares[entry]),
                percent=percent,
                deletion_delta=float(deltas[entry]),
            )
            for entry, percent in _telling(shares)
            if deltas[entry] > 0
        )
    return Explanation(
        decision_id=decision_id,
        item_id=item.item_id,
        title=item.title,
        source=source,
        score=score,
        base=base,
        history=added,
        cited=cited,
        text=_text(catalogue, past, source, index, cited),
    )


def _telling(
    shares: Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float64]],
) -> list[tuple[int, float]]:
    """Return (entry, percent of all that speaks for the item), most telling first."""
    values = np.asarray(shares, dtype=np.float64)
    total = float(values[values > 0].sum())
    order = np.argsort(-values, kind="stable")
    return [(int(e), 100.0 * float(values[e]) / total) for e in order if values[e] > 0]


def _did(catalogue: Catalogue, past: History, entry: int) -> str:
    return _phrase(past.events[entry].event.signal, catalogue.items[int(past.items[entry])].title)


def _phrase(signal: str, title: str) -> str:
    verb = _VERBS.get(signal, "came across")
    return verb.format(title) if "{}" in verb else f"{verb} {title}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _text(
    catalogue: Catalogue, past: History, source: Source, index: int, cited: Sequence[CitedEvent]
) -> str:
    if cited:
        told = [
            f"{_phrase(event.signal, event.title)} ({event.percent:.0f}%)"
            for event in cited[:MAX_CITED]
        ]
        return f"Because you {_listed(told)}."
    if source == "model":
        return "It is popular; nothing in your history speaks for it in particular."
    if source == "popular":
        return "It is popular with everyone. Nothing of yours was used."
    shared = shared_categories(catalogue, past, index)
    if shared:
        return f"Because you looked at things from {_listed(shared[:2])}."
    if len(past.items):
        return "Something different from what you looked at so far."
    return "To get you started: this device does not know your taste yet."
