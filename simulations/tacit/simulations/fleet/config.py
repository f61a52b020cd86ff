"""What a fleet process is told: where the servers are, whom to trust, whose devices to host."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from dataclasses import dataclass
from typing import Any

from tacit.client import ConsentTerms, DevicePolicy, Endpoints, TrustRoots
from tacit.client.retention import DEFAULT_RETENTION_DAYS
from tacit.client.terms import terms_for
from tacit.privacy.cosignature import Quorum, Witness
from tacit.simulations.demo.options import DemoOptions
from tacit.simulations.errors import BadExperiment

_WHOLE_DATA_SETS_DAYS = 36_500


@dataclass(frozen=True, slots=True)
class FleetConfig:
    """Configuration of a fleet process, one JSON file.

    Attributes:
        directory: where the devices' stores, their keys and the report go.
        options: decides the population, hence every device's events and role.
        target_delta: δ at which devices account for their own exposure.
        gateway, ledger: host:port.
        authority: PEM file of the authority that vouches for both.
        origin: name of the deployment on the ledger's checkpoints.
        ledger_key, coordinator_key: public keys, hexadecimal.
        witnesses: verifier keys of the witnesses, all of whom must have cosigned a checkpoint.
        tokens: file with one-time enrolment tokens, a JSON list.
        workers: threads.
    """

    directory: str
    options: DemoOptions
    target_delta: float
    gateway: str
    ledger: str
    authority: str
    origin: str
    ledger_key: str
    coordinator_key: str
    witnesses: list[str]
    tokens: str
    workers: int = 4

    def to_json(self) -> dict[str, Any]:
        """Return the document that `load` reads."""
        return dataclasses.asdict(self)

    @classmethod
    def load(cls, path: pathlib.Path) -> FleetConfig:
        """Read a configuration file.

        Raises:
            BadExperiment: if it is no such file.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            document["options"] = DemoOptions(**document["options"])
            return cls(**document)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BadExperiment(f"fleet configuration {path}: {error}") from None

    def endpoints(self) -> Endpoints:
        """Return where the servers are."""
        return Endpoints(
            gateway=self.gateway,
            ledger=self.ledger,
            ca_pem=pathlib.Path(self.authority).read_bytes(),
        )

    def trust(self) -> TrustRoots:
        """Return what devices pin."""
        return TrustRoots(
            governance_origin=f"{self.origin}/governance",
            consent_origin=f"{self.origin}/consent",
            ledger_key=bytes.fromhex(self.ledger_key),
            coordinator_key=bytes.fromhex(self.coordinator_key),
            witnesses=Quorum(
                tuple(Witness.parse(one) for one in self.witnesses), len(self.witnesses)
            ),
        )

    def policy(self) -> DevicePolicy:
        """Return the devices' own limits: this demo's trust level alone, and no more than its ε."""
        return DevicePolicy(
            max_epsilon=self.options.epsilon,
            max_delta=self.target_delta,
            trust_levels=(self.options.trust_level,),
            # Data sets span years; what a device of the demo forgot the simulator would still hold.
            retention_days=dict.fromkeys(DEFAULT_RETENTION_DAYS, _WHOLE_DATA_SETS_DAYS),
        )

    def terms(self) -> ConsentTerms:
        """Return what users are told: a notice that is true of the trust level."""
        return terms_for(self.options.trust_level)
