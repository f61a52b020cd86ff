"""Consent before featurisation: what is not permitted does not enter, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tacit.client.catalogue import Catalogue
from tacit.client.events import Event, EventLog
from tacit.client.keys import FileKeyProvider
from tacit.client.profile import profile
from tacit.client.statistics import contributions
from tacit.client.store import Store
from tacit.privacy.quantize import dense
from tacit.privacy.signals import SIGNALS
from tacit.privacy.task import RoundPlan

N_ITEMS, WIDTH = 12, 3
CATALOGUE = Catalogue.build((f"i{n}", f"Item {n}", []) for n in range(N_ITEMS))
NAMES = [*sorted(SIGNALS)[:8], "product_view", "purchase", "rating"]
CONTEXT = {
    "basis": np.random.default_rng(3).normal(size=(N_ITEMS, WIDTH)),
    "item_weights": np.linspace(0.5, 2, N_ITEMS),
}

events = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(0, N_ITEMS + 1)), min_size=0, max_size=25
)
weights = st.dictionaries(
    st.sampled_from(NAMES), st.floats(0.1, 5, allow_subnormal=False), min_size=1, max_size=6
)
permitted = st.frozensets(st.sampled_from(NAMES))


def _contribution(
    log: EventLog, allowed: frozenset[str], signal_weights: dict[str, float]
) -> bytes:
    one = profile(log, CATALOGUE, allowed, signal_weights)
    blocks = contributions(
        one,
        CONTEXT,
        RoundPlan(1, "subspace/1", N_ITEMS * WIDTH, 0.4, 2048, 1.0, {}),
        task_digest=b"t" * 32,
        device_secrets=[b"s" * 32],
    )
    return dense(blocks, 0).tobytes()


def _record(log: EventLog, history: list[tuple[str, int]]) -> None:
    log.append_all(
        (Event(signal, signal, (f"i{item}",), None, order), f"{order}")
        for order, (signal, item) in enumerate(history)
    )


def _log(folder: Path, name: str, history: list[tuple[str, int]]) -> tuple[Store, EventLog]:
    store = Store.open(folder / f"{name}.db", FileKeyProvider(folder / "key"))
    log = EventLog(store)
    _record(log, history)
    return store, log


def _check_histories(folder: Path, checks: settings) -> None:
    full_store, full = _log(folder, "full", [])
    kept_store, deleted = _log(folder, "kept", [])

    @checks
    @given(events, permitted, weights)
    def check(
        history: list[tuple[str, int]], allowed: frozenset[str], signal_weights: dict[str, float]
    ) -> None:
        for store in (full_store, kept_store):
            with store.kill_safe() as connection:
                connection.execute("DELETE FROM events")
        _record(full, history)
        _record(
            deleted, [entry for entry in history if entry[0] in allowed & signal_weights.keys()]
        )
        assert full.count() == len(history)
        assert _contribution(full, allowed, signal_weights) == _contribution(
            deleted, allowed, signal_weights
        )

    with full_store, kept_store:
        check()


def test_a_contribution_is_the_same_with_the_unconsented_events_deleted(tmp_path: Path) -> None:
    _check_histories(tmp_path, settings(max_examples=300, deadline=None, derandomize=True))


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_no_leak_in_many_profiles(tmp_path: Path) -> None:
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    _check_histories(
        tmp_path, settings(max_examples=100_000, deadline=None, suppress_health_check=slow)
    )


def test_a_consented_event_does_change_the_contribution(tmp_path: Path) -> None:
    allowed, signal_weights = frozenset({"rating"}), {"rating": 1.0, "purchase": 1.0}
    history = [("rating", 1), ("purchase", 2)]
    store, log = _log(tmp_path, "one", history)
    other_store, other = _log(tmp_path, "two", [*history, ("rating", 5)])
    with store, other_store:
        assert _contribution(log, allowed, signal_weights) != _contribution(
            other, allowed, signal_weights
        )


def test_weights_follow_the_task_and_the_strongest_event_counts(tmp_path: Path) -> None:
    history = [("rating", 4), ("purchase", 4), ("product_view", 2), ("rating", N_ITEMS + 1)]
    store, log = _log(tmp_path, "one", history)
    with store:
        one = profile(
            log,
            CATALOGUE,
            {"rating", "purchase", "product_view"},
            {"rating": 1.0, "purchase": 3.0, "search": 9.0},
        )
        assert one.items.tolist() == [4]
        assert one.weights.tolist() == [3.0]
        assert one.n_items == N_ITEMS
        through = profile(
            log, CATALOGUE, {"rating", "purchase"}, {"rating": 1, "purchase": 3}, through=1
        )
        assert through.weights.tolist() == [1.0]
