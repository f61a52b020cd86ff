"""Differences between a private model's slices and its non-private version's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tacit.simulations.slices import Slices, slice_gap

REFERENCE = Slices(0.5, 0.1, 0.4, 0.5, 0.8, {"F": 0.4, "M": 0.5}, 0.8, 0.3, 0.01)


def test_the_worst_group_of_the_reference_stays_on_top() -> None:
    """A model that turns the tables on the other group differs from it."""
    turned = replace(REFERENCE, groups={"F": 0.5, "M": 0.4}, light_to_heavy=0.75, coverage=0.1)
    gap = slice_gap(turned, REFERENCE)
    assert gap.group_ratio == pytest.approx(1.25 - 0.8)
    assert gap.light_to_heavy == pytest.approx(-0.05)
    assert gap.coverage == pytest.approx(-0.2)


def test_what_is_missing_has_no_difference() -> None:
    gap = slice_gap(replace(REFERENCE, light_to_heavy=None, groups={}), REFERENCE)
    assert gap.light_to_heavy is None
    assert gap.group_ratio is None
