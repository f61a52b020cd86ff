"""The audit passes clean learners and flags the published leak."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner, Result

from tacit.cli.simulate import simulate
from tacit.client.statistics import Profiles
from tacit.simulations.baselines import ease_scorer
from tacit.simulations.datasets import Dataset
from tacit.simulations.errors import BadExperiment
from tacit.simulations.leaks import (
    ALTERNATIVES,
    FALSE_ALARM_RATE,
    SMALLEST_LEAK,
    LeakAudit,
    audit_leak,
)
from tacit.simulations.learners import LEARNERS
from tacit.simulations.population import generate
from tacit.simulations.splits import Split, per_user_split
from tacit.simulations.trained import OnProgress, Scorer, Trained, TrainingOptions

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


def leaky(
    split: Split, dataset: Dataset, options: TrainingOptions, on_progress: OnProgress | None
) -> Trained:
    """Learn as the published code does, behind the interface of our learners."""
    del dataset, options, on_progress
    return Trained("leaky/1", factorize(split, leak=True), (), ())


def audit_from_the_command_line(out: Path) -> Result:
    data = out.with_name("data.csv")
    pairs = zip(DATA.users.tolist(), DATA.items.tolist(), strict=True)
    data.write_text("user,item\n" + "".join(f"{user},{item}\n" for user, item in pairs))
    arguments = ["--data", str(data), "--learner", "popularity", "--audit-leaks"]
    return CliRunner().invoke(simulate, [*arguments, "--json", str(out)])


def test_the_command_line_flags_the_planted_leak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tacit.simulations.simulate.LEARNERS", {"popularity": leaky})
    result = audit_from_the_command_line(tmp_path / "out.json")
    assert result.exit_code == 1, result.output
    assert "Leak audit: LEAK: training reads held-out items" in result.output
    assert json.loads((tmp_path / "out.json").read_text())["leak_audit"]["leaks"] is True


def test_the_command_line_never_says_that_there_is_no_leak(tmp_path: Path) -> None:
    result = audit_from_the_command_line(tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out.json").read_text())["leak_audit"]
    assert found["leaks"] is False
    assert 0.0 < found["power"] < 1.0
    assert f"no leak detected at power {found['power']:.2f}" in result.output


def test_power_is_what_it_says() -> None:
    """Audit 2,000 scorers that lift decoys by the stated shift: the share flagged is the power.

    From a fixed seed; a binomial share of 2,000 is off by more than 0.05 with chance below 1e-4.
    """
    rng = np.random.default_rng(7)
    users, audits = 600, 2000
    spread = float(np.std(np.linspace(0.0, 1.0, ALTERNATIVES)))
    means = rng.normal(0.5 - SMALLEST_LEAK, spread / np.sqrt(users), audits)
    values = [0.5 * math.erfc(-(m - 0.5) / spread * math.sqrt(users / 2.0)) for m in means]
    flagged = np.mean([LeakAudit(users, 0.45, value).leaks for value in values])
    assert flagged == pytest.approx(LeakAudit(users, 0.5, 0.5).power, abs=0.05)


def test_refuses_too_few_users() -> None:
    with pytest.raises(BadExperiment, match="at least 50 users"):
        audit_leak(per_user_split(generate(20, 60).profiles()), ease_scorer)
