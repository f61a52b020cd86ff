"""Linear moments: definition, norms, sensitivity, independence from the batch, bad input."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.client.statistics import (
    HISTORY_SIGNALS,
    HISTORY_STATISTICS,
    KNOWN_STATISTICS,
    BadContext,
    BadProfile,
    Events,
    Histories,
    build_histories,
    build_profiles,
    contributions,
)
from tacit.client.statistics.design import DesignRows, bounded, rows_of
from tacit.client.statistics.linear import MAX_FEATURES, linear_moments
from tacit.privacy.quantize import dense, integer_sum
from tacit.privacy.task import RoundPlan

DAY_S = 86_400
PARAMETERS: dict[str, dict[str, float]] = {
    "churn_moments/1": {"as_of_s": 60 * DAY_S, "horizon_days": 7, "cutoffs": 6},
    "intent_moments/1": {"from_s": 0, "as_of_s": 60 * DAY_S, "window_s": 1800},
    "bandit_moments/1": {"actions": 3, "from_s": 0, "as_of_s": 60 * DAY_S, "window_s": 1800},
}
LENGTHS = {"churn_moments/1": 65, "intent_moments/1": 65, "bandit_moments/1": 81}
NORM = 3.0


def cohort(n_users: int = 17, n_events: int = 900, seed: int = 3) -> Histories:
    """Make bursts of events; user 4 has none, user 5 one, user 6 permits no goal."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, n_users, n_events)
    users[users == 4] = 3
    users[users == 5] = 3
    users[0] = 5
    bursts = rng.integers(0, 59 * 24, n_events) * 3_600_000
    permitted = np.ones((n_users, len(HISTORY_SIGNALS)), dtype=np.bool_)
    permitted[6, [HISTORY_SIGNALS.index("add_to_cart"), HISTORY_SIGNALS.index("purchase")]] = False
    actions = np.where(rng.random(n_events) < 0.3, rng.integers(0, 4, n_events), -1)
    return build_histories(
        Events(
            users=users,
            times_ms=bursts + rng.integers(0, 2_000_000, n_events),
            signals=rng.integers(0, len(HISTORY_SIGNALS), n_events),
            values=rng.exponential(20.0, n_events),
            actions=actions,
            propensities=np.where(actions < 0, 1.0, rng.uniform(0.05, 1.0, n_events)),
        ),
        permitted,
    )


def plan(name: str, norm: float = NORM) -> RoundPlan:
    return RoundPlan(2, name, LENGTHS[name], norm, 4096, 1.0, PARAMETERS[name])


def sent(part: Histories, name: str, keys: list[bytes]) -> list[npt.NDArray[np.int64]]:
    blocks = contributions(part, {}, plan(name), task_digest=b"t" * 32, device_secrets=keys)
    return [dense(blocks, user) for user in range(part.n_users)]


@st.composite
def designs(draw: st.DrawFn) -> DesignRows:
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    users, d, n_blocks = draw(st.integers(1, 6)), draw(st.integers(1, 5)), draw(st.integers(1, 3))
    m = draw(st.integers(0, 20))
    features = np.column_stack([np.ones(m), rng.uniform(-1, 1, (m, d - 1))])
    return rows_of(
        rng.integers(0, users, m),
        users,
        features,
        rng.random(m),
        weights=rng.uniform(0.1, 1.0, m),
        blocks=rng.integers(0, n_blocks, m),
        n_blocks=n_blocks,
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(designs())
def test_moments_match_their_definition(rows: DesignRows) -> None:
    d = rows.features.shape[1]
    width = d * (d + 3) // 2
    blocks = linear_moments(rows)
    assert (blocks.n_rows, blocks.width) == (rows.n_blocks, width)
    for user in range(rows.n_users):
        mine = rows.users == user
        got = np.zeros((rows.n_blocks, width))
        held = slice(int(blocks.indptr[user]), int(blocks.indptr[user + 1]))
        got[blocks.rows[held]] = blocks.values[held]
        total = float(np.sum(rows.weights[mine]))
        for block in range(rows.n_blocks):
            here = mine & (rows.blocks == block)
            x, y, w = rows.features[here], rows.targets[here], rows.weights[here]
            gram = x.T @ (x * w[:, None]) / total if here.any() else np.zeros((d, d))
            moment = x.T @ (w * y) / total if here.any() else np.zeros(d)
            upper, lower = np.triu_indices(d)
            triangle = got[block, : len(upper)]
            scale = np.where(upper == lower, 1.0, np.sqrt(2.0))
            np.testing.assert_allclose(triangle, gram[upper, lower] * scale, atol=1e-12)
            np.testing.assert_allclose(got[block, len(upper) :], moment, atol=1e-12)
            assert np.linalg.norm(triangle) == pytest.approx(np.linalg.norm(gram), abs=1e-12)


def test_every_user_weighs_one_whatever_the_history() -> None:
    rng = np.random.default_rng(1)
    users = np.repeat([0, 1], [3, 5000])
    features = np.column_stack([np.ones(5003), rng.uniform(-1, 1, (5003, 2))])
    blocks = linear_moments(rows_of(users, 3, features, rng.random(5003)))
    np.testing.assert_allclose(blocks.values[:, 0], [1.0, 1.0])  # the mean of 1 * 1
    assert blocks.indptr.tolist() == [0, 1, 2, 2]  # nothing from the third


@pytest.mark.parametrize("name", sorted(HISTORY_STATISTICS))
def test_one_user_is_bit_identical_alone_and_in_a_batch(name: str) -> None:
    histories = cohort()
    keys = [bytes([user]) * 32 for user in range(histories.n_users)]
    together = sent(histories, name, keys)
    for user, whole in enumerate(together):
        alone = sent(histories.slice(user, user + 1), name, [keys[user]])[0]
        np.testing.assert_array_equal(alone, whole)
    assert sum(bool(np.any(vector)) for vector in together) >= 10
    assert not np.any(together[4])  # no history, no contribution


@pytest.mark.parametrize("name", sorted(HISTORY_STATISTICS))
def test_removing_any_user_moves_the_sum_by_at_most_the_integer_norm(name: str) -> None:
    """The sensitivity under add/remove, on the integers, with a norm that clips most users."""
    histories = cohort()
    keys = [bytes([user]) * 32 for user in range(histories.n_users)]

    def total(kept: list[int]) -> npt.NDArray[np.int64]:
        parts = [histories.slice(user, user + 1) for user in kept]
        whole = np.zeros(LENGTHS[name], dtype=np.int64)
        for u, part in zip(kept, parts, strict=True):
            whole += integer_sum(
                contributions(
                    part, {}, plan(name, 0.5), task_digest=b"t" * 32, device_secrets=[keys[u]]
                )
            )
        return whole

    everyone = list(range(histories.n_users))
    whole = total(everyone)
    moved = [
        float(np.linalg.norm(whole - total([u for u in everyone if u != user])))
        for user in everyone
    ]
    assert max(moved) <= 4096
    assert max(moved) > 4000  # the bound is used, not missed by far


def test_no_goal_permitted_no_rows() -> None:
    histories = cohort()
    keys = [bytes([user]) * 32 for user in range(histories.n_users)]
    for name in ("intent_moments/1", "bandit_moments/1"):
        assert not np.any(sent(histories, name, keys)[6])
    assert np.any(sent(histories, "churn_moments/1", keys)[6])


@given(st.floats(0, 1e308), st.floats(1e-6, 1e6))
def test_bounded_is_bounded_and_rises(amount: float, scale: float) -> None:
    low, here, high = bounded(np.array([0.0, amount, 2 * min(amount, 1e300) + 1]), scale)
    assert -1.0 <= low <= here <= high <= 1.0
    assert float(bounded(np.array([scale]), scale)[0]) == 0.0


def test_refuses_too_many_features_unknown_names_and_the_other_kind_of_batch() -> None:
    wide = np.ones((1, MAX_FEATURES + 1))
    with pytest.raises(BadContext, match="256 features, got 257"):
        linear_moments(rows_of(np.zeros(1, dtype=np.int64), 1, wide, np.ones(1)))
    profiles = build_profiles(
        np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64), np.ones(1), n_users=1, n_items=5
    )
    with pytest.raises(BadContext, match="subspace/1"):
        contributions(
            profiles, {}, plan("churn_moments/1"), task_digest=b"t" * 32, device_secrets=[b"s" * 32]
        )
    other = RoundPlan(1, "popularity/1", 65, 1.0, 4096, 1.0, {})
    with pytest.raises(BadContext, match="churn_moments/1"):
        contributions(
            cohort().slice(0, 1), {}, other, task_digest=b"t" * 32, device_secrets=[b"s" * 32]
        )
    assert {*HISTORY_STATISTICS, "popularity/1"} <= set(KNOWN_STATISTICS)


@pytest.mark.parametrize("name", sorted(HISTORY_STATISTICS))
@pytest.mark.parametrize("bad", [None, 0.5, -1.0, 1e18, float("nan")])
def test_refuses_parameters_out_of_range(name: str, bad: float | None) -> None:
    for key in PARAMETERS[name]:
        given_: dict[str, float] = dict(PARAMETERS[name])
        del given_[key]
        if bad is not None:
            given_[key] = bad
        with pytest.raises(BadContext, match=key):
            HISTORY_STATISTICS[name](cohort(), {}, given_)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.array([[1.0, np.nan]])}, "features"),
        ({"features": np.array([[1.0, 1.5]])}, "features"),
        ({"features": np.array([[0.5, 0.5]])}, "constant"),
        ({"features": np.ones(1)}, "features"),
        ({"targets": np.array([np.inf])}, "targets"),
        ({"targets": np.array([-0.1])}, "targets"),
        ({"weights": np.zeros(1)}, "weights"),
        ({"weights": np.ones(2)}, "one target"),
        ({"blocks": np.array([1])}, "blocks"),
        ({"indptr": np.array([0, 2])}, "indptr"),
        ({"indptr": np.array([0, 2, 1])}, "indptr"),
    ],
)
def test_refuses_bad_design_rows(change: dict[str, npt.NDArray[np.float64]], message: str) -> None:
    good: dict[str, object] = {
        "indptr": np.array([0, 1]),
        "features": np.array([[1.0, 0.5]]),
        "targets": np.ones(1),
        "weights": np.ones(1),
        "blocks": np.zeros(1, dtype=np.int64),
        "n_blocks": 1,
    }
    with pytest.raises(BadProfile, match=message):
        DesignRows(**{**good, **change})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times_ms": np.array([5, 4])}, "time order"),
        ({"times_ms": np.array([-5, 4])}, "times of zero"),
        ({"signals": np.array([0, 99])}, "signals in"),
        ({"values": np.array([0.0, np.nan])}, "finite values"),
        ({"actions": np.array([0, -2])}, "actions"),
        ({"propensities": np.array([0.0, 1.0])}, "propensities"),
        ({"permitted": np.zeros((1, 9), dtype=np.bool_)}, "permits"),
        ({"permitted": np.ones((1, 3), dtype=np.bool_)}, "permitted of shape"),
        ({"indptr": np.array([0, 1])}, "indptr"),
        ({"values": np.zeros(1)}, "one signal"),
    ],
)
def test_refuses_bad_histories(change: dict[str, npt.NDArray[np.int64]], message: str) -> None:
    good: dict[str, object] = {
        "indptr": np.array([0, 2]),
        "times_ms": np.array([4, 5]),
        "signals": np.array([0, 1]),
        "values": np.zeros(2),
        "actions": np.array([-1, 0]),
        "propensities": np.ones(2),
        "permitted": np.ones((1, 9), dtype=np.bool_),
    }
    with pytest.raises(BadProfile, match=message):
        Histories(**{**good, **change})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
