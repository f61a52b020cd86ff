"""A coordinator's process whose rounds go straight to a gateway's bridge socket, without Flower.

python bridge_coordinator.py BRIDGE_SOCKET CONFIG
"""

from __future__ import annotations

import sys
import warnings

import grpc
import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what Flower imports
    from tacit.server.coordinator.flower import run_coordinator
from tacit.server.coordinator.errors import RoundFailed
from tacit.server.coordinator.training import CohortSum
from tacit.v1 import gateway_pb2, gateway_pb2_grpc


class BridgeRunner:
    """Runs a round at the gateway behind one socket."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = gateway_pb2_grpc.GatewayServiceStub(channel)

    def run(self, request: gateway_pb2.RunRoundRequest, timeout_s: float) -> CohortSum:
        try:
            reply = self._stub.RunRound(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise RoundFailed(str(error)) from None
        return CohortSum(
            np.frombuffer(reply.sum, dtype="<i8").astype(np.int64), reply.contributions
        )


if __name__ == "__main__":
    with grpc.insecure_channel(f"unix:{sys.argv[1]}") as opened:
        run_coordinator(BridgeRunner(opened), sys.argv[2])
