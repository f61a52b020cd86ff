from __future__ import annotations

from typing import Any

import pytest

from tacit.privacy.accounting import GaussianEvent
from tacit.privacy.budget_documents import (
    AbortDocument,
    AccountDocument,
    CommitDocument,
    ReserveDocument,
)
from tacit.privacy.errors import PrivacyError
from tacit.privacy.notice import NoticeDocument

DIGEST = "ab" * 32
GOOD: list[Any] = [
    AccountDocument("main", "shop", 8.0, 1e-6, {"learn": 6.0, "measure": 2.0}),
    ReserveDocument("r", "main", "learn", "k", DIGEST, 1, DIGEST, GaussianEvent(8.25)),
    CommitDocument("r", DIGEST, 1.25, 1e-6),
    AbortDocument("r", "nobody came"),
    NoticeDocument("privacy", "1", "en", "We learn from noised sums."),
]


def _read(document: Any) -> Any:
    return document.from_json


@pytest.mark.parametrize("document", GOOD)
def test_documents_read_back(document: Any) -> None:
    assert _read(document)(document.to_json()) == document


@pytest.mark.parametrize(
    ("which", "changes"),
    [
        (0, {"cap_epsilon": "0.0"}),
        (0, {"cap_epsilon": "inf"}),
        (0, {"cap_epsilon": "nan"}),
        (0, {"cap_epsilon": 8}),
        (0, {"cap_epsilon": True}),
        (0, {"target_delta": "1.0"}),
        (0, {"target_delta": "-1e-6"}),
        (0, {"quotas": {"advertise": "1.0"}}),
        (0, {"quotas": {"learn": "0.0"}}),
        (0, {"unit": "event"}),
        (0, {"account_id": ""}),
        (0, {"account_id": "a b"}),
        (1, {"type": "tacit.account/1"}),
        (1, {"purpose": "advertise"}),
        (1, {"task_sha256": "AB" * 32}),
        (1, {"context_sha256": "ab"}),
        (1, {"round_id": -1}),
        (1, {"event": None}),
        (1, {"event": GaussianEvent(8.0, 2).to_json()}),
        (1, {"event": GaussianEvent(8.0).to_json() | {"noise_multiplier": "0"}}),
        (1, {"event": GaussianEvent(8.0).to_json() | {"noise_multiplier": "8"}}),
        (1, {"event": GaussianEvent(8.0).to_json() | {"sampling": "poisson"}}),
        (2, {"epsilon": "-1"}),
        (2, {"epsilon": 1}),
        (2, {"release_sha256": ""}),
        (3, {"reason": None}),
        (3, {"more": 1}),
        (4, {"text": ""}),
        (4, {"text": "x" * 20_001}),
        (4, {"type": "tacit.notice/2"}),
    ],
)
def test_bad_documents_are_refused(which: int, changes: dict[str, Any]) -> None:
    document = GOOD[which]
    with pytest.raises(PrivacyError):
        _read(document)(document.to_json() | changes)


@pytest.mark.parametrize("document", GOOD)
def test_missing_fields_are_refused(document: Any) -> None:
    whole = document.to_json()
    for name in whole:
        with pytest.raises(PrivacyError):
            _read(document)({k: v for k, v in whole.items() if k != name})
