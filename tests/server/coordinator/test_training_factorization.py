"""The trainer runs `factorization/1` from task to release, devices' integers and all."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from tacit.client.decide import FactorModel, read_model
from tacit.client.statistics import build_profiles, contributions
from tacit.privacy.arrays import unpack_arrays
from tacit.privacy.canonical import parse_canonical
from tacit.privacy.quantize import integer_sum
from tacit.privacy.task import RoundHeader
from tacit.server.coordinator.learners import FactorizationLearner
from tacit.server.coordinator.training import CohortSum

DEVICES, ITEMS = 400, 40


def test_trains_and_releases_item_factors(new_world: Any, tmp_path: Path) -> None:
    world: Any = new_world()
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 2, DEVICES)
    likely = np.where((np.arange(ITEMS) % 2)[None, :] == groups[:, None], 0.5, 0.05)
    users, items = np.nonzero(rng.random((DEVICES, ITEMS)) < likely)
    profiles = build_profiles(users, items, np.ones(len(users)), n_users=DEVICES, n_items=ITEMS)
    features = (np.arange(ITEMS) % 2)[:, None] == np.arange(2)
    learner = FactorizationLearner(ITEMS, DEVICES, 8.0, features=features.astype(np.float64))
    world.learner = learner
    world.config = dataclasses.replace(
        world.config,
        learner="factorization",
        epsilon=8.0,
        n_items=ITEMS,
        cohort_expected=DEVICES,
        cohort_max=DEVICES,
    )
    seen: list[str] = []

    def gateways(request: Any, timeout_s: float) -> CohortSum:
        header = RoundHeader.from_json(parse_canonical(request.round_header))
        plan = world.manifest().round_plan(header.round_id)
        seen.append(plan.statistic)
        context: Any = unpack_arrays(request.context, 10**7)
        blocks = contributions(
            profiles,
            context,
            plan,
            task_digest=bytes.fromhex(header.task_sha256),
            device_secrets=[bytes([n % 256, n // 256]) * 16 for n in range(DEVICES)],
        )
        return CohortSum(values=integer_sum(blocks), contributions=DEVICES)

    world.run = gateways
    release = world.train()
    assert seen == ["popularity/1", "feature_gram/1", *["factorization/1"] * (len(seen) - 2)]
    assert len(seen) >= 3
    assert world.manifest().learner == "factorization/1"
    assert release.epsilon <= 8.0
    model = read_model(unpack_arrays(world.ledger.blobs[release.model_sha256], 10**7))
    assert isinstance(model, FactorModel)
    factors = model.item_factors[:, 1:]
    same = factors[0::2] @ factors[0::2].T
    other = factors[0::2] @ factors[1::2].T
    assert same.mean() > 0 > other.mean()  # the two tastes are told apart
