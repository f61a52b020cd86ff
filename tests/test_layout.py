"""The house: source roots, namespace, top level, tests that mirror the tree."""

from __future__ import annotations

import importlib
import pathlib
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SOURCE_ROOTS = ("client", "privacy", "protos", "server", "simulations")
SUBPACKAGES = ("cli", "client", "privacy", "server", "simulations", "v1")
TOP_LEVEL = {
    *SOURCE_ROOTS,
    *(".ci", ".gitignore", "CHANGELOG.md", "Makefile", "README.md", "SECURITY.md"),
    *("benchmarks", "buf.yaml", "constraints.txt", "docs", "examples", "pyproject.toml", "tests"),
}


def tracked_files() -> list[pathlib.PurePath]:
    listing = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    return [pathlib.PurePath(line) for line in listing.stdout.splitlines()]


def test_top_level_holds_only_what_is_agreed() -> None:
    assert {path.parts[0] for path in tracked_files()} <= TOP_LEVEL


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_namespace_level_has_no_init(root: str) -> None:
    # An __init__.py here would hide every other source root, and mypy would still say Success.
    assert not (REPOSITORY / root / "__init__.py").exists()
    assert not (REPOSITORY / root / "tacit" / "__init__.py").exists()


def test_every_source_root_contributes_to_the_namespace() -> None:
    tacit = importlib.import_module("tacit")
    portions = {pathlib.Path(portion).resolve() for portion in tacit.__path__}
    assert {REPOSITORY / root / "tacit" for root in SOURCE_ROOTS} <= portions


@pytest.mark.parametrize("name", SUBPACKAGES)
def test_subpackages_are_typed_and_documented(name: str) -> None:
    package = importlib.import_module(f"tacit.{name}")
    assert package.__doc__
    assert package.__file__ is not None
    assert (pathlib.Path(package.__file__).parent / "py.typed").exists()


def test_no_file_is_a_drawer_for_odds_and_ends() -> None:
    drawers = {"utils.py", "helpers.py", "common.py", "misc.py"}
    assert not [path for path in tracked_files() if path.name in drawers]


def test_tests_mirror_the_tree() -> None:
    areas = {
        path.parts[1]
        for path in tracked_files()
        if path.parts[0] == "tests" and len(path.parts) > 2
    }
    assert areas <= {*SUBPACKAGES, "vectors", "journeys", "support"}


def test_command_line_starts_without_heavy_imports() -> None:
    code = (
        "import sys, tacit.cli.main; "
        "heavy = {'torch', 'opacus', 'flwr', 'ray', 'grpc', 'dp_accounting'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
