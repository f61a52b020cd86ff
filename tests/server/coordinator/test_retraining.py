"""Retraining by the coordinator before a real ledger: refused in time, exact to the last bit."""

from __future__ import annotations

import dataclasses
import hashlib
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tacit.client.statistics import Profiles
from tacit.privacy.arrays import pack_arrays, unpack_arrays
from tacit.privacy.canonical import parse_canonical
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.retraining import Retraining
from tacit.privacy.task import RoundHeader, TaskManifest
from tacit.server.coordinator.base_release import base_release
from tacit.server.coordinator.checkpoint import Checkpoint
from tacit.server.coordinator.config import CoordinatorConfig
from tacit.server.coordinator.remembered_ledger import RememberedLedger
from tacit.server.coordinator.retraining import check_retrains, retraining_config
from tacit.server.coordinator.training import CohortSum, Trainer
from tacit.server.errors import BadConfig, Exhausted
from tacit.simulations.engine import integer_round_sum
from tacit.simulations.population import generate

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what Flower imports
    from tacit.server.coordinator.flower import learner_of

USERS, ITEMS = 24, 30
PERSON = USERS - 1
ROUNDING = b"r" * 32
"""Names the rounding streams of every task alike, so that equal sums stay equal."""


class History:
    """One course of events: people enrol, tasks are trained among those who consent then.

    The gateways' part is played here: whoever the real ledger admits is in the sum, with what a
    real device would send. Noise comes from a public seed, which is what makes runs comparable.
    """

    def __init__(self, deployment: Any, directory: Path, cap: float = 100.0) -> None:
        self.deployment = deployment
        self.directory = directory
        self.data = generate(USERS, ITEMS, seed=5)
        self.client = deployment.client("coordinator")
        self.gateway = deployment.client("gateway")
        self.operator = deployment.client("operator")
        account = deployment.account(cap)
        self.operator.append_governance("account", account.to_json())
        self.stub = deployment.stub()
        self.devices: dict[int, Any] = {}
        self.user_of: dict[str, int] = {}
        self.asked = 0
        self.task: TaskManifest

    def enrol(self, *users: int) -> None:
        for user in users:
            device = self.deployment.device(self.stub)
            device.append(device.event())
            self.devices[user] = device
            self.user_of[device.key.key_id] = user

    def run(self, request: Any, timeout_s: float) -> CohortSum:
        """Play the gateways."""
        self.asked += 1
        header = RoundHeader.from_json(parse_canonical(request.round_header))
        states = self.gateway.consent_states("learn", [])
        users = sorted(self.user_of[one.device_id] for one in states if one.granted)
        total = integer_round_sum(
            _of(self.data.profiles(), users),
            self.task.round_plan(header.round_id),
            dict[str, Any](unpack_arrays(request.context, 1 << 24)),
            [hashlib.sha256(b"user %d" % user).digest() for user in users],
            ROUNDING,
        )
        return CohortSum(total, len(users))

    def config(self, name: str, base: int = 0) -> CoordinatorConfig:
        features = self.directory / "features.npz"
        assert self.data.features is not None
        features.write_bytes(pack_arrays({"features": self.data.features}))
        return CoordinatorConfig(
            state_dir=str(self.directory / name),
            ledger_address="",
            ledger_ca="",
            signing_key="",
            task_id=name,
            population=self.deployment.population,
            budget_account="main",
            learner="spectral",
            epsilon=8.0,
            target_delta=self.deployment.delta,
            signals={"rating": 1.0},
            n_items=ITEMS,
            catalogue_sha256=hashlib.sha256(b"catalogue").hexdigest(),
            features=str(features),
            cohort_expected=USERS,
            cohort_min=2,
            cohort_max=100,
            base_release=base,
        )

    def train(self, config: CoordinatorConfig, seed: int) -> tuple[ReleaseManifest, bytes]:
        """Do what `run_coordinator` does, with this noise; returns the release and its model."""
        check_retrains(config, self.client)
        learner = learner_of(config, base_release(config, self.client))
        checkpoint = Checkpoint(Path(config.state_dir))
        remembered = RememberedLedger(self.client, checkpoint)
        history = self

        class Watching(Trainer):
            def _manifest(self) -> TaskManifest:
                history.task = super()._manifest()
                return history.task

        release = Watching(
            config,
            learner,
            remembered,
            self.deployment.keys["coordinator"],
            checkpoint,
            self,
            now_ms=_now_ms,
            random_bytes=np.random.default_rng(seed).bytes,
        ).run()
        return release, self.client.get_blob(bytes.fromhex(release.model_sha256))

    def erase(self, user: int, *tasks: TaskManifest) -> None:
        rounds = [(task.digest().hex(), plan.round_id) for task in tasks for plan in task.rounds]
        self.devices[user].erase(*rounds)

    def announce(self) -> Retraining:
        _, entry = self.operator.retrain(self.deployment.population, "ranking", "erasure")
        return Retraining.from_json(entry.body)


def _of(profiles: Profiles, users: list[int]) -> Profiles:
    parts = [profiles.slice(user, user + 1) for user in users]
    lengths = [len(part.items) for part in parts]
    return Profiles(
        np.concatenate([[0], np.cumsum(lengths)]).astype(profiles.indptr.dtype),
        np.concatenate([part.items for part in parts]),
        np.concatenate([part.weights for part in parts]),
        profiles.n_items,
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def new_history(new_deployment: Callable[[str], Any], tmp_path: Path) -> Callable[..., History]:
    def make(name: str, **options: Any) -> History:
        return History(new_deployment(name), tmp_path / name, **options)

    return make


def test_who_joined_in_the_second_task_might_never_have_existed(
    new_history: Callable[..., History],
) -> None:
    """Task 2 starts from release 1; the retraining does too, and is what it had been without them.

    Not a statistical claim: with the same noise, the models are the same bytes.
    """
    real, other = new_history("real"), new_history("never-existed")
    for history in (real, other):
        history.enrol(*range(PERSON))
    first = [history.train(history.config("t1"), seed=1)[1] for history in (real, other)]
    assert first[0] == first[1]
    real.enrol(PERSON)
    _, with_them = real.train(real.config("t2", base=1), seed=2)
    real.erase(PERSON, real.task)
    announced = real.announce()
    assert announced.base_release == 1
    config = retraining_config(
        real.config("t2", base=1), announced, "t3", str(real.directory / "t3")
    )
    release, without = real.train(config, seed=2)
    _, never = other.train(other.config("t2", base=1), seed=2)
    assert without == never
    assert with_them != never, "the person made a difference, or this shows nothing"
    assert (release.version, release.supersedes) == (3, (2,))
    # A warm start matters here: from nothing it would be another model.
    _, cold = other.train(other.config("t3"), seed=2)
    assert cold != never
    (told,) = real.deployment.verify().retrainings
    assert (told.release, told.superseded, told.base_release) == (3, (2,), 1)


def test_who_joined_in_the_first_task_might_never_have_existed(
    new_history: Callable[..., History],
) -> None:
    real, other = new_history("real"), new_history("never-existed")
    for history in (real, other):
        history.enrol(*range(PERSON))
    real.enrol(PERSON)
    _, with_them = real.train(real.config("t1"), seed=1)
    tasks = [real.task]
    real.train(real.config("t2", base=1), seed=2)
    tasks.append(real.task)
    real.erase(PERSON, tasks[0])  # of the second they sent nothing, and are in it all the same
    announced = real.announce()
    assert announced.tasks == tuple(task.digest().hex() for task in tasks)
    assert announced.base_release == 0
    config = retraining_config(
        real.config("t2", base=1), announced, "t3", str(real.directory / "t3")
    )
    release, without = real.train(config, seed=1)
    _, never = other.train(other.config("t1"), seed=1)
    assert without == never != with_them
    assert release.supersedes == (1, 2)
    # The account paid for three trainings, not for two.
    shown = real.client.show_budget("main")
    assert len(shown.reservations) == 3 * len(real.task.rounds)
    real.deployment.verify()


def test_without_budget_no_device_is_asked(new_history: Callable[..., History]) -> None:
    history = new_history("poor", cap=9.0)
    history.enrol(*range(4))
    history.train(history.config("t1"), seed=1)
    history.erase(0, history.task)
    announced, asked = history.announce(), history.asked
    config = retraining_config(history.config("t1"), announced, "t2", str(history.directory / "t2"))
    with pytest.raises(Exhausted, match="cap"):
        history.train(config, seed=2)
    assert history.asked == asked
    assert history.client.latest_release(history.deployment.population) is not None
    assert history.deployment.verify().retrainings[0].release == 0


def test_refuses_before_anything_is_written(new_history: Callable[..., History]) -> None:
    history = new_history("refused")
    history.enrol(*range(3))
    history.train(history.config("t1"), seed=1)
    history.train(history.config("t2", base=1), seed=1)
    history.erase(0, history.task)
    announced = history.announce()
    config = retraining_config(history.config("t2"), announced, "t3", str(history.directory / "t3"))
    for change, text in (
        ({"retrains": "ab" * 32}, "expected an announced retraining"),
        ({"base_release": 2}, "expected 1, from before the first affected task, got 2"),
        ({"base_release": 0}, "expected 1, from before the first affected task, got 0"),
    ):
        with pytest.raises(BadConfig, match=text):
            history.train(dataclasses.replace(config, **change), seed=2)
    assert not (history.directory / "t3").exists()
    with pytest.raises(BadConfig, match="population"):
        retraining_config(
            dataclasses.replace(config, population="elsewhere"), announced, "t4", "t4"
        )
    with pytest.raises(BadConfig, match="spectral"):
        retraining_config(
            dataclasses.replace(history.config("t1"), learner="popularity"), announced, "t4", "t4"
        )


def test_resumed_after_its_release_it_supersedes_once(
    new_history: Callable[..., History],
) -> None:
    history = new_history("resumed")
    history.enrol(*range(3))
    history.train(history.config("t1"), seed=1)
    history.erase(0, history.task)
    config = retraining_config(
        history.config("t1"), history.announce(), "t2", str(history.directory / "t2")
    )
    release, model = history.train(config, seed=2)
    assert history.train(config, seed=3) == (release, model)
