"""Verbs that decide, say what became of a decision, and explain it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tacit.client.actions import Action, ActionDecision, Strategy
from tacit.client.content import Component, Content, assemble
from tacit.client.decider import Request
from tacit.client.decision import Ack, Decision, Explanation
from tacit.client.errors import UnknownDecision
from tacit.client.moment import ItemFilter
from tacit.client.observing import Observing
from tacit.client.questions import Question


class Deciding(Observing):
    """The verbs `recommend`, `rank`, `next_action`, `compose`, `next_question`; `shown`, `outcome`.

    And `explain`. None of them opens a socket; each reads only signals permitted for `decide`.
    """

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
        serendipity: float = 0.0,
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
            serendipity: from 0 to 1, how much what is unlike the history is preferred among what
                is relevant.

        Raises:
            BadCatalogue: if the profile was opened without a catalogue.
            BadEvent: if `k` is below 1, or `diversity` or `serendipity` out of range.
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
                serendipity=serendipity,
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
        self._sweep(now_ms)
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
        now_ms = self.clock_ms()
        self._sweep(now_ms)
        return self._next_action.choose(
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

    def why_asked(self, category: str) -> str:
        """Say why a person is asked about a category, from what is known of them now.

        Raises:
            BadCatalogue: if the profile was opened without a catalogue.
            BadEvent: if the catalogue has no such category.
        """
        now_ms = self.clock_ms()
        permitted = self.consents.permitted("decide", now_ms)
        question = self._decider.next_question(
            self.catalogue, self.guardrails, permitted, now_ms, category
        )
        if question is None:
            return "Nothing about this is asked any more."
        return (
            f"{question.why} So far {question.known:.0%} of your taste is known to this device; "
            f"an answer about {category} is expected to settle {question.gain:.0%} of the rest."
        )

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
