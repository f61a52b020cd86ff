"""Text of others made safe to read: nothing invisible in it, nothing that reorders what follows.

Markup is not a matter of this module: the page escapes by Jinja2's autoescape, and the PDF's
template gets all text as data.
"""

from __future__ import annotations

import unicodedata

_REPLACED = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
"""General categories that show nothing, or change how the text around them is shown."""


def visible(text: str) -> str:
    """Return the text with each control, format or unassigned character named in its place.

    A right-to-left override in a task's name would otherwise let one name look like another
    (Unicode Technical Report 36, 2.5).
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        named(character) if unicodedata.category(character) in _REPLACED else character
        for character in text
    )


def named(character: str) -> str:
    """Return what stands for a character that cannot be shown."""
    return f"⟨U+{ord(character):04X}⟩"
