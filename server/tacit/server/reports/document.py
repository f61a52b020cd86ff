"""A report before it has a form: headings, facts, tables and charts, with no markup in them.

Both forms are made from `Document.to_json()`, so that HTML and PDF cannot say different things.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tacit.server.reports.visible_text import visible

TYPE = "tacit.report/1"


@dataclass(frozen=True, slots=True)
class Code:
    """Text that is set in a fixed width: digests, names of keys, commands."""

    text: str


Text = str | Code


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text."""

    text: str

    def to_json(self) -> dict[str, object]:
        """Return the block as a document."""
        return {"kind": "paragraph", "text": visible(self.text)}


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence that is set apart, word for word, with what must be true for it.

    Attributes:
        label: What kind of sentence it is.
        text: The sentence.
        beside: What has to be read with it; empty for nothing.
    """

    label: str
    text: str
    beside: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the block as a document."""
        return {
            "kind": "claim",
            "label": visible(self.label),
            "text": visible(self.text),
            "beside": visible(self.beside),
        }


@dataclass(frozen=True, slots=True)
class Quotation:
    """Somebody's own words, such as a notice's.

    Attributes:
        label: Whose, and where they stand.
        text: The words.
    """

    label: str
    text: str

    def to_json(self) -> dict[str, object]:
        """Return the block as a document."""
        return {"kind": "quotation", "label": visible(self.label), "text": visible(self.text)}


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list.

    Attributes:
        items: In order, at least one.
        caption: What they are; empty for nothing.
    """

    items: tuple[str, ...]
    caption: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the block as a document."""
        return {
            "kind": "bullets",
            "caption": visible(self.caption),
            "items": [visible(one) for one in self.items],
        }


@dataclass(frozen=True, slots=True)
class Facts:
    """Names with their values, one below the other.

    Attributes:
        rows: (name, value) pairs; a value of several lines is a sequence.
        caption: What they are facts of; read by screen readers, and printed above them.
    """

    rows: tuple[tuple[str, Text | Sequence[Text]], ...]
    caption: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the block as a document."""
        return {
            "kind": "facts",
            "caption": visible(self.caption),
            "rows": [
                {"name": visible(name), "lines": [_text(one) for one in _lines(value)]}
                for name, value in self.rows
            ],
        }


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns.

    Attributes:
        caption: What the rows are.
        columns: (heading, whether it holds numbers) pairs.
        rows: As many cells each as there are columns.
        empty: What is said instead where there are no rows.
    """

    caption: str
    columns: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[Text, ...], ...]
    empty: str

    def to_json(self) -> dict[str, object]:
        """Return the block as a document."""
        return {
            "kind": "table",
            "caption": visible(self.caption),
            "columns": [{"name": name, "number": number} for name, number in self.columns],
            "rows": [[_text(cell) for cell in row] for row in self.rows],
            "empty": visible(self.empty),
        }


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing, with the same in words for whoever does not see it.

    Attributes:
        caption: What it shows.
        alternative: What there is to be seen in it.
        specification: Vega-Lite, with its data inside; no part of the document's JSON.
    """

    caption: str
    alternative: str
    specification: Mapping[str, Any]

    def to_json(self) -> dict[str, object]:
        """Return the block as a document."""
        return {
            "kind": "chart",
            "caption": visible(self.caption),
            "alternative": visible(self.alternative),
        }


@dataclass(frozen=True, slots=True)
class Listing:
    """Lines to be copied as they stand: commands, checkpoints, proofs.

    Attributes:
        caption: What they are.
        text: The lines.
    """

    caption: str
    text: str

    def to_json(self) -> dict[str, object]:
        """Return the block as a document."""
        lines = [visible(line) for line in self.text.rstrip("\n").split("\n")]
        return {"kind": "listing", "caption": visible(self.caption), "lines": lines}


Block = Paragraph | Claim | Quotation | Bullets | Facts | Table | Chart | Listing


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what stands below it.

    Attributes:
        heading: Its words.
        blocks: In order.
        level: 1 for a section, 2 for a part of the one before.
    """

    heading: str
    blocks: tuple[Block, ...]
    level: int = 1

    def to_json(self) -> dict[str, object]:
        """Return the section as a document."""
        return {
            "heading": visible(self.heading),
            "level": self.level,
            "blocks": [block.to_json() for block in self.blocks],
        }


@dataclass(frozen=True, slots=True)
class Document:
    """One report.

    Attributes:
        title: Its name.
        subtitle: What it is about.
        head: What identifies it: ledger, state, date.
        sections: In order.
        running_foot: One line for the foot of each page.
        drawn_up: The day it carries; None where it only names the state of the ledger.
        data: Its figures for machines, as `tacit budget` gives them.
    """

    title: str
    subtitle: str
    head: Facts
    sections: tuple[Section, ...]
    running_foot: str
    drawn_up: datetime.date | None = None
    data: Mapping[str, object] = field(default_factory=dict[str, object])

    @property
    def charts(self) -> tuple[Chart, ...]:
        """Its drawings, in order."""
        return tuple(
            block
            for section in self.sections
            for block in section.blocks
            if isinstance(block, Chart)
        )

    def to_json(self) -> dict[str, object]:
        """Return the whole report; equal ledgers, releases and dates give equal documents."""
        return {
            "type": TYPE,
            "title": visible(self.title),
            "subtitle": visible(self.subtitle),
            "drawn_up": self.drawn_up.isoformat() if self.drawn_up else None,
            "head": self.head.to_json(),
            "sections": [section.to_json() for section in self.sections],
            "running_foot": visible(self.running_foot),
            "data": dict(self.data),
        }

    def to_html(self) -> str:
        """Return one HTML page that needs nothing else: no script, no file, no network."""
        from tacit.server.reports.html import render_html

        return render_html(self)

    def to_pdf(self) -> bytes:
        """Return a tagged PDF (PDF/A-2a and PDF/UA-1) of the same content."""
        from tacit.server.reports.pdf import render_pdf

        return render_pdf(self)


def _text(value: Text) -> dict[str, object]:
    if isinstance(value, Code):
        return {"text": visible(value.text), "code": True}
    return {"text": visible(value), "code": False}


def _lines(value: Text | Sequence[Text]) -> Sequence[Text]:
    return [value] if isinstance(value, str | Code) else value
