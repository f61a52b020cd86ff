"""A report as a PDF, typeset by Typst inside this process: its fonts come with it, no network.

The template is fixed text; everything of the report reaches it as JSON data, so no name in a
ledger can be read as markup. PDF/A-2a (ISO 19005-2) and PDF/UA-1 (ISO 14289-1) are asked for: the
compiler refuses what would not be archival and tagged for screen readers.
"""

from __future__ import annotations

import datetime
import functools
import importlib.resources
import json

from tacit.server.reports.charts import draw
from tacit.server.reports.document import Document
from tacit.server.reports.visible_text import named

_TEMPLATES = "tacit.server.reports.templates"
_NO_DATE = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_PROBE = """
#set document(title: "characters")
#set text(font: ("Libertinus Serif", "DejaVu Sans Mono"))
#json(bytes(sys.inputs.report)).text
"""


def render_pdf(document: Document) -> bytes:
    """Return the PDF; on one machine, equal documents give equal bytes.

    Characters that none of the fonts at hand can show stand as their code points; the page has
    them as they are.
    """
    report = document.to_json()
    drawings = [draw(chart.specification) for chart in document.charts]
    text = json.dumps(report, ensure_ascii=False)
    missing = _not_in_fonts(text, ignore_system_fonts=True)
    system = bool(missing)
    if missing:
        missing = _not_in_fonts(text, ignore_system_fonts=False)
        text = "".join(named(one) if one in missing else one for one in text)
    source = importlib.resources.files(_TEMPLATES).joinpath("report.typ").read_bytes()
    return _compile(
        source,
        {"report": text, "drawings": json.dumps(drawings)},
        _moment(document.drawn_up),
        ignore_system_fonts=not system,
    )


def _compile(
    source: bytes,
    inputs: dict[str, str],
    at: datetime.datetime = _NO_DATE,
    *,
    ignore_system_fonts: bool,
) -> bytes:
    import typst

    return typst.compile(
        source,
        format="pdf",
        sys_inputs=inputs,
        pdf_standards=["a-2a", "ua-1"],
        ignore_system_fonts=ignore_system_fonts,
        timestamp=at,
    )


def _not_in_fonts(text: str, *, ignore_system_fonts: bool) -> frozenset[str]:
    """Return the characters of a text that no font can show."""
    unusual = "".join(sorted({one for one in text if not one.isascii()}))
    if _can_show(unusual, ignore_system_fonts=ignore_system_fonts):
        return frozenset()
    return frozenset(
        one for one in unusual if not _can_show(one, ignore_system_fonts=ignore_system_fonts)
    )


@functools.lru_cache(maxsize=4096)
def _can_show(text: str, *, ignore_system_fonts: bool) -> bool:
    """Whether there are fonts for all characters: the standards refuse text without a glyph."""
    import typst

    probe = {"report": json.dumps({"text": text}, ensure_ascii=False)}
    try:
        _compile(_PROBE.encode(), probe, ignore_system_fonts=ignore_system_fonts)
    except typst.TypstError:
        return False
    return True


def _moment(day: datetime.date | None) -> datetime.datetime:
    if day is None:
        return _NO_DATE
    return datetime.datetime.combine(day, datetime.time(), tzinfo=datetime.UTC)
