"""Every address of the console, with the permission it needs."""

from __future__ import annotations

from pathlib import Path

from tacit.server.console import (
    api,
    budget_pages,
    learning_pages,
    ledger_pages,
    people_pages,
    plan_pages,
    sign_in_pages,
)
from tacit.server.console.answers import Answer, Download, Handler, Route, Visit
from tacit.server.console.roles import Permission
from tacit.server.console.services import Console

_STATIC = Path(__file__).parent / "static"


def _file(name: str, media_type: str) -> Handler:
    content = (_STATIC / name).read_bytes()

    def give(_console: Console, _visit: Visit) -> Answer:
        return Download(content, media_type)

    return give


def routes() -> tuple[Route, ...]:
    """Return all routes."""
    everyone, read = Permission.EVERYONE, Permission.READ
    sign, budget, learning, ledger = sign_in_pages, budget_pages, learning_pages, ledger_pages
    return (
        Route("GET", "/console.css", everyone, _file("console.css", "text/css"), is_logged=False),
        Route("GET", "/favicon.ico", everyone, _file("icon.svg", "image/svg+xml"), is_logged=False),
        Route("GET", "/sign-in", everyone, sign.sign_in_page, is_logged=False),
        Route("POST", "/sign-in", everyone, sign.sign_in),
        Route("POST", "/sign-out", read, sign.sign_out),
        Route("GET", "/first-use/{token}", everyone, sign.first_use_page, has_secret=True),
        Route("POST", "/first-use/{token}", everyone, sign.first_use, has_secret=True),
        Route("GET", "/account", read, sign.account_page),
        Route("POST", "/account/key", Permission.PROPOSE, sign.keep_key),
        Route("GET", "/", read, ledger.overview_page),
        Route("GET", "/budget", read, budget.budget_page),
        Route("GET", "/budget/{account}", read, budget.account_page),
        Route("GET", "/budget/{account}/propose", Permission.PROPOSE, budget.propose_page),
        Route("POST", "/budget/{account}/propose", Permission.PROPOSE, budget.propose_change),
        Route("GET", "/changes", read, budget.changes_page),
        Route("GET", "/changes/{change}", read, budget.change_page),
        Route("POST", "/changes/{change}/approve", Permission.APPROVE, budget.approve_change),
        Route("POST", "/changes/{change}/reject", Permission.REJECT, budget.reject_change),
        Route("GET", "/tasks", read, learning.tasks_page),
        Route("GET", "/tasks/{task}", read, learning.task_page),
        Route("GET", "/releases", read, learning.releases_page),
        Route("GET", "/releases/{population}/{version}", read, learning.release_page),
        Route("GET", "/consent", read, learning.consent_page),
        Route("GET", "/audits", read, learning.audits_page),
        Route("GET", "/ledger", read, ledger.ledger_page),
        Route("GET", "/ledger/entries/{index}", read, ledger.entry_page),
        Route("GET", "/ledger/checkpoints/{log}", read, ledger.checkpoint_file),
        Route("GET", "/ledger/export", read, ledger.export_file),
        Route("GET", "/verification", read, ledger.verification_page),
        Route("POST", "/verification", read, ledger.verify_now),
        Route("GET", "/plan", read, plan_pages.plan_page),
        Route("GET", "/people", Permission.PEOPLE, people_pages.people_page),
        Route("POST", "/people", Permission.PEOPLE, people_pages.invite),
        Route("POST", "/people/{name}/disable", Permission.PEOPLE, people_pages.disable),
        Route("GET", "/access-log", Permission.ACCESS_LOG, people_pages.access_log_page),
        Route("GET", "/api/openapi.json", read, api.openapi),
        Route("GET", "/api/v1/ledger", read, api.ledger),
        Route("GET", "/api/v1/entries/{index}", read, api.entry),
        Route("GET", "/api/v1/accounts", read, api.accounts),
        Route("GET", "/api/v1/accounts/{account}", read, api.account),
        Route("GET", "/api/v1/accounts/{account}/history", read, api.history),
        Route("GET", "/api/v1/changes/{change}", read, api.change),
        Route("GET", "/api/v1/tasks", read, api.tasks),
        Route("GET", "/api/v1/tasks/{task}", read, api.task),
        Route("GET", "/api/v1/releases", read, api.releases),
        Route("GET", "/api/v1/consent", read, api.consent),
        Route("GET", "/api/v1/audits", read, api.audits),
        Route("GET", "/api/v1/plan", read, api.planned),
        Route("GET", "/api/v1/people", Permission.PEOPLE, api.people),
        Route("GET", "/api/v1/access-log", Permission.ACCESS_LOG, api.accesses),
    )
