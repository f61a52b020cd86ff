"""Templates: everything that is put into a page is escaped, and a missing value is an error."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tacit.server.console.answers import Page, Visit
from tacit.server.console.roles import Permission, allows
from tacit.server.console.sessions import form_token

_TEMPLATES = Path(__file__).parent / "templates"
NAVIGATION = (
    ("/", "Overview"),
    ("/budget", "Budget"),
    ("/changes", "Changes"),
    ("/tasks", "Tasks"),
    ("/releases", "Releases"),
    ("/consent", "Consent"),
    ("/audits", "Audits"),
    ("/ledger", "Ledger"),
    ("/plan", "Plan"),
)


class Renderer:
    """Render pages. Thread-safe."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            auto_reload=False,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            epsilon=_epsilon, when=_when, short=_short, pretty=_pretty, quantity=_quantity
        )

    def render(self, page: Page, visit: Visit, path: str, nonce: str) -> str:
        """Return a page's HTML."""
        person = visit.person
        return self._environment.get_template(page.template).render(
            {
                "title": page.title,
                "person": person,
                "navigation": NAVIGATION if person else (),
                "path": path,
                "nonce": nonce,
                "form_token": form_token(visit.cookie),
                "may": {
                    one.value: person is not None and allows(person.role, one) for one in Permission
                },
                **page.context,
            }
        )


def _epsilon(value: float) -> str:
    """Show every decimal an ε is stated in: a bound that is rounded may be false."""
    return repr(float(value)).removesuffix(".0")


def _quantity(value: float) -> str:
    return f"{value:,.6g}"


def _when(at_ms: int) -> str:
    return f"{datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _short(digest: str) -> str:
    return digest[:12]


def _pretty(document: Mapping[str, object]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)
