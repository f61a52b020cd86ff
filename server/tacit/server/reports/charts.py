"""Charts as SVG, drawn by Vega-Lite inside this process: no browser, no network, no script left.

What tells lines apart is their dashes and their labels, never colour, so that a photocopy says the
same.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast
from xml.etree import ElementTree

_VERSION = "5.21"
"""Of Vega-Lite, so that another release of the library draws the same."""

FONT = "Libertinus Serif, Iowan Old Style, Georgia, serif"
INK = "#1a1a1a"
FAINT = "#d9d9d9"

_LOOK: dict[str, Any] = {
    "aria": False,  # the page names the whole drawing
    "background": None,
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelColor": INK,
        "titleColor": INK,
        "domainColor": INK,
        "tickColor": INK,
        "gridColor": FAINT,
        "titlePadding": 8,
    },
    "text": {"fontSize": 11, "color": INK},
    "rule": {"color": INK},
}
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
ElementTree.register_namespace("", "http://www.w3.org/2000/svg")


def draw(specification: Mapping[str, Any], name: str = "chart") -> str:
    """Draw a Vega-Lite specification whose data stand inside it.

    Args:
        specification: What to draw.
        name: Begins the ids inside, so that several drawings may stand on one page.

    Returns:
        One `svg` element with attributes alone for its looks (no style, no script, no link), the
        same for the same specification.

    Raises:
        ValueError: The specification is none of Vega-Lite's, or names data outside of it.
    """
    _check_stands_alone(specification)
    root = ElementTree.fromstring(
        _drawn(json.dumps(specification, sort_keys=True, ensure_ascii=False))
    )
    ids = [value for element in root.iter() if (value := element.get("id"))]
    # The library counts ids over the life of the process; here they go by their order.
    mine = {found: f"{name}-part-{place}" for place, found in enumerate(dict.fromkeys(ids))}
    for element in root.iter():
        for attribute, value in list(element.attrib.items()):
            if attribute == "role" or attribute.startswith("aria-"):
                # The page names the drawing as a whole; its parts have no names to be read out.
                del element.attrib[attribute]
            elif attribute == "id":
                element.set(attribute, mine[value])
            else:
                element.set(attribute, _REFERENCE.sub(lambda m: f"url(#{mine[m[1]]})", value))
    return ElementTree.tostring(root, encoding="unicode")


def _check_stands_alone(part: object) -> None:
    """Refuse a specification that names data or pictures elsewhere, the machine's own files too."""
    if isinstance(part, Mapping):
        fields = cast(Mapping[object, object], part)
        if "url" in fields or "href" in fields:
            raise ValueError("specification: expected its data inside, got the address of some")
        for one in fields.values():
            _check_stands_alone(one)
    elif isinstance(part, list | tuple):
        for one in cast(Sequence[object], part):
            _check_stands_alone(one)


@functools.lru_cache(maxsize=64)
def _drawn(specification: str) -> str:
    import vl_convert

    document = json.loads(specification)
    document["config"] = {**_LOOK, **document.get("config", {})}
    return vl_convert.vegalite_to_svg(document, vl_version=_VERSION, allowed_base_urls=[])
