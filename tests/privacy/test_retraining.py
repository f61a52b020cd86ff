"""Retraining: what rests on what, and the proof that a release rests on nobody it must not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.privacy.canonical import canonical_json, parse_canonical
from tacit.privacy.erasure import ErasureStatement, LabelledRound
from tacit.privacy.errors import BadDocument, BadProof
from tacit.privacy.lineage import Lineage
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.retraining import (
    MAX_TASKS,
    CompletedRetraining,
    Logged,
    Retraining,
    covering,
)
from tacit.privacy.task import RoundPlan, TaskManifest


def task(number: int, base: int = 0, retrains: str = "", statistic: str = "x/1") -> TaskManifest:
    return TaskManifest(
        task_id=f"t{number}",
        population="shop",
        purpose="learn",
        learner="spectral/3",
        signals={"rating": 1.0},
        rounds=(RoundPlan(1, statistic, 10, 1.0, 4096, 8.0, {}),),
        trust_level="central",
        cohort_min=2,
        cohort_max=100,
        cohort_expected=50,
        participation_bound=1,
        unit="user",
        neighboring_relation="add_remove",
        epsilon=1.0,
        target_delta=1e-6,
        budget_account="main",
        catalogue_sha256="00" * 32,
        issued_at_ms=1,
        expires_at_ms=2,
        base_release=base,
        retrains=retrains,
    )


def release(version: int, of: TaskManifest, supersedes: tuple[int, ...] = ()) -> ReleaseManifest:
    return ReleaseManifest(
        population="shop",
        version=version,
        task_sha256=of.digest().hex(),
        model_sha256="1" * 64,
        model_bytes=5,
        catalogue_sha256="00" * 32,
        reservations=("r",),
        epsilon=1.0,
        target_delta=1e-6,
        created_at_ms=9,
        supersedes=supersedes,
    )


def announcement(*tasks: TaskManifest, base: int = 0, **change: Any) -> Retraining:
    digests = tuple(one.digest().hex() for one in tasks)
    made = Retraining("shop", "ranking", digests, base, 9, "ab" * 32, "key", "erasure")
    return dataclasses.replace(made, **change)


@dataclasses.dataclass
class World:
    """Tasks 1, 2 (from 1), 3 (from 2); the person was in 2, so 4 starts from 1."""

    first = task(1)
    second = task(2, base=1)
    third = task(3, base=2)
    announced = announcement(second, third, base=1)
    again = task(4, base=1, retrains=announced.digest())

    def completed(self) -> CompletedRetraining:
        return CompletedRetraining(
            Logged(10, self.announced),
            Logged(11, self.again),
            Logged(14, release(4, self.again, (2, 3))),
            ((release(1, self.first), self.first),),
        )


WORLD = World()


def test_the_chain_is_everything_the_new_release_is_a_function_of() -> None:
    proof = WORLD.completed()
    proof.check()
    assert proof.chain == {WORLD.first.digest().hex(), WORLD.again.digest().hex()}


Change = Callable[[CompletedRetraining], CompletedRetraining]


def _on(base: int, *bases: tuple[ReleaseManifest, TaskManifest]) -> Change:
    """Let announcement, task and release agree on another base, with this chain below it."""

    def change(proof: CompletedRetraining) -> CompletedRetraining:
        announced = dataclasses.replace(proof.announced.document, base_release=base)
        made = task(4, base=base, retrains=announced.digest())
        return CompletedRetraining(
            Logged(10, announced), Logged(11, made), Logged(14, release(4, made, (2, 3))), bases
        )

    return change


BAD: dict[str, tuple[Change, str]] = {
    "released before it was announced": (
        lambda p: dataclasses.replace(p, release=Logged(9, p.release.document)),
        "step 1",
    ),
    "published before it was announced": (
        lambda p: dataclasses.replace(p, task=Logged(10, p.task.document)),
        "step 1",
    ),
    "another announcement": (
        lambda p: dataclasses.replace(p, announced=Logged(10, announcement(WORLD.second, base=1))),
        "step 2",
    ),
    "an ordinary task": (
        lambda p: dataclasses.replace(p, task=Logged(11, task(4, base=1))),
        "step 2",
    ),
    "a release of another task": (
        lambda p: dataclasses.replace(p, release=Logged(14, release(4, WORLD.third))),
        "step 3",
    ),
    "no base": (lambda p: dataclasses.replace(p, bases=()), "step 4: release 1 is missing"),
    "another base": (
        lambda p: dataclasses.replace(p, bases=((release(2, WORLD.first), WORLD.first),)),
        "step 4: expected release 1",
    ),
    "a base of another task": (
        lambda p: dataclasses.replace(p, bases=((release(1, WORLD.first), task(9)),)),
        "step 4",
    ),
    "a base too many": (
        lambda p: dataclasses.replace(p, bases=(*p.bases, (release(5, task(5)), task(5)))),
        "step 4",
    ),
    "an affected base": (
        _on(2, (release(2, WORLD.second), WORLD.second), (release(1, WORLD.first), WORLD.first)),
        "step 5",
    ),
    "an affected base further down": (
        _on(
            3,
            (release(3, WORLD.third), WORLD.third),
            (release(2, WORLD.second), WORLD.second),
            (release(1, WORLD.first), WORLD.first),
        ),
        "step 5",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_exact_retraining_is_refused(name: str) -> None:
    change, step = BAD[name]
    with pytest.raises(BadProof, match=step):
        change(WORLD.completed()).check()


def test_it_covers_who_is_in_the_affected_tasks_and_not_in_the_new_one() -> None:
    proof = WORLD.completed()
    first, second, again = (one.digest().hex() for one in (WORLD.first, WORLD.second, WORLD.again))
    assert covering([proof], second, frozenset({second})) is proof
    assert covering([proof], first, frozenset({first})) is None
    # Whoever was in the base or in the retraining is not gone from its release.
    assert covering([proof], second, frozenset({first, second})) is None
    assert covering([proof], second, frozenset({second, again})) is None


class TestDocuments:
    def test_an_announcement_comes_back(self) -> None:
        made = WORLD.announced
        assert Retraining.from_json(parse_canonical(canonical_json(made.to_json()))) == made

    @pytest.mark.parametrize(
        "change",
        [
            {"type": "tacit.retraining/2"},
            {"kind": "weather"},
            {"tasks": []},
            {"tasks": ["ab" * 32, "ab" * 32]},
            {"tasks": ["AB" * 32]},
            {"tasks": [f"{n:064x}" for n in range(MAX_TASKS + 1)]},
            {"base_release": -1},
            {"consent_size": 0},
            {"consent_root": "ab"},
            {"reason": "x" * 201},
            {"person": "Ann"},
        ],
    )
    def test_a_bad_one_is_refused(self, change: dict[str, Any]) -> None:
        with pytest.raises(BadDocument):
            Retraining.from_json({**WORLD.announced.to_json(), **change})

    def test_tasks_and_releases_without_it_keep_their_bytes(self) -> None:
        assert "retrains" not in task(1).to_json()
        assert "supersedes" not in release(1, task(1)).to_json()
        for one in (WORLD.again, task(1)):
            assert TaskManifest.from_json(one.to_json()) == one
        for made in (release(4, WORLD.again, (2, 3)), release(1, task(1))):
            assert ReleaseManifest.from_json(made.to_json()) == made

    @pytest.mark.parametrize("retrains", ["ab", "AB" * 32, "zz" * 32])
    def test_a_bad_retrains_is_refused(self, retrains: str) -> None:
        with pytest.raises(BadDocument, match="retrains"):
            TaskManifest.from_json({**task(1).to_json(), "retrains": retrains})

    @pytest.mark.parametrize("gone", [[], [0], [4], [5], [2, 2], [3, 2], [True], ["2"], "2"])
    def test_a_bad_supersedes_is_refused(self, gone: Any) -> None:
        with pytest.raises(BadDocument, match="supersedes"):
            ReleaseManifest.from_json({**release(4, task(1)).to_json(), "supersedes": gone})

    def test_statements_of_before_are_read(self) -> None:
        rounds = (LabelledRound("ab" * 32, 1, "dp-bounded"),)
        made = ErasureStatement("cd" * 32, 6, rounds, 1.5, 1e-6, "shop", (2, 3))
        assert ErasureStatement.from_json(made.to_json()) == made
        old = {**made.to_json(), "type": "tacit.erasure-statement/1"}
        del old["population"], old["releases"]
        assert ErasureStatement.from_json(old) == dataclasses.replace(
            made, population="", releases=()
        )
        for mixed in ({**old, "population": "shop"}, {**old, "type": "tacit.erasure-statement/2"}):
            with pytest.raises(BadDocument):
                ErasureStatement.from_json(mixed)


@given(st.data())
def test_what_rests_on_what_is_reachability(data: st.DataObject) -> None:
    """Against a slow reference: follow bases down from each task to its root."""
    count = data.draw(st.integers(1, 12))
    tasks: list[TaskManifest] = []
    releases: dict[int, ReleaseManifest] = {}
    for number in range(1, count + 1):
        made = task(number, base=data.draw(st.integers(0, len(releases))))
        tasks.append(made)
        if data.draw(st.booleans()):
            releases[len(releases) + 1] = release(len(releases) + 1, made)
    lineage = Lineage({one.digest().hex(): one for one in tasks}, releases, {})
    erased = data.draw(st.sets(st.sampled_from([one.digest().hex() for one in tasks])))

    def chain(one: TaskManifest) -> set[str]:
        found = {one.digest().hex()}
        if one.base_release:
            found |= chain(lineage.tasks[releases[one.base_release].task_sha256])
        return found

    resting = {one.digest().hex() for one in tasks if not erased.isdisjoint(chain(one))}
    assert lineage.resting_on(erased) == resting
    assert set(lineage.affected(erased, "ranking")) == resting
    assert lineage.affected(erased, "churn") == ()
    assert lineage.versions(resting) == tuple(
        version for version, one in releases.items() if one.task_sha256 in resting
    )


def test_superseding_needs_a_release() -> None:
    tasks = [WORLD.first, WORLD.second, WORLD.third, WORLD.again]
    held = {one.digest().hex(): one for one in tasks}
    releases = {n: release(n, one) for n, one in enumerate(tasks[:3], start=1)}
    announced = {WORLD.announced.digest(): WORLD.announced}
    under_way = Lineage(held, releases, announced)
    assert under_way.superseded_tasks() == frozenset()
    assert under_way.to_supersede(WORLD.again) == (2, 3)
    assert under_way.to_supersede(WORLD.third) == ()
    done = Lineage(held, releases | {4: release(4, WORLD.again, (2, 3))}, announced)
    assert done.superseded_tasks() == set(WORLD.announced.tasks)
    assert done.to_supersede(WORLD.again) == (), "a second release of it replaces nothing more"
    assert done.affected(WORLD.announced.tasks, "ranking") == ()
