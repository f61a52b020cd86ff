"""Verbs that act for the person, or reach the whole profile; each is granted by name."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from tacit.client.personalizer import Personalizer
from tacit.client.service import messages
from tacit.client.service.fields import json_object
from tacit.client.service.gate import Gate
from tacit.client.service.grants import Grant
from tacit.v1 import personalizer_pb2 as pb

_Context = grpc.ServicerContext

CHUNK_BYTES = 1 << 20


class Keeping(Gate):
    """The verbs `Identify`, `Consent`, `State`, `Forget`, `Export`, `RotateKeys`, `Sync`."""

    def Consent(self, request: pb.ConsentRequest, context: _Context) -> pb.ConsentReply:  # noqa: N802
        """Record a decision of the person."""

        def consent(pz: Personalizer, _: Grant) -> pb.ConsentReply:
            signals = list(request.signals) or None
            pz.consent(request.purpose, signals, request.granted, gpc=request.gpc)
            permitted = pz.consents.permitted(request.purpose, pz.clock_ms())
            return pb.ConsentReply(permitted=sorted(permitted))

        return self.answer("consent", context, consent)

    def State(self, request: pb.StateRequest, context: _Context) -> pb.DeviceState:  # noqa: N802
        """Return what the device knows about itself."""
        return self.answer("state", context, lambda pz, _: messages.state(pz.state()))

    def Identify(self, request: pb.IdentifyRequest, context: _Context) -> pb.IdentifyReply:  # noqa: N802
        """Record what the person says about themselves."""

        def identify(pz: Personalizer, _: Grant) -> pb.IdentifyReply:
            pz.identify(json_object(request.traits_json, "traits_json"))
            return pb.IdentifyReply()

        return self.answer("identify", context, identify)

    def Forget(self, request: pb.ForgetRequest, context: _Context) -> pb.ForgetReply:  # noqa: N802
        """Forget an item, everything since a time, or everything."""

        def forget(pz: Personalizer, _: Grant) -> pb.ForgetReply:
            chosen = request.WhichOneof("what")
            done = pz.forget(
                item=request.item if chosen == "item" else None,
                since=request.since_ms if chosen == "since_ms" else None,
                all=request.all if chosen == "all" else False,
            )
            return pb.ForgetReply(rows_erased=done.rows_erased, bytes_scanned=done.bytes_scanned)

        return self.answer("forget", context, forget)

    def Export(self, request: pb.ExportRequest, context: _Context) -> Iterator[pb.ExportChunk]:  # noqa: N802
        """Return events and instructions for another device of the person, encrypted."""

        def export(pz: Personalizer, _: Grant) -> bytes:
            chosen = request.WhichOneof("closed_for")
            return pz.export(
                passphrase=request.passphrase if chosen == "passphrase" else None,
                recipient=request.recipient if chosen == "recipient" else None,
            )

        content = self.answer("export", context, export)
        return (
            pb.ExportChunk(data=content[start : start + CHUNK_BYTES])
            for start in range(0, len(content), CHUNK_BYTES)
        )

    def RotateKeys(self, request: pb.RotateKeysRequest, context: _Context) -> pb.RotateKeysReply:  # noqa: N802
        """Seal everything anew under a new data key."""

        def rotate(pz: Personalizer, _: Grant) -> pb.RotateKeysReply:
            done = pz.rotate_keys()
            return pb.RotateKeysReply(
                epoch=done.epoch, records=done.records, bytes_scanned=done.bytes_scanned
            )

        return self.answer("rotate_keys", context, rotate)

    def Sync(self, request: pb.SyncRequest, context: _Context) -> pb.SyncReply:  # noqa: N802
        """Talk to the servers once; the only verb that opens a connection."""
        return self.answer_sync(context, request.enrolment_token or None)
