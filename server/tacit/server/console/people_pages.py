"""People's accounts, and who looked at what: for operators, and for those who check them."""

from __future__ import annotations

from tacit.server.console.answers import Answer, Page, Redirect, Visit
from tacit.server.console.errors import BadForm
from tacit.server.console.people import LINK_TTL_MS
from tacit.server.console.roles import EXPLAINED, Role
from tacit.server.console.services import Console
from tacit.server.errors import VerificationFailed

_SHOWN = 200


def people_page(console: Console, _visit: Visit) -> Answer:
    """List everyone who has an account."""
    return Page("people.html", "People", _context(console, "", ""))


def invite(console: Console, visit: Visit) -> Answer:
    """Make an account, or a new link for one, and show the link once."""
    name, asked = visit.field("name", 40), visit.form.get("role", "")
    if name == visit.someone.name:
        raise BadForm("expected somebody else: a new link would end your own account's password")
    try:
        role = Role(asked) if asked else None
    except ValueError:
        raise BadForm("role: expected one of " + ", ".join(Role)) from None
    token = console.people.invite(name, role)
    link = f"{visit.origin}/first-use/{token}"
    return Page("people.html", "People", _context(console, name, link))


def disable(console: Console, visit: Visit) -> Answer:
    """Let somebody in no more."""
    name = visit.params["name"]
    if name == visit.someone.name:
        raise BadForm("expected somebody else: nobody shuts themselves out")
    console.people.disable(name)
    return Redirect("/people", detail=f"disabled {name}")


def access_log_page(console: Console, _visit: Visit) -> Answer:
    """Show the newest entries, and whether the chain holds."""
    try:
        head, finding = str(console.log.verify()), ""
    except VerificationFailed as error:
        head, finding = "", error.findings[0]
    context = {"entries": console.log.latest(_SHOWN), "head": head, "finding": finding}
    return Page("access_log.html", "Access log", context)


def _context(console: Console, invited: str, link: str) -> dict[str, object]:
    return {
        "people": console.people.everyone(),
        "roles": [(role.value, EXPLAINED[role]) for role in Role],
        "invited": invited,
        "link": link,
        "link_minutes": LINK_TTL_MS // 60_000,
    }
