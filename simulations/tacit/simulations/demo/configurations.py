"""The configuration of each process of a demo, as documents for `Deployment.write_config`."""

from __future__ import annotations

from tacit.privacy.arrays import pack_arrays
from tacit.privacy.signed_note import verifier_key
from tacit.privacy.trust import CONSENT_ONLY
from tacit.server.ledger.log import CONSENT, GOVERNANCE
from tacit.simulations.demo.deployment import ACCOUNT, OFFICERS, POPULATION, Deployment
from tacit.simulations.demo.options import DemoOptions
from tacit.simulations.demo.population import DemoPopulation
from tacit.simulations.fleet.config import FleetConfig

ORIGIN = "tacit.demo"
QUIET_S = 3.0


def ledger_config(deployment: Deployment) -> dict[str, object]:
    """Configure the ledger node: who may write, the officers, and its witness."""
    return {
        "state_dir": str(deployment.path("ledger")),
        "address": deployment.address("ledger"),
        "tls_certificate": str(deployment.path("tls", "server.pem")),
        "tls_key": str(deployment.path("tls", "server.key")),
        "signing_key": str(deployment.key_file("ledger")),
        "origin": ORIGIN,
        "principals": [
            {"name": role, "role": role, "public_key": deployment.keys[role].public_key.hex()}
            for role in ("operator", "gateway", "coordinator", "auditor")
        ]
        + [
            {"name": name, "role": "officer", "public_key": deployment.keys[name].public_key.hex()}
            for name in OFFICERS
        ],
        "witnesses": [
            {
                "key": deployment.witness.verifier_key,
                "url": f"https://{deployment.address('witness')}",
                "ca": str(deployment.path("tls", "authority.pem")),
            }
        ],
    }


def witness_config(deployment: Deployment) -> dict[str, object]:
    """Configure the witness, which knows the ledger's key and nothing else."""
    ledger_key = deployment.keys["ledger"].public_key
    return {
        "name": deployment.witness.name,
        "address": deployment.address("witness"),
        "state_file": str(deployment.path("witness", "witness.sqlite")),
        "signing_key": str(deployment.key_file("witness")),
        "logs": [verifier_key(f"{ORIGIN}/{log}", ledger_key) for log in (GOVERNANCE, CONSENT)],
        "tls_certificate": str(deployment.path("tls", "server.pem")),
        "tls_key": str(deployment.path("tls", "server.key")),
    }


def gateway_config(deployment: Deployment) -> dict[str, object]:
    """Configure the gateway."""
    return {
        "population": POPULATION,
        "address": deployment.address("gateway"),
        "bridge_socket": str(deployment.bridge_socket),
        "tls_certificate": str(deployment.path("tls", "server.pem")),
        "tls_key": str(deployment.path("tls", "server.key")),
        "ledger_address": deployment.address("ledger"),
        "ledger_ca": str(deployment.path("tls", "authority.pem")),
        "signing_key": str(deployment.key_file("gateway")),
        "coordinator_key": deployment.keys["coordinator"].public_key.hex(),
        # Some of the demo's devices drop out; nobody wants to wait for the end of each round. The
        # fleet's arrivals do not depend on one another, and the report says what that assumes.
        "quiet_s": QUIET_S,
    }


def fleet_config(
    deployment: Deployment, options: DemoOptions, target_delta: float
) -> dict[str, object]:
    """Configure the fleet: whom its devices trust, and who they are."""
    return FleetConfig(
        directory=str(deployment.path("fleet")),
        options=options,
        target_delta=target_delta,
        gateway=deployment.address("gateway"),
        ledger=deployment.address("ledger"),
        authority=str(deployment.path("tls", "authority.pem")),
        origin=ORIGIN,
        ledger_key=deployment.keys["ledger"].public_key.hex(),
        coordinator_key=deployment.keys["coordinator"].public_key.hex(),
        witnesses=[deployment.witness.verifier_key],
        tokens=str(deployment.path("fleet", "tokens.json")),
    ).to_json()


def coordinator_config(
    deployment: Deployment, options: DemoOptions, population: DemoPopulation, target_delta: float
) -> dict[str, object]:
    """Configure the coordinator from public facts; writes the public item features beside it."""
    dataset, devices = population.dataset, len(population.users)
    features = ""
    if dataset.features is not None:
        path = deployment.path("coordinator", "features.npz")
        path.write_bytes(pack_arrays({"features": dataset.features}))
        features = str(path)
    paid: dict[str, object] = {"budget_account": ""}
    if options.trust_level != CONSENT_ONLY:
        paid = {
            "budget_account": ACCOUNT,
            "epsilon": options.epsilon,
            "target_delta": target_delta,
        }
    return {
        **paid,
        "trust_level": options.trust_level,
        "state_dir": str(deployment.path("coordinator")),
        "ledger_address": deployment.address("ledger"),
        "ledger_ca": str(deployment.path("tls", "authority.pem")),
        "signing_key": str(deployment.key_file("coordinator")),
        "task_id": "demo-1",
        "population": POPULATION,
        "learner": options.learner,
        "signals": population.task_signals(),
        "n_items": dataset.n_items,
        "catalogue_sha256": population.catalogue.digest.hex(),
        "features": features,
        "cohort_expected": devices,
        "cohort_min": devices // 2,
        "cohort_max": devices,
        "rounds": options.rounds,
    }
