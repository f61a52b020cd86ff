"""The console in a real browser: two people, a proof, a tampered ledger, no accessibility fault."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "correct horse battery staple"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    path = os.environ.get("TACIT_CHROMIUM") or next(
        filter(None, map(shutil.which, _BROWSERS)), None
    )
    if path is None:
        pytest.skip(
            "no browser here: install Chromium (Debian: apt-get install chromium), or name one in "
            "TACIT_CHROMIUM"
        )
    playwright: Any = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def new_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    contexts: list[Any] = []

    def make(console: Any, **options: Any) -> Any:
        # The certificate is of the console's own making; test_attacks verifies it.
        context = chromium.new_context(ignore_https_errors=True, base_url=console.origin, **options)
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = context.new_page()
        # Whatever a page would load from elsewhere, or run, is an error here.
        page.elsewhere = []

        def watch(request: Any) -> None:
            if not request.url.startswith(console.origin):
                page.elsewhere.append(request.url)

        def listen(message: Any) -> None:
            if message.type == "error":
                page.elsewhere.append(message.text)

        page.on("request", watch)
        page.on("console", listen)
        return page

    yield make
    for context in contexts:
        context.close()


def sign_in(page: Any, name: str) -> None:
    page.goto("/sign-in")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Overview").wait_for()


def accessibility_faults(page: Any) -> list[str]:
    """Return what axe-core finds of serious or critical impact, contrast included."""
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
    found = page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{one['id']}: {json.dumps([node['html'] for node in one['nodes']][:3])}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def test_two_people_raise_a_cap(world: Any, new_page: Callable[..., Any]) -> None:
    olga, anna = new_page(world.console), new_page(world.console)
    sign_in(olga, "olga")
    olga.get_by_role("link", name="Budget").click()
    olga.get_by_role("link", name="main").click()
    olga.get_by_role("link", name="Propose a change").click()
    olga.get_by_label("Cap, ε of a window").fill("21.5")
    olga.get_by_label("Reason, one line for the record").fill("more campaigns")
    olga.get_by_label("Your password again: it opens your signing key").fill(PASSWORD)
    olga.get_by_role("button", name="Sign and propose").click()
    olga.get_by_text("pending").wait_for()
    assert not olga.get_by_role("button", name="Sign the approval").count()
    sign_in(anna, "anna")
    anna.get_by_role("link", name="A change of main").first.click()
    anna.get_by_text("to 21.5").wait_for()
    anna.get_by_label("Your password again: it opens your signing key").fill(PASSWORD)
    anna.get_by_role("button", name="Sign the approval").click()
    anna.get_by_text("approved", exact=True).wait_for()
    assert world.deployment.client("operator").show_budget("main").cap_epsilon == "21.5"
    anna.get_by_role("link", name="entry").last.click()
    anna.get_by_text("Proved.").wait_for()
    assert olga.elsewhere + anna.elsewhere == []


def test_a_watched_budget_moves(
    deployment: Any,
    chromium: Any,
    new_page: Callable[..., Any],
    new_console: Callable[..., Any],
    tmp_path: Path,
) -> None:
    assert chromium is not None
    task = deployment.open_account()
    console = new_console(deployment.state_dir, tmp_path / "console")
    page = new_page(console)
    page.goto(console.first_link)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("The same again").fill(PASSWORD)
    page.get_by_role("button", name="Begin").click()
    page.goto("/budget?watch=1")
    assert "ε 0 of a cap of 8" in page.inner_text("main")
    coordinator = deployment.client("coordinator")
    spent = coordinator.reserve(deployment.reserve(task)).epsilon_spent
    page.get_by_text(spent).first.wait_for(timeout=60_000)
    page.goto("/ledger")
    page.get_by_role("button", name="Verify now").click()
    page.get_by_text("The ledger holds together.").wait_for(timeout=120_000)
    with page.expect_download() as download:
        page.evaluate("location.href = '/ledger/export'")
    assert download.value.suggested_filename == "ledger-export.zip"
    deployment.stop()
    deployment.execute("DELETE FROM checkpoints WHERE log = 'governance' AND size = 1")
    page.goto("/verification")
    page.get_by_role("button", name="Verify now").click()
    page.get_by_text("The ledger does not verify.").wait_for(timeout=120_000)
    colour = page.evaluate("getComputedStyle(document.querySelector('.bad')).color")
    red, green, blue = (int(part) for part in re.findall(r"\d+", colour))
    assert red > 2 * max(green, blue)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_an_accessibility_fault(
    world: Any, new_page: Callable[..., Any], scheme: str
) -> None:
    pytest.importorskip("axe_playwright_python")
    page = new_page(world.console, color_scheme=scheme)
    page.goto("/sign-in")
    faults = {"/sign-in": accessibility_faults(page)}
    sign_in(page, "olga")
    for path in (
        *("/", "/budget", "/budget/main", "/budget/main/propose", "/changes", "/tasks"),
        *("/releases", "/releases/shop/1", "/consent", "/audits", "/ledger", "/ledger/entries/0"),
        *("/verification", "/plan?epsilon=1&rounds=3&users=1000", "/account", "/access-log"),
    ):
        page.goto(path)
        faults[path] = accessibility_faults(page)
    assert {path: found for path, found in faults.items() if found} == {}


def test_pages_fit_a_phone(world: Any, new_page: Callable[..., Any]) -> None:
    page = new_page(world.console, viewport={"width": 360, "height": 740})
    sign_in(page, "vic")
    for path in ("/", "/budget/main", "/ledger/entries/0", "/releases/shop/1", "/ledger"):
        page.goto(path)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360, path


def test_keyboard_reaches_the_content_first(world: Any, new_page: Callable[..., Any]) -> None:
    page = new_page(world.console)
    sign_in(page, "vic")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
