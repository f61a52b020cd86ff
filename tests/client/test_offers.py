"""Limits of the device that need no server to show."""

from __future__ import annotations

import numpy as np
import pytest

from tacit.client.policy import DevicePolicy
from tacit.client.statistics import STATISTICS, BadContext, build_profiles
from tacit.client.statistics.feature_gram import MAX_FEATURES


def test_a_context_cannot_make_a_device_square_what_it_fetched() -> None:
    profiles = build_profiles(
        np.zeros(1, np.int64), np.zeros(1, np.int64), np.ones(1), n_users=1, n_items=2
    )
    context = {"basis": np.ones((2, MAX_FEATURES + 1)), "item_weights": np.ones(2)}
    with pytest.raises(BadContext, match=f"at most {MAX_FEATURES} features"):
        STATISTICS["feature_gram/1"](profiles, context, {})
    # What is accepted stays within what the device says it sends.
    longest = MAX_FEATURES * (MAX_FEATURES + 1) // 2
    assert longest <= DevicePolicy().max_contribution_values
