"""`tacit audit --record`: into a running and a stopped ledger, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tacit.cli.audit import audit
from tacit.server.ledger.verify import verify_export
from tacit.simulations import audit as audits
from tacit.simulations.audit_bounds import F_DP, ONE_RUN, Bounds, Claim
from tacit.simulations.audit_canaries import CanaryTest
from tacit.simulations.audit_ledger import ledger_result
from tacit.simulations.audit_report import AuditReport


def quick_audit(state: Path | None, **_: Any) -> AuditReport:
    """The real noise test and the real ledger; the layers that take seconds are left out."""
    refuted = {ONE_RUN: 0.0, F_DP: 0.0}
    canaries = CanaryTest(
        Claim.of([8.0]),
        Bounds(100, 10, 5, refuted, {F_DP: 0.0}),
        0.99,
        {"1/2": dict.fromkeys(refuted, 0.0)},
        (),
    )
    assert state is not None
    noise = (audits.noise_result(8.0, 4096),)
    return AuditReport((), noise, {"0.9": 1.0}, (), {}, (), canaries, (), ledger_result(state))


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audits, "audit", quick_audit)


def record(deployment: Any, role: str = "auditor", state: Path | None = None) -> Result:
    key = deployment.directory / f"{role}.key"
    key.write_text(deployment.keys[role].private_bytes().hex())
    authority = deployment.directory / "authority.pem"
    authority.write_bytes(deployment.authority.certificate_pem)
    options = {
        "--ledger-config": deployment.config_path,
        "--auditor-key": key,
        "--authority": authority,
    }
    named = [str(part) for pair in options.items() for part in pair]
    return CliRunner().invoke(audit, [str(state or deployment.state_dir), "--record", *named])


def recorded(deployment: Any) -> tuple[str, ...]:
    return tuple(one.statement for one in verify_export(deployment.state_dir).audits)


def test_into_a_running_ledger(ledger_deployment: Any) -> None:
    ledger_deployment.write_config(ledger_deployment.server.address)
    result = record(ledger_deployment)
    assert result.exit_code == 0, result.output
    (statement,) = recorded(ledger_deployment)
    assert statement.startswith("no violation detected at power 1.000 against noise x0.9")
    assert statement in result.output
    assert "recorded as entry" in result.output


def test_into_a_stopped_ledger(ledger_deployment: Any) -> None:
    ledger_deployment.stop()
    for n_recorded in (1, 2):  # each audit draws anew, so each is one of its own
        result = record(ledger_deployment)
        assert result.exit_code == 0, result.output
        assert len(recorded(ledger_deployment)) == n_recorded


def test_a_violation_is_recorded_and_still_exits_with_1(
    ledger_deployment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tacit.privacy.discrete_gaussian import sample_discrete_gaussian
    from tacit.server.coordinator import noise

    def halved(sigma: float, size: int, random_bytes: Any) -> Any:
        return sample_discrete_gaussian(sigma / 2, size, random_bytes)

    monkeypatch.setattr(noise, "sample_discrete_gaussian", halved)
    ledger_deployment.stop()
    result = record(ledger_deployment)
    assert result.exit_code == 1
    assert recorded(ledger_deployment) == ("violation detected: 1 finding",)


def test_other_roles_and_other_ledgers_are_one_line(
    ledger_deployment: Any, demo_state: Path
) -> None:
    ledger_deployment.stop()
    for result, what in (
        (record(ledger_deployment, "operator"), "needs role auditor, the caller is operator"),
        (record(ledger_deployment, state=demo_state), "audit this ledger's own state"),
    ):
        assert result.exit_code == 1
        (line,) = [one for one in result.output.splitlines() if one.startswith("Error:")]
        assert what in line
    assert recorded(ledger_deployment) == ()


def test_a_held_ledger_that_does_not_answer_is_one_line(ledger_deployment: Any) -> None:
    assert ledger_deployment.server  # holds the state; the configuration names no address
    result = record(ledger_deployment)
    assert result.exit_code == 1
    assert "Error: not recorded: another process holds" in result.output


def test_record_wants_a_state_and_where_to_write(demo_state: Path) -> None:
    for arguments, what in (
        (["--record"], "expected the STATE"),
        ([str(demo_state), "--record"], "expected --ledger-config FILE"),
        ([str(demo_state), "--authority", __file__], "expected --record together"),
    ):
        result = CliRunner().invoke(audit, arguments)
        assert result.exit_code == 2
        assert what in result.output
