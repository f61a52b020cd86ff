"""The audit passes clean learners and flags the published leak."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tacit.client.statistics import Profiles
from tacit.simulations.baselines import ease_scorer
from tacit.simulations.errors import BadExperiment
from tacit.simulations.leaks import FALSE_ALARM_RATE, audit_leak
from tacit.simulations.learners import LEARNERS
from tacit.simulations.population import generate
from tacit.simulations.splits import Split, per_user_split
from tacit.simulations.trained import Scorer, TrainingOptions

DATA = generate(300, 120, seed=4)
SPLIT = per_user_split(DATA.profiles())


def factorize(split: Split, *, leak: bool) -> Scorer:
    """Fit logistic matrix factorisation with a table of users, as the published code does.

    Negatives come from outside the training part, and with `leak` from outside the test part too.
    """
    rng = np.random.default_rng(0)
    n_users, n_items = split.train.n_users, split.train.n_items
    seen = np.zeros((n_users, n_items), dtype=np.bool_)
    seen[split.train.users, split.train.items] = True
    barred = seen.copy()
    if leak:
        barred[split.test.users, split.test.items] = True
    users = rng.normal(0.0, 0.1, (n_users, 16))
    items = rng.normal(0.0, 0.1, (n_items, 16))
    for _ in range(150):
        drawn = ~barred & (rng.random(barred.shape) < 0.3)
        error = np.where(seen, 1.0, 0.0) - 1.0 / (1.0 + np.exp(-users @ items.T))
        error *= seen | drawn
        users, items = users + 0.05 * error @ items, items + 0.05 * error.T @ users
    table = users @ items.T
    owner = {split.fold_in.slice(user, user + 1).items.tobytes(): user for user in range(n_users)}

    def scorer(profiles: Profiles) -> npt.NDArray[np.float64]:
        who = [
            owner[profiles.slice(row, row + 1).items.tobytes()] for row in range(profiles.n_users)
        ]
        return table[who]

    return scorer


def test_clean_learners_pass() -> None:
    """Each verdict is wrong with probability 1e-4 by design."""

    def spectral(split: Split) -> Scorer:
        return LEARNERS["spectral"](split, DATA, TrainingOptions(8.0, 1e-5), None).scorer

    def clean(split: Split) -> Scorer:
        return factorize(split, leak=False)

    for train in (spectral, ease_scorer, clean):
        found = audit_leak(SPLIT, train)
        assert found.users == 300
        assert not found.leaks
        assert found.mean_place == pytest.approx(0.5, abs=0.1)


def test_the_published_leak_is_flagged() -> None:
    found = audit_leak(SPLIT, lambda split: factorize(split, leak=True))
    assert found.leaks
    assert found.mean_place < 0.45


def test_false_alarms_are_as_rare_as_stated() -> None:
    """Audit random scorers 600 times, from fixed seeds.

    p-values are uniform: more than 60 below 0.05 has chance below 1e-6, three below 1e-4 have
    chance below 1e-4.
    """
    small = per_user_split(generate(60, 60, seed=1).profiles())
    rng = np.random.default_rng(5)

    def chance(split: Split) -> Scorer:
        return lambda profiles: rng.random((profiles.n_users, split.test.n_items))

    values = np.array([audit_leak(small, chance, seed).p_value for seed in range(600)])
    assert np.sum(values < 0.05) <= 60
    assert np.sum(values < FALSE_ALARM_RATE) <= 2


def test_refuses_too_few_users() -> None:
    with pytest.raises(BadExperiment, match="at least 50 users"):
        audit_leak(per_user_split(generate(20, 60).profiles()), ease_scorer)
