"""`linear/1` through the coordinator's trainer, on the integers that devices send."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from tacit.client.decide.linear import probabilities
from tacit.client.predictions import TargetModel
from tacit.client.statistics import contributions
from tacit.client.statistics.targets import churn
from tacit.privacy.arrays import pack_arrays, unpack_arrays
from tacit.privacy.quantize import check_contribution, dense
from tacit.server.coordinator.learners import LinearLearner, linear_target
from tacit.server.coordinator.noise import decoded
from tacit.server.coordinator.training import CohortSum
from tacit.simulations.engine import integer_round_sum
from tacit.simulations.journeys import generate_journeys
from tacit.simulations.timelines import dataset_histories

PARAMETERS = {"as_of_s": 1_700_000_000.0 + 110 * 86_400, "horizon_days": 7.0, "cutoffs": 12.0}


def test_trains_a_linear_task_to_its_release(world: Any, tmp_path: Path) -> None:
    histories = dataset_histories(generate_journeys(150, seed=5))
    secrets = [os.urandom(32) for _ in range(150)]
    world.config = dataclasses.replace(
        world.config,
        learner="linear",
        target="churn",
        target_parameters=PARAMETERS,
        epsilon=8.0,
        cohort_expected=150,
        cohort_max=150,
    )
    world.learner = LinearLearner(linear_target("churn", PARAMETERS))

    def run(request: Any, timeout_s: float) -> CohortSum:
        """Devices answer one by one; the engine's sum over all of them is the same."""
        (plan,) = world.manifest().rounds
        digest = world.manifest().digest()
        total = np.zeros(plan.length, dtype=np.int64)
        for user, secret in enumerate(secrets):
            vector = dense(
                contributions(
                    histories.slice(user, user + 1),
                    {},
                    plan,
                    task_digest=digest,
                    device_secrets=[secret],
                ),
                0,
            )
            check_contribution(vector, plan.length, plan.integer_norm)
            total += vector
        engine = integer_round_sum(histories, plan, {}, secrets, digest)
        np.testing.assert_array_equal(total, engine)
        world.sums[1] = total
        return CohortSum(total, 150)

    world.run = run
    release = world.train()
    (plan,) = world.plans()
    assert world.manifest().learner == "linear/1"
    assert release.kind == "churn"
    assert world.train() == release, "a restart finds the release by its kind"
    assert plan.parameters == PARAMETERS
    saved = world.checkpoint.noised_sum(plan)
    assert np.any(saved[0] != world.sums[1])
    blob = world.ledger.blobs[release.model_sha256]
    assert blob == pack_arrays(world.learner.model([decoded(saved[0], plan)]))
    assert hashlib.sha256(blob).hexdigest() == release.model_sha256
    held = TargetModel.from_arrays(release.kind, unpack_arrays(blob, len(blob)))
    assert held.parameter == PARAMETERS["horizon_days"]
    model = held.linear
    told = probabilities(model, churn.rows(histories, PARAMETERS).features)
    assert bool(np.all((told > 0.0) & (told < 1.0)))
