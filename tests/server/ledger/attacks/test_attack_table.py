"""`attacks.json` names for every attack the tests that answer it; it cannot name what is not there.

docs/ledger.md shows the same attacks.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[3]
ATTACKS: dict[str, dict[str, list[str]]] = json.loads(
    (HERE / "attacks.json").read_text(encoding="utf-8")
)
NAMED = sorted({test for some in ATTACKS.values() for tests in some.values() for test in tests})


def definition(tree: Any, names: list[str]) -> Any:
    """Return the function that names lead to; raises `StopIteration` where there is none."""
    for name in names:
        tree = next(
            node
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name
        )
    return tree


@pytest.mark.parametrize("test", NAMED)
def test_each_named_test_is_there(test: str) -> None:
    where, _, parameter = test.partition("[")
    path, *names = where.split("::")
    source = (ROOT / path).read_text(encoding="utf-8")
    found = definition(ast.parse(source), names)
    assert isinstance(found, ast.FunctionDef)
    assert found.name.startswith("test_")
    marks = [ast.unparse(one) for one in found.decorator_list]
    assert not any("skip" in one or "long" in one for one in marks)  # it runs by default
    if parameter:
        assert any("parametrize" in one for one in marks)
        assert f'"{parameter.removesuffix("]")}"' in source


def test_every_generated_attack_is_in_the_table(log_attacks: Any, consent_attacks: Any) -> None:
    """And the other way round: what the table calls generated is generated."""
    logs = set(log_attacks.LOG_ATTACKS) - {"one flipped bit"}
    assert logs == set(ATTACKS["Log"])
    generated = {part for name in consent_attacks.CONSENT_ATTACKS for part in name.split(", ")}
    by_generator = {
        name
        for name, tests in ATTACKS["Consent"].items()
        if any(test.endswith("::test_no_attack_comes_to_stand") for test in tests)
    }
    assert by_generator <= generated


def test_every_attack_is_answered() -> None:
    assert {group: len(some) for group, some in ATTACKS.items()} == {
        "Log": 13,
        "Consent": 15,
        "Erasure": 6,
    }
    assert all(tests for some in ATTACKS.values() for tests in some.values())


def test_the_documentation_lists_the_same_attacks() -> None:
    text = re.sub(r"\s+", " ", (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8"))
    for group, some in ATTACKS.items():
        line = f"**{group}**: {', '.join(some)}."
        assert line in text, line
