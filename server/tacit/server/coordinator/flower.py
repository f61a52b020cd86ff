"""The coordinator's end of Flower: a ServerApp whose rounds go out over the grid.

Everything this project uses of Flower's API is here, in `tacit.server.gateway.flower` and in
`tacit.server.coordinator.superlink`.
"""

from __future__ import annotations

import logging
import os
import pathlib
import time
from typing import cast

import numpy as np
import numpy.typing as npt
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from tacit.privacy.arrays import unpack_arrays
from tacit.privacy.signatures import SigningKey
from tacit.server.coordinator.checkpoint import Checkpoint
from tacit.server.coordinator.config import CoordinatorConfig
from tacit.server.coordinator.errors import RoundFailed
from tacit.server.coordinator.learners import Learner, PopularityLearner, SpectralLearner
from tacit.server.coordinator.training import CohortSum, Trainer
from tacit.server.errors import BadConfig, ServerError
from tacit.server.gateway.flower import (
    CONTRIBUTIONS,
    ERROR,
    RECORD,
    REQUEST,
    SUM,
    TIMEOUT_S,
)
from tacit.server.ledger.client import LedgerClient
from tacit.v1 import gateway_pb2

logger = logging.getLogger("tacit.coordinator")

_POLL_S = 0.2
_MARGIN_S = 30.0
_MAX_FEATURE_BYTES = 1 << 30


class GridRunner:
    """Runs a round on every connected gateway and adds up their sums.

    Args:
        grid: Flower's grid; one node is one gateway.
        node_wait_s: how long to wait for the first gateway to connect.
    """

    def __init__(self, grid: Grid, node_wait_s: float = 60.0) -> None:
        self._grid = grid
        self._node_wait_s = node_wait_s

    def run(self, request: gateway_pb2.RunRoundRequest, timeout_s: float) -> CohortSum:
        """Send the round out and collect every gateway's sum.

        Raises:
            RoundFailed: if no gateway is connected, or one of them answers with an error or not at
                all. A round is all gateways or nothing: a partial sum would be a second answer to
                the same question once the missing gateway comes back.
        """
        content = {REQUEST: request.SerializeToString(), TIMEOUT_S: timeout_s}
        messages = [
            Message(RecordDict({RECORD: ConfigRecord({**content})}), node_id, "train")
            for node_id in self._nodes()
        ]
        waiting = set(self._grid.push_messages(messages))
        deadline_s = time.monotonic() + timeout_s + _MARGIN_S
        sums: list[CohortSum] = []
        while waiting:
            if time.monotonic() > deadline_s:
                raise RoundFailed(f"{len(waiting)} gateways did not answer in time")
            for reply in self._grid.pull_messages(waiting):
                waiting.discard(reply.metadata.reply_to_message_id)
                sums.append(_cohort_sum(reply))
            if waiting:
                time.sleep(_POLL_S)
        total = np.zeros_like(sums[0].values)
        for one in sums:
            if one.values.shape != total.shape:
                raise RoundFailed("gateways answered with sums of different lengths")
            total += one.values
        return CohortSum(values=total, contributions=sum(s.contributions for s in sums))

    def _nodes(self) -> list[int]:
        deadline_s = time.monotonic() + self._node_wait_s
        while not (nodes := list(self._grid.get_node_ids())):
            if time.monotonic() > deadline_s:
                raise RoundFailed("no gateway is connected to the SuperLink")
            time.sleep(_POLL_S)
        return nodes


def run_coordinator(grid: Grid, config_path: str) -> None:
    """Train the configured task over the grid; the ServerApp's whole work.

    Writes `coordinator.pid` while it runs, then `outcome.json`-style one-line results to
    `outcome.txt` in the state directory: `released VERSION` or `failed REASON`.
    """
    config = CoordinatorConfig.load(pathlib.Path(config_path))
    state_dir = pathlib.Path(config.state_dir)
    checkpoint = Checkpoint(state_dir)
    _log_to(state_dir / "coordinator.log")
    (state_dir / "outcome.txt").unlink(missing_ok=True)
    (state_dir / "coordinator.pid").write_text(f"{os.getpid()}\n", encoding="ascii")
    try:
        key = SigningKey(bytes.fromhex(pathlib.Path(config.signing_key).read_text("ascii")))
        ledger = LedgerClient(
            config.ledger_address, pathlib.Path(config.ledger_ca).read_bytes(), key
        )
        trainer = Trainer(
            config,
            learner_of(config),
            ledger,
            key,
            checkpoint,
            GridRunner(grid),
            now_ms=lambda: time.time_ns() // 1_000_000,
            random_bytes=os.urandom,
        )
        outcome = f"released {trainer.run().version}"
    except (ServerError, ValueError, OSError) as error:
        logger.error("training stopped: %s", error)
        outcome = f"failed {error}"
    (state_dir / "outcome.txt").write_text(outcome + "\n", encoding="utf-8")
    (state_dir / "coordinator.pid").unlink(missing_ok=True)


def learner_of(config: CoordinatorConfig) -> Learner:
    """Build the configured learner from public facts alone.

    Raises:
        BadConfig: if the feature file cannot be read.
    """
    if config.learner == "popularity":
        return PopularityLearner(config.n_items)
    features: npt.NDArray[np.float64] | None = None
    if config.features:
        try:
            blob = pathlib.Path(config.features).read_bytes()
        except OSError as error:
            raise BadConfig(f"features: {error.strerror}") from None
        arrays = unpack_arrays(blob, _MAX_FEATURE_BYTES)
        features = arrays["features"].astype(np.float64)
    return SpectralLearner(
        config.n_items,
        config.cohort_expected,
        config.epsilon,
        features=features,
        rounds=config.rounds or None,
    )


def _cohort_sum(reply: Message) -> CohortSum:
    if reply.has_error():
        raise RoundFailed(f"a gateway's ClientApp failed: {reply.error.reason}")
    record = reply.content.config_records[RECORD]
    if ERROR in record:
        raise RoundFailed(f"a gateway refused: {record[ERROR]}")
    values = np.frombuffer(cast(bytes, record[SUM]), dtype="<i8").astype(np.int64)
    return CohortSum(values=values, contributions=cast(int, record[CONTRIBUTIONS]))


def _log_to(path: pathlib.Path) -> None:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    root = logging.getLogger("tacit")
    root.addHandler(handler)
    root.setLevel(logging.INFO)
