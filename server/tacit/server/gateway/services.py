"""The gRPC shells over `Gateway`: one for devices (TLS), one for the bridge (unix socket)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from tacit.server.authn import RequestVerifier
from tacit.server.errors import LedgerUnavailable, Refused, ServerError
from tacit.server.gateway.errors import RoundAborted
from tacit.server.gateway.gateway import Gateway
from tacit.v1 import (
    auth_pb2,
    device_pb2,
    device_pb2_grpc,
    gateway_pb2,
    gateway_pb2_grpc,
    ledger_pb2,
)

logger = logging.getLogger("tacit.gateway")

BLOB_CHUNK_BYTES = 1 << 20
_SERVICE = "/tacit.v1.DeviceService/"
_Body = TypeVar("_Body", bound=Message)
_Result = TypeVar("_Result")


class DeviceService(device_pb2_grpc.DeviceServiceServicer):
    """What devices may call."""

    def __init__(self, gateway: Gateway, verifier: RequestVerifier) -> None:
        self._gateway = gateway
        self._verifier = verifier

    def WatchRounds(  # noqa: N802 - gRPC names
        self, request: device_pb2.WatchRoundsRequest, context: grpc.ServicerContext
    ) -> Iterator[device_pb2.RoundNotice]:
        """Stream public notices."""
        notices = self._gateway.notices.listen(request.after_sequence, context.is_active)
        while (notice := _answer(lambda: next(notices, None), context)) is not None:
            yield notice

    def CheckIn(  # noqa: N802
        self, request: auth_pb2.SignedRequest, context: grpc.ServicerContext
    ) -> device_pb2.CheckInReply:
        """Offer a round."""
        device_id, body = self._open("CheckIn", request, device_pb2.CheckInRequest(), context)
        return _answer(lambda: self._gateway.check_in(device_id, body.known_size), context)

    def Contribute(  # noqa: N802
        self, request: auth_pb2.SignedRequest, context: grpc.ServicerContext
    ) -> device_pb2.ContributeReply:
        """Take a contribution."""
        device_id, body = self._open("Contribute", request, device_pb2.Contribution(), context)
        _answer(lambda: self._gateway.contribute(device_id, body), context)
        return device_pb2.ContributeReply()

    def FetchBlob(  # noqa: N802
        self, request: device_pb2.FetchBlobRequest, context: grpc.ServicerContext
    ) -> Iterator[ledger_pb2.BlobChunk]:
        """Stream a public blob."""
        content = _answer(lambda: self._gateway.blob(request.sha256), context)
        for start in range(0, len(content), BLOB_CHUNK_BYTES):
            yield ledger_pb2.BlobChunk(content=content[start : start + BLOB_CHUNK_BYTES])

    def GetRelease(  # noqa: N802
        self, request: device_pb2.GetReleaseRequest, context: grpc.ServicerContext
    ) -> device_pb2.GetReleaseReply:
        """Return the newest release of a kind."""
        return _answer(
            lambda: self._gateway.release(request.population, request.known_size, request.kind),
            context,
        )

    def _open(
        self,
        method: str,
        request: auth_pb2.SignedRequest,
        body: _Body,
        context: grpc.ServicerContext,
    ) -> tuple[str, _Body]:
        device_id, data = _answer(lambda: self._verifier.open(_SERVICE + method, request), context)
        try:
            body.ParseFromString(data)
        except DecodeError:
            _abort(context, grpc.StatusCode.INVALID_ARGUMENT, f"expected a {method} message")
        return device_id, body


class BridgeService(gateway_pb2_grpc.GatewayServiceServicer):
    """What the Flower ClientApp on this host may call."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def RunRound(  # noqa: N802
        self, request: gateway_pb2.RunRoundRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.RunRoundReply:
        """Run one round and return its sum."""
        result = _answer(lambda: self._gateway.run_round(request), context)
        return gateway_pb2.RunRoundReply(
            sum=result.values.astype("<i8").tobytes(), contributions=result.contributions
        )

    def GatewayStatus(  # noqa: N802
        self, request: gateway_pb2.GatewayStatusRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.GatewayStatusReply:
        """Return counts."""
        return self._gateway.status()


def _answer(work: Callable[[], _Result], context: grpc.ServicerContext) -> _Result:
    """Return what `work` returns; a refusal becomes the status that names it, and one log line."""
    try:
        return work()
    except Refused as refusal:
        logger.warning("refused (%s): %s", refusal.status, refusal)
        _abort(context, grpc.StatusCode[refusal.status], str(refusal))
    except RoundAborted as error:
        logger.warning("round aborted: %s", error)
        _abort(context, grpc.StatusCode.ABORTED, str(error))
    except LedgerUnavailable as error:
        logger.warning("the ledger does not answer: %s", error)
        _abort(context, grpc.StatusCode.UNAVAILABLE, str(error))


def _abort(context: grpc.ServicerContext, code: grpc.StatusCode, message: str) -> NoReturn:
    context.abort(code, message)
    raise ServerError(message)  # abort always raises; this tells the type checker
