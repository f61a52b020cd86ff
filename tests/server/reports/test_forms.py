"""Both forms of a report: they stand alone, hold the same words, and let no name be markup."""

from __future__ import annotations

import datetime
import html.parser
import itertools
import re
from typing import Any, cast
from xml.etree import ElementTree

import pytest

from tacit.server.reports import Document, VerifiedLedger, deployment_card, quarterly_review
from tacit.server.reports.charts import draw
from tacit.server.reports.document import Facts, Paragraph, Section
from tacit.server.reports.html import content_security_policy
from tacit.server.reports.visible_text import visible


class Page(html.parser.HTMLParser):
    """What a browser would make of a page: elements, attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def documents(ledger: VerifiedLedger) -> list[Document]:
    when = datetime.date(2026, 7, 1)
    return [
        deployment_card(ledger, drawn_up=when),
        quarterly_review(ledger, drawn_up=when),
    ]


def pdf_text(data: bytes) -> str:
    reader: Any = __import__("pypdfium2")
    document = reader.PdfDocument(data)
    try:
        parts: list[str] = []
        for page in document:
            text = page.get_textpage()
            parts.append(text.get_text_bounded())
            text.close()
            page.close()
        return "\n".join(parts)
    finally:
        document.close()


def squeezed(text: str) -> str:
    """Text without what line breaking adds or takes."""
    return re.sub(r"[\s\u200b\u00ad\ufffe\x02-]", "", text)


@pytest.mark.parametrize("place", [0, 1])
def test_the_page_stands_alone(year: VerifiedLedger, place: int) -> None:
    text = documents(year)[place].to_html()
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("href", "src", "xlink:href", "action"):
            assert (attributes.get(name) or "#").startswith("#")
    assert "url(" not in re.sub(r"url\(#", "", text)
    assert "@import" not in text
    policies = [a for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert [one["content"] for one in policies] == [content_security_policy()]
    assert "unsafe-inline" not in content_security_policy()


@pytest.mark.parametrize("place", [0, 1])
def test_the_page_can_be_read_without_seeing_it(year: VerifiedLedger, place: int) -> None:
    page = Page(documents(year)[place].to_html())
    assert ("html", {"lang": "en"}) in page.tags
    drawings = [a for _, a in page.tags if a.get("role") == "img"]
    assert len(drawings) == 1
    assert "ε" in (drawings[0]["aria-label"] or "")
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {(a.get("href") or "")[1:] for tag, a in page.tags if tag == "a"}
    assert targets <= set(ids)
    headings = [a for tag, a in page.tags if tag == "th"]
    assert headings
    assert all(a.get("scope") in ("row", "col") for a in headings)
    sections: Any = documents(year)[place].to_json()["sections"]
    for section in sections:
        for block in section["blocks"]:
            assert all(column["name"] for column in block.get("columns", ()))


def test_equal_ledgers_and_dates_give_equal_bytes(year: VerifiedLedger) -> None:
    draw({"mark": "bar", "data": {"values": []}, "encoding": {}})  # moves the library's counters
    for first, again in zip(documents(year), documents(year), strict=True):
        assert first.to_html() == again.to_html()
        assert first.to_pdf() == again.to_pdf()
        assert first.to_json() == again.to_json()


def test_another_date_is_another_document(year: VerifiedLedger) -> None:
    other = deployment_card(year, drawn_up=datetime.date(2026, 7, 2))
    assert other.to_html() != documents(year)[0].to_html()
    assert "2026-07-02" in other.to_html()


@pytest.mark.parametrize("place", [0, 1])
def test_both_forms_say_the_same(year: VerifiedLedger, place: int) -> None:
    document = documents(year)[place]
    typeset = squeezed(pdf_text(document.to_pdf()))
    shown = squeezed("".join(Page(document.to_html()).words))
    missing: list[str] = []
    for text in leaves(document.to_json()["sections"]):
        wanted = squeezed(text)
        missing += [text] if wanted not in shown or wanted not in typeset else []
    # Words that a page break cuts through come apart in the text of a PDF, at most one a page.
    assert len(missing) <= 5, missing


def leaves(block: object) -> list[str]:
    """Every text that has to be shown."""
    if isinstance(block, str):
        return [block]
    if isinstance(block, list):
        return [text for one in cast(list[object], block) for text in leaves(one)]
    if not isinstance(block, dict):
        return []
    fields = cast(dict[str, object], block)
    if "columns" in fields and not fields["rows"]:
        return leaves(fields["empty"])
    hidden = ("kind", "alternative", "empty")
    return [text for name, one in fields.items() if name not in hidden for text in leaves(one)]


def test_no_name_becomes_markup_of_the_page(hostile: VerifiedLedger, hostile_text: str) -> None:
    for document in documents(hostile):
        text = document.to_html()
        page = Page(text)
        assert "script" not in {tag for tag, _ in page.tags}
        assert "<script>alert" not in text
        assert visible(hostile_text) in "".join(page.words)
        assert "{{7*7}}" in "".join(page.words), "a template must not evaluate names"
        assert "\u202e" not in text
        for _, attributes in page.tags:
            assert not [name for name in attributes if name.startswith("on")]


def test_no_name_becomes_markup_of_the_pdf(hostile: VerifiedLedger, hostile_text: str) -> None:
    for document in documents(hostile):
        typeset = squeezed(pdf_text(document.to_pdf()))
        assert squeezed(visible(hostile_text)) in typeset
        assert '#panic("x")*b*$x$]\\' in typeset, "typst must not evaluate names"


def test_no_name_becomes_markup_of_a_drawing(hostile_text: str) -> None:
    specification = {
        "data": {"values": [{"name": hostile_text, "value": 1}]},
        "mark": "bar",
        "title": hostile_text,
        "encoding": {
            "x": {"field": "value", "type": "quantitative", "title": hostile_text},
            "y": {"field": "name", "type": "nominal"},
        },
    }
    svg = draw(specification)
    root = ElementTree.fromstring(svg)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags <= {"svg", "g", "path", "line", "text", "rect", "clipPath", "defs", "title"}
    assert any("alert(1)" in (element.text or "") for element in root.iter())
    for element in root.iter():
        for name in element.attrib:
            assert not name.startswith(("on", "aria-"))
            assert name.rpartition("}")[2] not in ("href", "style", "role")


@pytest.mark.parametrize("address", ["https://example.org/x.json", "file:///etc/passwd"])
def test_a_drawing_loads_nothing(address: str) -> None:
    elsewhere = {"layer": [{"data": {"url": address}, "mark": "point", "encoding": {}}]}
    with pytest.raises(ValueError, match="expected its data inside"):
        draw(elsewhere)


def test_drawings_on_one_page_do_not_share_ids(year: VerifiedLedger) -> None:
    review = quarterly_review(year)
    (chart,) = review.charts
    first, second = draw(chart.specification, "a"), draw(chart.specification, "b")
    assert set(re.findall(r'id="([^"]+)"', first)).isdisjoint(re.findall(r'id="([^"]+)"', second))


@pytest.mark.parametrize("text", ["中文", "שלום", "😀", "\x07", "\ud800", "e\u0301", "\U000f0000"])
def test_any_character_can_be_typeset(text: str) -> None:
    document = Document(
        "Title", text, Facts(((text, text),)), (Section(text, (Paragraph(text),)),), text
    )
    assert document.to_pdf().startswith(b"%PDF")
    document.to_html().encode()


def test_what_no_font_can_show_is_named_in_the_pdf() -> None:
    text = "\U00012000"  # cuneiform, in no font that comes with the typesetter
    document = Document("Title", "about", Facts((("name", text),)), (), "foot")
    shown = pdf_text(document.to_pdf())
    assert "U+12000" in shown or text in shown
    assert text in document.to_html()


def test_long_words_break_and_stay_whole_in_the_text() -> None:
    word = "x" * 400
    document = Document("Title", "about", Facts((("name", word),)), (), "foot")
    assert word in squeezed(pdf_text(document.to_pdf()))


def test_a_pdf_is_tagged_archival_and_dated(year: VerifiedLedger) -> None:
    data = documents(year)[0].to_pdf()
    for mark in (b"/MarkInfo", b"/StructTreeRoot", b"pdfuaid", b"pdfaid", b"2026-07-01"):
        assert mark in data
