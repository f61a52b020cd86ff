"""Questions: which one answer would tell a device most about a person's taste."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from tacit.client.catalogue import Catalogue
from tacit.client.categories import CategoryIndex
from tacit.client.decide import ReleasedModel
from tacit.client.decide.confidence import (
    confidence,
    expected_gain,
    taste_covariance,
    uncertainty,
)
from tacit.client.decision import Control
from tacit.client.errors import BadEvent
from tacit.client.profile import History


@dataclass(frozen=True, slots=True)
class Question:
    """A question to put to the person, and what the answer would do.

    Attributes:
        category: what it asks about.
        text: as it may be asked.
        gain: expected fall of the uncertainty about this person's taste, as a share of what is
            left of it, in [0, 1]; without a model, the share of the catalogue it is about.
        known: share of the uncertainty already removed.
        why: why it is asked, for the person.
        answers: what to do with each answer.
        controls: what else the person can do: ask why they are asked.
    """

    category: str
    text: str
    gain: float
    known: float
    why: str
    answers: tuple[Control, ...]
    controls: tuple[Control, ...]


def next_question(
    catalogue: Catalogue,
    categories: CategoryIndex,
    past: History,
    model: ReleasedModel | None,
    skip: Collection[str],
    about: str | None = None,
) -> Question | None:
    """Pick the category whose answer is expected to tell most.

    Args:
        catalogue: the items.
        categories: of the catalogue.
        past: what is known.
        model: the installed model, or None.
        skip: categories not to ask about: answered, suppressed or sensitive.
        about: the only category to consider, answered or not; None for all.

    Returns:
        The question, or None if nothing is left to ask.

    Raises:
        BadEvent: if the catalogue has no category `about`.
    """
    names = [name for name in categories.numbers if name not in skip]
    if about is not None:
        if about not in categories.numbers:
            raise BadEvent("expected a category of the catalogue")
        names = [about]
    if not names:
        return None
    known, why = 0.0, "We do not know your taste yet; this is what most items here are about."
    if model is None:
        gains = [len(categories.members([name])) / len(catalogue) for name in names]
    else:
        covariance = taste_covariance(model, past.items, past.weights)
        left = uncertainty(model, covariance)
        gains = [expected_gain(model, covariance, categories.members([n])) / left for n in names]
        known = confidence(model, past.items, past.weights)
        why = "Of all we could ask, your answer to this says most about what you like."
    # Equal gains keep the order of the catalogue, so the question does not flicker.
    chosen = names[int(np.argmax(gains))]
    return Question(
        category=chosen,
        text=f"Do you like {chosen}?",
        gain=float(max(gains)),
        known=known,
        why=f"{why} The answer stays on this device and can be taken back.",
        answers=tuple(
            Control(name, label, "prefer", {"kind": "category", "value": chosen, "weight": weight})
            for name, label, weight in (("yes", "Yes", 1.0), ("no", "No, hide it", -1.0))
        ),
        controls=(Control("why_am_i_asked", "Why am I asked?", "why_asked", {"category": chosen}),),
    )
