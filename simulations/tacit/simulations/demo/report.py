"""What happened, as JSON; every figure is read back from what was stored."""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from tacit.privacy.cosignature import Quorum
from tacit.privacy.task import RoundPlan, TaskManifest
from tacit.privacy.trust import CLAIMS
from tacit.server.coordinator.checkpoint import Checkpoint
from tacit.server.ledger.database import DATABASE_FILE
from tacit.server.ledger.export import export_ledger
from tacit.server.ledger.verify import AccountReport, VerificationReport, verify_export
from tacit.simulations.demo.deployment import ACCOUNT, Deployment
from tacit.simulations.demo.population import DemoPopulation
from tacit.simulations.errors import DemoFailed

CLAIM = CLAIMS["central"]
"""The sentence of trust level `central`; no other may be said of it (SECURITY.md)."""


def build_report(
    deployment: Deployment,
    population: DemoPopulation,
    rounds: Mapping[int, Mapping[str, Any]],
    wall_s: float,
) -> dict[str, Any]:
    """Export the ledger, verify it offline, and put everything together.

    Raises:
        VerificationFailed: if the ledger does not hold together.
        DemoFailed: if the fleet left no report, or the coordinator no task.
    """
    export = deployment.path("ledger-export")
    shutil.rmtree(export, ignore_errors=True)
    export_ledger(deployment.path("ledger", DATABASE_FILE), export)
    verified = verify_export(
        export,
        deployment.keys["ledger"].public_key,
        witnesses=Quorum((deployment.witness,), 1),
    )
    task = Checkpoint(deployment.path("coordinator")).task()
    if task is None:
        raise DemoFailed("coordinator left no task")
    fleet = _fleet_report(deployment.path("fleet", "report.json"))
    dataset = population.dataset
    return {
        "dataset": {
            "name": dataset.name,
            "users": len(population.users),
            "items": dataset.n_items,
            "interactions": int(population.train_counts.sum()),
        },
        "devices": fleet["devices"],
        "rounds": [_round(one, task.round_plan(number)) for number, one in sorted(rounds.items())],
        "privacy": _privacy(task, verified, fleet["exposure"]),
        "quality": fleet["quality"],
        "samples": fleet["samples"],
        "ledger": {**verified.to_json(), "export": str(export)},
        "cost": {**fleet["cost"], "wall_s": round(wall_s, 1)},
        "state": str(deployment.state),
    }


def _fleet_report(path: pathlib.Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise DemoFailed("fleet ended without a report; see logs/fleet.log") from None
    return document


def _round(counts: Mapping[str, Any], plan: RoundPlan) -> dict[str, Any]:
    return {
        **counts,
        "statistic": plan.statistic,
        "noise_multiplier": plan.noise_multiplier,
        "payload_bytes": 2 * plan.length,
    }


def _privacy(
    task: TaskManifest, verified: VerificationReport, exposure: Mapping[str, Any]
) -> dict[str, Any]:
    """State the spend with everything that must stand beside it."""
    account = _account(verified)
    released = verified.releases[-1]
    return {
        "epsilon": account.spent_epsilon,
        "delta": account.target_delta,
        "cap_epsilon": account.cap_epsilon,
        "epsilon_released": account.released_epsilon,
        "epsilon_in_release": released.epsilon,
        "epsilon_on_devices_at_most": exposure["epsilon_at_most"],
        "unit": task.unit,
        "neighboring_relation": task.neighboring_relation,
        "trust": task.trust_level,
        "claim": CLAIM,
        "participation_bound": task.participation_bound,
        "sampling": "none",
        "rounds": len(task.rounds),
        "noise_multiplier": [plan.noise_multiplier for plan in task.rounds],
        "accountant": verified.accountant,
        "excluded": [
            "counts of devices per round are exact and visible to the operator",
            "held-out quality figures are demo evaluation, computed by the fleet process",
        ],
    }


def _account(verified: VerificationReport) -> AccountReport:
    for account in verified.accounts:
        if account.account_id == ACCOUNT:
            return account
    raise DemoFailed(f"the ledger holds no account {ACCOUNT!r}")
