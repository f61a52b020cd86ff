"""Small parts: counts that give nobody away, keys that open with one password, the drawing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.privacy.signatures import SigningKey
from tacit.server.budget.statement import account_statements
from tacit.server.console.burn_down import HEIGHT, WIDTH, burn_down
from tacit.server.console.consent_coverage import STEP, Count, coverage_of
from tacit.server.console.errors import BadForm
from tacit.server.console.officer_keys import open_key, parse_key, seal_key
from tacit.server.console.roles import PERMISSIONS, Permission, Role
from tacit.server.console.routes import routes
from tacit.server.console.source import find_source
from tacit.server.errors import BadConfig
from tacit.server.ledger.contents import read_database
from tacit.server.ledger.export import export_ledger


@given(st.integers(0, 10_000))
def test_a_count_is_told_in_tens_and_a_small_one_not_at_all(exact: int) -> None:
    told = Count.of(exact)
    assert told.at_least % STEP == 0
    assert told.at_least <= exact < told.at_least + STEP
    assert str(told) == "fewer than 10" or exact >= STEP


def test_the_first_who_permits_a_rare_signal_changes_nothing_that_is_told() -> None:
    many = [("learn", "rating", 12)]
    before = coverage_of(60, many)
    assert before.by_signal == {("learn", "rating"): Count(10)}
    assert coverage_of(60, [*many, ("decide", "precise_location", 1)]) == before


def test_a_key_opens_with_its_password_and_for_its_owner_alone() -> None:
    key = SigningKey.generate(os.urandom)
    sealed = seal_key(key, "olga", "the right password")
    assert key.private_bytes() not in sealed
    assert open_key(sealed, "olga", "the right password").key_id == key.key_id
    for owner, password in (("anna", "the right password"), ("olga", "another password")):
        with pytest.raises(BadForm, match="cannot be opened"):
            open_key(sealed, owner, password)
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    with pytest.raises(BadForm, match="cannot be opened"):
        open_key(flipped, "olga", "the right password")
    with pytest.raises(BadForm, match="64 hexadecimal digits") as refused:
        parse_key("5ec2e7" * 3)
    assert "5ec2e7" not in str(refused.value)


def test_an_operator_decides_nothing_and_nobody_else_makes_links() -> None:
    decides = {Permission.PROPOSE, Permission.APPROVE, Permission.REJECT}
    assert not PERMISSIONS[Role.OPERATOR] & decides
    for role in set(Role) - {Role.OPERATOR}:
        assert Permission.PEOPLE not in PERMISSIONS[role]
    changing = [one for one in routes() if one.method == "POST"]
    assert all(one.is_logged for one in changing)
    assert not [one for one in routes() if one.is_api and one.method != "GET"]


def test_the_drawing_stays_inside_itself(deployment: Any) -> None:
    deployment.run_task()
    (statement,) = account_statements(read_database(deployment.state_dir))
    drawing = burn_down(statement)
    assert drawing is not None
    assert str(statement.spent.epsilon) in drawing.summary
    assert drawing.window.count("H") == len(statement.steps) - 1
    assert all(0 <= line.y <= HEIGHT for line in drawing.lines)
    assert all(0 <= tick.at <= WIDTH for tick in drawing.x_ticks)


def test_a_ledger_is_found_wherever_it_is(deployment: Any, tmp_path: Path) -> None:
    deployment.run_task()
    export_ledger(deployment.state_dir, tmp_path / "export")
    for path in (
        deployment.state_dir,
        deployment.state_dir / "ledger.sqlite",
        deployment.config_path,
        tmp_path / "export",
    ):
        source = find_source(path)
        assert len(source.read().logs["governance"].entries) >= 9
        before = source.fingerprint()
        assert source.fingerprint() == before
    assert find_source(tmp_path / "export").is_export
    with pytest.raises(BadConfig, match="expected a demo's state directory"):
        find_source(tmp_path)
