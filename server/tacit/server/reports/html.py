"""A report as one page that stands alone: style and drawings inside, no script, no address."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from functools import cache

import jinja2
from markupsafe import Markup

from tacit.server.reports.charts import draw
from tacit.server.reports.document import Document

_TEMPLATES = "tacit.server.reports.templates"


def render_html(document: Document) -> str:
    """Return the page; equal documents give equal bytes.

    Its content security policy allows its own style, by digest, and nothing else: if markup ever
    got through, it could load and run nothing.
    """
    # As markup: every text in a drawing was escaped by the library that drew it.
    drawings = [
        Markup(draw(chart.specification, f"chart-{place}"))
        for place, chart in enumerate(document.charts)
    ]
    return _template().render(
        report=document.to_json(),
        drawings=drawings,
        style=Markup(style()),
        policy=content_security_policy(),
    )


def style() -> str:
    """Return the one style sheet of every page."""
    return _read("report.css")


def content_security_policy() -> str:
    """Return the policy a page states of itself, for whoever serves it to state as well."""
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_read("report.html.j2"))


def _read(name: str) -> str:
    return importlib.resources.files(_TEMPLATES).joinpath(name).read_text(encoding="utf-8")
