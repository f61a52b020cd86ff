"""After any single edited byte an export does not verify, and what is said names where."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from tacit.privacy.accounting import epsilon_without_opacus
from tacit.server.errors import VerificationFailed
from tacit.server.ledger.export import export_ledger
from tacit.server.ledger.verify import verify_export


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory, request: Any) -> Path:
    """The export of a node with three consents, one task of three rounds and one release."""
    from tacit.server.tls import make_authority

    kind = request.getfixturevalue("deployment_type")
    home = tmp_path_factory.mktemp("edited")
    deployment = kind(home / "ledger", make_authority())
    deployment.run_task()
    deployment.stop()
    export_ledger(deployment.state_dir, home / "export")
    verify_export(home / "export", compose=epsilon_without_opacus)
    return home / "export"


def findings(export: Path) -> tuple[str, ...]:
    try:
        verify_export(export, compose=epsilon_without_opacus)
    except VerificationFailed as failed:
        return failed.findings
    return ()


def names(path: Path, export: Path, said: tuple[str, ...]) -> bool:
    """Whether findings name the file, or the checkpoint of that log that the byte belongs to."""
    relative = path.relative_to(export).as_posix()
    log = relative.partition("/")[0]
    inside = f"{log} checkpoint " if path.name == "checkpoints.json" else relative
    return any(relative in one or path.name in one or inside in one for one in said)


def edit(export: Path, path: Path, positions: list[int], pick: random.Random) -> int:
    """Edit single bytes of a file, each to another value; returns how many were tried."""
    original = path.read_bytes()
    try:
        for position in positions:
            changed = bytearray(original)
            changed[position] = pick.choice([n for n in range(256) if n != original[position]])
            path.write_bytes(changed)
            said = findings(export)
            assert said, f"{path.name}: byte {position} was edited to {changed[position]}"
            assert names(path, export, said), (path.relative_to(export), position, said)
    finally:
        path.write_bytes(original)
    return len(positions)


def files_of(export: Path) -> list[Path]:
    return [path for path in sorted(export.rglob("*")) if path.is_file()]


def test_an_edited_byte_of_any_file_is_found_and_named(history: Path) -> None:
    pick = random.Random(os.urandom(8))
    files = files_of(history)
    assert len(files) == 9
    for path in files:
        size = path.stat().st_size
        # First, last, and the white space of what is indented.
        some = {0, size - 1, *pick.sample(range(size), min(size, 12))}
        blank = [n for n, one in enumerate(path.read_bytes()) if one in b"\n "]
        some |= set(pick.sample(blank, min(len(blank), 3)))
        edit(history, path, sorted(some), pick)
    assert findings(history) == ()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_byte_of_small_files_and_many_of_the_others(
    history: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pick, tried = random.Random(os.urandom(8)), 0
    for path in files_of(history):
        size = path.stat().st_size
        positions = range(size)
        tried += edit(
            history, path, list(positions) if size <= 2500 else pick.sample(positions, 1000), pick
        )
    with capsys.disabled():
        print(f"\n0 of {tried:,} edited bytes went unnoticed or unnamed")  # noqa: T201
