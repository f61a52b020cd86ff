"""Expected utility is read from what was measured, and from nothing else."""

from __future__ import annotations

import pytest

from tacit.simulations.expected_utility import ERROR, MEASURED, expected_utility


@pytest.mark.parametrize(("users", "value"), MEASURED)
def test_measured_points_come_back(users: int, value: float) -> None:
    assert expected_utility(users, 1.0).value == value


@pytest.mark.parametrize(
    ("users", "epsilon", "measured"),
    [(320_000, 0.3, 0.459), (6_040, 1.0, 0.378), (6_040, 3.0, 0.410), (6_040, 8.0, 0.427)],
)
def test_points_off_the_curve_lie_within_the_stated_error(
    users: int, epsilon: float, measured: float
) -> None:
    value = expected_utility(users, epsilon).value
    assert value is not None
    assert abs(value - measured) <= ERROR + 1e-9


@pytest.mark.parametrize(("users", "epsilon"), [(314, 1.0), (320_001, 1.0), (10**9, 8.0)])
def test_nothing_is_extrapolated(users: int, epsilon: float) -> None:
    found = expected_utility(users, epsilon)
    assert found.value is None
    assert "nothing is extrapolated" in found.reason


def test_more_users_or_more_epsilon_never_expect_less() -> None:
    values = [expected_utility(users, 1.0).value for users in range(315, 320_000, 997)]
    known = [value for value in values if value is not None]
    assert len(known) == len(values)
    assert known == sorted(known)


def test_the_document_says_that_it_is_no_promise() -> None:
    document = expected_utility(5_040, 1.0).to_json()
    assert document["label"] == "expectation, not a promise"
    assert "MovieLens 1M" in str(document["source"])
