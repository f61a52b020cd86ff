"""The coordinator's configuration: one JSON file, unknown keys refused."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from tacit.privacy.trust import CENTRAL, CONSENT_ONLY, LEVELS
from tacit.server.config_file import load_config
from tacit.server.errors import BadConfig

LEARNERS = ("spectral", "factorization", "popularity", "linear")
"""Learners a task may name; `coordinator.flower.learner_of` builds them."""

_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "Mapping[str, float]": (dict,),
}


@dataclass(frozen=True, slots=True)
class CoordinatorConfig:
    """What one training task is to be, and where its parties are.

    Attributes:
        state_dir: directory of the checkpoint.
        ledger_address, ledger_ca: where the ledger listens, and the CA that vouches for it.
        signing_key: file with the coordinator's 32 private bytes in hexadecimal.
        task_id: unique name of the task.
        population: the devices to ask.
        budget_account: who pays; at `consent-only` the population's account, or empty for none.
        learner: one of `LEARNERS`.
        signals: signal → weight.
        n_items: items in the catalogue.
        catalogue_sha256: hex digest of the catalogue.
        features: file with public item features (array blob, `features`, shape (n_items, f)), or
            empty for none.
        cohort_expected, cohort_min, cohort_max: public cohort sizes.
        trust_level: `central`, `local` or `consent-only`; the ladder is in SECURITY.md.
        epsilon: ε of the whole task, > 0; left out at `consent-only`, which has none.
        target_delta: δ, in (0, 1 / cohort_expected); left out at `consent-only`.
        rounds: number of rounds, or 0 for the learner's own rule.
        base_release: version of this population's release to start from, or 0 for none; only
            `spectral` starts from one. It has been paid for, so it costs nothing.
        retrains: hex digest of the retraining that this task carries out (`tacit ledger retrain`);
            empty for any other task. `base_release` is then the one it announces.
        target: what `linear` predicts, `churn`, `intent` or `bandit`; empty for other learners.
        target_parameters: the target's public parameters, all of them; empty for other learners.
        task_ttl_s: how long the task is valid.
        round_timeout_s: how long a round may take before the coordinator gives it up.
        round_attempts: how often a failed round is tried again.
    """

    state_dir: str
    ledger_address: str
    ledger_ca: str
    signing_key: str
    task_id: str
    population: str
    budget_account: str
    learner: str
    signals: Mapping[str, float]
    n_items: int
    catalogue_sha256: str
    features: str
    cohort_expected: int
    cohort_min: int
    cohort_max: int
    trust_level: str = CENTRAL
    epsilon: float = 0.0
    target_delta: float = 0.0
    rounds: int = 0
    base_release: int = 0
    retrains: str = ""
    target: str = ""
    target_parameters: Mapping[str, float] = field(default_factory=dict[str, float])
    task_ttl_s: float = 86_400.0
    round_timeout_s: float = 180.0
    round_attempts: int = 3

    def __post_init__(self) -> None:
        for key in dataclasses.fields(self):
            value, kinds = getattr(self, key.name), _KINDS[cast(str, key.type)]
            if isinstance(value, bool) or not isinstance(value, kinds):
                raise BadConfig(
                    f"coordinator: {key.name}: expected {key.type}, got {type(value).__name__}"
                )
        if self.trust_level not in LEVELS:
            raise BadConfig(
                f"coordinator: trust_level: expected one of {', '.join(LEVELS)}, got "
                f"{self.trust_level!r}"
            )
        if self.trust_level == CONSENT_ONLY and (self.epsilon or self.target_delta):
            raise BadConfig(
                "coordinator: epsilon, target_delta: expected neither at trust level "
                "'consent-only', which adds no noise"
            )
        figures = () if self.trust_level == CONSENT_ONLY else ("epsilon", "target_delta")
        for name in (*figures, "task_ttl_s", "round_timeout_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise BadConfig(f"coordinator: {name}: expected a number above 0, got {value}")
        if self.base_release < 0 or (self.base_release and self.learner != "spectral"):
            raise BadConfig(
                "coordinator: base_release: expected 0, or a version with learner 'spectral'"
            )
        if self.rounds < 0 or self.round_attempts < 1:
            raise BadConfig("coordinator: expected rounds of at least 0, round_attempts of 1")
        if self.learner not in LEARNERS:
            raise BadConfig(f"coordinator: learner: expected one of {', '.join(LEARNERS)}")
        if (self.learner == "linear") != bool(self.target):
            raise BadConfig("coordinator: expected a target with learner 'linear', and only there")

    @classmethod
    def load(cls, path: pathlib.Path) -> CoordinatorConfig:
        """Read a configuration file.

        Raises:
            BadConfig: if it cannot be read, or a key is unknown, missing or out of range.
        """
        return load_config(cls, path, "coordinator")
