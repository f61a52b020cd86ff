"""Releases of several kinds on one device: kept apart, checked apart, forgotten together."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.client.test_session import (
    N_ITEMS,
    NOW_MS,
    POPULATION,
    World,
)

from tacit.client import (
    Catalogue,
    DeviceSession,
    FileKeyProvider,
    Personalizer,
    ReleaseRefused,
    RollbackRefused,
)
from tacit.client.statistics.targets import bandit, churn, intent
from tacit.client.sync import run
from tacit.privacy.arrays import pack_arrays
from tacit.privacy.canonical import canonical_json
from tacit.privacy.release import KINDS

Arrays = dict[str, npt.NDArray[np.generic]]

TARGETS: dict[str, tuple[tuple[str, ...], str, float]] = {
    "churn": (churn.FEATURES, "horizon_days", 7.0),
    "intent": (intent.FEATURES, "window_s", 600.0),
    "bandit": (bandit.FEATURES, "actions", 3.0),
}


def linear_arrays(kind: str, seed: int = 0) -> Arrays:
    """Make a model of a target whose score at the means is the base rate."""
    names, parameter, value = TARGETS[kind]
    n, d, rng = int(value) if kind == "bandit" else 1, len(names), np.random.default_rng(seed)
    means = np.column_stack([np.ones(n), rng.uniform(-0.5, 0.5, (n, d - 1))])
    coefficients = rng.uniform(0.02, 0.1, (n, d))
    base = np.full(n, 0.3)
    coefficients[:, 0] = base - np.sum(coefficients[:, 1:] * means[:, 1:], axis=1)
    return {
        "coefficients": coefficients,
        "covariance": np.stack([np.eye(d) * 1e-4] * n),
        "means": means,
        "base_rate": base,
        "residual_variance": np.full(n, 0.15),
        "drowned": np.zeros(n),
        f"parameter_{parameter}": np.asarray(value),
    }


def publish(world: World, version: int, kind: str, **arrays: npt.NDArray[np.generic]) -> None:
    blob = pack_arrays({**linear_arrays(kind, version), **arrays})
    world.publish_release(version, blob, kind=kind)


def open_device(folder: Path) -> Personalizer:
    rows = ((f"i{n}", f"Item {n}", ["even" if n % 2 else "odd"]) for n in range(N_ITEMS))
    return Personalizer.open(
        folder / "device.db",
        FileKeyProvider(folder / "device.key"),
        Catalogue.build(rows),
        exploration=None,
        clock_ms=lambda: NOW_MS,
    )


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Personalizer]:
    with open_device(tmp_path) as opened:
        opened.enrolled(POPULATION)
        for n in range(4):
            opened.track("Product Viewed", {"product_id": f"i{n}"}, ts=NOW_MS - 60_000 * (4 - n))
        opened.track("Products Searched", {"query": "tea"}, ts=NOW_MS - 30_000)
        yield opened


@pytest.fixture
def session(device: Personalizer, world: World) -> DeviceSession:
    return DeviceSession(device, world, world.trust)


# --- installing


def test_each_kind_is_installed_beside_the_others(
    device: Personalizer, session: DeviceSession, world: World, tmp_path: Path
) -> None:
    world.publish_release(1)
    assert run(device, session).installed == {"ranking": 1}
    device.reload()
    before = device.recommend().items
    for version, kind in enumerate(("churn", "intent", "bandit"), start=2):
        publish(world, version, kind)
    report = run(device, session)
    assert (report.installed, report.installed_version) == (
        {"churn": 2, "intent": 3, "bandit": 4},
        None,
    )
    device.reload()
    assert device.recommend().items == before
    assert device.recommend().model_version == device.state().release_version == 1
    device.close()
    with open_device(tmp_path) as again:
        assert again.state().releases == {"ranking": 1, "churn": 2, "intent": 3, "bandit": 4}
        assert set(again.state().predictions) == {"churn", "intent"}
        assert run(again, DeviceSession(again, world, world.trust)).installed == {}


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_goes_back_whatever_the_others_do(
    device: Personalizer, session: DeviceSession, world: World, kind: str
) -> None:
    other = "churn" if kind == "ranking" else "ranking"

    def release(version: int, of: str, seed: int = 0) -> None:
        if of == "ranking":
            world.publish_release(version, created_at_ms=NOW_MS + seed)
        else:
            world.publish_release(
                version, pack_arrays(linear_arrays(of)), kind=of, created_at_ms=NOW_MS + seed
            )

    release(5, kind)
    assert session.pull_release(kind) == 5
    release(3, other)
    assert session.pull_release(other) == 3, "another kind has a count of its own"
    release(4, kind)
    with pytest.raises(RollbackRefused, match="version 5"):
        session.pull_release(kind)
    release(5, kind, seed=1)
    with pytest.raises(RollbackRefused, match="another model"):
        session.pull_release(kind)
    assert device.state().releases == {kind: 5, other: 3}
    release(6, kind)
    assert session.pull_release(kind) == 6
    assert device.state().releases == {kind: 6, other: 3}


@pytest.mark.parametrize(("asked", "answered"), [("churn", "intent"), ("ranking", "churn")])
def test_one_kind_does_not_pass_for_another(
    device: Personalizer, session: DeviceSession, world: World, asked: str, answered: str
) -> None:
    publish(world, 1, answered)
    world.answer_kind = answered
    with pytest.raises(ReleaseRefused, match=f"step 5.*'{asked}'"):
        session.pull_release(asked)
    assert device.state().releases == {}


BAD_MODELS: dict[str, dict[str, Any]] = {
    "no horizon": {"parameter_horizon_days": np.asarray(0.0)},
    "half a day": {"parameter_horizon_days": np.asarray(7.5)},
    "a horizon a feature": {"parameter_horizon_days": np.ones(3)},
    "features of another target": dict(linear_arrays("bandit")),
    "means no feature can have": {"means": np.full((1, len(churn.FEATURES)), 2.0)},
    "negative variance": {"covariance": -np.eye(len(churn.FEATURES))[np.newaxis]},
    "NaN": {"coefficients": np.full((1, len(churn.FEATURES)), np.nan)},
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_a_bad_linear_model_is_refused(
    device: Personalizer, session: DeviceSession, world: World, name: str
) -> None:
    publish(world, 1, "churn", **BAD_MODELS[name])
    with pytest.raises(ReleaseRefused, match="step 9"):
        session.pull_release("churn")
    assert device.state().releases == {}


def test_a_ranking_model_does_not_pass_as_linear_nor_the_reverse(
    session: DeviceSession, world: World
) -> None:
    world.publish_release(1, kind="churn")
    with pytest.raises(ReleaseRefused, match="step 9"):
        session.pull_release("churn")
    world.publish_release(2, pack_arrays(linear_arrays("churn")))
    with pytest.raises(ReleaseRefused, match="step 9"):
        session.pull_release()


def test_a_linear_release_is_verified_like_any_other(session: DeviceSession, world: World) -> None:
    publish(world, 1, "churn")
    digest = next(iter(world.blobs))
    world.blobs[digest] = world.blobs[digest][:-1] + b"x"
    with pytest.raises(ReleaseRefused, match="step 8"):
        session.pull_release("churn")
    world.task_signer = world.other
    publish(world, 2, "churn")
    with pytest.raises(ReleaseRefused, match="step 4"):
        session.pull_release("churn")


def test_forgetting_leaves_no_release_of_any_kind(
    device: Personalizer, session: DeviceSession, world: World, tmp_path: Path
) -> None:
    world.publish_release(1)
    publish(world, 2, "churn")
    run(device, session)
    assert device.state().releases == {"ranking": 1, "churn": 2}
    device.forget(all=True)
    with open_device(tmp_path) as fresh:
        assert (fresh.state().releases, fresh.state().predictions) == ({}, {})


def test_a_store_from_before_there_were_kinds_opens_with_its_release(
    device: Personalizer, session: DeviceSession, world: World, tmp_path: Path
) -> None:
    """Such a store holds one fact, `release`: length, manifest without a kind, model."""
    world.publish_release(7)
    entry = world.released["ranking"]
    assert "kind" not in entry.body
    manifest = canonical_json(entry.body)
    (blob,) = world.blobs.values()
    device.facts.put("release", struct.pack("<I", len(manifest)) + manifest + blob)
    device.close()
    with open_device(tmp_path) as opened:
        assert opened.state().releases == {"ranking": 7}
        assert opened.recommend().model_version == 7
        later = DeviceSession(opened, world, world.trust)
        assert later.pull_release() is None
        world.publish_release(6)
        with pytest.raises(RollbackRefused, match="version 7"):
            later.pull_release()


# --- predicting


def test_predictions_say_what_they_rest_on(
    device: Personalizer, session: DeviceSession, world: World
) -> None:
    publish(world, 1, "churn")
    publish(world, 2, "intent")
    run(device, session)
    told = device.state().predictions
    assert (told["churn"].within_s, told["intent"].within_s) == (7 * 86_400, 600)
    assert (told["churn"].version, told["intent"].version) == (1, 2)
    for kind, prediction in told.items():
        assert 0.0 < prediction.probability < 1.0
        assert prediction.low < prediction.score < prediction.high
        shares = [one.share for one in prediction.features]
        assert prediction.base_rate + sum(shares) == pytest.approx(prediction.score, abs=1e-12)
        assert shares == sorted(shares, key=abs, reverse=True)
        assert {one.feature for one in prediction.features} <= set(TARGETS[kind][0])
    values = {one.feature: one.value for one in told["intent"].features}
    assert values["items viewed in this session"] == 0.0, "4 views, at a scale of 4"
    assert values["searches in this session"] == 0.0, "1 search, at a scale of 1"


def test_withdrawing_consent_takes_the_signal_out_of_the_prediction(
    device: Personalizer, session: DeviceSession, world: World, tmp_path: Path
) -> None:
    publish(world, 1, "intent")
    publish(world, 2, "churn")
    run(device, session)
    before = device.state().predictions["intent"]
    assert "searches in this session" in {one.feature for one in before.features}
    device.consent("decide", ["search"], False)
    after = device.state().predictions
    assert "searches in this session" not in {one.feature for one in after["intent"].features}
    assert after["intent"].score != before.score
    # The same, to the last bit, as on a device that never searched.
    (tmp_path / "never").mkdir()
    with open_device(tmp_path / "never") as never:
        never.enrolled(POPULATION)
        for n in range(4):
            never.track("Product Viewed", {"product_id": f"i{n}"}, ts=NOW_MS - 60_000 * (4 - n))
        run(never, DeviceSession(never, world, world.trust))
        never.consent("decide", ["search"], False)
        assert never.state().predictions == after
    device.consent("decide", None, False)
    assert device.state().predictions == {}


def test_nobody_who_left_or_bought_has_an_intent(
    device: Personalizer, session: DeviceSession, world: World
) -> None:
    publish(world, 1, "intent")
    publish(world, 2, "churn")
    run(device, session)
    later = NOW_MS + 1_800_000 - 30_000
    device.clock_ms = lambda: later - 1
    assert set(device.state().predictions) == {"churn", "intent"}
    device.clock_ms = lambda: later
    assert set(device.state().predictions) == {"churn"}
    device.clock_ms = lambda: NOW_MS + 40 * 86_400_000
    assert device.state().predictions == {}, "gone for longer than four horizons"
    device.clock_ms = lambda: NOW_MS
    device.track("Product Added", {"product_id": "i1"})
    assert set(device.state().predictions) == {"churn"}


def test_an_installed_linear_model_that_this_client_cannot_read_is_not_used(
    device: Personalizer, session: DeviceSession, world: World
) -> None:
    publish(world, 1, "churn")
    run(device, session)
    held = device.releases.get("churn")
    assert held is not None
    broken = type(held)(held.manifest, pack_arrays({"coefficients": np.ones((1, 2))}))
    device.releases.put(broken)
    assert device.state().predictions == {}
    assert device.state().releases == {"churn": 1}


def test_what_noise_drowned_says_so_and_rests_on_nothing(
    device: Personalizer, session: DeviceSession, world: World
) -> None:
    names = churn.FEATURES
    publish(
        world,
        1,
        "churn",
        coefficients=np.array([[0.3] + [0.0] * (len(names) - 1)]),
        drowned=np.ones(1),
    )
    run(device, session)
    told = device.state().predictions["churn"]
    assert told.drowned
    assert told.features == ()
    assert told.score == told.base_rate == 0.3
