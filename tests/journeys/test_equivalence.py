"""The same cohort, vectorised and through devices, gRPC, gateway and Flower: equal integer sums.

Everything later rests on this: a simulated result is a result about the real code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tacit.client import FileKeyProvider, Personalizer
from tacit.client.statistics import SIGNAL_WEIGHTS, Profiles, build_profiles, signal_weights
from tacit.privacy.arrays import unpack_arrays
from tacit.privacy.task import RoundPlan, TaskManifest
from tacit.server.coordinator.checkpoint import Checkpoint
from tacit.simulations.engine import integer_round_sum

if TYPE_CHECKING:
    from tests.journeys.conftest import FinishedDemo


def contributors(demo: FinishedDemo, plan: RoundPlan) -> dict[int, bytes]:
    """Device number → rounding secret, for devices whose own account lists the round."""
    found: dict[int, bytes] = {}
    for number in range(len(demo.population.users)):
        home = demo.state / "fleet" / "devices" / f"{number:05d}" / "profile.db"
        key = FileKeyProvider(demo.state / "fleet" / "keys" / f"{number:05d}.key")
        with Personalizer.open(home, key, demo.population.catalogue) as device:
            entries = device.participation.entries()
            if any(entry.round_id == plan.round_id for entry in entries):
                found[number] = device.facts.device_secret()
    return found


def cohort_profiles(demo: FinishedDemo, numbers: list[int]) -> Profiles:
    """Profiles of these devices as the simulator would build them, from the data set."""
    users: list[npt.NDArray[np.int64]] = []
    items: list[npt.NDArray[np.int64]] = []
    weights: list[npt.NDArray[np.float64]] = []
    for row, number in enumerate(numbers):
        events = demo.population.events(number)
        granted = demo.population.roles[number].learn_signals
        kept = np.array([signal in granted for signal in events.signals])
        weight = signal_weights(events.signals, SIGNAL_WEIGHTS)
        users.append(np.full(int(kept.sum()), row, dtype=np.int64))
        items.append(events.items[kept])
        weights.append(np.asarray(weight, dtype=np.float64)[kept])
    return build_profiles(
        np.concatenate(users),
        np.concatenate(items),
        np.concatenate(weights),
        n_users=len(numbers),
        n_items=len(demo.population.catalogue.items),
    )


def vectorised_sum(
    demo: FinishedDemo, task: TaskManifest, plan: RoundPlan, secrets: dict[int, bytes]
) -> npt.NDArray[np.int64]:
    blob = (demo.state / "coordinator" / f"context-{plan.round_id}.npz").read_bytes()
    context = {
        name: array.astype(np.float32) for name, array in unpack_arrays(blob, 1 << 30).items()
    }
    numbers = sorted(secrets)
    return integer_round_sum(
        cohort_profiles(demo, numbers),
        plan,
        context,
        [secrets[number] for number in numbers],
        task.digest(),
    )


def test_vectorised_and_federated_sums_are_bit_identical(finished_demo: FinishedDemo) -> None:
    task = Checkpoint(finished_demo.state / "coordinator").task()
    assert task is not None
    counts = {one["round_id"]: one["contributed"] for one in finished_demo.report["rounds"]}
    assert len(task.rounds) >= 3
    for plan in task.rounds:
        secrets = contributors(finished_demo, plan)
        assert len(secrets) == counts[plan.round_id]
        federated = np.load(finished_demo.state / "coordinator" / f"raw-sum-{plan.round_id}.npy")
        assert np.array_equal(vectorised_sum(finished_demo, task, plan, secrets), federated)
        # The comparison can fail: one device fewer gives another sum.
        del secrets[min(secrets)]
        assert not np.array_equal(vectorised_sum(finished_demo, task, plan, secrets), federated)


def test_released_sums_differ_from_raw_sums_by_noise_of_the_stated_scale(
    finished_demo: FinishedDemo,
) -> None:
    checkpoint = Checkpoint(finished_demo.state / "coordinator")
    task = checkpoint.task()
    assert task is not None
    for plan in task.rounds:
        raw: npt.NDArray[np.int64] = np.load(
            finished_demo.state / "coordinator" / f"raw-sum-{plan.round_id}.npy"
        )
        saved = checkpoint.noised_sum(plan)
        assert saved is not None
        noise = np.subtract(saved[0], raw, dtype=np.float64)
        scale = plan.noise_multiplier * plan.integer_norm
        # Mean of n squares of a Gaussian: relative deviation sqrt(2/n); 6 of those fail by chance
        # less than once in 10^8 runs.
        assert abs(np.mean(noise**2) / scale**2 - 1.0) < 6 * np.sqrt(2 / plan.length)
