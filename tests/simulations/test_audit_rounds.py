"""Canaries of single rounds, and the layers of level `local`: the real build, and halved noise.

A correct build is refuted with probability at most 1e-2 a bound, as stated, and far below in fact;
the noise tests' false-alarm rate is 1e-6. Halved noise is caught with probability above 0.99.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tacit.client.statistics import KNOWN_STATISTICS, contribution
from tacit.privacy import local_noise
from tacit.privacy.discrete_gaussian import sample_discrete_gaussian
from tacit.privacy.quantize import RowBlocks
from tacit.privacy.trust import CENTRAL, LOCAL
from tacit.server.coordinator import noise
from tacit.simulations.audit import noise_result
from tacit.simulations.audit_bounds import INDEPENDENT
from tacit.simulations.audit_local import local_noise_result, replacement_test
from tacit.simulations.audit_rounds import RoundSetting, round_canaries
from tacit.simulations.audit_training import TrainingShape
from tacit.simulations.errors import BadExperiment

LEVELS = [(CENTRAL, noise), (LOCAL, local_noise)]
Bytes = Callable[[int], bytes]


def halved(sigma: float, size: int, random_bytes: Bytes) -> npt.NDArray[np.int64]:
    return sample_discrete_gaussian(sigma / 2.0, size, random_bytes)


def spectral() -> list[RoundSetting]:
    shape = TrainingShape.default()
    assert shape.learner == "spectral/3"
    rounds = zip(shape.statistics, shape.noise_multipliers, strict=True)
    return [RoundSetting(name, CENTRAL, z, 4096) for name, z in rounds]


@pytest.mark.parametrize("level", [CENTRAL, LOCAL])
@pytest.mark.parametrize("statistic", KNOWN_STATISTICS)
def test_every_statistic_has_canaries_with_power(statistic: str, level: str) -> None:
    result = round_canaries(RoundSetting(statistic, level, 2.0, 4096), 1)
    assert result.findings == ()
    # Calibrated on the known epsilon: never above it, and near enough to see half the noise.
    assert 0.5 * result.claim.epsilon < result.refuted_epsilon < result.claim.epsilon
    assert 0.9 < result.strength <= 1.0
    assert result.power["1/2"][INDEPENDENT] > 0.99


@pytest.mark.parametrize(("level", "module"), LEVELS)
@pytest.mark.parametrize("statistic", ["popularity/1", "churn_moments/1"])
def test_halved_noise_is_caught(
    monkeypatch: pytest.MonkeyPatch, statistic: str, level: str, module: Any
) -> None:
    monkeypatch.setattr(module, "sample_discrete_gaussian", halved)
    result = round_canaries(RoundSetting(statistic, level, 2.0, 4096), 1)
    (finding,) = result.findings
    assert finding.startswith(f"canaries of {statistic} at level {level} refute epsilon 2.25")


def test_the_spectral_learner_s_rounds_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(round_canaries(one, 1).findings == () for one in spectral())
    monkeypatch.setattr(noise, "sample_discrete_gaussian", halved)
    assert all(round_canaries(one, 1).findings for one in spectral())


def test_a_statistic_the_audit_does_not_know_is_no_pass() -> None:
    with pytest.raises(BadExperiment, match="has a context for"):
        round_canaries(RoundSetting("new/1", CENTRAL, 1.0, 4096), 1)


def test_a_device_draws_noise_for_twice_its_norm() -> None:
    for z, norm in ((1.0, 4096), (8.0, 32_767)):
        result = local_noise_result(z, norm, 10_000)
        assert result.test.findings == ()
        assert (result.trust_level, result.test.n_draws) == (LOCAL, 10_000)
        # Twice a coordinator's at the same z and L, whose test would take it for too much.
        assert noise_result(z, norm).test.findings == ()


def test_a_device_that_draws_half_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_noise, "sample_discrete_gaussian", halved)
    (finding,) = local_noise_result(1.0, 4096, 10_000).test.findings
    assert "too little" in finding


@pytest.mark.parametrize("statistic", KNOWN_STATISTICS)
def test_two_users_of_a_device_are_at_most_2l_apart(
    monkeypatch: pytest.MonkeyPatch, statistic: str
) -> None:
    result = replacement_test(statistic, 60, 1)
    assert result.findings == ()
    assert 1.0 < result.largest_change <= 2.0

    def unclipped(blocks: RowBlocks, clipping_norm: float) -> RowBlocks:
        return blocks

    monkeypatch.setattr(contribution, "clip", unclipped)
    assert replacement_test(statistic, 60, 1).findings
