"""Verbs by which an app says what happened, what a person likes, and what holds right now."""

from __future__ import annotations

import grpc

from tacit.client.personalizer import Personalizer
from tacit.client.service import messages
from tacit.client.service.fields import json_object
from tacit.client.service.gate import Gate
from tacit.client.service.grants import Grant
from tacit.v1 import personalizer_pb2 as pb

_Context = grpc.ServicerContext


class Observing(Gate):
    """The verbs `Track`, `Page`, `Rate`, `Prefer`, `Context`."""

    def Track(self, request: pb.TrackRequest, context: _Context) -> pb.Ack:  # noqa: N802
        """Record an event."""
        return self.answer(
            "track",
            context,
            lambda pz, _: messages.ack(
                pz.track(
                    request.event,
                    json_object(request.properties_json, "properties_json"),
                    event_id=request.event_id or None,
                    ts=request.ts_ms if request.HasField("ts_ms") else None,
                )
            ),
        )

    def Page(self, request: pb.PageRequest, context: _Context) -> pb.Ack:  # noqa: N802
        """Record that a page was opened."""
        return self.answer(
            "page",
            context,
            lambda pz, _: messages.ack(
                pz.page(
                    request.name,
                    request.dwell_ms,
                    request.scroll,
                    event_id=request.event_id or None,
                )
            ),
        )

    def Rate(self, request: pb.RateRequest, context: _Context) -> pb.Ack:  # noqa: N802
        """Record a rating."""
        return self.answer(
            "rate",
            context,
            lambda pz, _: messages.ack(
                pz.rate(request.item, request.value, event_id=request.event_id or None)
            ),
        )

    def Prefer(self, request: pb.PreferRequest, context: _Context) -> pb.PreferReply:  # noqa: N802
        """Record a stated preference."""

        def prefer(pz: Personalizer, _: Grant) -> pb.PreferReply:
            made = pz.prefer(request.kind, request.value, request.weight)
            return pb.PreferReply(ack=None if made is None else messages.ack(made))

        return self.answer("prefer", context, prefer)

    def Context(self, request: pb.ContextRequest, context: _Context) -> pb.ContextReply:  # noqa: N802
        """Take what only the app knows now."""

        def tell(pz: Personalizer, _: Grant) -> pb.ContextReply:
            stock, urgent = request.out_of_stock, request.urgent_until
            pz.context(
                out_of_stock=list(stock.items) if request.HasField("out_of_stock") else None,
                urgent_until_ms=(
                    dict(urgent.deadlines_ms) if request.HasField("urgent_until") else None
                ),
                time_zone=request.time_zone if request.HasField("time_zone") else None,
            )
            return pb.ContextReply()

        return self.answer("context", context, tell)
