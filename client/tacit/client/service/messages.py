"""Replies: from what the verbs of `Personalizer` answer to messages of the wire."""

from __future__ import annotations

import json

from tacit.client import actions, content, decision, questions
from tacit.client.flags import Evaluation
from tacit.client.plain import plain
from tacit.client.sync import SyncReport
from tacit.v1 import personalizer_pb2 as pb


def ack(made: decision.Ack) -> pb.Ack:
    """Return an acknowledgement."""
    return pb.Ack(
        event_id=made.event_id,
        sequence=made.sequence,
        recorded=made.recorded,
        duplicate=made.duplicate,
    )


def decided(made: decision.Decision) -> pb.Decision:
    """Return a decision."""
    return pb.Decision(
        id=made.id,
        surface=made.surface,
        items=[
            pb.RecommendedItem(
                item_id=item.item_id,
                title=item.title,
                score=item.score,
                source=item.source,
                reasons=item.reasons,
                propensity=item.propensity,
            )
            for item in made.items
        ],
        model_version=made.model_version,
        took_us=made.took_us,
        basis=made.basis,
        confidence=made.confidence,
        removed=made.removed,
        closed=made.closed,
        escalate=_hand_over(made.escalate),
    )


def acted(made: actions.ActionDecision) -> pb.ActionDecision:
    """Return what to do next."""
    chosen = made.action
    return pb.ActionDecision(
        id=made.id,
        surface=made.surface,
        action=pb.Action(
            name=chosen.name,
            kind=chosen.kind,
            channel=chosen.channel or "",
            item=chosen.item or "",
            urgent=chosen.urgent,
        ),
        source=made.source,
        propensity=made.propensity,
        propensities=made.propensities,
        removed={name: pb.RuleNames(rules=rules) for name, rules in made.removed.items()},
        model_version=made.model_version,
        reason=made.reason,
        escalate=_hand_over(made.escalate),
    )


def asked(question: questions.Question | None) -> pb.NextQuestionReply:
    """Return a question, or nothing to ask."""
    if question is None:
        return pb.NextQuestionReply()
    return pb.NextQuestionReply(
        question=pb.Question(
            category=question.category,
            text=question.text,
            gain=question.gain,
            known=question.known,
            why=question.why,
            answers=map(_control, question.answers),
        )
    )


def composed(made: content.Content) -> pb.Content:
    """Return an assembled message."""
    return pb.Content(
        channel=made.channel, parts=dict(made.parts), components=dict(made.components)
    )


def explained(why: decision.Explanation) -> pb.Explanation:
    """Return an explanation."""
    return pb.Explanation(
        decision_id=why.decision_id,
        item_id=why.item_id,
        title=why.title,
        source=why.source,
        score=why.score,
        base=why.base,
        history=why.history,
        cited=[
            pb.CitedEvent(
                sequence=event.sequence,
                signal=event.signal,
                item_id=event.item_id,
                title=event.title,
                share=event.share,
                percent=event.percent,
                deletion_delta=event.deletion_delta,
                sequences=event.sequences,
                rank_without=event.rank_without,
                controls=map(_control, event.controls),
            )
            for event in why.cited
        ],
        text=why.text,
        rank=why.rank,
        rules=why.rules,
        controls=map(_control, why.controls),
    )


def evaluated(made: Evaluation) -> pb.Evaluation:
    """Return the evaluation of a flag."""
    return pb.Evaluation(
        flag=made.flag,
        value_json=json.dumps(made.value),
        variant=made.variant or "",
        reason=made.reason,
        error_code=made.error_code or "",
        error_message=made.error_message,
        version=made.version,
    )


def state(known: decision.DeviceState) -> pb.DeviceState:
    """Return what a device knows about itself."""
    return pb.DeviceState(
        device_id=known.device_id,
        population=known.population or "",
        consents={
            purpose: pb.SignalNames(signals=sorted(signals))
            for purpose, signals in known.consents.items()
        },
        pending_consents=known.pending_consents,
        events=known.events,
        rounds=known.rounds,
        releases=dict(known.releases),
        sent_bytes=known.traffic.sent_bytes,
        received_bytes=known.traffic.received_bytes,
        predictions_json=json.dumps(plain(known.predictions)),
        features_json=json.dumps(plain(known.features)),
        exposure_json=json.dumps(known.exposure.to_json()),
    )


def synced(report: SyncReport) -> pb.SyncReply:
    """Return what a sync did."""
    return pb.SyncReply(
        device_id=report.device_id,
        consents_sent=report.consents_sent,
        task_id=report.task_id or "",
        round_id=report.round_id,
        idle_reason=report.idle_reason,
        installed=dict(report.installed),
        sent_bytes=report.sent_bytes,
        received_bytes=report.received_bytes,
    )


def _hand_over(suggested: decision.HandOver | None) -> pb.HandOver | None:
    if suggested is None:
        return None
    return pb.HandOver(reason=suggested.reason, context=dict(suggested.context))


def _control(control: decision.Control) -> pb.Control:
    return pb.Control(
        name=control.name,
        label=control.label,
        verb=control.verb,
        arguments_json=json.dumps(dict(control.arguments)),
    )
