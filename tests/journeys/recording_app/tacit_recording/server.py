"""The coordinator, with a runner that also writes down each raw sum and context."""

from __future__ import annotations

import json
import pathlib

import numpy as np
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from tacit.server.coordinator.flower import GridRunner, run_coordinator
from tacit.server.coordinator.training import CohortSum
from tacit.v1 import gateway_pb2

app = ServerApp()


class RecordingRunner:
    def __init__(self, runner: GridRunner, directory: pathlib.Path) -> None:
        self._runner = runner
        self._directory = directory

    def run(self, request: gateway_pb2.RunRoundRequest, timeout_s: float) -> CohortSum:
        total = self._runner.run(request, timeout_s)
        round_id = json.loads(request.round_header)["round_id"]
        np.save(self._directory / f"raw-sum-{round_id}.npy", total.values)
        (self._directory / f"context-{round_id}.npz").write_bytes(request.context)
        return total


@app.main()  # type: ignore[untyped-decorator]
def main(grid: Grid, context: Context) -> None:
    path = str(context.run_config["coordinator-config"])
    run_coordinator(RecordingRunner(GridRunner(grid), pathlib.Path(path).parent), path)
