"""What a demo was asked to do; saved in its state directory so that `--resume` does the same."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from dataclasses import dataclass

from tacit.privacy.trust import CENTRAL, LEVELS
from tacit.simulations.errors import BadExperiment

DEFAULT_DEVICES = 400
SHORT_DEVICES = 40
MIN_DEVICES = 20
MAX_DEVICES = 100_000
"""More would fill this machine's memory and disk before a round began."""
MAX_ROUNDS = 10_000
"""What a task may have."""
LEARNERS = ("spectral", "factorization", "popularity")
"""Learners that rank items; `linear` predicts, and has no ranking to show."""
_FILE = "demo.json"


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Options of one demo.

    Attributes:
        data: path of a data set, or empty for a generated population.
        devices: number of devices, or 0 for every user of the data set (or the default of a
            generated population).
        epsilon: ε the whole training may spend, > 0.
        rounds: rounds, or 0 for the learner's rule.
        seed: of the population and of who consents to what; never of protective noise.
        short: at most 40 devices, for continuous integration.
        trust_level: level of the trust ladder; `consent-only` spends no ε, whatever `epsilon` says.
        learner: one of `LEARNERS`.
    """

    data: str = ""
    devices: int = 0
    epsilon: float = 8.0
    rounds: int = 0
    seed: int = 0
    short: bool = False
    trust_level: str = CENTRAL
    learner: str = LEARNERS[0]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epsilon) and self.epsilon > 0):
            raise BadExperiment(f"--epsilon: expected a finite number above 0, got {self.epsilon}")
        if self.trust_level not in LEVELS:
            raise BadExperiment(
                f"--trust-level: expected one of {', '.join(LEVELS)}, got {self.trust_level!r}"
            )
        if self.learner not in LEARNERS:
            raise BadExperiment(
                f"--learner: expected one of {', '.join(LEARNERS)}, got {self.learner!r}"
            )
        if self.learner == "popularity" and self.rounds > 1:
            raise BadExperiment(f"--rounds: expected 1 for popularity, got {self.rounds}")
        if self.devices and self.devices < MIN_DEVICES:
            raise BadExperiment(f"--devices: expected at least {MIN_DEVICES}, got {self.devices}")
        if self.devices > MAX_DEVICES:
            raise BadExperiment(f"--devices: expected at most {MAX_DEVICES}, got {self.devices}")
        for name, value in (("--rounds", self.rounds), ("--seed", self.seed)):
            if value < 0:
                raise BadExperiment(f"{name}: expected a number of 0 or more, got {value}")
        if self.rounds > MAX_ROUNDS:
            raise BadExperiment(f"--rounds: expected at most {MAX_ROUNDS}, got {self.rounds}")
        if self.short and self.devices > SHORT_DEVICES:
            raise BadExperiment(
                f"--short: expected at most {SHORT_DEVICES} devices, got --devices {self.devices}; "
                "drop one of the two"
            )

    def device_limit(self) -> int | None:
        """Return the largest number of devices to run, or None for no limit."""
        if self.short:
            return self.devices or SHORT_DEVICES
        return self.devices or None

    def save(self, state: pathlib.Path) -> None:
        """Write the options into a state directory."""
        text = json.dumps(dataclasses.asdict(self), indent=2)
        (state / _FILE).write_text(text + "\n", encoding="utf-8")

    @staticmethod
    def saved_in(state: pathlib.Path) -> bool:
        """Say whether a state directory holds the options of a demo."""
        return (state / _FILE).is_file()

    @classmethod
    def load(cls, state: pathlib.Path) -> DemoOptions:
        """Read the options of an earlier demo.

        Raises:
            BadExperiment: if the directory holds no demo.
        """
        try:
            return cls(**json.loads((state / _FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            raise BadExperiment(
                f"--resume: expected a state directory of an earlier demo, got {state}"
            ) from None
