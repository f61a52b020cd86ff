"""The record of an audit, as the governance log holds it: what was tested, at what power.

Nothing in it is typed by hand: it is made from a report, and its statement from its own fields. The
ledger refuses a record whose statement is not what its fields give, so that no log can say more
than "no violation detected at power X" on the strength of an audit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from tacit.privacy.canonical import Fields, Json, encode_real
from tacit.privacy.errors import BadDocument

TYPE = "tacit.audit-record/1"

_MAX_TESTS = 200
_MAX_FINDINGS = 50
_MAX_FINDING_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class AuditTest:
    """One test of an audit.

    Attributes:
        name: which layer: "noise", "sensitivity", "canaries", …
        subject: what it looked at: a setting, a statistic, a task.
        violation: whether it found one, or had no power to.
        false_alarm: probability, at most, that a correct build shows one here; 0 where exact.
        power: what it would have seen → with what probability, in [0, 1].
    """

    name: str
    subject: str
    violation: bool
    false_alarm: float
    power: Mapping[str, float]

    def to_json(self) -> dict[str, Json]:
        """Return the test as it stands in the record."""
        return {
            "name": self.name,
            "subject": self.subject,
            "violation": self.violation,
            "false_alarm": encode_real(self.false_alarm),
            "power": {what: encode_real(chance) for what, chance in self.power.items()},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> AuditTest:
        """Parse and validate; raises `BadDocument`."""
        fields = Fields(document, "audit.test")
        test = cls(
            name=fields.text("name", max_length=64),
            subject=fields.text("subject"),
            violation=fields.boolean("violation"),
            false_alarm=fields.real("false_alarm", at_most=1.0),
            power=fields.reals("power"),
        )
        fields.done()
        if not all(0.0 <= chance <= 1.0 for chance in (test.false_alarm, *test.power.values())):
            raise BadDocument("audit.test: expected probabilities in [0, 1]")
        return test


@dataclass(frozen=True, slots=True)
class AuditDocument:
    """One audit of a build and of the ledger it serves, signed by an auditor.

    Attributes:
        report_sha256: hex digest of the whole report; names the record.
        tool: what audited, with its version.
        log_size, log_root: the governance log that was audited: its size, and its root in hex.
        tasks: hex digests of the tasks whose rounds gave the settings.
        releases: (population, version) of the releases that were derived again.
        tests: everything that was tested.
        findings: one line for each violation; empty where none was detected.
    """

    report_sha256: str
    tool: str
    log_size: int
    log_root: str
    tasks: tuple[str, ...]
    releases: tuple[tuple[str, int], ...]
    tests: tuple[AuditTest, ...]
    findings: tuple[str, ...]

    @property
    def statement(self) -> str:
        """Say the outcome in the only words an audit may use.

        The words belong to `TYPE`: other words need another version, or a log with records of
        this one no longer verifies.
        """
        if self.findings:
            plural = "finding" if len(self.findings) == 1 else "findings"
            return f"violation detected: {len(self.findings)} {plural}"
        least: dict[str, dict[str, float]] = {}
        for test in self.tests:
            of_test = least.setdefault(test.name, {})
            for what, chance in sorted(test.power.items()):  # canonical JSON has no order
                of_test[what] = min(chance, of_test.get(what, 1.0))
        stated = "; ".join(
            ", ".join(f"{chance:.3f} against {what}" for what, chance in power.items())
            + f" ({name})"
            for name, power in least.items()
            if power
        )
        return f"no violation detected at power {stated or '0: nothing was tested'}"

    def to_json(self) -> dict[str, Json]:
        """Return the record as the governance log holds it."""
        return {
            "type": TYPE,
            "report_sha256": self.report_sha256,
            "tool": self.tool,
            "log_size": self.log_size,
            "log_root": self.log_root,
            "tasks": list(self.tasks),
            "releases": [
                {"population": population, "version": version}
                for population, version in self.releases
            ],
            "tests": cast(Json, [test.to_json() for test in self.tests]),
            "findings": list(self.findings),
            "statement": self.statement,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> AuditDocument:
        """Parse and validate.

        Raises:
            BadDocument: a field is missing or out of range, a test tells of a violation and no
                finding does or the other way round, or the statement is not what the fields give.
        """
        fields = Fields(document, "audit")
        if fields.text("type") != TYPE:
            raise BadDocument(f"audit.type: expected {TYPE!r}")
        audit = cls(
            report_sha256=_digest(fields, "report_sha256"),
            tool=fields.text("tool"),
            log_size=fields.integer("log_size", 1),
            log_root=_digest(fields, "log_root"),
            tasks=fields.texts("tasks"),
            releases=tuple(_release(one) for one in fields.objects("releases")),
            tests=tuple(AuditTest.from_json(one) for one in fields.objects("tests")),
            findings=fields.texts("findings"),
        )
        statement = fields.text("statement", max_length=10_000)
        fields.done()
        if not 1 <= len(audit.tests) <= _MAX_TESTS or len(audit.findings) > _MAX_FINDINGS:
            raise BadDocument(
                f"audit: expected 1 to {_MAX_TESTS} tests and at most {_MAX_FINDINGS} findings"
            )
        if any(len(one) > _MAX_FINDING_CHARACTERS for one in audit.findings):
            raise BadDocument(
                f"audit.findings: expected lines of at most {_MAX_FINDING_CHARACTERS} characters"
            )
        if any(test.violation for test in audit.tests) != bool(audit.findings):
            raise BadDocument("audit: expected findings where, and only where, a test has one")
        if statement != audit.statement:
            raise BadDocument("audit.statement: expected the words that its own fields give")
        return audit


def shortened(findings: tuple[str, ...]) -> tuple[str, ...]:
    """Cut findings to what a record holds; the report has them whole."""
    kept = findings[:_MAX_FINDINGS]
    return tuple(one[: _MAX_FINDING_CHARACTERS - 1] for one in kept)


def _release(document: Mapping[str, Json]) -> tuple[str, int]:
    fields = Fields(document, "audit.release")
    named = fields.text("population"), fields.integer("version", 1)
    fields.done()
    return named


def _digest(fields: Fields, name: str) -> str:
    text = fields.text(name, max_length=64)
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise BadDocument(f"audit.{name}: expected 64 lower-case hexadecimal digits")
    return text
