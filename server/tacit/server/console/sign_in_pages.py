"""Signing in and out, first use by a one-time link, and one's own account."""

from __future__ import annotations

from tacit.server.console.answers import Answer, Page, Redirect, Visit
from tacit.server.console.errors import BadForm, ConsoleRefused
from tacit.server.console.officer_keys import parse_key
from tacit.server.console.passwords import MIN_LENGTH
from tacit.server.console.roles import EXPLAINED
from tacit.server.console.services import Console


def sign_in_page(_console: Console, visit: Visit) -> Answer:
    """Show the form, or the overview to who is signed in."""
    return Redirect("/") if visit.person else Page("sign_in.html", "Sign in", {"message": ""})


def sign_in(console: Console, visit: Visit) -> Answer:
    """Begin a session, with a token of its own."""
    try:
        person = console.people.sign_in(
            visit.form.get("name", "").strip(), visit.form.get("password", "")
        )
    except ConsoleRefused as error:
        return Page("sign_in.html", "Sign in", {"message": str(error)}, error.status)
    return Redirect("/", console.sessions.begin(person.name), f"signed in as {person.name}")


def sign_out(_console: Console, _visit: Visit) -> Answer:
    """End the session."""
    return Redirect("/sign-in", None)


def first_use_page(console: Console, visit: Visit) -> Answer:
    """Show the form for a first password; looking at a link does not use it up."""
    name = console.people.of_link(visit.params["token"])
    return Page("first_use.html", "First use", _first_use(visit, name, ""))


def first_use(console: Console, visit: Visit) -> Answer:
    """Set a first password, use the link up, and begin a session."""
    token = visit.params["token"]
    name = console.people.of_link(token)
    try:
        if visit.form.get("password", "") != visit.form.get("again", ""):
            raise BadForm("expected the same password twice")
        person = console.people.use_link(token, visit.form.get("password", ""))
    except BadForm as error:
        context = _first_use(visit, name, str(error))
        return Page("first_use.html", "First use", context, error.status)
    return Redirect("/", console.sessions.begin(person.name), f"first use by {person.name}")


def account_page(_console: Console, visit: Visit) -> Answer:
    """Show one's own account."""
    context = {"explained": EXPLAINED[visit.someone.role], "message": ""}
    return Page("account.html", "Your account", context)


def keep_key(console: Console, visit: Visit) -> Answer:
    """Keep one's own officer's key, sealed under one's own password."""
    person = visit.someone
    key = parse_key(visit.field("key"))
    console.people.keep_key(person.name, visit.field("password", 256), key)
    return Redirect("/account", detail=f"key {key.key_id}")


def _first_use(visit: Visit, name: str, message: str) -> dict[str, object]:
    return {
        "name": name,
        "token": visit.params["token"],
        "least": MIN_LENGTH,
        "message": message,
    }
