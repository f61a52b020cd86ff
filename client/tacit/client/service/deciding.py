"""Verbs that decide, say what became of a decision, and explain it."""

from __future__ import annotations

from typing import cast

import grpc

from tacit.client.actions import Action, ActionKind, Strategy
from tacit.client.content import PARTS, Component, Part
from tacit.client.errors import BadEvent, UnknownDecision
from tacit.client.flags import FlagValue
from tacit.client.journey import Stage
from tacit.client.personalizer import Personalizer
from tacit.client.service import messages
from tacit.client.service.fields import json_value, one_of
from tacit.client.service.gate import Gate
from tacit.client.service.grants import Grant
from tacit.client.session_intent import Intent
from tacit.v1 import personalizer_pb2 as pb

_Context = grpc.ServicerContext

MOST_ITEMS = 1_000
"""Items of one decision over the wire."""

_ACTION_KINDS = ("offer", "message", "wait", "hand_over")
_STRATEGIES = ("thompson", "epsilon_greedy")
_INTENTS = ("browse", "compare", "buy", "seek_help")
_STAGES = ("new", "exploring", "engaged", "loyal", "lapsing")


class Deciding(Gate):
    """The verbs `Recommend`, `Rank`, `NextAction`, `NextQuestion`, `Compose`, `Variant`.

    And `Shown`, `Outcome`, `Explain`, which name a decision: an app reaches those of its own
    surfaces, and learns nothing about any other, not even that it was made.
    """

    def Recommend(self, request: pb.RecommendRequest, context: _Context) -> pb.Decision:  # noqa: N802
        """Recommend items."""
        surface = request.surface or "home"

        def recommend(pz: Personalizer, _: Grant) -> pb.Decision:
            if request.k > MOST_ITEMS:
                raise BadEvent(f"k: expected at most {MOST_ITEMS}")
            return messages.decided(
                pz.recommend(
                    surface,
                    request.k or 10,
                    list(request.exclude),
                    seed_items=list(request.seed_items),
                    filter=list(request.categories) or None,
                    promote=list(request.promote),
                    diversity=request.diversity if request.HasField("diversity") else 0.3,
                    serendipity=request.serendipity,
                )
            )

        return self.answer("recommend", context, recommend, surface=surface)

    def Rank(self, request: pb.RankRequest, context: _Context) -> pb.Decision:  # noqa: N802
        """Rank the app's own items."""
        surface = request.surface or "home"
        return self.answer(
            "rank",
            context,
            lambda pz, _: messages.decided(pz.rank(surface, list(request.items))),
            surface=surface,
        )

    def NextAction(self, request: pb.NextActionRequest, context: _Context) -> pb.ActionDecision:  # noqa: N802
        """Choose what to do next."""
        surface = request.surface or "home"

        def choose(pz: Personalizer, grant: Grant) -> pb.ActionDecision:
            grant.check_channels({a.channel for a in request.actions if a.channel}, surface)
            strategy = one_of("strategy", request.strategy or "thompson", _STRATEGIES)
            asked = [_action(action) for action in request.actions]
            return messages.acted(pz.next_action(surface, asked, strategy=cast(Strategy, strategy)))

        return self.answer("next_action", context, choose, surface=surface)

    def NextQuestion(  # noqa: N802
        self, request: pb.NextQuestionRequest, context: _Context
    ) -> pb.NextQuestionReply:
        """Pick the question whose answer would tell most."""
        return self.answer(
            "next_question", context, lambda pz, _: messages.asked(pz.next_question())
        )

    def WhyAsked(self, request: pb.WhyAskedRequest, context: _Context) -> pb.WhyAskedReply:  # noqa: N802
        """Say why a question is asked."""
        return self.answer(
            "why_asked",
            context,
            lambda pz, _: pb.WhyAskedReply(why=pz.why_asked(request.category)),
        )

    def Compose(self, request: pb.ComposeRequest, context: _Context) -> pb.Content:  # noqa: N802
        """Assemble a message."""

        def compose(pz: Personalizer, grant: Grant) -> pb.Content:
            grant.check_channels({request.channel})
            held = [_component(one) for one in request.components]
            item = request.item or None
            return messages.composed(pz.compose(request.channel, held, item, dict(request.values)))

        return self.answer("compose", context, compose)

    def Variant(self, request: pb.VariantRequest, context: _Context) -> pb.Evaluation:  # noqa: N802
        """Return this device's variant of a flag."""

        def evaluate(pz: Personalizer, _: Grant) -> pb.Evaluation:
            default = cast(FlagValue, json_value(request.default_json, "default_json"))
            return messages.evaluated(pz.variant(request.flag, default))

        return self.answer("variant", context, evaluate)

    def Shown(self, request: pb.ShownRequest, context: _Context) -> pb.ShownReply:  # noqa: N802
        """Record that a decision was shown."""

        def shown(pz: Personalizer, grant: Grant) -> pb.ShownReply:
            _check_own(pz, grant, request.decision_id)
            pz.shown(request.decision_id, list(request.items) or None)
            return pb.ShownReply()

        return self.answer("shown", context, shown)

    def Outcome(self, request: pb.OutcomeRequest, context: _Context) -> pb.Ack:  # noqa: N802
        """Record what came of a decision."""

        def outcome(pz: Personalizer, grant: Grant) -> pb.Ack:
            _check_own(pz, grant, request.decision_id)
            value = request.value if request.HasField("value") else None
            return messages.ack(pz.outcome(request.decision_id, request.item, request.event, value))

        return self.answer("outcome", context, outcome)

    def Explain(self, request: pb.ExplainRequest, context: _Context) -> pb.Explanation:  # noqa: N802
        """Explain one item of a decision."""

        def explain(pz: Personalizer, grant: Grant) -> pb.Explanation:
            _check_own(pz, grant, request.decision_id)
            return messages.explained(pz.explain(request.decision_id, request.item))

        return self.answer("explain", context, explain)


def _check_own(pz: Personalizer, grant: Grant, decision_id: str) -> None:
    found = pz.journal.find(decision_id)
    if found is None or not grant.covers(found[0]["surface"]):
        raise UnknownDecision("expected a recorded decision of this app's surfaces")


def _action(message: pb.Action) -> Action:
    kind = one_of("kind", message.kind, _ACTION_KINDS)
    return Action(
        message.name,
        cast(ActionKind, kind),
        message.channel or None,
        message.item or None,
        message.urgent,
    )


def _component(message: pb.ComposeRequest.Component) -> Component:
    return Component(
        message.name,
        cast(Part, one_of("part", message.part, PARTS)),
        message.template,
        tuple(message.channels),
        tuple(cast(Intent, one_of("intents", one, _INTENTS)) for one in message.intents),
        tuple(cast(Stage, one_of("stages", one, _STAGES)) for one in message.stages),
        message.urgent,
    )
