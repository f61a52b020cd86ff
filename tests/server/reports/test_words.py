"""Names made safe to read, and figures that are never rounded in anybody's favour."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.server.reports.figures import exact, noise, places
from tacit.server.reports.visible_text import visible


@settings(max_examples=40)
@given(st.text(max_size=20))
def test_nothing_invisible_is_left(text: str) -> None:
    shown = visible(text)
    assert not [
        one
        for one in shown
        if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    ]
    assert visible(shown) == shown


@pytest.mark.parametrize("text", ["", "shop, release 1", "ε ≤ 2 at δ", "Æsop’s naïve 中文 😀"])
def test_ordinary_text_stays(text: str) -> None:
    assert visible(text) == text


def test_an_override_is_named() -> None:
    assert visible("a\u202eb\n") == "a⟨U+202E⟩b⟨U+000A⟩"


@given(st.floats(0.0001, 1e4))
def test_noise_is_never_shown_larger(z: float) -> None:
    shown = float(noise(z))
    assert shown <= z
    assert z - shown <= 1.1e-4


@given(st.integers(0, 10**9))
def test_epsilon_keeps_its_six_decimals(millionths: int) -> None:
    assert round(float(exact(millionths / 1e6)) * 1e6) == millionths


@given(st.sets(st.integers(0, 30), max_size=20))
def test_places_name_each_position_once(indices: set[int]) -> None:
    named: list[int] = []
    for part in places(sorted(indices)).split(", ") if indices else []:
        first, _, last = part.partition(" to ")
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(indices)
    assert places([]) == "none"
