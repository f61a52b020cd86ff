"""Retraining at the ledger: announced, paid, superseding; and every way in which it is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from tacit.privacy.accounting import GaussianEvent, epsilon_bound
from tacit.privacy.canonical import parse_canonical
from tacit.privacy.checkpoint import stated_checkpoint
from tacit.privacy.erasure import DP_BOUNDED, ErasureStatement
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.merkle import leaf_hash, verify_inclusion
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.retraining import CompletedRetraining, Logged, Retraining
from tacit.privacy.task import TaskManifest
from tacit.server.errors import (
    Exhausted,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    VerificationFailed,
)
from tacit.server.ledger import consent_rows
from tacit.v1 import ledger_pb2


class Shop:
    """A deployment that trains tasks, one after the other."""

    def __init__(self, deployment: Any, cap: float = 8.0) -> None:
        self.deployment = deployment
        self.operator = deployment.client("operator")
        self.coordinator = deployment.client("coordinator")
        self.operator.append_governance("account", deployment.account(cap).to_json())
        self.released = 0

    def task(self, name: str, base: int = 0, **changes: Any) -> TaskManifest:
        task: TaskManifest = self.deployment.task(1, task_id=name, base_release=base, **changes)
        self.coordinator.append_governance("task", task.to_json())
        return task

    def spend(self, task: TaskManifest) -> None:
        for plan in task.rounds:
            self.coordinator.reserve(self.deployment.reserve(task, plan.round_id))
            digest = hashlib.sha256(task.task_id.encode()).hexdigest()
            self.coordinator.commit("main", f"{task.task_id}/{plan.round_id}", digest)

    def manifest(self, task: TaskManifest, **changes: Any) -> ReleaseManifest:
        model = task.task_id.encode()
        self.coordinator.put_blob(model)
        release: ReleaseManifest = self.deployment.release(
            task, model, version=self.released + 1, epsilon=task.epsilon, **changes
        )
        return release

    def release(self, task: TaskManifest, **changes: Any) -> int:
        self.spend(task)
        self.coordinator.append_governance("release", self.manifest(task, **changes).to_json())
        self.released += 1
        return self.released

    def train(self, name: str, base: int = 0) -> TaskManifest:
        task = self.task(name, base)
        self.release(task)
        return task

    def erased(self, *tasks: TaskManifest) -> ErasureStatement:
        """Enrol somebody, let them have been in these tasks, and erase them."""
        device = self.deployment.device()
        device.append(device.event())
        reply = device.erase(*((task.digest().hex(), 1) for task in tasks))
        return ErasureStatement.from_json(parse_canonical(reply.statement))

    def announce(self, kind: str = "ranking", population: str = "shop") -> Retraining:
        _, entry = self.operator.retrain(population, kind, "a person asked")
        return Retraining.from_json(entry.body)

    def kinds(self) -> list[str]:
        return [GovernanceEntry.parse(one).kind for one in self.coordinator.entries(0, 1000)]

    def proofs(self, after: int = 0) -> list[CompletedRetraining]:
        """Fetch what the ledger proves, as a device does, and check it."""
        reply = self.deployment.stub().GetRetrainings(
            ledger_pb2.GetRetrainingsRequest(population="shop", after=after)
        )
        seen = stated_checkpoint(reply.checkpoint)
        found: list[CompletedRetraining] = []
        for one in reply.retrainings:
            for logged in one.entries:
                verify_inclusion(
                    leaf_hash(logged.entry),
                    logged.index,
                    seen.size,
                    tuple(logged.inclusion),
                    seen.root,
                )
            bodies = [GovernanceEntry.parse(logged.entry).body for logged in one.entries]
            places = [logged.index for logged in one.entries]
            bases = [
                (ReleaseManifest.from_json(release), TaskManifest.from_json(task))
                for release, task in zip(bodies[3::2], bodies[4::2], strict=True)
            ]
            found.append(
                CompletedRetraining(
                    Logged(places[0], Retraining.from_json(bodies[0])),
                    Logged(places[1], TaskManifest.from_json(bodies[1])),
                    Logged(places[2], ReleaseManifest.from_json(bodies[2])),
                    tuple(bases),
                )
            )
            found[-1].check()
        return found


@pytest.fixture
def shop(deployment: Any) -> Shop:
    return Shop(deployment)


NewShop = Callable[[], Shop]


def test_who_joined_in_the_second_task_is_trained_away_from_the_first(shop: Shop) -> None:
    first = shop.train("t1")
    second = shop.train("t2", base=1)
    third = shop.train("t3", base=2)  # they were not in it, and it rests on them all the same
    statement = shop.erased(second)
    assert [one.label for one in statement.rounds] == [DP_BOUNDED]
    assert (statement.population, statement.releases) == ("shop", (2, 3))
    announced = shop.announce()
    assert announced.tasks == (second.digest().hex(), third.digest().hex())
    assert announced.base_release == 1
    assert shop.announce() == announced  # asked again, answered the same
    assert shop.kinds().count("retraining") == 1
    task = shop.task("t4", base=1, retrains=announced.digest())
    assert shop.release(task, supersedes=(2, 3)) == 4
    report = shop.deployment.verify()
    (told,) = report.retrainings
    assert (told.release, told.superseded, told.base_release) == (4, (2, 3), 1)
    (proof,) = shop.proofs()
    assert proof.chain == {task.digest().hex(), first.digest().hex()}
    assert shop.proofs(after=proof.release.index) == [proof]
    assert shop.proofs(after=proof.release.index + 1) == []


def test_who_joined_in_the_first_task_is_trained_away_from_nothing(shop: Shop) -> None:
    first = shop.train("t1")
    second = shop.train("t2", base=1)
    assert shop.erased(first, second).releases == (1, 2)
    announced = shop.announce()
    assert (announced.base_release, len(announced.tasks)) == (0, 2)
    task = shop.task("t3", retrains=announced.digest())
    shop.release(task, supersedes=(1, 2))
    (proof,) = shop.proofs()
    assert proof.chain == {task.digest().hex()}
    # From here on the population goes on as ever, from the release in force.
    shop.train("t4", base=3)
    # Who is erased later and was in a superseded task alone has nothing left to be retrained.
    assert shop.erased(second).releases == ()
    with pytest.raises(FailedPrecondition, match="nothing to retrain"):
        shop.announce()
    # Whoever is in the new one is retrained in turn; what was superseded stays so.
    assert shop.erased(second, task).releases == (3, 4)
    again = shop.announce()
    assert again.base_release == 0
    shop.release(shop.task("t5", retrains=again.digest()), supersedes=(3, 4))
    assert [one.superseded for one in shop.deployment.verify().retrainings] == [(1, 2), (3, 4)]
    assert len(shop.proofs()) == 2


def test_the_statement_and_the_table_name_nobody(shop: Shop) -> None:
    """Two erasures leave one set of tasks; which brought which row, no row tells."""
    tasks = [shop.train(f"t{n}") for n in range(1, 5)]
    shop.erased(tasks[2], tasks[0])
    shop.erased(tasks[1])
    rows = shop.deployment.execute("SELECT * FROM erased_tasks")
    assert sorted(rows) == sorted((task.digest().hex(),) for task in tasks[:3])
    if shop.deployment.database:
        (count,) = shop.deployment.execute("SELECT count(DISTINCT xmin::text) FROM erased_tasks")
        assert count == (1,)  # written anew together


def test_a_round_that_was_stopped_affects_nothing(shop: Shop) -> None:
    task = shop.task("t1")
    shop.coordinator.reserve(shop.deployment.reserve(task))
    shop.coordinator.abort("t1/1", "too few")
    assert shop.erased(task).releases == ()
    with pytest.raises(FailedPrecondition, match="nothing to retrain"):
        shop.announce()


def test_a_task_under_way_is_superseded_before_it_is_released(shop: Shop) -> None:
    shop.train("t1")
    open_task = shop.task("t2", base=1)
    shop.spend(open_task)
    assert shop.erased(open_task).releases == ()
    announced = shop.announce()
    assert announced.base_release == 1
    shop.release(shop.task("t3", base=1, retrains=announced.digest()))
    with pytest.raises(FailedPrecondition, match="was superseded by a retraining"):
        shop.coordinator.append_governance("release", shop.manifest(open_task).to_json())
    shop.deployment.verify()


class TestRefused:
    def test_a_population_never_affected(self, shop: Shop) -> None:
        shop.train("t1")
        shop.erased()
        with pytest.raises(FailedPrecondition, match="nothing to retrain"):
            shop.announce()
        with pytest.raises(NotFound, match="no task"):
            shop.announce(population="elsewhere")
        with pytest.raises(InvalidRequest, match="a kind among"):
            shop.announce(kind="weather")
        with pytest.raises(InvalidRequest, match="reason"):
            shop.operator.retrain("shop", "ranking", "")

    def test_another_kind(self, shop: Shop) -> None:
        shop.erased(shop.train("t1"))
        with pytest.raises(FailedPrecondition, match="no churn release"):
            shop.announce(kind="churn")

    def test_who_may_not_ask(self, shop: Shop) -> None:
        shop.erased(shop.train("t1"))
        with pytest.raises(PermissionDenied, match="needs role operator"):
            shop.coordinator.retrain("shop", "ranking", "mine")
        announced = shop.announce()
        with pytest.raises(PermissionDenied, match="needs role ledger"):
            shop.operator.append_governance("retraining", announced.to_json())

    def test_an_erasure_nobody_announced(self, shop: Shop) -> None:
        with pytest.raises(FailedPrecondition, match="expected an announced retraining"):
            shop.task("t1", retrains="ab" * 32)

    def test_a_base_after_the_first_participation(self, shop: Shop) -> None:
        shop.train("t1")
        shop.erased(shop.train("t2", base=1))
        digest = shop.announce().digest()
        for base in (0, 2):
            with pytest.raises(FailedPrecondition, match="expected 1, from before"):
                shop.task("t3", base=base, retrains=digest)
        with pytest.raises(FailedPrecondition, match="which the log does not hold"):
            shop.task("t3", base=3, retrains=digest)

    def test_a_budget_that_cannot_pay_for_all_of_it(self, deployment: Any) -> None:
        one = epsilon_bound([GaussianEvent(8.0)], deployment.delta)
        shop = Shop(deployment, cap=1.1 * one)
        shop.erased(shop.train("t1"))
        digest, before = shop.announce().digest(), shop.kinds()
        with pytest.raises(Exhausted, match="cap"):
            shop.task("t2", retrains=digest)
        assert shop.kinds() == before, "no task, no reservation, nothing"
        assert shop.proofs() == []

    def test_rounds_that_only_together_pass_the_cap(self, deployment: Any) -> None:
        """Each round would be admitted on its own, and the last one would be refused too late."""
        spent = epsilon_bound([GaussianEvent(8.0, 2)], deployment.delta)
        shop = Shop(deployment, cap=1.01 * spent)
        shop.erased(shop.train("t1"))
        task = deployment.task(2, task_id="t2", retrains=shop.announce().digest())
        with pytest.raises(Exhausted, match="cap"):
            shop.coordinator.append_governance("task", task.to_json())

    def test_a_superseded_base(self, shop: Shop) -> None:
        shop.erased(shop.train("t1"))
        shop.release(shop.task("t2", retrains=shop.announce().digest()), supersedes=(1,))
        with pytest.raises(FailedPrecondition, match="release 1 was superseded"):
            shop.task("t3", base=1)
        shop.train("t3", base=2)

    @pytest.mark.parametrize("supersedes", [(), (1,), (1, 2, 3)])
    def test_a_release_that_supersedes_others_than_it_must(
        self, shop: Shop, supersedes: tuple[int, ...]
    ) -> None:
        shop.train("t1")
        shop.erased(shop.train("t2", base=1))
        shop.train("t3")
        task = shop.task("t4", base=1, retrains=shop.announce().digest())
        with pytest.raises(FailedPrecondition, match="expected to supersede releases 2, got"):
            shop.release(task, supersedes=supersedes)

    def test_an_ordinary_release_that_supersedes(self, shop: Shop) -> None:
        shop.train("t1")
        with pytest.raises(FailedPrecondition, match="expected to supersede no release"):
            shop.release(shop.task("t2"), supersedes=(1,))

    def test_rounds_of_two_populations(self, shop: Shop) -> None:
        """A device is of one; the ledger cannot tell which retraining would be the right one."""
        task = shop.train("t1")
        other = dataclasses.replace(
            shop.deployment.task(1, task_id="o1", population="elsewhere"),
            trust_level="consent-only",
            neighboring_relation="",
            epsilon=None,
            target_delta=None,
            budget_account="",
            rounds=(dataclasses.replace(task.rounds[0], noise_multiplier=0.0),),
        )
        shop.coordinator.append_governance("task", other.to_json())
        with pytest.raises(grpc.RpcError, match="one population"):
            shop.erased(task, other)


def test_a_consent_only_contribution_is_retrained_too(deployment: Any) -> None:
    """Nothing is paid there, and nothing but retraining ever bounds it."""
    shop = Shop(deployment)
    account = deployment.account(
        account_id="open", population="elsewhere", allowed_levels=("consent-only",)
    )
    shop.operator.append_governance("account", account.to_json())

    def train(name: str, **changes: Any) -> TaskManifest:
        plain: TaskManifest = shop.deployment.task(
            1, task_id=name, population="elsewhere", **changes
        )
        task = dataclasses.replace(
            plain,
            trust_level="consent-only",
            neighboring_relation="",
            epsilon=None,
            target_delta=None,
            budget_account="open",
            rounds=(dataclasses.replace(plain.rounds[0], noise_multiplier=0.0),),
        )
        shop.coordinator.append_governance("task", task.to_json())
        record = {
            "type": "tacit.round-record/1",
            "task_sha256": task.digest().hex(),
            "round_id": 1,
            "context_sha256": "ab" * 32,
        }
        shop.coordinator.append_governance("round", record)
        return task

    def release(task: TaskManifest, version: int, **changes: Any) -> None:
        manifest = dataclasses.replace(
            shop.manifest(task, population="elsewhere"),
            version=version,
            epsilon=None,
            target_delta=None,
            reservations=(),
            trust_level="consent-only",
            **changes,
        )
        shop.coordinator.append_governance("release", manifest.to_json())

    first = train("t1")
    release(first, 1)
    statement = shop.erased(first)
    assert ([one.label for one in statement.rounds], statement.releases) == (["unbounded"], (1,))
    announced = shop.announce(population="elsewhere")
    release(train("t2", retrains=announced.digest()), 2, supersedes=(1,))
    (told,) = deployment.verify().retrainings
    assert (told.population, told.release, told.superseded) == ("elsewhere", 2, (1,))


class TestVerification:
    """Histories a ledger without these rules would write, found out by whoever replays them."""

    @pytest.fixture
    def shop(self, deployment: Any, monkeypatch: pytest.MonkeyPatch) -> Shop:
        from tacit.server.ledger import governance, retraining

        def unchecked(*_: object) -> None:
            return

        for rule in ("check_task_lineage", "check_release_lineage", "check_affordable"):
            monkeypatch.setattr(governance, rule, unchecked)
        self.patch = monkeypatch
        self.retraining = retraining
        return Shop(deployment)

    def finds(self, shop: Shop, text: str) -> None:
        with pytest.raises(VerificationFailed) as raised:
            shop.deployment.verify()
        assert any(text in one for one in raised.value.findings), raised.value.findings

    def test_a_label_without_what_backs_it(self, shop: Shop) -> None:
        shop.train("t1")
        shop.erased(shop.train("t2", base=1))
        shop.release(shop.task("t3", base=1, retrains=shop.announce().digest()))
        self.finds(shop, "expected to supersede releases 2, got no release")

    def test_a_base_chain_with_an_affected_release(self, shop: Shop) -> None:
        shop.train("t1")
        shop.erased(shop.train("t2", base=1))
        task = shop.task("t3", base=2, retrains=shop.announce().digest())
        shop.release(task, supersedes=(2,))
        self.finds(shop, "base_release: expected 1, from before the first affected task, got 2")

    def test_a_task_on_a_superseded_release(self, shop: Shop) -> None:
        shop.erased(shop.train("t1"))
        shop.release(shop.task("t2", retrains=shop.announce().digest()), supersedes=(1,))
        shop.task("t3", base=1)
        self.finds(shop, "release 1 was superseded")

    def test_a_superseded_task_that_is_released_all_the_same(self, shop: Shop) -> None:
        affected = shop.task("t1")
        shop.erased(affected)
        shop.release(shop.task("t2", retrains=shop.announce().digest()))
        shop.release(affected)
        self.finds(shop, "rests on someone who was erased")

    def test_a_retraining_that_was_never_announced(self, shop: Shop) -> None:
        shop.train("t1")
        shop.task("t2", retrains="ab" * 32)
        self.finds(shop, "expected an announced retraining")

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"consent_root": "ab" * 32}, "names another consent root"),
            ({"consent_size": 99}, "names another consent root"),
            ({"base_release": 0}, "expected to start from release 1"),
            ({"tasks": ("ab" * 32,)}, "is not one of population"),
            ({"kind": "churn"}, "expected the 0 tasks of kind churn"),
        ],
    )
    def test_an_announcement_that_does_not_hold(
        self, shop: Shop, change: dict[str, Any], text: str
    ) -> None:
        shop.train("t1")
        shop.erased(shop.train("t2", base=1))

        def changed(**fields: Any) -> Retraining:
            return Retraining(**(fields | change))

        self.patch.setattr(self.retraining, "Retraining", changed)
        shop.operator.retrain("shop", "ranking", "a person asked")
        self.finds(shop, text)

    def test_an_announcement_that_leaves_out_what_rests_on_it(self, shop: Shop) -> None:
        affected = shop.train("t1")
        shop.train("t2", base=1)
        shop.erased(affected)

        def changed(**fields: Any) -> Retraining:
            return Retraining(**(fields | {"tasks": fields["tasks"][:1]}))

        self.patch.setattr(self.retraining, "Retraining", changed)
        shop.operator.retrain("shop", "ranking", "a person asked")
        self.finds(shop, "expected the 2 tasks of kind ranking")


def test_an_announcement_that_shares_its_commit_with_a_consent_verifies(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The announcement names size and root of one and the same consent log."""
    shop.erased(shop.train("t1"))
    node, device = shop.deployment.node, shop.deployment.device()
    inside, written = threading.Event(), consent_rows.write_links

    def held_up(*arguments: Any) -> None:
        written(*arguments)
        inside.set()
        while not node.database._group._waiting:
            assert thread.is_alive()

    monkeypatch.setattr("tacit.server.ledger.consent.write_links", held_up)
    thread = threading.Thread(target=lambda: device.append(device.event()))
    thread.start()
    assert inside.wait(30)
    announced = shop.announce()
    thread.join(30)
    assert announced.consent_size == node.logs.consent.size
    (told,) = shop.deployment.verify().retrainings
    assert told.consent_size == announced.consent_size


def test_survives_a_restart(deployment: Any) -> None:
    shop = Shop(deployment)
    shop.erased(shop.train("t1"))
    announced = shop.announce()
    deployment.stop()
    shop.operator, shop.coordinator = (
        deployment.client("operator"),
        deployment.client("coordinator"),
    )
    assert shop.announce() == announced
    shop.release(shop.task("t2", retrains=announced.digest()), supersedes=(1,))
    assert len(shop.proofs()) == 1
