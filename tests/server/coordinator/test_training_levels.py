"""Training at trust levels `local` and `consent-only`: the order of steps, and crashes at each."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tacit.privacy.local_noise import local_sigma
from tacit.privacy.task import RoundPlan
from tacit.server.coordinator.noise import decoded
from tacit.server.coordinator.plan import learning_epsilon
from tacit.server.coordinator.training import Trainer
from tacit.server.errors import BadConfig

CONTRIBUTIONS = 50
LOCAL_ROUND = ["ledger.reserve", "gateways.run", "checkpoint.save_noised_sum", "ledger.commit"]
CONSENT_ROUND = ["gateways.run", "ledger.append_governance", "checkpoint.save_noised_sum"]


def at_level(world: Any, level: str) -> Any:
    """Give the world a task of this level, and look at history as that level decodes it."""
    figures = {} if level != "consent-only" else {"epsilon": 0.0, "target_delta": 0.0}
    account = "main" if level != "consent-only" else ""
    world.config = dataclasses.replace(
        world.config, trust_level=level, budget_account=account, **figures
    )

    def released(rounds: int) -> list[Any]:
        history: list[Any] = []
        for plan in world.plans()[:rounds]:
            saved = world.checkpoint.noised_sum(plan)
            assert saved is not None
            if level == "local":
                assert world.reservation(plan.round_id).release_sha256 == saved[1]
            count = CONTRIBUTIONS if level == "local" else 1
            history.append(decoded(saved[0], plan, level, count))
        return history

    world.released = released
    return world


@pytest.fixture
def local(world: Any) -> Any:
    return at_level(world, "local")


@pytest.fixture
def consent_only(world: Any) -> Any:
    return at_level(world, "consent-only")


def seen(world: Any, names: list[str]) -> list[str]:
    return [step for step in world.fuse.steps if step in names]


class TestLocal:
    def test_the_spend_comes_before_any_device_is_asked_and_no_noise_is_added(
        self, local: Any
    ) -> None:
        release = local.train()
        assert seen(local, LOCAL_ROUND) == LOCAL_ROUND * 3
        assert local.noise_draws == []
        for plan in local.plans():
            saved = local.checkpoint.noised_sum(plan)
            assert saved is not None
            np.testing.assert_array_equal(saved[0], local.sums[plan.round_id])
            assert local.checkpoint.contributions(plan) == CONTRIBUTIONS
        assert (release.trust_level, len(release.reservations)) == ("local", 3)
        assert release.statement is not None
        assert release.statement.neighboring_relation == "replace"

    def test_the_reservation_names_level_and_sensitivity(self, local: Any) -> None:
        documents: list[Any] = []
        reserve = local.ledger.reserve

        def record(document: Any) -> Any:
            documents.append(document.to_json()["event"])
            return reserve(document)

        local.ledger.reserve = record
        local.train()
        for event, plan in zip(documents, local.plans(), strict=True):
            assert event["trust_level"] == "local"
            assert event["sensitivity"] == 2 * plan.integer_norm

    def test_the_learner_knows_the_noise_of_all_devices_together(self, local: Any) -> None:
        local.train()
        plan: RoundPlan = local.plans()[0]
        nothing: npt.NDArray[np.int64] = np.zeros(plan.length, dtype=np.int64)
        one = decoded(nothing, plan, "local", 1).noise_std
        many = decoded(nothing, plan, "local", 50).noise_std
        central = decoded(nothing, plan).noise_std
        assert many == pytest.approx(one * np.sqrt(50))
        assert one == pytest.approx(2 * central)
        assert local_sigma(plan) == plan.noise_multiplier * 2 * plan.integer_norm

    @pytest.mark.parametrize("persisted", [False, True])
    @pytest.mark.parametrize("step", LOCAL_ROUND)
    def test_resumes_after_a_crash_and_spends_once(
        self, local: Any, step: str, persisted: bool
    ) -> None:
        names: list[str] = []
        trial = type(local)(local.directory / "trial")
        at_level(trial, "local").train()
        names = trial.fuse.steps
        second = [n for n, name in enumerate(names) if name == step][1]
        local.fuse.set(second, persisted)
        with pytest.raises(local.crash):
            local.train()
        release = local.train()
        assert set(local.ledger.reservations) == {"task/1", "task/2", "task/3"}
        assert release.version == 1
        assert local.noise_draws == []


class TestConsentOnly:
    def test_nothing_is_spent_and_every_round_is_on_record_before_it_is_used(
        self, consent_only: Any
    ) -> None:
        release = consent_only.train()
        assert consent_only.ledger.reservations == {}
        assert consent_only.noise_draws == []
        kinds = [entry.kind for entry in consent_only.ledger.entries]
        assert kinds == ["task", "round", "round", "round", "release"]
        assert (release.trust_level, release.epsilon, release.reservations) == (
            "consent-only",
            None,
            (),
        )
        saved = consent_only.checkpoint.noised_sum(consent_only.plans()[0])
        np.testing.assert_array_equal(saved[0], consent_only.sums[1])

    def test_the_record_holds_no_digest_of_an_exact_sum(self, consent_only: Any) -> None:
        consent_only.train()
        record = consent_only.ledger.entries[1].body
        assert set(record) == {"type", "task_sha256", "round_id", "context_sha256"}

    @pytest.mark.parametrize("persisted", [False, True])
    @pytest.mark.parametrize("step", CONSENT_ROUND)
    def test_resumes_after_a_crash(self, consent_only: Any, step: str, persisted: bool) -> None:
        trial = type(consent_only)(consent_only.directory / "trial")
        at_level(trial, "consent-only").train()
        places = [n for n, name in enumerate(trial.fuse.steps) if name == step]
        consent_only.fuse.set(places[2 if step == "ledger.append_governance" else 1], persisted)
        with pytest.raises(consent_only.crash):
            consent_only.train()
        consent_only.train()
        kinds = [entry.kind for entry in consent_only.ledger.entries]
        assert kinds == ["task", "round", "round", "round", "release"]


class TestConfiguration:
    @pytest.mark.parametrize(
        ("change", "line"),
        [
            ({"trust_level": "secure"}, "trust_level: expected one of"),
            ({"trust_level": "consent-only"}, "expected neither at trust level 'consent-only'"),
            ({"epsilon": 0.0}, "epsilon: expected a number above 0"),
            ({"trust_level": "local", "target_delta": 0.0}, "target_delta: expected a number"),
        ],
    )
    def test_is_refused_in_one_line(self, world: Any, change: dict[str, Any], line: str) -> None:
        with pytest.raises(BadConfig, match=line):
            dataclasses.replace(world.config, **change)

    def test_hyper_parameters_follow_the_noise_that_is_really_there(self) -> None:
        assert learning_epsilon(8.0, "central", 400) == 8.0
        assert learning_epsilon(8.0, "local", 400) == 8.0 / (2 * 20)
        assert learning_epsilon(0.0, "consent-only", 400) == float("inf")


def test_a_mutant_that_asks_devices_before_it_reserves_is_caught(local: Any) -> None:
    class AsksFirst(Trainer):
        def _paid(self, manifest: Any, index: int, plan: Any, context: bytes, spend: Any) -> Any:
            total = self._collect(manifest, index, plan, context)
            self._fresh(spend)
            digest = self._checkpoint.save_noised_sum(plan, total.values, total.contributions)
            self._ledger.commit(spend.account_id, spend.reservation_id, digest)
            return total.values

    local.train(AsksFirst)
    assert seen(local, LOCAL_ROUND) != LOCAL_ROUND * 3
