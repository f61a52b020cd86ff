"""Whole demos at trust levels `local` and `consent-only`, with every real process."""

from __future__ import annotations

import json
import pathlib
import re
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
from tests.journeys.test_equivalence import contributors, vectorised_sum

from tacit.privacy.local_noise import local_sigma
from tacit.server.coordinator.checkpoint import Checkpoint

if TYPE_CHECKING:
    from tests.journeys.conftest import FinishedDemo

    from tacit.privacy.task import RoundPlan, TaskManifest

pytestmark = pytest.mark.long

FORBIDDEN = ("epsilon", "delta", "ε", "differential", "accountant")
DP = re.compile(r"(?<![A-Za-z0-9+/])DP(?![A-Za-z0-9+/])")
"""The word, and not two letters of a Base64 key."""


def planned(demo: FinishedDemo) -> TaskManifest:
    task = Checkpoint(demo.state / "coordinator").task()
    assert task is not None
    return task


def arrived(demo: FinishedDemo, plan: RoundPlan) -> npt.NDArray[np.int64]:
    total: npt.NDArray[np.int64] = np.load(
        demo.state / "coordinator" / f"raw-sum-{plan.round_id}.npy"
    )
    return total


def test_consent_only_sums_are_the_engines_bit_for_bit(consent_only_demo: FinishedDemo) -> None:
    task = planned(consent_only_demo)
    checkpoint = Checkpoint(consent_only_demo.state / "coordinator")
    for plan in task.rounds:
        total = arrived(consent_only_demo, plan)
        secrets = contributors(consent_only_demo, plan)
        assert np.array_equal(vectorised_sum(consent_only_demo, task, plan, secrets), total)
        saved = checkpoint.noised_sum(plan)
        assert saved is not None
        assert np.array_equal(saved[0], total), "nothing is added at this level"


def test_consent_only_says_its_sentence_and_shows_no_figure(
    consent_only_demo: FinishedDemo,
) -> None:
    text = json.dumps(consent_only_demo.report, ensure_ascii=False)
    assert "Raw profiles do not leave the device." in text
    export = pathlib.Path(consent_only_demo.report["ledger"]["export"])
    files = [path for path in export.rglob("*") if path.is_file()]
    everything = text + "".join(path.read_text("latin-1") for path in files if "tile" in str(path))
    assert not [word for word in ("epsilon", "noise_multiplier") if word in everything]
    assert not [word for word in FORBIDDEN if word in text]
    assert not DP.search(text)


def test_local_sums_hold_the_noise_of_every_device(local_demo: FinishedDemo) -> None:
    task = planned(local_demo)
    checkpoint = Checkpoint(local_demo.state / "coordinator")
    counts = {one["round_id"]: one["contributed"] for one in local_demo.report["rounds"]}
    for plan in task.rounds:
        total = arrived(local_demo, plan)
        secrets = contributors(local_demo, plan)
        noise = (total - vectorised_sum(local_demo, task, plan, secrets)).astype(np.float64)
        scale = local_sigma(plan) * np.sqrt(counts[plan.round_id])
        # Six times the deviation of the mean of n squares: once in 10^8 runs.
        assert abs(np.mean(noise**2) / scale**2 - 1.0) < 6 * np.sqrt(2 / plan.length)
        saved = checkpoint.noised_sum(plan)
        assert saved is not None
        assert np.array_equal(saved[0], total), "the server adds nothing"
        assert checkpoint.contributions(plan) == counts[plan.round_id]


def test_local_figures_agree_and_name_their_level(local_demo: FinishedDemo) -> None:
    privacy = local_demo.report["privacy"]
    assert privacy["epsilon"] == privacy["epsilon_in_release"] <= privacy["cap_epsilon"]
    assert privacy["epsilon_on_devices_at_most"] == privacy["epsilon"]
    assert (privacy["trust"], privacy["neighboring_relation"]) == ("local", "replace")
    assert privacy["claim"] == "(ε₀,δ) against everyone."
