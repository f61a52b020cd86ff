"""The gateway's end of Flower: a ClientApp that forwards one round to the gateway's socket.

Flower starts a new process for every message, so this module imports little. The wire between
coordinator and ClientApp is one `ConfigRecord` each way; its keys are the constants below.
"""

from __future__ import annotations

import grpc
from flwr.app import ConfigRecord, Message, RecordDict

from tacit.v1 import gateway_pb2, gateway_pb2_grpc

RECORD = "tacit"
REQUEST = "request"
TIMEOUT_S = "timeout_s"
SUM = "sum"
CONTRIBUTIONS = "contributions"
ERROR = "error"


def forward_round(message: Message, socket_path: str) -> Message:
    """Run the round in `message` at the gateway behind `socket_path` and reply with its sum.

    The reply holds `SUM` (int64, little-endian) and `CONTRIBUTIONS`, or `ERROR` with one line when
    the gateway refused or aborted the round.
    """
    record = message.content.config_records[RECORD]
    request, timeout_s = record[REQUEST], record[TIMEOUT_S]
    if not isinstance(request, bytes) or not isinstance(timeout_s, float):
        return _reply(message, {ERROR: "expected a request and a timeout"})
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"unix:{socket_path}", options=unlimited) as channel:
        try:
            reply = gateway_pb2_grpc.GatewayServiceStub(channel).RunRound(
                gateway_pb2.RunRoundRequest.FromString(request),
                timeout=timeout_s,
                wait_for_ready=True,
            )
        except grpc.RpcError as error:
            status = error if isinstance(error, grpc.Call) else None
            text = f"{status.code().name}: {status.details()}" if status else "the call failed"
            return _reply(message, {ERROR: text})
    return _reply(message, {SUM: reply.sum, CONTRIBUTIONS: reply.contributions})


def _reply(message: Message, values: dict[str, bytes | int | str]) -> Message:
    return Message(RecordDict({RECORD: ConfigRecord({**values})}), reply_to=message)
