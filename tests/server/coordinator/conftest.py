"""A world for the trainer: ledger, gateways and disk that can crash it at any of its steps."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tacit.privacy.arrays import pack_arrays
from tacit.privacy.budget_documents import ReserveDocument
from tacit.privacy.canonical import parse_canonical
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.signatures import SigningKey
from tacit.privacy.task import RoundHeader, RoundPlan, TaskManifest
from tacit.server.coordinator.checkpoint import Checkpoint
from tacit.server.coordinator.config import CoordinatorConfig
from tacit.server.coordinator.learners import NoisedSum, RoundSpec
from tacit.server.coordinator.noise import decoded
from tacit.server.coordinator.training import CohortSum, Trainer
from tacit.server.errors import Refused
from tacit.v1 import budget_pb2, ledger_pb2

LENGTH = 600
ROUNDS = 3
RESERVED = budget_pb2.RESERVATION_STATE_RESERVED
COMMITTED = budget_pb2.RESERVATION_STATE_COMMITTED


class Crash(Exception):  # noqa: N818 - what happens to the process
    """The process dies here."""


class Fuse:
    """Counts the trainer's steps and crashes it before or after one of them, once."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.at: int | None = None
        self.persisted = False

    def set(self, at: int, persisted: bool) -> None:
        self.at, self.persisted = at, persisted

    def step(self, name: str, work: Callable[[], Any]) -> Any:
        number = len(self.steps)
        self.steps.append(name)
        if number == self.at and not self.persisted:
            raise Crash(name)
        result = work()
        if number == self.at:
            raise Crash(name)
        return result


class Seam:
    """Stands before a collaborator of the trainer and makes each call a step."""

    def __init__(self, target: Any, name: str, fuse: Fuse) -> None:
        self._target, self._name, self._fuse = target, name, fuse

    def __getattr__(self, method: str) -> Any:
        call = getattr(self._target, method)

        def step(*arguments: Any, **named: Any) -> Any:
            return self._fuse.step(f"{self._name}.{method}", lambda: call(*arguments, **named))

        return step


class RunningLearner:
    """Three rounds; each context, and the model, depends on every earlier noised sum."""

    name = "running/1"

    def rounds(self) -> tuple[RoundSpec, ...]:
        shares = (0.5, 0.3, 0.2)
        return tuple(
            RoundSpec(n + 1, "popularity/1", LENGTH, 1.0, share, {})
            for n, share in enumerate(shares)
        )

    def context(self, round_id: int, history: Sequence[NoisedSum]) -> dict[str, npt.NDArray[Any]]:
        assert [one.round_id for one in history] == list(range(1, round_id))
        return {"total": np.sum([np.zeros(LENGTH)] + [one.values for one in history], axis=0)}

    def model(self, history: Sequence[NoisedSum]) -> dict[str, npt.NDArray[Any]]:
        return {"rows": np.stack([one.values for one in history])}


class Ledger:
    """The ledger's rules in memory."""

    def __init__(self) -> None:
        self.key = SigningKey(b"\1" * 32)
        self.entries: list[GovernanceEntry] = []
        self.reservations: dict[str, budget_pb2.Reservation] = {}
        self.bodies: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}

    def append_governance(
        self, kind: str, body: dict[str, Any], recorded_at_ms: int | None = None
    ) -> int:
        for index, entry in enumerate(self.entries):
            if (entry.kind, entry.body) == (kind, body):
                return index
        if kind == "release":
            versions = [e.body["version"] for e in self.entries if e.kind == kind]
            if body["version"] != len(versions) + 1:
                raise Refused("another version was expected")
            for name in body["reservations"]:
                assert self.reservations[name].state == COMMITTED
            assert body["model_sha256"] in self.blobs
        self.entries.append(GovernanceEntry.sign(kind, body, recorded_at_ms or 0, self.key))
        return len(self.entries) - 1

    def logged_entry(self, index: int, known_size: int = 0) -> ledger_pb2.LoggedEntry:
        return ledger_pb2.LoggedEntry(entry=self.entries[index].to_bytes(), index=index)

    def reserve(self, document: ReserveDocument) -> budget_pb2.BudgetReply:
        name = document.reservation_id
        if self.bodies.setdefault(name, document.to_bytes()) != document.to_bytes():
            raise Refused("the key stands for another reservation")
        held = self.reservations.setdefault(
            name, budget_pb2.Reservation(reservation_id=name, state=RESERVED)
        )
        return budget_pb2.BudgetReply(reservation=held)

    def commit(
        self, account_id: str, reservation_id: str, release_sha256: str
    ) -> budget_pb2.BudgetReply:
        held = self.reservations[reservation_id]
        if held.state == COMMITTED and held.release_sha256 != release_sha256:
            raise Refused("it paid for another sum")
        held.state, held.release_sha256 = COMMITTED, release_sha256
        return budget_pb2.BudgetReply(reservation=held, epsilon_spent="1.0")

    def put_blob(self, content: bytes) -> bytes:
        self.blobs[hashlib.sha256(content).hexdigest()] = content
        return hashlib.sha256(content).digest()

    def latest_release(
        self, population: str, known_size: int = 0, kind: str = ""
    ) -> ledger_pb2.LoggedEntry | None:
        releases = [
            n
            for n, entry in enumerate(self.entries)
            if entry.kind == "release" and kind in ("", ReleaseManifest.from_json(entry.body).kind)
        ]
        return self.logged_entry(releases[-1]) if releases else None


class World:
    """Everything that outlives a coordinator, and what must hold of it at every moment.

    The checks stand where a value leaves the coordinator: in `noise` (before any randomness is
    drawn) and in `run` (what devices are shown).
    """

    learner = RunningLearner()
    crash = Crash

    def __init__(self, directory: Path, ledger: Any = None) -> None:
        self.directory = directory
        self.ledger = ledger or Ledger()
        self.fuse = Fuse()
        self.checkpoint = Checkpoint(directory / "state")
        self.random = np.random.default_rng(20_240_611)
        self.noise_draws: list[int] = []
        self.sums: dict[int, npt.NDArray[np.int64]] = {}
        self.runs = 0
        self.contributions = 50
        self.now_ms = time.time_ns() // 1_000_000
        self.config = CoordinatorConfig(
            state_dir=str(directory / "state"),
            ledger_address="",
            ledger_ca="",
            signing_key="",
            task_id="task",
            population="shop",
            budget_account="main",
            learner="popularity",
            epsilon=4.0,
            target_delta=1e-6,
            signals={"rating": 1.0},
            n_items=LENGTH,
            catalogue_sha256=hashlib.sha256(b"catalogue").hexdigest(),
            features="",
            cohort_expected=50,
            cohort_min=2,
            cohort_max=100,
        )

    # --- what the trainer is given -------------------------------------------------------------

    def train(self, trainer_type: type[Trainer] = Trainer, **changes: Any) -> Any:
        """Start a coordinator and let it work to its end or its crash."""
        self._drawn: set[int] = set()
        ledger: Any = Seam(self.ledger, "ledger", self.fuse)
        checkpoint: Any = Seam(self.checkpoint, "checkpoint", self.fuse)
        gateways: Any = Seam(self, "gateways", self.fuse)
        return trainer_type(
            changes.get("config", self.config),
            self.learner,
            ledger,
            changes.get("key", SigningKey(b"\2" * 32)),
            checkpoint,
            gateways,
            now_ms=self._clock,
            random_bytes=self._random_bytes,
        ).run()

    def run(self, request: Any, timeout_s: float) -> CohortSum:
        """Play the gateways; a round that is run again has another cohort."""
        self.runs += 1
        header = RoundHeader.from_json(parse_canonical(request.round_header))
        expected = self.learner.context(header.round_id, self.released(header.round_id - 1))
        assert request.context == pack_arrays(expected), "devices saw what was not released"
        values = np.random.default_rng(self.runs).integers(-900, 900, LENGTH)
        self.sums[header.round_id] = values.astype(np.int64)
        return CohortSum(values=self.sums[header.round_id], contributions=self.contributions)

    def _random_bytes(self, n: int) -> bytes:
        draws_for = self.saved_rounds() + 1
        if draws_for not in self._drawn:
            self._drawn.add(draws_for)
            self.check_reserved(draws_for)
            self.fuse.step("noise", lambda: self.noise_draws.append(draws_for))
        return self.random.bytes(n)

    def _clock(self) -> int:
        self.now_ms += 1
        return self.now_ms

    # --- what must hold ------------------------------------------------------------------------

    def plans(self) -> tuple[RoundPlan, ...]:
        return self.manifest().rounds

    def manifest(self) -> TaskManifest:
        manifest = self.checkpoint.task()
        assert manifest is not None
        return manifest

    def saved_rounds(self) -> int:
        """Count the rounds whose noised sum is on the disk."""
        return len(list((self.directory / "state").glob("round-*.npz")))

    def reservation(self, round_id: int) -> Any:
        """Return the ledger's view of a round's reservation, None for none."""
        return self.ledger.reservations.get(f"task/{round_id}")

    def check_reserved(self, round_id: int) -> None:
        """Assert that the spend is on record before the noise exists."""
        held = self.reservation(round_id)
        assert held is not None, "noise was drawn before its spend was reserved"
        assert held.state == RESERVED, "noise was drawn for a spend that was used"

    def released(self, rounds: int) -> list[NoisedSum]:
        """Return the noised sums of the first rounds; assert that each is committed."""
        history: list[NoisedSum] = []
        for plan in self.plans()[:rounds]:
            saved = self.checkpoint.noised_sum(plan)
            assert saved is not None
            held = self.reservation(plan.round_id)
            assert held.state == COMMITTED, "a noised sum was used before its commitment"
            assert held.release_sha256 == saved[1], "another sum was committed"
            history.append(decoded(saved[0], plan))
        return history

    def check_noise(self) -> None:
        """Assert that what was saved is the sum plus noise of the planned scale.

        The sample variance of n normal values lies within 5·sqrt(2/n) of its mean but once in 10⁶;
        the seed is fixed.
        """
        residues: list[npt.NDArray[np.float64]] = []
        for plan in self.plans():
            saved = self.checkpoint.noised_sum(plan)
            assert saved is not None
            noise = saved[0] - self.sums[plan.round_id]
            residues.append(noise / (plan.noise_multiplier * plan.integer_norm))
        variance = float(np.concatenate(residues).var())
        assert abs(variance - 1) < 5 * np.sqrt(2 / (ROUNDS * LENGTH)), "the noise is not as planned"

    def check_finished(self, release: Any) -> None:
        """Assert that the task ended once, with one spend and one noised sum a round."""
        history = self.released(ROUNDS)
        model = pack_arrays(self.learner.model(history))
        assert release.model_sha256 == hashlib.sha256(model).hexdigest()
        assert release.version == 1
        assert len(release.reservations) == ROUNDS
        self.check_noise()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def new_world(tmp_path: Path) -> Callable[..., World]:
    made: list[World] = []

    def make(ledger: Any = None) -> World:
        made.append(World(tmp_path / str(len(made)), ledger))
        return made[-1]

    return make
