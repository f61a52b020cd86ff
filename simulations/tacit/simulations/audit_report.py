"""The report of an audit: every layer's results, as a document and as a record for the log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Protocol

from tacit.privacy.accounting import ACCOUNTANT, ACCOUNTANT_VERSION
from tacit.privacy.audit import AuditDocument, AuditTest, NoiseTest, RateTest, shortened
from tacit.privacy.trust import CENTRAL, EXCLUSIONS, LOCAL
from tacit.simulations.audit_calibration import Calibration
from tacit.simulations.audit_canaries import CanaryTest, Power
from tacit.simulations.audit_ledger import LedgerResult
from tacit.simulations.audit_rounds import RoundCanaries
from tacit.simulations.audit_sensitivity import SensitivityTest
from tacit.simulations.audit_training import TrainingCanaries

ALPHA = 1e-6
"""Probability of a false alarm of each noise and sampling test."""

TYPE = "tacit.audit/3"


@dataclass(frozen=True, slots=True)
class NoiseResult:
    """A noise test at one plan's setting.

    Attributes:
        noise_multiplier, integer_norm: z and L.
        test: what the draws showed.
        trust_level: who draws it: the coordinator at `central`, each device at `local`.
    """

    noise_multiplier: float
    integer_norm: int
    test: NoiseTest
    trust_level: str = CENTRAL


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Everything an audit did.

    Attributes:
        calibration: of the auditor, on mechanisms of known epsilon.
        noise: one result a setting.
        noise_power: scale of broken noise over what it must be → chance to be caught, each test.
        sampling: draws of cohorts.
        sampling_power: broken rate over what it must be → least chance to be caught.
        sensitivity: one result a registered statistic.
        canaries: of one round, all of them in one sum.
        trainings: canaries of a whole training, one a task.
        ledger: of the deployment, if one was given.
        replacement: one result a registered statistic, of what one device's users differ by.
        rounds: canaries of single rounds, one result a statistic and level.
    """

    calibration: tuple[Calibration, ...]
    noise: tuple[NoiseResult, ...]
    noise_power: Mapping[str, float]
    sampling: tuple[RateTest, ...]
    sampling_power: Mapping[str, float]
    sensitivity: tuple[SensitivityTest, ...]
    canaries: CanaryTest
    trainings: tuple[TrainingCanaries, ...]
    ledger: LedgerResult | None
    replacement: tuple[SensitivityTest, ...] = ()
    rounds: tuple[RoundCanaries, ...] = ()

    @property
    def findings(self) -> tuple[str, ...]:
        """Collect every finding; empty where no violation was detected."""
        found = [one for result in self.calibration for one in result.findings]
        found += [
            f"{one} (noise multiplier {result.noise_multiplier:.4g}, L {result.integer_norm}, "
            f"level {result.trust_level})"
            for result in self.noise
            for one in result.test.findings
        ]
        found += [f"sampling: {one}" for result in self.sampling for one in result.findings]
        found += [one for result in self.sensitivity for one in result.findings]
        found += [one for result in self.replacement for one in result.findings]
        found += [one for result in self.rounds for one in result.findings]
        found += self.canaries.findings
        found += [one for result in self.trainings for one in result.findings]
        found += [f"ledger: {one}" for one in (self.ledger.findings if self.ledger else ())]
        return tuple(found)

    @property
    def not_covered(self) -> tuple[str, ...]:
        """Say what no canary went through."""
        return tuple(
            f"{one.shape.task_id}: {one.not_covered}" for one in self.trainings if one.not_covered
        )

    def to_json(self) -> dict[str, object]:
        """Return the report as a document; docs/audit.md has its schema."""
        document = asdict(self)
        document["ledger"] = None if self.ledger is None else self.ledger.to_json()
        record = self.record()
        return {
            "type": TYPE,
            "tool": record.tool,
            "violation_detected": bool(self.findings),
            "statement": record.statement,
            "findings": list(self.findings),
            "not_covered": list(self.not_covered),
            "false_alarm_rate_per_test": ALPHA,
            # What every figure in it is about: one round of the engine, as it would be claimed.
            "trust_level": CENTRAL,
            "unit": "user",
            "neighboring_relation": "add_remove",
            "delta": self.canaries.claim.delta,
            "participation_bound": 1,
            "sampling": "none",
            "accountant": f"{ACCOUNTANT} {ACCOUNTANT_VERSION}",
            "exclusions": list(EXCLUSIONS),
            **document,
        }

    def record(self) -> AuditDocument:
        """Return what the governance log is to hold of it.

        The digest is that of the report's layers in JSON with sorted keys and no white space; its
        own statement and tool are left out, for they are in the record.
        """
        layers = asdict(self) | {"ledger": None if self.ledger is None else self.ledger.to_json()}
        text = json.dumps(layers, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        ledger = self.ledger
        return AuditDocument(
            report_sha256=hashlib.sha256(text.encode()).hexdigest(),
            tool=f"tacit {version('tacit')}",
            log_size=ledger.log_size if ledger else 0,
            log_root=ledger.log_root if ledger else "",
            tasks=tuple(task.digest().hex() for task in ledger.tasks) if ledger else (),
            releases=ledger.releases if ledger else (),
            tests=tuple(self._tests()),
            findings=shortened(self.findings),
        )

    def _tests(self) -> list[AuditTest]:
        """Reduce every layer to what the log holds of a test."""
        tests = [
            AuditTest("auditor", "known mechanisms", _any(self.calibration), 1e-6, {}),
        ]
        against = {f"noise x{scale}": p for scale, p in self.noise_power.items()}
        for level, layer in ((CENTRAL, "noise"), (LOCAL, "noise of devices")):
            results = [result for result in self.noise if result.trust_level == level]
            if not results:
                continue
            zs = [result.noise_multiplier for result in results]
            subject = f"{len(zs)} settings, z {min(zs):.6g} to {max(zs):.6g}"
            noise = [result.test for result in results]
            rate = min(1.0, ALPHA * len(noise))
            tests.append(AuditTest(layer, subject, _any(noise), rate, against))
        against = {f"rate x{ratio}": p for ratio, p in self.sampling_power.items()}
        for drawn in self.sampling:
            subject = f"rate {drawn.rate}"
            tests.append(AuditTest("sampling", subject, _any([drawn]), ALPHA, against))
        for layer, pair, compared in (
            ("sensitivity", "a pair of cohorts", self.sensitivity),
            ("sensitivity of replacement", "a pair of users", self.replacement),
        ):
            for one in compared:
                power = {f"a missing clip, {pair}": one.n_clipped / one.n_trials}
                tests.append(AuditTest(layer, one.statistic, _any([one]), 0.0, power))
        for held in self.rounds:
            setting = held.setting
            tests.append(
                AuditTest(
                    "canaries, each round",
                    f"{setting.statistic} at level {setting.trust_level}, "
                    f"z {setting.noise_multiplier:.6g}",
                    _any([held]),
                    1.0 - held.confidence,
                    _best(held.power),
                )
            )
        z = self.canaries.claim.noise_multipliers[0]
        tests.append(
            AuditTest(
                "canaries, one round",
                f"popularity/1 at z {z:.6g}",
                _any([self.canaries]),
                (1.0 - self.canaries.confidence) * len(self.canaries.bounds.refuted_epsilon),
                _best(self.canaries.power),
            )
        )
        for training in self.trainings:
            tests.append(
                AuditTest(
                    "canaries, whole training",
                    f"{training.shape.task_id or 'default'}, {training.shape.learner}"
                    + (": not covered" if training.not_covered else ""),
                    _any([training]),
                    (1.0 - training.confidence) * 2,
                    _best(training.power),
                )
            )
        if self.ledger is not None:
            tests.append(AuditTest("ledger", "every entry", bool(self.ledger.findings), 0.0, {}))
        return tests


class _Result(Protocol):
    """What every result of a layer has."""

    @property
    def findings(self) -> tuple[str, ...]: ...


def _any(results: Sequence[_Result]) -> bool:
    """Say whether any of some results has a finding."""
    return any(one.findings for one in results)


def _best(power: Power) -> dict[str, float]:
    """Take for each broken scale the bound that sees it best."""
    return {f"noise x{scale}": max(of_bound.values()) for scale, of_bound in power.items()}
