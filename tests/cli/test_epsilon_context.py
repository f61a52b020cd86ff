"""Every ε that is shown carries what it rests on: a walk over every report there is.

A figure may take what must stand beside it from its own object or from one around it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from click.testing import CliRunner

from tacit.cli.main import main
from tacit.client.exposure import exposure_of
from tacit.client.participation import Participation
from tacit.privacy.accounting_quick import epsilon_without_libraries
from tacit.privacy.audit import noise_test
from tacit.privacy.gaussian_event import GaussianEvent
from tacit.privacy.release import ReleaseManifest, ReleaseStatement
from tacit.server.ledger.verify import verify_export
from tacit.simulations.audit_bounds import Bounds, Claim
from tacit.simulations.audit_canaries import CanaryTest
from tacit.simulations.audit_report import AuditReport, NoiseResult
from tacit.simulations.audit_training import TrainingCanaries, TrainingShape

BESIDE: tuple[tuple[str, ...], ...] = (
    ("trust_level", "trust"),
    ("unit",),
    ("neighboring_relation",),
    ("target_delta", "delta"),
    ("participation_bound",),
    ("sampling",),
    ("accountant",),
    ("exclusions",),
)


def is_figure(name: str, value: object) -> bool:
    return "epsilon" in name and isinstance(value, int | float | str) and value is not True


def bare(document: object, around: frozenset[str] = frozenset(), path: str = "") -> Iterator[str]:
    """Yield each figure with what is missing beside it."""
    if isinstance(document, list):
        for place, one in enumerate(cast(list[object], document)):
            yield from bare(one, around, f"{path}[{place}]")
    if not isinstance(document, dict):
        return
    fields = cast(dict[str, object], document)
    here = around | {name for name, value in fields.items() if value not in (None, "", [])}
    for name, value in fields.items():
        if is_figure(name, value):
            missing = [names[0] for names in BESIDE if not here.intersection(names)]
            if missing:
                yield f"{path}.{name} lacks {', '.join(missing)}"
        yield from bare(value, here, f"{path}.{name}")


def figures(document: object) -> int:
    if isinstance(document, list):
        return sum(map(figures, cast(list[object], document)))
    if not isinstance(document, dict):
        return 0
    fields = cast(dict[str, object], document)
    own = sum(is_figure(name, value) for name, value in fields.items())
    return own + sum(map(figures, fields.values()))


def check(document: Any, at_least: int = 1) -> None:
    assert figures(document) >= at_least, "nothing to walk over"
    assert list(bare(document)) == []


def read(*arguments: object) -> Any:
    result = CliRunner().invoke(main, [str(one) for one in arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "shop.csv"
    lines = [f"{user},{(user * 7 + step * step) % 30}" for user in range(40) for step in range(12)]
    path.write_text("user,item\n" + "\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("missing", [names[0] for names in BESIDE])
def test_the_walk_finds_what_is_missing(missing: str) -> None:
    whole: dict[str, Any] = {names[0]: "x" for names in BESIDE}
    del whole[missing]
    document = [{**whole, "below": {"spent_epsilon": 1.0}}]
    assert list(bare(document)) == [f"[0].below.spent_epsilon lacks {missing}"]


@pytest.mark.parametrize("level", ["central", "local"])
def test_simulate(shop: Path, tmp_path: Path, level: str) -> None:
    out = tmp_path / "out.json"
    arguments = ["simulate", "--data", shop, "--learner", "popularity", "--trust-level", level]
    result = CliRunner().invoke(main, [*map(str, arguments), "--json", str(out)])
    assert result.exit_code == 0, result.output
    check(json.loads(out.read_text()), at_least=3)
    said = " ".join(result.output.split())
    for word in (f"trust level {level}", "adjacency", "delta", "per user", "full participation"):
        assert word in said
    for word in ("sampling claimed: none", "tacit-gaussian 1", "Excluded:"):
        assert word in said


def test_a_series(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    arguments = ["simulate", "--data", shop, "--tasks", "2", "--rounds", "3", "--json", out]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    check(json.loads(out.read_text()), at_least=4)


@pytest.mark.parametrize("verb", ["show", "history", "facts"])
def test_budget(demo_state: Path, verb: str) -> None:
    check(read("budget", verb, demo_state, "--json"), at_least=3)


@pytest.mark.parametrize("verb", ["card", "quarter"])
def test_a_report(demo_state: Path, tmp_path: Path, verb: str) -> None:
    out = tmp_path / "out.json"
    result = CliRunner().invoke(main, ["report", verb, str(demo_state), "--json", str(out)])
    assert result.exit_code == 0, result.output
    check(json.loads(out.read_text()), at_least=3)


def test_what_if(demo_state: Path) -> None:
    arguments = ("--epsilon", "1", "--rounds", "2", "--users", "1000")
    check(read("budget", "what-if", demo_state, *arguments, "--json"), at_least=5)


def test_the_ledger(demo_state: Path) -> None:
    check(verify_export(demo_state / "ledger-export").to_json(), at_least=3)


@pytest.mark.parametrize("levels", [("central",), ("local",), ("central", "local")])
def test_a_device(levels: tuple[str, ...]) -> None:
    entries = [
        Participation(
            "0" * 64, 1, "1" * 64, 2.0, ("rating",), 1, 1, level, sensitivity, "learn", "t"
        )
        for level, sensitivity in (("central", 0), ("local", 8192))
        if level in levels
    ]
    check(exposure_of(entries, 20.0, 1e-2).to_json(), at_least=4)


@pytest.mark.parametrize("event", [GaussianEvent(2.0), GaussianEvent(2.0, 1, 8192, "local")])
def test_an_installed_release(event: GaussianEvent) -> None:
    claim = epsilon_without_libraries([event], 1e-6)
    release = ReleaseManifest(
        population="p",
        version=1,
        task_sha256="0" * 64,
        model_sha256="1" * 64,
        model_bytes=5,
        catalogue_sha256="2" * 64,
        reservations=("t/1",),
        epsilon=claim.epsilon,
        target_delta=1e-6,
        created_at_ms=9,
        trust_level=claim.trust_level,
        statement=ReleaseStatement.of(claim, 1),
    )
    check(release.to_json())
    without = dataclasses.replace(release, statement=None, trust_level="central")
    assert list(bare(without.to_json())), "releases from before had less beside them"


def test_an_audit() -> None:
    bounds = Bounds(100, 50, 30, {"one-run": 1.0}, {})
    canaries = CanaryTest(Claim.of([2.0]), bounds, 0.99, {}, ())
    shape = TrainingShape("task-1", "popularity/1", ("popularity/1",), (2.0,), 3.0, 100)
    trained = TrainingCanaries(shape, Claim.of([2.0]), bounds, 0.99, 1.0, {}, "", ())
    noise = NoiseResult(2.0, 4096, noise_test(np.arange(-5000, 5000), 2887.0, 1e-6))
    report = AuditReport((), (noise,), {}, (), {}, (), canaries, (trained,), None)
    check(report.to_json())
