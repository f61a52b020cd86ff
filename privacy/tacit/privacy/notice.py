"""Notices: the text people are shown before they decide, published in the governance log."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from tacit.privacy.canonical import Fields, Json
from tacit.privacy.errors import BadDocument


@dataclass(frozen=True, slots=True)
class NoticeDocument:
    """One version of a notice in one language (kind `notice`).

    Attributes:
        notice_id, version, language: its name; consent events refer to it.
        text: what is shown, at most 20,000 characters.
    """

    notice_id: str
    version: str
    language: str
    text: str

    def to_json(self) -> dict[str, Json]:
        """Return the body of the entry."""
        return {
            "type": "tacit.notice/1",
            "notice_id": self.notice_id,
            "version": self.version,
            "language": self.language,
            "text": self.text,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> NoticeDocument:
        """Parse and validate; raises `BadDocument`."""
        fields = Fields(document, "notice")
        if fields.text("type") != "tacit.notice/1":
            raise BadDocument("notice.type: expected 'tacit.notice/1'")
        notice = cls(
            notice_id=fields.text("notice_id"),
            version=fields.text("version"),
            language=fields.text("language", max_length=35),
            text=fields.text("text", max_length=20_000),
        )
        fields.done()
        if not (notice.notice_id and notice.version and notice.language and notice.text):
            raise BadDocument("notice: expected a name, a version, a language and a text")
        return notice

    def text_digest(self) -> str:
        """Return the hex SHA-256 of the text, as consent events carry it."""
        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()
