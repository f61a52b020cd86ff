"""Slates: masks hold, diversity works, propensities are right."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.client import BadEvent
from tacit.client.slate import Exploration, Slate, best, fill, system_uniforms, unlike

FloatArray = npt.NDArray[np.float64]


def _fill(values: FloatArray, k: int, rate: float, draw: np.random.Generator) -> Slate:
    return fill(
        values,
        np.zeros(len(values), dtype=np.bool_),
        k,
        vectors=lambda items: np.eye(len(values))[items],
        diversity=0.0,
        exploration=Exploration(rate),
        uniforms=lambda count: draw.random(count),
    )


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=60),
    st.integers(1, 12),
    st.integers(0, 2**32 - 1),
)
def test_best_is_a_stable_sort_however_many_are_asked_for(
    scores: list[int], count: int, seed: int
) -> None:
    values = np.array(scores, dtype=np.float64)
    allowed = np.random.default_rng(seed).random(len(values)) < 0.7
    expected = sorted((i for i in range(len(values)) if allowed[i]), key=lambda i: (-values[i], i))[
        :count
    ]
    assert best(values, allowed, count).tolist() == expected


def test_best_finds_the_same_in_a_large_catalogue() -> None:
    draw = np.random.default_rng(8)
    for n in (5_000, 40_017):
        for levels in (3, 10_000):
            values = draw.integers(0, levels, size=n).astype(np.float64)
            allowed = draw.random(n) < 0.9
            places = np.flatnonzero(allowed)
            expected = places[np.argsort(-values[places], kind="stable")[:10]]
            assert best(values, allowed, 10).tolist() == expected.tolist()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 15), st.floats(0, 1), st.floats(0, 0.99))
def test_masked_items_never_appear_and_none_twice(
    seed: int, k: int, diversity: float, rate: float
) -> None:
    draw = np.random.default_rng(seed)
    mask = draw.random(20) < 0.5
    slate = fill(
        draw.normal(size=20),
        mask,
        k,
        vectors=lambda items: draw.normal(size=(len(items), 3)),
        diversity=diversity,
        exploration=Exploration(rate),
        uniforms=lambda count: draw.random(count),
        promoted=draw.permutation(20)[:4],
    )
    assert not mask[slate.items].any()
    assert len(set(slate.items.tolist())) == len(slate.items) == min(k, int((~mask).sum()))
    assert bool(np.all((slate.propensities > 0) & (slate.propensities <= 1)))
    assert int(slate.promoted.sum()) <= k // 2


def test_a_tenth_of_a_hundred_thousand_slots_is_explored() -> None:
    # Operating system randomness: five standard errors of a share of 0.1 over 1e5 are 0.0047, so
    # a right implementation fails this once in two million runs.
    values = np.arange(30, dtype=np.float64)
    explored = slots = 0
    while slots < 100_000:
        slate = fill(
            values,
            np.zeros(30, dtype=np.bool_),
            20,
            vectors=lambda items: np.eye(30)[items],
            diversity=0.0,
            exploration=Exploration(0.1),
            uniforms=system_uniforms,
        )
        explored += int(slate.explored.sum())
        slots += len(slate.items)
    assert abs(explored / slots - 0.1) < 0.005


def test_propensities_are_the_frequencies_and_sum_to_one() -> None:
    draw = np.random.default_rng(5)
    values = np.array([3.0, 2.0, 1.0, 0.0])
    counts, stated = np.zeros(4), np.zeros(4)
    for _ in range(20_000):
        slate = _fill(values, 1, 0.3, draw)
        counts[slate.items[0]] += 1
        stated[slate.items[0]] = slate.propensities[0]
    assert stated.sum() == pytest.approx(1.0)
    assert stated == pytest.approx([0.775, 0.075, 0.075, 0.075])
    # Six standard errors of the largest share.
    assert counts / 20_000 == pytest.approx(stated, abs=6 * (0.25 / 20_000) ** 0.5)


def test_inverse_propensity_estimates_another_policy_from_the_log() -> None:
    """The value of choosing evenly, estimated from what epsilon-greedy showed."""
    draw = np.random.default_rng(9)
    values = np.array([3.0, 2.0, 1.0, 0.0])
    rewards = np.array([0.1, 0.9, 0.4, 0.2])
    total, wrong, n = 0.0, 0.0, 40_000
    second = 0.0
    for _ in range(n):
        slate = _fill(values, 2, 0.3, draw)
        first, after = slate.items.tolist()
        total += (1 / 4) / slate.propensities[0] * rewards[first]
        # The second slot's target chooses evenly among the three that are left.
        weight = (1 / 4) / slate.propensities[0] * (1 / 3) / slate.propensities[1]
        second += weight * rewards[after]
        wrong += rewards[first]
    # Standard errors measured at 0.003 and 0.02; five of them.
    assert total / n == pytest.approx(rewards.mean(), abs=0.02)
    assert second / n == pytest.approx(rewards.mean(), abs=0.1)
    assert abs(wrong / n - rewards.mean()) > 0.1


def test_diversity_spreads_over_kinds() -> None:
    values = np.array([10.0, 9.9, 9.8, 9.0, 8.0])
    kinds = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1], [0, 1]])
    order = {
        diversity: fill(
            values,
            np.zeros(5, dtype=np.bool_),
            3,
            vectors=lambda items: kinds[items],
            diversity=diversity,
            exploration=None,
            uniforms=system_uniforms,
        ).items.tolist()
        for diversity in (0.0, 0.5)
    }
    assert order == {0.0: [0, 1, 2], 0.5: [0, 3, 1]}


def test_promotion_takes_at_most_half_and_not_against_the_mask() -> None:
    slate = fill(
        np.arange(6, dtype=np.float64),
        np.array([True, False, False, False, False, False]),
        4,
        vectors=lambda items: np.eye(6)[items],
        diversity=0.0,
        exploration=None,
        uniforms=system_uniforms,
        promoted=np.array([0, 1, 2, 3]),
    )
    assert slate.items.tolist() == [1, 2, 5, 4]
    assert slate.promoted.tolist() == [True, True, False, False]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(BadEvent):
        Exploration(1.0)
    with pytest.raises(BadEvent, match="diversity"):
        fill(
            np.ones(2),
            np.zeros(2, dtype=np.bool_),
            1,
            vectors=lambda items: np.eye(2)[items],
            diversity=1.5,
            exploration=None,
            uniforms=system_uniforms,
        )


def test_serendipity_prefers_the_unexpected_among_the_relevant(shop: Any, view: Any) -> None:
    """Not what was known already, and not what nobody like this person wants either."""
    values = np.array([1.0, 0.95, 0.9, 0.05, 0.0])
    unexpected = np.array([0.0, 0.1, 1.0, 1.0, 1.0])

    def of(serendipity: float) -> list[int]:
        slate = fill(
            values, np.zeros(5, dtype=np.bool_), 5, vectors=lambda items: np.eye(5)[items],
            diversity=0.0, exploration=None, uniforms=lambda n: np.zeros(n),
            serendipity=serendipity, unexpected=lambda items: unexpected[items],
        )  # fmt: skip
        return [int(item) for item in slate.items]

    assert of(0.0) == [0, 1, 2, 3, 4]
    assert of(0.5)[0] == 2
    assert of(1.0)[:2] == [2, 1]
    assert of(1.0).index(4) > of(1.0).index(1), "the irrelevant is not lifted"
    for bad in (-0.1, 1.1, float("nan")):
        with pytest.raises(BadEvent, match="serendipity"):
            of(bad)
    assert unlike(np.eye(3), np.eye(3)[:1]).tolist() == [0.0, 1.0, 1.0]
    assert unlike(np.eye(3), np.eye(3)[:0]).tolist() == [1.0, 1.0, 1.0]
    with shop.open() as pz:
        shop.install(pz, shop.model())
        view(pz, ["i0", "i4", "i1"])
        groups = [
            [int(i.item_id[1:]) % 4 for i in pz.recommend(diversity=0.0, serendipity=s, k=3).items]
            for s in (0.0, 1.0)
        ]
        assert groups[0][0] == 0
        assert 0 not in groups[1]
