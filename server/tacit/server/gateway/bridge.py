"""The Flower side of a gateway: forwards one round from a ClientApp to the gateway's socket.

Flower starts a new process for every message, so this module imports little. The wire between
coordinator and ClientApp is one `ConfigRecord` each way; its keys are the constants below.
"""

from __future__ import annotations

import grpc

from tacit.v1 import gateway_pb2, gateway_pb2_grpc

RECORD = "tacit"
REQUEST = "request"
SUM = "sum"
CONTRIBUTIONS = "contributions"
ERROR = "error"


def forward(socket_path: str, request: bytes, timeout_s: float) -> dict[str, bytes | int | str]:
    """Run one round at the gateway behind `socket_path`.

    Args:
        socket_path: the gateway's unix socket.
        request: serialised `RunRoundRequest`.
        timeout_s: how long to wait for the round's cut-off.

    Returns:
        `{SUM: int64 little-endian bytes, CONTRIBUTIONS: n}`, or `{ERROR: one line}` when the
        gateway refused or aborted the round.
    """
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"unix:{socket_path}", options=unlimited) as channel:
        service = gateway_pb2_grpc.GatewayServiceStub(channel)
        try:
            reply = service.RunRound(
                gateway_pb2.RunRoundRequest.FromString(request),
                timeout=timeout_s,
                wait_for_ready=True,
            )
        except grpc.RpcError as error:
            return {ERROR: f"{error.code().name}: {error.details()}"}
    return {SUM: reply.sum, CONTRIBUTIONS: reply.contributions}
