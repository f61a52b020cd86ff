"""Splits: what is held out, what stays, and that nothing of the future or the test part leaks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tacit.client.decide import Recency
from tacit.client.statistics import Profiles
from tacit.simulations.errors import BadExperiment
from tacit.simulations.holdout import SplitKind, SplitOptions, hold_out, training_part
from tacit.simulations.population import generate
from tacit.simulations.splits import per_user_split

DATA = generate(60, 60, seed=3)


def pairs(profiles: Profiles) -> set[tuple[int, int]]:
    return set(zip(profiles.users.tolist(), profiles.items.tolist(), strict=True))


@pytest.mark.parametrize("kind", ["random", "leave-one-out", "temporal"])
@pytest.mark.parametrize("target", [None, "purchase"])
def test_no_event_of_a_held_out_pair_reaches_a_learner(kind: SplitKind, target: str | None) -> None:
    split = hold_out(DATA, SplitOptions(kind, target=target))
    assert len(split.test.items) > 20
    assert not pairs(split.test) & pairs(split.seen)
    assert pairs(split.train) == pairs(split.fold_in) == pairs(split.seen)
    left = training_part(DATA, split)
    met = set(zip(left.users.tolist(), left.items.tolist(), strict=True))
    assert not met & pairs(split.test)
    assert met == pairs(split.seen)
    if target is not None:
        at = DATA.signals == DATA.signal_names.index(target)
        bought = set(zip(DATA.users[at].tolist(), DATA.items[at].tolist(), strict=True))
        assert pairs(split.test) <= bought


def test_random_split_is_the_per_user_split() -> None:
    old, new = per_user_split(DATA.profiles(), seed=9), hold_out(DATA, SplitOptions(seed=9))
    assert pairs(old.test) == pairs(new.test)
    np.testing.assert_array_equal(old.train.weights, new.train.weights)


def test_leave_one_out_holds_out_the_last_and_nothing_later_stays() -> None:
    split = hold_out(DATA, SplitOptions("leave-one-out", target="purchase"))
    assert int(np.diff(split.test.indptr).max()) == 1
    left = training_part(DATA, split)
    bought = DATA.signal_names.index("purchase")
    for user, item in pairs(split.test):
        mine = (DATA.users == user) & (DATA.signals == bought)
        last = DATA.timestamps[mine].max()
        assert DATA.items[mine][np.argmax(DATA.timestamps[mine])] == item
        kept_seen = pairs(split.seen)
        before = (DATA.users == user) & (DATA.timestamps < last) & (DATA.items != item)
        assert {(user, int(i)) for i in DATA.items[before]} == {
            p for p in kept_seen if p[0] == user
        }
    assert left.n_users == DATA.n_users


def test_held_out_items_that_the_source_names_are_used() -> None:
    named = np.full(60, -1, dtype=np.int64)
    named[:10] = [int(DATA.items[DATA.users == user][0]) for user in range(10)]
    split = hold_out(replace(DATA, held_out=named), SplitOptions("leave-one-out"))
    assert pairs(split.test) == {(user, int(named[user])) for user in range(10)}


def test_temporal_split_has_one_cut_for_everybody() -> None:
    split = hold_out(DATA, SplitOptions("temporal"))
    key = DATA.users * DATA.n_items + DATA.items
    first = {int(k): DATA.timestamps[key == k].min() for k in np.unique(key)}
    test = [first[u * DATA.n_items + i] for u, i in pairs(split.test)]
    train = [first[u * DATA.n_items + i] for u, i in pairs(split.train)]
    assert max(train) < min(test)
    with_history = {user for user, _ in pairs(split.train)}
    assert {user for user, _ in pairs(split.test)} <= with_history


def test_signals_change_what_is_read_but_not_what_is_tested_or_masked() -> None:
    everything = hold_out(DATA, SplitOptions(target="purchase"))
    carts = hold_out(DATA, SplitOptions(target="purchase", signals=("add_to_cart",)))
    assert pairs(everything.test) == pairs(carts.test)
    assert pairs(everything.seen) == pairs(carts.seen)
    assert pairs(carts.train) < pairs(everything.train)
    assert set(carts.train.weights.tolist()) == {1.5}


def test_recency_reorders_weights_and_keeps_the_total_of_every_history() -> None:
    plain = hold_out(DATA, SplitOptions("leave-one-out"))
    recent = hold_out(DATA, SplitOptions("leave-one-out", recency=Recency(0.1, 3.0)))
    np.testing.assert_array_equal(plain.train.weights, recent.train.weights)
    users = plain.train.users
    np.testing.assert_allclose(
        np.bincount(users, recent.fold_in.weights), np.bincount(users, plain.train.weights)
    )
    for user in range(5):
        mine = recent.fold_in.slice(user, user + 1)
        own = DATA.users == user
        last = {int(i): DATA.timestamps[own & (DATA.items == i)].max() for i in mine.items}
        newest = max(last, key=lambda item: last[item])
        ratio = mine.weights / plain.train.slice(user, user + 1).weights
        assert mine.items[np.argmax(ratio)] == newest


def test_unseen_users_are_the_same_whatever_the_cohort() -> None:
    few = hold_out(DATA, SplitOptions(unseen_share=0.3, cohort_size=10))
    many = hold_out(DATA, SplitOptions(unseen_share=0.3))
    assert few.cohort.n_users == 10
    assert set(np.flatnonzero(few.participants)) <= set(np.flatnonzero(many.participants))
    assert 5 < np.sum(~many.participants) < 35


@pytest.mark.parametrize(
    "options",
    [
        SplitOptions(seed=-1),
        SplitOptions(signals=("search",)),
        SplitOptions(target="search"),
        SplitOptions(unseen_share=1.0),
        SplitOptions(cohort_size=61),
        SplitOptions(cohort_size=0),
    ],
)
def test_refuses_options_out_of_range(options: SplitOptions) -> None:
    with pytest.raises(BadExperiment):
        hold_out(DATA, options)
