"""Targets against slow readings of their definitions, one person and one moment at a time."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.client.statistics import HISTORY_SIGNALS, Events, Histories, build_histories
from tacit.client.statistics.targets import bandit, churn, intent

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
Logged = tuple[int, str, float, int, float]  # time, signal, value, action, propensity
GOALS = ("add_to_cart", "purchase")

logs = st.lists(
    st.tuples(
        st.integers(0, 50 * 24).map(lambda hour: hour * HOUR_MS),
        st.lists(
            st.tuples(
                st.integers(0, 45 * 60_000),
                st.sampled_from(HISTORY_SIGNALS),
                st.sampled_from((0.0, 5.0, 90.0, 1e9, -3.0)),
                st.sampled_from((-1, -1, 0, 1, 2)),
            ),
            min_size=1,
            max_size=12,
        ),
    ),
    max_size=4,
)


def flat(drawn: list[tuple[int, list[tuple[int, str, float, int]]]]) -> list[Logged]:
    """Lay out bursts of events in time order."""
    events: list[Logged] = []
    for start, burst in drawn:
        for offset, signal, value, action in burst:
            events.append((start + offset, signal, value, action, 0.25 if action >= 0 else 1.0))
    return sorted(events, key=lambda event: event[0])


def histories(people: list[list[Logged]], hidden: tuple[str, ...] = ()) -> Histories:
    rows = [(user, *event) for user, events in enumerate(people) for event in events]
    return build_histories(
        Events(
            users=np.array([r[0] for r in rows], dtype=np.int64),
            times_ms=np.array([r[1] for r in rows], dtype=np.int64),
            signals=np.array([HISTORY_SIGNALS.index(r[2]) for r in rows], dtype=np.int64),
            values=np.array([r[3] for r in rows], dtype=np.float64),
            actions=np.array([r[4] for r in rows], dtype=np.int64),
            propensities=np.array([r[5] for r in rows], dtype=np.float64),
        ),
        np.array([[name not in hidden for name in HISTORY_SIGNALS]] * len(people)),
    )


def squash(amount: float, scale: float) -> float:
    return (amount - scale) / (amount + scale)


def churn_row(events: list[Logged], cutoff: int, horizon: int) -> list[float] | None:
    past = [e for e in events if e[0] < cutoff]
    if not past or past[-1][0] < cutoff - 4 * horizon:
        return None
    days = len({e[0] // DAY_MS for e in past})
    last, first = (cutoff - past[-1][0]) / DAY_MS, (cutoff - past[0][0]) / DAY_MS
    late = len([e for e in past if e[0] >= cutoff - horizon])
    before = len([e for e in past if cutoff - 2 * horizon <= e[0] < cutoff - horizon])
    gap = (first - last) / (days - 1) if days > 1 else horizon / DAY_MS
    strong = len([e for e in past if e[1] in ("rating", "preference", *GOALS)])
    half = horizon / DAY_MS / 2
    return [
        1.0,
        squash(last, half),
        squash(first, 8 * half),
        squash(late, 10),
        squash(len(past), 50),
        squash(days, 4),
        (late - before) / (late + before + 1),
        squash(gap, half),
        (last - gap) / max(last + gap, 1e-9),
        2 * strong / len(past) - 1,
    ]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(logs, min_size=1, max_size=3))
def test_churn_follows_its_definition(
    drawn: list[list[tuple[int, list[tuple[int, str, float, int]]]]],
) -> None:
    people = [flat(one) for one in drawn]
    horizon, as_of = 7 * DAY_MS, 50 * DAY_MS
    rows = churn.rows(
        histories(people), {"as_of_s": as_of // 1000, "horizon_days": 7, "cutoffs": 5}
    )
    expected: list[tuple[int, list[float], float]] = []
    for user, events in enumerate(people):
        for step in range(1, 6):
            cutoff = as_of - step * horizon
            row = churn_row(events, cutoff, horizon)
            if row is not None:
                back = any(cutoff <= e[0] < cutoff + horizon for e in events)
                expected.append((user, row, 0.0 if back else 1.0))
    check(rows.users, rows.features, rows.targets, expected)


def intent_row(events: list[Logged], at: int) -> tuple[list[float], bool, int]:
    start = at
    while start > 0 and events[start][0] - events[start - 1][0] < 30 * 60_000:
        start -= 1
    session, now = events[start : at + 1], events[at][0]

    def count(*names: str) -> int:
        return len([e for e in session if e[1] in names])

    seconds = sum(min(max(e[2], 0.0), 3600.0) for e in session if e[1] == "dwell")
    elapsed = (now - session[0][0]) / 1000
    goals = [e for e in events[: at + 1] if e[1] in GOALS]
    row = [
        1.0,
        squash(count("product_view"), 4),
        squash(count("page_view", "scroll"), 4),
        squash(count("search"), 1),
        squash(seconds, 60),
        squash(elapsed, 300),
        squash(elapsed / (len(session) - 1), 30) if len(session) > 1 else 0.0,
        squash(len(goals), 2),
        squash((now - goals[-1][0]) / 1000, 7 * 86_400) if goals else 1.0,
        squash((session[0][0] - events[start - 1][0]) / 1000, 86_400) if start else 1.0,
    ]
    return row, any(e[1] in GOALS for e in session), len(session)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(logs, min_size=1, max_size=3))
def test_intent_follows_its_definition(
    drawn: list[list[tuple[int, list[tuple[int, str, float, int]]]]],
) -> None:
    people = [flat(one) for one in drawn]
    window, begin, as_of = 1800_000, 3 * DAY_MS, 45 * DAY_MS
    given_ = histories(people)
    rows = intent.rows(
        given_, {"from_s": begin // 1000, "as_of_s": as_of // 1000, "window_s": 1800}
    )
    expected: list[tuple[int, list[float], float]] = []
    for user, events in enumerate(people):
        for at, event in enumerate(events):
            row, had_goal, position = intent_row(events, at)
            if had_goal or position not in (1, 2, 4, 8, 16):
                continue
            if event[0] < begin or event[0] + window >= as_of:
                continue
            reached = any(e[1] in GOALS and e[0] <= event[0] + window for e in events[at + 1 :])
            expected.append((user, row, float(reached)))
    check(rows.users, rows.features, rows.targets, expected)
    users, now = intent.features(given_)
    assert users.tolist() == [user for user, events in enumerate(people) if events]
    for place, user in enumerate(users):
        events, row = people[int(user)], now[place]
        last = intent_row(events, len(events) - 1)[0]
        np.testing.assert_allclose(row, last, atol=1e-12)


def bandit_row(past: list[Logged], now: int) -> list[float]:
    views = len([e for e in past if e[1] == "product_view"])
    return [
        1.0,
        squash((now - past[-1][0]) / 1000, 86_400) if past else 1.0,
        squash(views, 10),
        squash(len([e for e in past if e[1] == "search"]), 3),
        squash(len([e for e in past if e[1] in GOALS]), 2),
        2 * views / max(len(past), 1) - 1,
    ]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(logs, min_size=1, max_size=3))
def test_bandit_follows_its_definition(
    drawn: list[list[tuple[int, list[tuple[int, str, float, int]]]]],
) -> None:
    people = [flat(one) for one in drawn]
    given_ = histories(people)
    rows = bandit.rows(
        given_, {"actions": 2, "from_s": 0, "as_of_s": 45 * 86_400, "window_s": 1800}
    )
    expected: list[tuple[int, list[float], float]] = []
    blocks: list[int] = []
    for user, events in enumerate(people):
        for at, event in enumerate(events):
            if event[3] not in (0, 1) or event[0] + 1800_000 >= 45 * DAY_MS:
                continue
            rewarded = False
            for later in events[at + 1 :]:
                if later[1] in GOALS and later[0] <= event[0] + 1800_000 and later[3] < 0:
                    rewarded = True
                if later[3] >= 0:
                    break
            blocks.append(event[3])
            expected.append((user, bandit_row(events[:at], event[0]), float(rewarded)))
    check(rows.users, rows.features, rows.targets, expected)
    assert rows.blocks.tolist() == blocks
    np.testing.assert_array_equal(rows.weights, np.full(len(blocks), 4.0 / 10.0))
    now_ms = np.array([60 * DAY_MS] * len(people))
    want = [bandit_row(events, 60 * DAY_MS) for events in people]
    np.testing.assert_allclose(bandit.features(given_, now_ms), want, atol=1e-12)


def check(
    users: npt.NDArray[np.int64],
    features: npt.NDArray[np.float64],
    targets: npt.NDArray[np.float64],
    expected: list[tuple[int, list[float], float]],
) -> None:
    assert users.tolist() == [one[0] for one in expected]
    assert targets.tolist() == [one[2] for one in expected]
    if expected:
        np.testing.assert_allclose(features, [one[1] for one in expected], atol=1e-9)


def test_what_happens_later_never_enters_a_feature() -> None:
    """Planted: a future that would give the target away."""
    past: list[Logged] = [(day * DAY_MS, "product_view", 0.0, -1, 1.0) for day in range(20)]
    leak: list[Logged] = [(40 * DAY_MS + n, "purchase", 0.0, -1, 1.0) for n in range(50)]
    _, without = churn.features(histories([past]), 21 * DAY_MS, 7 * DAY_MS)
    _, with_it = churn.features(histories([past + leak]), 21 * DAY_MS, 7 * DAY_MS)
    assert without.tobytes() == with_it.tobytes()
    period = {"from_s": 0, "as_of_s": 30 * 86_400, "window_s": 1800}
    for target in (intent, bandit):
        parameters = {**period, "actions": 2} if target is bandit else period
        short, long = (target.rows(histories([p]), parameters) for p in (past, past + leak))
        assert short.features.tobytes() == long.features.tobytes()


@pytest.mark.parametrize("hidden", [("product_view",), ("search",), ("dwell",), GOALS])
def test_what_is_not_permitted_reads_as_unknown_not_as_none(hidden: tuple[str, ...]) -> None:
    names = {"product_view": (1, 2), "search": (3, 3), "dwell": (4, None), "add_to_cart": (7, 4)}
    of_intent, of_bandit = names[hidden[0]]
    events: list[Logged] = [(n * 1000, "page_view", 0.0, -1, 1.0) for n in range(4)]
    _, now = intent.features(histories([events], hidden))
    assert now[0, of_intent] == 0.0
    assert intent.features(histories([events]))[1][0, of_intent] != 0.0
    if of_bandit is not None:
        assert bandit.features(histories([events], hidden), np.array([9000]))[0, of_bandit] == 0.0


def test_empty_and_single_event_histories() -> None:
    one: list[Logged] = [(40 * DAY_MS, "page_view", 0.0, 0, 1.0)]
    nobody: list[list[Logged]] = [[], []]
    for people, rows_each in ((nobody, (0, 0, 0)), ([one, []], (1, 1, 1))):
        given_ = histories(people)
        found = (
            churn.rows(given_, {"as_of_s": 50 * 86_400, "horizon_days": 7, "cutoffs": 2}),
            intent.rows(given_, {"from_s": 0, "as_of_s": 50 * 86_400, "window_s": 60}),
            bandit.rows(
                given_, {"actions": 2, "from_s": 0, "as_of_s": 50 * 86_400, "window_s": 60}
            ),
        )
        assert tuple(len(rows.targets) for rows in found) == rows_each
        assert all(math.isfinite(float(np.sum(rows.features))) for rows in found)
        assert bandit.features(given_, np.full(2, 50 * DAY_MS)).shape == (2, 6)
