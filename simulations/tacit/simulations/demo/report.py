"""What happened, as JSON; every figure is read back from what was stored."""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any, cast

from tacit.privacy.cosignature import Quorum
from tacit.privacy.task import RoundPlan, TaskManifest
from tacit.privacy.trust import CLAIMS, CONSENT_ONLY
from tacit.server.coordinator.checkpoint import Checkpoint
from tacit.server.ledger.database import DATABASE_FILE
from tacit.server.ledger.export import export_ledger
from tacit.server.ledger.verification_report import AccountReport, VerificationReport
from tacit.server.ledger.verify import verify_export
from tacit.simulations.demo.configurations import QUIET_S
from tacit.simulations.demo.deployment import ACCOUNT, Deployment
from tacit.simulations.demo.population import DemoPopulation
from tacit.simulations.engine import bytes_per_value
from tacit.simulations.errors import DemoFailed


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
        "rounds": [
            _round(one, task.round_plan(number), task.trust_level)
            for number, one in sorted(rounds.items())
        ],
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


def _round(counts: Mapping[str, Any], plan: RoundPlan, trust_level: str) -> dict[str, Any]:
    document = {
        **counts,
        "statistic": plan.statistic,
        "payload_bytes": bytes_per_value(trust_level) * plan.length,
    }
    if plan.noise_multiplier:
        document["noise_multiplier"] = plan.noise_multiplier
    return document


def _privacy(
    task: TaskManifest, verified: VerificationReport, exposure: Mapping[str, Any]
) -> dict[str, Any]:
    """State the spend with everything that must stand beside it; no figure where there is none."""
    evaluation = "held-out quality figures are demo evaluation, computed by the fleet process"
    if task.trust_level == CONSENT_ONLY:
        return {
            "trust": task.trust_level,
            "claim": CLAIMS[task.trust_level],
            "rounds": len(task.rounds),
            "devices": exposure,
            "excluded": [evaluation],
        }
    quiet = (
        f"a round closes when nothing came for {QUIET_S:g} s, so the claim assumes that no "
        "device's arrival decides on another's; a deployment waits for the end of a round instead"
    )
    account = _account(verified)
    released = verified.releases[-1]
    excluded = cast(list[str], account.context["exclusions"])
    return {
        **account.context,
        "epsilon": account.spent_epsilon,
        "delta": account.target_delta,
        "cap_epsilon": account.cap_epsilon,
        "epsilon_released": account.released_epsilon,
        "epsilon_in_release": released.epsilon,
        "epsilon_on_devices_at_most": exposure.get("together", {}).get("epsilon", 0.0),
        "devices": exposure,
        "trust": task.trust_level,
        "participation_bound": task.participation_bound,
        "rounds": len(task.rounds),
        "noise_multiplier": [plan.noise_multiplier for plan in task.rounds],
        "accountant": verified.accountant,
        "excluded": [*excluded, quiet, evaluation],
    }


def _account(verified: VerificationReport) -> AccountReport:
    for account in verified.accounts:
        if account.account_id == ACCOUNT:
            return account
    raise DemoFailed(f"the ledger holds no account {ACCOUNT!r}")
