"""The coordinator's end of Flower: a ServerApp whose rounds go out over the grid.

Everything this project uses of Flower's API is here, in `tacit.server.gateway.flower` and in
`tacit.server.coordinator.superlink`.
"""

from __future__ import annotations

import logging
import os
import pathlib
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import cast

import numpy as np
import numpy.typing as npt
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from tacit.privacy.arrays import unpack_arrays
from tacit.privacy.errors import PrivacyError
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.signatures import SigningKey
from tacit.server.coordinator.base_release import base_release
from tacit.server.coordinator.checkpoint import Checkpoint
from tacit.server.coordinator.config import CoordinatorConfig
from tacit.server.coordinator.errors import RoundFailed
from tacit.server.coordinator.learners import (
    BadPlan,
    FactorizationLearner,
    Learner,
    LinearLearner,
    PopularityLearner,
    PublicArrays,
    SpectralLearner,
    linear_target,
)
from tacit.server.coordinator.plan import learning_epsilon
from tacit.server.coordinator.remembered_ledger import RememberedLedger
from tacit.server.coordinator.retraining import check_retrains
from tacit.server.coordinator.training import CohortSum, RoundRunner, Trainer
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
    """Runs a round on the connected gateway.

    Args:
        grid: Flower's grid; its one node is the gateway.
        node_wait_s: how long to wait for the gateway to connect.
    """

    def __init__(self, grid: Grid, node_wait_s: float = 60.0) -> None:
        self._grid = grid
        self._node_wait_s = node_wait_s

    def run(self, request: gateway_pb2.RunRoundRequest, timeout_s: float) -> CohortSum:
        """Send the round to the gateway and wait for its sum.

        Raises:
            RoundFailed: if no gateway is connected, or it answers with an error or not at all; or
                if several are: nothing binds a device to one gateway yet, so a device that sent to
                two would be in the sum twice, beyond the sensitivity that noise is scaled to.
        """
        content = {REQUEST: request.SerializeToString(), TIMEOUT_S: timeout_s}
        record = RecordDict({RECORD: ConfigRecord({**content})})
        waiting = set(self._grid.push_messages([Message(record, self._gateway(), "train")]))
        deadline_s = time.monotonic() + timeout_s + _MARGIN_S
        while time.monotonic() < deadline_s:
            for reply in self._grid.pull_messages(waiting):
                return _cohort_sum(reply)
            time.sleep(_POLL_S)
        raise RoundFailed("the gateway did not answer in time")

    def _gateway(self) -> int:
        deadline_s = time.monotonic() + self._node_wait_s
        while not (nodes := list(self._grid.get_node_ids())):
            if time.monotonic() > deadline_s:
                raise RoundFailed("no gateway is connected to the SuperLink")
            time.sleep(_POLL_S)
        if len(nodes) > 1:
            raise RoundFailed(f"expected one gateway on the SuperLink, got {len(nodes)}")
        return int(nodes[0])


def run_coordinator(runner: RoundRunner, config_path: str) -> None:
    """Train the configured task; the whole work of the ServerApp.

    Writes `coordinator.pid` while it works, then one line to `outcome.txt` in the state directory:
    `released VERSION` or `failed REASON`. Flower hides what a ServerApp prints and raises, so every
    failure ends up there, with its traceback in `coordinator.log`.

    Args:
        runner: carries rounds to the gateways; `GridRunner` in production.
        config_path: JSON file of a `CoordinatorConfig`.

    Raises:
        BadConfig: if the configuration cannot be read; there is no state directory to write to.
        StateConflict: if another coordinator is at work in the state directory.
        OSError: if the state directory cannot be written.
    """
    config = CoordinatorConfig.load(pathlib.Path(config_path))
    state_dir = pathlib.Path(config.state_dir)
    checkpoint = Checkpoint(state_dir)
    with _logging_to(state_dir / "coordinator.log"), checkpoint.exclusive():
        outcome_file, pid_file = state_dir / "outcome.txt", state_dir / "coordinator.pid"
        outcome_file.unlink(missing_ok=True)
        pid_file.write_text(f"{os.getpid()}\n", encoding="ascii")
        outcome = "failed the coordinator was stopped"
        try:
            outcome = f"released {_train(config, checkpoint, runner).version}"
        except (ServerError, PrivacyError) as error:
            logger.error("training stopped: %s", error)
            outcome = f"failed {_one_line(error)}"
        except Exception as error:
            # Not one of ours, so a defect: it must not end in silence. Flower sees it too.
            logger.exception("training stopped by a defect")
            outcome = f"failed {type(error).__name__}: {_one_line(error)}"
            raise
        finally:
            outcome_file.write_text(outcome + "\n", encoding="utf-8")
            pid_file.unlink(missing_ok=True)


def _train(
    config: CoordinatorConfig, checkpoint: Checkpoint, runner: RoundRunner
) -> ReleaseManifest:
    try:
        key = SigningKey(bytes.fromhex(pathlib.Path(config.signing_key).read_text("ascii")))
        authority = pathlib.Path(config.ledger_ca).read_bytes()
    except (OSError, ValueError) as error:
        raise BadConfig(f"coordinator: cannot use signing_key or ledger_ca: {error}") from None
    with LedgerClient(config.ledger_address, authority, key) as client:
        ledger = RememberedLedger(client, checkpoint)
        ledger.look()
        check_retrains(config, client)
        return Trainer(
            config,
            learner_of(config, base_release(config, client)),
            ledger,
            key,
            checkpoint,
            runner,
            now_ms=lambda: time.time_ns() // 1_000_000,
            random_bytes=os.urandom,
        ).run()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def learner_of(config: CoordinatorConfig, earlier: PublicArrays | None = None) -> Learner:
    """Build the configured learner from public facts alone.

    Args:
        config: the task.
        earlier: arrays of the release it starts from.

    Raises:
        BadConfig: if the feature file cannot be read, the target of `linear` is not one, or a size,
            the features or the earlier release do not fit.
    """
    if config.learner == "linear":
        try:
            return LinearLearner(linear_target(config.target, config.target_parameters))
        except BadPlan as error:
            raise BadConfig(f"coordinator: {error}") from None
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
    level, cohort = config.trust_level, config.cohort_expected
    sizes = (config.n_items, cohort, learning_epsilon(config.epsilon, level, cohort))
    rounds = config.rounds or None
    try:
        if config.learner == "factorization":
            return FactorizationLearner(*sizes, features=features, rounds=rounds)
        return SpectralLearner(*sizes, features=features, rounds=rounds, earlier=earlier)
    except BadPlan as error:
        raise BadConfig(f"coordinator: {error}") from None


def _cohort_sum(reply: Message) -> CohortSum:
    if reply.has_error():
        raise RoundFailed(f"a gateway's ClientApp failed: {reply.error.reason}")
    record = reply.content.config_records[RECORD]
    if ERROR in record:
        raise RoundFailed(f"a gateway refused: {record[ERROR]}")
    values = np.frombuffer(cast(bytes, record[SUM]), dtype="<i8").astype(np.int64)
    return CohortSum(values=values, contributions=cast(int, record[CONTRIBUTIONS]))


@contextmanager
def _logging_to(path: pathlib.Path) -> Generator[None]:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    root = logging.getLogger("tacit")
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    except ServerError as error:
        logger.error("the coordinator cannot work: %s", error)
        raise
    finally:
        root.removeHandler(handler)
        handler.close()
