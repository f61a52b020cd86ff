"""A device at each trust level: what it answers, what it keeps, what it says it was exposed to."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.client import test_session as servers

from tacit.client import (
    DevicePolicy,
    DeviceSession,
    FileKeyProvider,
    OfferRefused,
    Personalizer,
    PolicyRefused,
)
from tacit.client import session as session_module
from tacit.client.offers import Offer
from tacit.client.participation import Participation
from tacit.client.profile import profile
from tacit.client.terms import NOTICE_TEXTS, terms_for
from tacit.privacy.accounting import GaussianEvent, epsilon_bound, round_up
from tacit.privacy.canonical import canonical_json, parse_canonical
from tacit.privacy.local_noise import check_noised, local_sigma
from tacit.privacy.task import RoundPlan, TaskManifest
from tacit.privacy.trust import LEVELS
from tacit.simulations.engine import integer_round_sum

if TYPE_CHECKING:
    from tests.client.test_session import World

DELTA = 1e-2
Z = 2.0
LOCAL = GaussianEvent(Z, 1, 8192, "local")
ALL = DevicePolicy(trust_levels=LEVELS, max_epsilon=1e3)


@pytest.fixture
def world() -> World:
    return servers.World()


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Personalizer]:
    def make(**options: Any) -> Personalizer:
        device = servers.open_device(tmp_path, **options)
        if device.population is None:
            device.enrolled(servers.POPULATION)
            for n in range(12):
                device.track("Product Viewed", {"product_id": f"i{n}"}, event_id=f"v{n}")
            device.track("Order Completed", {"products": [{"product_id": "i1"}]}, event_id="o")
            device.consent("learn", ["product_view", "purchase"], True)
        return device

    return make


def task(world: World, level: str, **change: Any) -> TaskManifest:
    made = world.manifest(**{k: v for k, v in change.items() if k == "rounds"})
    fields: dict[str, Any] = {"trust_level": level, "task_id": f"task-{level}"}
    if level == "local":
        fields["neighboring_relation"] = "replace"
    if level == "consent-only":
        silent = [dataclasses.replace(plan, noise_multiplier=0.0) for plan in made.rounds]
        fields |= {
            "rounds": tuple(silent),
            "neighboring_relation": "",
            "epsilon": None,
            "target_delta": None,
            "budget_account": "",
        }
    return dataclasses.replace(made, **(fields | change))


def session(device: Personalizer, world: World) -> DeviceSession:
    return DeviceSession(device, world, world.trust)


def answer(device: Personalizer, world: World) -> bytes:
    talk = session(device, world)
    offer = talk.check_in()
    assert offer is not None
    return talk.contribution(offer, world.context)


def contribute(device: Personalizer, world: World, level: str, round_id: int = 1) -> None:
    world.header_change = {"round_id": round_id}
    world.publish_task(task(world, level))
    talk = session(device, world)
    offer = talk.check_in()
    assert offer is not None
    talk.contribute(offer)


# --- one round, two threads


def race(
    device: Personalizer,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    *contexts: bytes,
    one_enters_first: bool = False,
) -> list[bytes | OfferRefused | None]:
    """Answer one round on two threads, neither of which sees the other's entry when it begins.

    Both have computed their vector before either goes on; with `one_enters_first`, the first has
    then returned before the second goes on.
    """
    offers: list[Offer] = []
    for context in contexts:
        world.context = context
        offer = session(device, world).check_in()
        assert offer is not None
        offers.append(offer)
    computed, returned = threading.Barrier(2), threading.Event()
    once = threading.local()

    def meet(real: Any) -> Any:
        def run(*arguments: Any) -> Any:
            made = real(*arguments)
            if not getattr(once, "met", False):
                once.met = True
                computed.wait(30)
                if one_enters_first and threading.current_thread().name == "1":
                    assert returned.wait(30)
            return made

        return run

    name = "noised" if offers[0].manifest.trust_level == "local" else "compute"
    monkeypatch.setattr(session_module, name, meet(getattr(session_module, name)))
    out: list[bytes | OfferRefused | None] = [None, None]

    def go(number: int) -> None:
        try:
            talk = session(device, world)
            out[number] = talk.contribution(offers[number], contexts[number])
        except OfferRefused as error:
            out[number] = error
        if number == 0:
            returned.set()

    threads = [threading.Thread(target=go, args=(n,), name=str(n)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return out


@pytest.mark.parametrize("one_enters_first", [True, False])
def test_two_threads_send_one_draw_of_local_noise(
    world: World,
    opened: Callable[..., Personalizer],
    monkeypatch: pytest.MonkeyPatch,
    one_enters_first: bool,
) -> None:
    with opened() as device:
        world.publish_task(task(world, "local"))
        context = world.context
        first, second = race(
            device, world, monkeypatch, context, context, one_enters_first=one_enters_first
        )
        assert isinstance(first, bytes)
        assert first == second
        assert len(device.participation.entries()) == 1
        # … and it is the one that is kept, for whoever asks again.
        assert answer(device, world) == first


@pytest.mark.parametrize("one_enters_first", [True, False])
def test_two_threads_with_two_contexts_get_one_vector(
    world: World,
    opened: Callable[..., Personalizer],
    monkeypatch: pytest.MonkeyPatch,
    one_enters_first: bool,
) -> None:
    with opened() as device:
        world.publish_task(task(world, "central"))
        out = race(
            device,
            world,
            monkeypatch,
            world.context,
            servers.other_context(),
            one_enters_first=one_enters_first,
        )
        refused = [one for one in out if isinstance(one, OfferRefused)]
        assert len([one for one in out if isinstance(one, bytes)]) == 1
        assert len(refused) == 1
        assert "with another context" in str(refused[0])
        assert len(device.participation.entries()) == 1


# --- what leaves


def test_at_local_noised_32_bit_integers_leave(
    world: World, opened: Callable[..., Personalizer]
) -> None:
    with opened() as device:
        contribute(device, world, "local")
        ((_, values),) = world.contributions
        assert world.noised == [True]
        vector = np.frombuffer(values, "<i4").astype(np.float64)
        plan = world.plan()
        assert vector.shape == (plan.length,)
        check_noised(vector.astype(np.int64), plan)
        # 160 squares of a Gaussian, and a vector of norm L = sigma / 4 beside them.
        ratio = float(np.mean(vector**2)) / local_sigma(plan) ** 2
        assert 0.4 < ratio < 2.0
        assert device.participation.entries()[0].event == LOCAL


@pytest.mark.parametrize("level", ["central", "consent-only"])
def test_at_other_levels_16_bit_integers_leave(
    world: World, opened: Callable[..., Personalizer], level: str
) -> None:
    with opened(policy=ALL) as device:
        contribute(device, world, level)
        ((_, values),) = world.contributions
        assert world.noised == [False]
        vector = np.frombuffer(values, "<i2").astype(np.int64)
        assert 0 < int(np.sum(vector**2)) <= 4096**2


def test_a_consent_only_contribution_is_the_simulators(
    world: World, opened: Callable[..., Personalizer]
) -> None:
    with opened(policy=ALL) as device:
        contribute(device, world, "consent-only")
        ((_, values),) = world.contributions
        made = task(world, "consent-only")
        cohort = profile(
            device.events, device.catalogue, frozenset(servers.SIGNALS), servers.SIGNALS
        )
        total = integer_round_sum(
            cohort,
            made.round_plan(1),
            servers.context_floats(),
            [device.facts.device_secret()],
            made.digest(),
        )
    np.testing.assert_array_equal(np.frombuffer(values, "<i2"), total)
    assert np.any(total)


def test_noise_is_drawn_once_a_round_whatever_happens(
    world: World, opened: Callable[..., Personalizer]
) -> None:
    world.publish_task(task(world, "local"))
    with opened() as device:
        first = answer(device, world)
        device.track("Product Viewed", {"product_id": "i39"})
        assert answer(device, world) == first
    with opened() as device:
        assert answer(device, world) == first
        assert len(device.participation.entries()) == 1
        world.header_change = {"round_id": 2}
        second = answer(device, world)
        assert second != first
        # The first round is over: its bytes are gone, and no others may be drawn.
        world.header_change = {}
        with pytest.raises(OfferRefused, match="draws noise once a round"):
            answer(device, world)


def test_two_devices_with_one_profile_send_different_noise(
    world: World, tmp_path: Path, opened: Callable[..., Personalizer]
) -> None:
    world.publish_task(task(world, "local"))
    with opened() as device:
        first = answer(device, world)
        device.forget(all=True)
    with opened() as device:
        assert answer(device, world) != first


def test_a_withdrawal_in_between_forbids_the_kept_bytes_and_new_ones(
    world: World, opened: Callable[..., Personalizer]
) -> None:
    world.publish_task(task(world, "local"))
    with opened() as device:
        talk = session(device, world)
        offer = talk.check_in()
        assert offer is not None
        talk.contribution(offer, world.context)
        device.consent("learn", ["purchase"], False)
        with pytest.raises(OfferRefused, match="a consent that was withdrawn since"):
            talk.contribution(offer, world.context)


def test_forgetting_erases_the_kept_bytes(
    world: World, tmp_path: Path, opened: Callable[..., Personalizer]
) -> None:
    world.publish_task(task(world, "local"))
    device = opened()
    answer(device, world)
    device.forget(all=True)
    with opened() as again:
        (entry_task,) = {task(world, "local").digest().hex()}
        assert again.participation.answer(entry_task, 1) is None
        assert again.exposure().by_level == {}


@pytest.mark.parametrize("level", LEVELS)
def test_a_kill_as_the_vector_leaves_finds_the_round_in_the_account(
    world: World, tmp_path: Path, level: str
) -> None:
    world.publish_task(task(world, level))
    with servers.open_device(tmp_path, policy=ALL) as device:
        device.enrolled(servers.POPULATION)
        device.track("Product Viewed", {"product_id": "i1"}, event_id="v")
        device.consent("learn", ["product_view"], True)
        assert session(device, world).check_in() is not None
    # A real process with this very ledger, killed as the vector is on its way out.
    child = os.fork()
    if child == 0:
        try:
            dying = servers.open_device(tmp_path, policy=ALL)
            talk = session(dying, world)
            world.contribute = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
            offer = talk.check_in()
            assert offer is not None
            talk.contribute(offer)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    with servers.open_device(tmp_path, policy=ALL) as device:
        (entry,) = device.participation.entries()
        assert (entry.trust_level, entry.task_id) == (level, f"task-{level}")
        assert device.exposure().by_level[level].rounds == 1
        assert answer(device, world) == answer(device, world)
        assert len(device.participation.entries()) == 1


# --- what is refused


def test_by_default_a_device_refuses_to_go_without_noise(
    world: World, opened: Callable[..., Personalizer]
) -> None:
    assert DevicePolicy().trust_levels == ("central", "local")
    world.publish_task(task(world, "consent-only"))
    with opened() as device:
        line = "expected trust level central or local, got consent-only"
        with pytest.raises(PolicyRefused, match=line):
            session(device, world).check_in()
        assert device.participation.entries() == []


def test_an_app_may_accept_one_level_alone(
    world: World, opened: Callable[..., Personalizer]
) -> None:
    world.publish_task(task(world, "central"))
    line = "expected trust level local, got central"
    device = opened(policy=DevicePolicy(trust_levels=("local",)))
    with device, pytest.raises(PolicyRefused, match=line):
        session(device, world).check_in()


def test_an_unknown_level_is_refused(world: World, opened: Callable[..., Personalizer]) -> None:
    world.publish_task(task(world, "central", trust_level="secure"))
    device = opened(policy=DevicePolicy(trust_levels=("secure",)))
    line = "trust_level: expected one of consent-only"
    with device, pytest.raises(OfferRefused, match=line):
        session(device, world).check_in()


def test_the_device_reckons_a_local_task_at_twice_the_norm(
    world: World, opened: Callable[..., Personalizer]
) -> None:
    cost = epsilon_bound([dataclasses.replace(LOCAL, count=2)], 1e-3)
    with opened(policy=ALL) as device:
        world.publish_task(task(world, "local", epsilon=0.99 * cost))
        with pytest.raises(OfferRefused, match="step 9"):
            session(device, world).check_in()
        world.publish_task(task(world, "local", epsilon=1.01 * cost, task_id="enough"))
        assert session(device, world).check_in() is not None


def test_the_caps_hold_over_levels_together(
    world: World, opened: Callable[..., Personalizer]
) -> None:
    rounds = (RoundPlan(1, "subspace/1", 160, 0.5, 4096, Z, {}),)
    both = epsilon_bound([LOCAL, GaussianEvent(Z)], DELTA)
    for cap, accepted in ((0.99 * both, False), (1.01 * both, True)):
        with opened(policy=DevicePolicy(max_epsilon=cap)) as device:
            world.header_change = {}
            world.publish_task(task(world, "local", rounds=rounds, participation_bound=1))
            if not accepted:
                world_task = session(device, world)
                offer = world_task.check_in()
                assert offer is not None
                world_task.contribute(offer)
            world.publish_task(task(world, "central", rounds=rounds, participation_bound=1))
            if accepted:
                assert session(device, world).check_in() is not None
            else:
                with pytest.raises(PolicyRefused, match="over this device's life"):
                    session(device, world).check_in()


# --- the account


def test_the_account_by_level_purpose_and_task(
    world: World, opened: Callable[..., Personalizer]
) -> None:
    with opened(policy=ALL) as device:
        for level, round_id in (("central", 1), ("local", 1), ("local", 2)):
            contribute(device, world, level, round_id)
        exposure = device.exposure()
        assert {level: line.rounds for level, line in exposure.by_level.items()} == {
            "central": 1,
            "local": 2,
        }

        def figure(*events: GaussianEvent) -> float:
            return round_up(epsilon_bound(events, DELTA))

        claims = {level: line.claim for level, line in exposure.by_level.items()}
        central, local = claims["central"], claims["local"]
        assert central is not None
        assert local is not None
        assert central.epsilon == figure(GaussianEvent(Z))
        assert local.epsilon == figure(LOCAL, LOCAL)
        assert local.neighboring_relation == "replace"
        assert exposure.together is not None
        assert exposure.together.claim is not None
        assert exposure.epsilon == figure(GaussianEvent(Z), LOCAL, LOCAL)
        assert exposure.together.claim.neighboring_relation == "zero_out"
        assert set(exposure.by_purpose) == {"learn"}
        assert sorted(name.split("@")[0] for name in exposure.by_task) == [
            "task-central",
            "task-local",
        ]
        assert device.state().epsilon == exposure.epsilon
        assert device.state().exposure == exposure


def test_a_round_without_noise_has_no_figure_and_voids_the_whole(
    world: World, opened: Callable[..., Personalizer]
) -> None:
    with opened(policy=ALL) as device:
        contribute(device, world, "consent-only")
        exposure = device.exposure()
        assert exposure.epsilon is None
        text = json.dumps(exposure.to_json(), ensure_ascii=False)
        for word in ("epsilon", "delta", "ε", "DP", "accountant"):
            assert word not in text
        assert "Raw profiles do not leave the device." in text
        contribute(device, world, "central")
        assert device.exposure().epsilon is None
        assert device.exposure().by_level["central"].claim is not None


def test_no_clock_and_no_server_resets_it(
    world: World, tmp_path: Path, opened: Callable[..., Personalizer]
) -> None:
    with opened(policy=ALL) as device:
        contribute(device, world, "local")
        before = device.exposure()
    ten_years_ms = 10 * 365 * 86_400_000
    for shift_ms in (ten_years_ms, -ten_years_ms):
        device = Personalizer.open(
            tmp_path / "device.db",
            FileKeyProvider(tmp_path / "device.key"),
            servers.shop_catalogue(),
            policy=ALL,
            clock_ms=lambda shift_ms=shift_ms: servers.NOW_MS + shift_ms,  # type: ignore[misc]
        )
        with device:
            assert device.exposure() == before
            world.publish_task(task(world, "local", task_id=f"later{shift_ms}"))
            with pytest.raises(OfferRefused):
                session(device, world).check_in()
    # A new account knows nothing of what the device remembers.
    with opened(policy=DevicePolicy(max_epsilon=before.epsilon or 0.0)) as device:
        world.publish_task(task(world, "local", task_id="refreshed", budget_account="new"))
        with pytest.raises(PolicyRefused, match="over this device's life"):
            session(device, world).check_in()


def test_an_entry_from_before_levels_were_kept_still_counts() -> None:
    entry = Participation("0" * 64, 1, "1" * 64, Z, ("purchase",), 3, 9)
    document = parse_canonical(entry.to_bytes())
    for name in ("trust_level", "sensitivity", "purpose", "task_id"):
        del document[name]
    old = Participation.from_bytes(canonical_json(document))
    assert old == entry
    assert old.event == GaussianEvent(Z)


def test_each_level_has_a_notice_that_is_true_of_it() -> None:
    assert set(NOTICE_TEXTS) == set(LEVELS)
    assert "noise is added to the sum" in terms_for("central").notice_text
    assert "adds noise to the vector before it leaves" in terms_for("local").notice_text
    assert "noise" not in terms_for("consent-only").notice_text
    assert len({terms_for(level).notice_id for level in LEVELS}) == 3
