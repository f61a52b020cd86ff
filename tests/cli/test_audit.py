"""`tacit audit`: exit codes, the report file, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

from tacit.cli.audit import audit
from tacit.privacy.discrete_gaussian import sample_discrete_gaussian
from tacit.server.coordinator import noise


def test_a_violation_exits_with_1_and_is_in_the_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def halved(
        sigma: float, size: int, random_bytes: Callable[[int], bytes]
    ) -> npt.NDArray[np.int64]:
        return sample_discrete_gaussian(sigma / 2, size, random_bytes)

    monkeypatch.setattr(noise, "sample_discrete_gaussian", halved)
    file = tmp_path / "audit.json"
    result = CliRunner().invoke(audit, ["--json", str(file)])
    assert result.exit_code == 1
    assert "VIOLATION DETECTED" in result.output
    assert "no violation detected" not in result.output
    document = json.loads(file.read_text())
    assert document["violation_detected"] is True
    assert "too little" in document["findings"][0]


@pytest.mark.parametrize("name", ["", "missing", "file.txt"])
def test_refuses_what_is_no_state(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.txt").write_text("no ledger")
    result = CliRunner().invoke(audit, [str(tmp_path / name)])
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_refuses_a_report_file_that_cannot_be_written(tmp_path: Path) -> None:
    result = CliRunner().invoke(audit, ["--json", str(tmp_path / "no" / "audit.json")])
    assert result.exit_code == 2
    assert "does not exist" in result.output
