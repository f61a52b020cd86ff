"""The planner: what a further task would cost, leave and be worth; nothing is spent."""

from __future__ import annotations

from collections.abc import Mapping

from tacit.privacy.errors import PrivacyError
from tacit.server.budget.statement import find_account
from tacit.server.console.answers import Answer, Page, Visit
from tacit.server.console.errors import BadForm, ConsoleRefused
from tacit.server.console.services import Console
from tacit.server.console.snapshot import Snapshot
from tacit.server.errors import NotFound

_FIELDS = ("account", "purpose", "epsilon", "noise_multiplier", "rounds", "users")


def plan_page(console: Console, visit: Visit) -> Answer:
    """Show the form, and the answer once two of ε, noise and rounds are given."""
    snapshot = console.snapshots.current()
    asked = {name: visit.query.get(name, "").strip() for name in _FIELDS}
    found, message = None, ""
    if any(asked[name] for name in ("epsilon", "noise_multiplier", "rounds")):
        try:
            found = plan(console, snapshot, visit.query)
        except ConsoleRefused as error:
            message = str(error)
    context = {"snapshot": snapshot, "asked": asked, "found": found, "message": message}
    return Page("plan.html", "Plan", context, status=422 if message else 200)


def plan(console: Console, snapshot: Snapshot, asked: Mapping[str, str]) -> Mapping[str, object]:
    """Answer a what-if question.

    Raises:
        BadForm: A field is no number or out of range, or the account is not there.
    """
    given = {name: asked.get(name, "").strip() for name in _FIELDS}
    try:
        statement = None
        if snapshot.statements:
            statement = find_account(snapshot.statements, given["account"] or None)
        return console.planner(
            statement,
            epsilon=_real("epsilon", given["epsilon"]),
            noise_multiplier=_real("noise_multiplier", given["noise_multiplier"]),
            rounds=_whole("rounds", given["rounds"]),
            n_users=_whole("users", given["users"]),
            purpose=given["purpose"] or "learn",
        )
    except (PrivacyError, NotFound) as error:
        raise BadForm(str(error)) from None


def _real(name: str, text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise BadForm(f"{name}: expected a number") from None


def _whole(name: str, text: str) -> int | None:
    try:
        return int(text) if text else None
    except ValueError:
        raise BadForm(f"{name}: expected a whole number") from None
