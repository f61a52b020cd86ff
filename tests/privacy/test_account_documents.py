"""Documents that open accounts and change them: both versions, their bytes, what is refused."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tacit.privacy.account_change_documents import (
    ApprovalDocument,
    ChangeDocument,
    RejectionDocument,
)
from tacit.privacy.account_documents import AccountDocument, terms_from_json, terms_to_json
from tacit.privacy.budget_account import AccountTerms
from tacit.privacy.canonical import canonical_json
from tacit.privacy.errors import BadDocument, BadParameter, PrivacyError

DIGEST = "ab" * 32
ALICE, BOB = "a" * 26, "b" * 26
FIRST = AccountDocument("main", "shop", 8.0, 1e-6, {"learn": 6.0, "measure": 2.0})
SECOND = AccountDocument(
    "main", "shop", 8.0, 1e-6, {"learn": 6.0}, 1000, 30, (0.5, 1.0), (ALICE, BOB)
)
CHANGE = ChangeDocument("main", DIGEST, "season", 1000, SECOND.account().terms)
REFRESH = ChangeDocument("main", DIGEST, "quarter", 1000)
GOOD: list[Any] = [
    FIRST,
    SECOND,
    CHANGE,
    REFRESH,
    ApprovalDocument("main", DIGEST),
    RejectionDocument("main", DIGEST, "no"),
]


def read(document: Any) -> Any:
    return document.from_json


@pytest.mark.parametrize("document", GOOD, ids=lambda one: type(one).__name__)
def test_documents_read_back(document: Any) -> None:
    assert read(document)(document.to_json()) == document


def test_the_first_version_keeps_its_bytes() -> None:
    assert canonical_json(FIRST.to_json()) == (
        b'{"account_id":"main","cap_epsilon":"8.0","population":"shop",'
        b'"quotas":{"learn":"6.0","measure":"2.0"},"target_delta":"1e-06",'
        b'"type":"tacit.account/1","unit":"user"}'
    )
    account = FIRST.account()
    assert (account.approvers, account.window_days, account.population_size) == ((), None, None)


def test_the_first_version_cannot_hold_what_is_new() -> None:
    for change in ({"window_days": 3}, {"approvers": (ALICE, BOB)}, {"alert_thresholds": (0.5,)}):
        fields: dict[str, Any] = dict(change)
        document = AccountDocument("main", "shop", 8.0, 1e-6, {"learn": 6.0}, **fields)
        with pytest.raises(BadDocument, match="population_size"):
            document.to_json()


def test_a_change_is_named_by_its_canonical_body() -> None:
    body = canonical_json(CHANGE.to_json())
    assert CHANGE.sha256() == hashlib.sha256(body).hexdigest()
    assert CHANGE.sha256() != REFRESH.sha256()
    other = CHANGE.to_json()
    terms: Any = other["terms"]
    terms["cap_epsilon"] = "8.00"
    with pytest.raises(BadDocument, match="shortest"):
        ChangeDocument.from_json(other)


@pytest.mark.parametrize("document", GOOD, ids=lambda one: type(one).__name__)
def test_missing_and_unknown_fields_are_refused(document: Any) -> None:
    whole = document.to_json()
    for name in whole:
        with pytest.raises(PrivacyError):
            read(document)({k: v for k, v in whole.items() if k != name})
    with pytest.raises(PrivacyError):
        read(document)(whole | {"more": 1})


@pytest.mark.parametrize("name", sorted(terms_to_json(SECOND.account().terms)))
def test_terms_are_whole(name: str) -> None:
    document = terms_to_json(SECOND.account().terms)
    assert terms_from_json(document, "terms") == SECOND.account().terms
    del document[name]
    with pytest.raises(PrivacyError):
        terms_from_json(document, "terms")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unit": "event"}, "do not compose"),
        ({"target_delta": 1e-3}, "below 1/1000"),
        ({"population_size": 10**6}, "below 1/1000000"),
        ({"approvers": (ALICE,)}, "at least two"),
        ({"approvers": (ALICE, ALICE)}, "different"),
        ({"approvers": (ALICE, "someone")}, "key ids"),
        ({"approvers": ()}, "nobody else can refresh"),
        ({"window_days": 0}, "at least 1"),
        ({"window_days": 4000}, "at most"),
        ({"window_days": True}, "expected an integer"),
        ({"alert_thresholds": (0.5, 0.5)}, "increasing"),
        ({"alert_thresholds": (1.5,)}, "at most"),
        ({"quotas": {"learn": 9.0}}, "at most"),
    ],
    ids=str,
)
def test_terms_are_validated(changes: dict[str, Any], words: str) -> None:
    good: dict[str, Any] = {
        "cap_epsilon": 8.0,
        "target_delta": 1e-6,
        "quotas": {"learn": 8.0},
        "population_size": 1000,
        "window_days": 30,
        "alert_thresholds": (0.5,),
        "approvers": (ALICE, BOB),
    }
    assert AccountTerms(**good).unit == "user"
    with pytest.raises(BadParameter, match=words):
        AccountTerms(**(good | changes))


@pytest.mark.parametrize("reason", ["", "   ", "two\nlines", None, 3])
def test_a_reason_is_one_line(reason: Any) -> None:
    for document in (CHANGE, RejectionDocument("main", DIGEST, "no")):
        with pytest.raises(BadDocument):
            read(document)(document.to_json() | {"reason": reason})
