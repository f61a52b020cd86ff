"""Every page answers its question over a real ledger, in a real process."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tacit.privacy.canonical import canonical_json
from tacit.privacy.trust import EXCLUSIONS
from tacit.server.ledger.verify import verify_export

PAGES = {
    "/": "Is the ledger intact?",
    "/budget": "ε <strong>",
    "/budget/main": "Every step, with its proof",
    "/changes": "<h1>Changes</h1>",
    "/tasks": "task-1",
    "/releases": "Release 1 of shop",
    "/releases/shop/1": "Why believe it",
    "/consent": "fewer than 10",
    "/audits": "No audit is on record",
    "/ledger": "Both logs",
    "/ledger/entries/0": "Proof of inclusion",
    "/plan": "Nothing is spent",
    "/account": "You are <strong>vic</strong>",
    "/verification": "re-derives every root",
}


@pytest.mark.parametrize("path", PAGES)
def test_every_page_says_what_it_is_for(world: Any, path: str) -> None:
    page = world.console.session_of("vic").get(path)
    assert page.status_code == 200, page.text
    assert PAGES[path] in page.text


def test_budget_shows_the_figure_of_the_ledger(world: Any) -> None:
    browser = world.console.session_of("vic")
    spent = world.deployment.client("operator").show_budget("main").epsilon_spent
    for path in ("/", "/budget", "/budget/main"):
        assert spent in browser.get(path).text
    (account,) = browser.get("/api/v1/accounts").json()["accounts"]
    assert account["spent"]["epsilon"] == spent


@pytest.mark.parametrize(
    "path", ["/", "/budget", "/budget/main", "/releases", "/releases/shop/1", "/task"]
)
def test_no_figure_stands_alone(world: Any, path: str) -> None:
    browser = world.console.session_of("vic")
    if path == "/task":
        (task,) = browser.get("/api/v1/tasks").json()["tasks"]
        path = f"/tasks/{task['sha256']}"
    text = browser.get(path).text
    for said in ("central", "user", "add/remove", "1e-06", "tacit-gaussian", *EXCLUSIONS):
        assert said in text, said


def test_a_spend_leads_to_its_proof(world: Any) -> None:
    browser = world.console.session_of("vic")
    steps = browser.get("/api/v1/accounts/main/history").json()["steps"]
    index = next(step["index"] for step in steps if step["kind"] == "budget.commit")
    assert f'href="/ledger/entries/{index}"' in browser.get("/budget/main").text
    page = browser.get(f"/ledger/entries/{index}")
    assert "Proved." in page.text
    assert "task-1/1" in page.text


def test_plan_solves_for_the_missing_number(world: Any) -> None:
    browser = world.console.session_of("vic")
    page = browser.get("/plan", params={"epsilon": "1", "rounds": "3", "users": "1000"})
    assert page.status_code == 200
    assert "Cap and quota admit it." in page.text
    planned = browser.get("/api/v1/plan", params={"epsilon": "1", "rounds": "3"}).json()
    assert planned["plan"]["epsilon"] <= 1.0
    assert planned["account"]["admitted"] is True
    refused = browser.get("/plan", params={"epsilon": "-1", "rounds": "3"})
    assert (refused.status_code, "epsilon" in refused.text) == (422, True)


def test_consent_tells_no_small_number(world: Any) -> None:
    browser = world.console.session_of("vic")
    covered = browser.get("/api/v1/consent").json()["coverage"]
    assert covered["enrolled"] is None
    assert {one["devices"] for one in covered["by_purpose"] + covered["by_signal"]} == {None}
    with world.deployment.node.logs.database.reading() as connection:
        names = connection.exec_driver_sql("SELECT device_id FROM devices").scalars().all()
    assert names
    for path in ("/", "/consent", "/ledger", "/budget/main"):
        text = browser.get(path).text
        assert not [name for name in names if name in text]


def test_download_verifies_offline(world: Any, tmp_path: Path) -> None:
    answer = world.console.session_of("vic").get("/ledger/export")
    zipfile.ZipFile(io.BytesIO(answer.content)).extractall(tmp_path)
    report = verify_export(tmp_path / "ledger-export", world.deployment.node_key.public_key)
    assert report.releases[0].version == 1
    checkpoint = world.console.session_of("vic").get("/ledger/checkpoints/governance").content
    verify_export(tmp_path / "ledger-export", known=[checkpoint])


def test_verify_now_says_that_it_holds(world: Any) -> None:
    browser = world.console.session_of("vic")
    assert browser.post("/verification", token_page="/account").status_code == 303
    page = browser.get("/verification").text
    assert "The ledger holds together." in page
    assert 'class="good"' in page


def test_openapi_describes_every_address_of_the_api(world: Any) -> None:
    from tacit.server.console.routes import routes

    described = world.console.session_of("vic").get("/api/openapi.json").json()["paths"]
    served = {one.path for one in routes() if one.is_api} - {"/api/openapi.json"}
    assert set(described) == served


@pytest.fixture
def ledger_to_spoil(deployment: Any) -> Any:
    deployment.run_task()
    deployment.stop()
    return deployment


def test_a_ledger_that_went_back_or_was_altered_is_found(
    ledger_to_spoil: Any, new_console: Callable[..., Any], tmp_path: Path
) -> None:
    console = new_console(ledger_to_spoil.state_dir, tmp_path / "console")
    browser = console.first_use(console.first_link)

    def verify() -> str:
        assert browser.post("/verification", token_page="/account").status_code == 303
        return str(browser.get("/verification").text)

    assert "The ledger holds together." in verify()
    assert browser.get("/budget").status_code == 200
    # Consistent in itself: the release, the last entry, never happened.
    for table, column in (("leaves", "position"), ("checkpoints", "size")):
        last = f"(SELECT MAX({column}) FROM {table} WHERE log = 'governance')"
        ledger_to_spoil.execute(
            f"DELETE FROM {table} WHERE log = 'governance' AND {column} = {last}"
        )
    page = verify()
    assert "it was rolled back" in page
    assert 'class="bad" role="alert"' in page
    ledger_to_spoil.execute("DELETE FROM checkpoints WHERE log = 'consent' AND size = 2")
    assert "consent log: expected a checkpoint for each of 3 sizes" in verify()
    (row,) = ledger_to_spoil.execute(
        "SELECT hex(data) FROM leaves WHERE log = 'governance' AND position = 3"
    )
    changed = bytes.fromhex(row[0]).replace(b'"task-1/1"', b'"task-1/9"')
    ledger_to_spoil.execute(
        f"UPDATE leaves SET data = x'{changed.hex()}' WHERE log = 'governance' AND position = 3"
    )
    assert "does not verify" in verify()
    for path in ("/", "/budget", "/releases"):
        refused = browser.get(path)
        assert (refused.status_code, "does not hold together" in refused.text) == (409, True)
        assert "ε <strong>" not in refused.text
    answer = browser.get("/api/v1/accounts")
    assert (answer.status_code, bool(answer.json()["findings"])) == (409, True)


def test_an_empty_ledger_teaches(
    deployment: Any, new_console: Callable[..., Any], tmp_path: Path
) -> None:
    assert deployment.node is not None
    console = new_console(deployment.state_dir, tmp_path / "console")
    browser = console.first_use(console.first_link)
    for path in ("/", "/budget", "/tasks", "/releases", "/changes", "/audits", "/consent"):
        page = browser.get(path)
        assert (page.status_code, 'class="empty"' in page.text) == (200, True), path


def test_names_in_the_ledger_are_escaped(
    deployment: Any, new_console: Callable[..., Any], tmp_path: Path
) -> None:
    evil = '"><script>alert(1)</script>'
    task = deployment.open_account(task_id=evil, signals={evil: 1.0})
    console = new_console(deployment.state_dir, tmp_path / "console")
    browser = console.first_use(console.first_link)
    for path in (
        "/",
        "/budget/main",
        "/tasks",
        f"/tasks/{task.digest().hex()}",
        "/ledger/entries/1",
    ):
        page = browser.get(path)
        assert page.status_code == 200, page.text
        assert "<script" not in page.text
    assert "&lt;script&gt;" in browser.get("/tasks").text
    assert canonical_json({"task_id": evil})[12:-2].decode() in browser.get("/api/v1/tasks").text
