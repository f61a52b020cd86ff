"""Release manifests: what a release is for is signed, and old bytes stay what they were."""

from __future__ import annotations

import dataclasses

import pytest

from tacit.client.statistics import KNOWN_STATISTICS
from tacit.privacy.canonical import canonical_json, parse_canonical
from tacit.privacy.errors import BadDocument
from tacit.privacy.release import KINDS, ReleaseManifest, kind_of

RELEASE = ReleaseManifest(
    population="p",
    version=3,
    task_sha256="0" * 64,
    model_sha256="1" * 64,
    model_bytes=5,
    catalogue_sha256="2" * 64,
    reservations=("t/1",),
    epsilon=1.5,
    target_delta=1e-3,
    created_at_ms=9,
)

WITHOUT_KIND = (
    b'{"catalogue_sha256":"%b","created_at_ms":9,"epsilon":"1.5","model_bytes":5,'
    b'"model_sha256":"%b","population":"p","reservations":["t/1"],"target_delta":"0.001",'
    b'"task_sha256":"%b","type":"tacit.release/1","version":3}'
) % (b"2" * 64, b"1" * 64, b"0" * 64)
"""The document as it was before there were kinds."""


def test_a_ranking_has_the_bytes_it_had_before_there_were_kinds() -> None:
    assert canonical_json(RELEASE.to_json()) == WITHOUT_KIND
    assert ReleaseManifest.from_json(parse_canonical(WITHOUT_KIND)) == RELEASE


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_back(kind: str) -> None:
    release = dataclasses.replace(RELEASE, kind=kind)
    assert ReleaseManifest.from_json(parse_canonical(canonical_json(release.to_json()))) == release


@pytest.mark.parametrize("kind", ["", "luck", "ranking", "Churn", 1, None])
def test_an_unknown_or_second_spelling_is_refused(kind: object) -> None:
    document = {**RELEASE.to_json(), "kind": kind}
    with pytest.raises(BadDocument, match="kind"):
        ReleaseManifest.from_json(document)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_the_kind_follows_from_what_the_task_sums() -> None:
    linear = {name: kind_of([name]) for name in KNOWN_STATISTICS if "_moments/" in name}
    assert linear == {
        "churn_moments/1": "churn",
        "intent_moments/1": "intent",
        "bandit_moments/1": "bandit",
    }
    assert sorted((*linear.values(), "ranking")) == sorted(KINDS)
    ranking = [name for name in KNOWN_STATISTICS if name not in linear]
    assert kind_of(ranking) == kind_of([]) == kind_of(["luck_moments/1"]) == "ranking"
