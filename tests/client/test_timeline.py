"""Histories from the sealed log: only what is permitted enters, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.client.events import Event, EventLog
from tacit.client.keys import FileKeyProvider
from tacit.client.statistics import HISTORY_SIGNALS, HISTORY_STATISTICS, NO_ACTION, contributions
from tacit.client.store import Store
from tacit.client.timeline import permitted_history
from tacit.privacy.quantize import dense
from tacit.privacy.signals import SIGNALS
from tacit.privacy.task import RoundPlan

PARAMETERS: dict[str, dict[str, float]] = {
    "churn_moments/1": {"as_of_s": 40 * 86_400, "horizon_days": 7, "cutoffs": 4},
    "intent_moments/1": {"from_s": 0, "as_of_s": 40 * 86_400, "window_s": 86_400},
    "bandit_moments/1": {
        "actions": 3,
        "from_s": 0,
        "as_of_s": 40 * 86_400,
        "window_s": 86_400,
    },
}
LENGTHS = {"churn_moments/1": 65, "intent_moments/1": 65, "bandit_moments/1": 81}
NAMES = [*HISTORY_SIGNALS, "time_of_day", "device_class"]

events = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.integers(0, 39 * 86_400_000),
        st.none() | st.tuples(st.integers(0, 3), st.floats(0.05, 1.0)),
    ),
    max_size=30,
)
permitted = st.frozensets(st.sampled_from(NAMES))


def _record(log: EventLog, history: list[tuple[str, int, tuple[int, float] | None]]) -> None:
    log.append_all(
        (
            Event(
                signal,
                signal,
                (),
                3.0,
                time_ms,
                {} if choice is None else {"action": choice[0], "propensity": choice[1]},
            ),
            f"{order}",
        )
        for order, (signal, time_ms, choice) in enumerate(history)
    )


def _contributed(log: EventLog, allowed: frozenset[str], asked: frozenset[str]) -> list[bytes]:
    one = permitted_history(log, allowed, asked)
    return [
        dense(
            contributions(
                one,
                {},
                RoundPlan(1, name, LENGTHS[name], 2.0, 4096, 1.0, PARAMETERS[name]),
                task_digest=b"t" * 32,
                device_secrets=[b"s" * 32],
            ),
            0,
        ).tobytes()
        for name in sorted(HISTORY_STATISTICS)
    ]


def test_contributions_are_the_same_with_the_unconsented_events_deleted(tmp_path: Path) -> None:
    stores = [
        Store.open(tmp_path / f"{name}.db", FileKeyProvider(tmp_path / "key"))
        for name in ("full", "kept")
    ]
    full, kept = (EventLog(store) for store in stores)
    told: set[bytes] = set()

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(events, permitted, permitted)
    def check(
        history: list[tuple[str, int, tuple[int, float] | None]],
        allowed: frozenset[str],
        asked: frozenset[str],
    ) -> None:
        for store in stores:
            with store.kill_safe() as connection:
                connection.execute("DELETE FROM events")
        _record(full, history)
        _record(kept, [entry for entry in history if entry[0] in allowed & asked])
        sent = _contributed(full, allowed, asked)
        assert sent == _contributed(kept, allowed, asked)
        told.update(sent)

    with stores[0], stores[1]:
        check()
    assert len(told) > 20  # and they do say something


def test_reads_in_time_order_and_only_signals_that_histories_hold(tmp_path: Path) -> None:
    with Store.open(tmp_path / "one.db", FileKeyProvider(tmp_path / "key")) as store:
        log = EventLog(store)
        _record(log, [("purchase", 900, None), ("time_of_day", 1, None), ("search", 300, None)])
        everything = frozenset(SIGNALS)
        history = permitted_history(log, everything, everything)
        assert history.times_ms.tolist() == [300, 900]
        assert [HISTORY_SIGNALS[s] for s in history.signals] == ["search", "purchase"]
        assert history.permitted.all()
        earlier = permitted_history(log, everything, everything, through=1)
        assert earlier.times_ms.tolist() == [900]


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"action": 2, "propensity": 0.25}, (2, 0.25)),
        ({"action": 2, "propensity": 1}, (2, 1.0)),
        ({"action": 2}, (NO_ACTION, 1.0)),
        ({"action": True, "propensity": 0.5}, (NO_ACTION, 1.0)),
        ({"action": -3, "propensity": 0.5}, (NO_ACTION, 1.0)),
        ({"action": "2", "propensity": 0.5}, (NO_ACTION, 1.0)),
        ({"action": 2, "propensity": 0.0}, (NO_ACTION, 1.0)),
        ({"action": 2, "propensity": 1.5}, (NO_ACTION, 1.0)),
        ({"action": 10**12, "propensity": 0.5}, (NO_ACTION, 1.0)),
    ],
)
def test_reads_an_action_only_where_it_makes_sense(
    tmp_path: Path, properties: dict[str, object], expected: tuple[int, float]
) -> None:
    with Store.open(tmp_path / "one.db", FileKeyProvider(tmp_path / "key")) as store:
        log = EventLog(store)
        log.append(Event("page_view", "page_view", (), None, 5, properties), "a")
        history = permitted_history(log, {"page_view"}, {"page_view"})
        assert (int(history.actions[0]), float(history.propensities[0])) == expected
        assert np.all(history.values == 0.0)
