"""Task manifests: what no coordinator may ask, whoever signs it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tacit.privacy.errors import BadDocument
from tacit.privacy.task import RoundPlan, TaskManifest


def manifest(**change: Any) -> TaskManifest:
    plan = RoundPlan(1, "popularity/1", 10, 1.0, 4096, 8.0, {})
    task = TaskManifest(
        task_id="task-1",
        population="shop",
        purpose="learn",
        learner="spectral/1",
        signals={"rating": 1.0},
        rounds=(plan,),
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
        base_release=0,
    )
    return dataclasses.replace(task, **change)


@pytest.mark.parametrize("purpose", ["learn", "measure"])
def test_a_manifest_survives_its_own_document(purpose: str) -> None:
    task = manifest(purpose=purpose)
    assert TaskManifest.from_json(task.to_json()) == task


@pytest.mark.parametrize(
    ("change", "named"),
    [
        # `decide` may rest on implied consent, so nothing may ever leave a device under it.
        ({"purpose": "decide"}, "purpose"),
        ({"purpose": "advertise"}, "purpose"),
        ({"trust_level": "consent-only"}, "trust level 'consent-only'"),
        ({"trust_level": "local"}, "trust level 'local'"),
        ({"trust_level": "magic"}, "trust_level"),
        ({"epsilon": None}, "expected epsilon"),
        ({"target_delta": None}, "expected epsilon"),
        ({"budget_account": ""}, "budget_account"),
        ({"unit": "event"}, "unit"),
        ({"neighboring_relation": "replace"}, "neighboring_relation"),
        ({"cohort_min": 51}, "cohort_min"),
        ({"cohort_expected": 101}, "cohort_expected"),
        ({"participation_bound": 0}, "participation_bound"),
        # Below 1 / cohort_expected, not below one over all who may take part.
        ({"target_delta": 0.015}, "cohort_max"),
        ({"signals": {}}, "signals"),
        ({"rounds": ()}, "rounds"),
        ({"expires_at_ms": 1}, "expires_at_ms"),
    ],
)
def test_a_manifest_that_would_hollow_out_the_claim_is_refused(
    change: dict[str, Any], named: str
) -> None:
    task = manifest(**change)
    with pytest.raises(BadDocument, match=named):
        task.check()
    with pytest.raises(BadDocument):
        TaskManifest.from_json(task.to_json())
