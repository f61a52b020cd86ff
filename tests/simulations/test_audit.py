"""The audit of the real build, and of mutants that it or the ledger must flag.

Each mutant is the build with one thing broken on purpose. Statistical checks have a false-alarm
rate of 1e-6 a test (canaries: 1e-2 a bound as stated, and in fact far below), with fresh
randomness from the operating system.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tacit.client.statistics import KNOWN_STATISTICS, contribution
from tacit.privacy.discrete_gaussian import sample_discrete_gaussian
from tacit.privacy.quantize import IntegerBlocks, RowBlocks, clip, integer_target
from tacit.privacy.rounding import RoundingStream
from tacit.server.coordinator import noise
from tacit.server.coordinator.learners import PopularityLearner
from tacit.simulations import audit as audits
from tacit.simulations import audit_canaries, audit_sensitivity, audit_training
from tacit.simulations.audit_bounds import F_DP, INDEPENDENT, ONE_RUN, correct_guesses
from tacit.simulations.audit_calibration import NOISE_MULTIPLIERS, RUNS, calibrate_auditor
from tacit.simulations.audit_report import NoiseResult
from tacit.simulations.errors import BadExperiment
from tacit.simulations.factorization import poisson

Bytes = Callable[[int], bytes]


def mutate_noise(monkeypatch: pytest.MonkeyPatch, mutant: Callable[..., Any]) -> None:
    monkeypatch.setattr(noise, "sample_discrete_gaussian", mutant)


def unclipped(blocks: RowBlocks, clipping_norm: float) -> RowBlocks:
    return blocks


def unchecked(
    blocks: RowBlocks,
    clipping_norm: float,
    integer_norm: int,
    keystream: Sequence[RoundingStream],
) -> IntegerBlocks:
    scale = integer_target(integer_norm, blocks.length) / clipping_norm
    scaled = np.clip(np.rint(blocks.values * scale), -(2.0**40), 2.0**40)
    return IntegerBlocks(blocks.indptr, blocks.rows, scaled.astype(np.int64), blocks.n_rows)


class TestTheRealBuild:
    def test_passes_every_layer_and_says_at_what_power(self) -> None:
        steps: list[tuple[str, int, int]] = []

        def note(phase: str, done: int, total: int) -> None:
            steps.append((phase, done, total))

        report = audits.audit(on_step=note)
        assert report.findings == ()
        document = report.to_json()
        assert document["violation_detected"] is False
        assert report.noise_power["0.9"] > 1 - 1e-9
        assert report.canaries.power["1/2"][INDEPENDENT] > 0.9
        assert {one.statistic for one in report.sensitivity} == set(KNOWN_STATISTICS)
        assert {one.statistic for one in report.replacement} == set(KNOWN_STATISTICS)
        assert {one.trust_level for one in report.noise} == {"central", "local"}
        kinds = {(one.setting.trust_level, one.setting.statistic) for one in report.rounds}
        assert {("central", "feature_gram/1"), ("central", "churn_moments/1")} <= kinds
        assert ("local", "popularity/1") in kinds
        assert all(one.power["1/2"][INDEPENDENT] > 0.9 for one in report.rounds)
        refuted = report.canaries.bounds.refuted_epsilon
        assert set(refuted) == {ONE_RUN, F_DP, INDEPENDENT}
        assert min(refuted.values()) > 0, "canaries that see nothing test nothing"
        (training,) = report.trainings
        assert training.bounds is not None
        assert training.shape.statistics == ("popularity/1", "feature_gram/1", "cross_gram/1")
        assert 0 < training.bounds.refuted_mu[F_DP] < training.claim.mu
        assert training.power["1/4"][F_DP] > 0.9
        assert report.not_covered == ()
        record = report.record()
        assert document["statement"] == record.statement
        assert record.statement.startswith("no violation detected at power ")
        phases = {phase: (done, total) for phase, done, total in steps}
        assert len(phases) == 6
        assert all(done == total for done, total in phases.values())

    def test_auditor_is_calibrated_on_known_mechanisms(self) -> None:
        results = calibrate_auditor(7)
        assert len(results) == 4 + 3 * 5
        for one in results:
            assert one.findings == ()
            assert one.median_bound < one.true_epsilon
        gaussian = {(one.setting, one.bound): one for one in results if "Gaussian" in one.mechanism}
        for z in NOISE_MULTIPLIERS:
            loose, tighter, near = (gaussian[z, name] for name in (ONE_RUN, F_DP, INDEPENDENT))
            assert loose.median_bound < tighter.median_bound < near.median_bound
        broken = [one for one in results if one.mechanism == "broken Gaussian"]
        assert {one.bound: one.n_refuting for one in broken}[INDEPENDENT] == RUNS

    @pytest.mark.parametrize("statistic", KNOWN_STATISTICS)
    def test_one_user_moves_each_sum_by_at_most_l(self, statistic: str) -> None:
        result = audit_sensitivity.sensitivity_test(statistic, 100, 1)
        assert result.findings == ()
        assert 0.9 < result.largest_change <= 1.0

    def test_cohorts_are_drawn_at_their_rates(self) -> None:
        results = audits.sampling_results()
        assert len(results) == 2
        assert all(not result.findings for result in results)


class TestMutants:
    @pytest.mark.parametrize("scale", [0.5, 0.9])
    def test_noise_of_too_small_a_scale(
        self, monkeypatch: pytest.MonkeyPatch, scale: float
    ) -> None:
        def smaller(sigma: float, size: int, random_bytes: Bytes) -> npt.NDArray[np.int64]:
            return sample_discrete_gaussian(sigma * scale, size, random_bytes)

        mutate_noise(monkeypatch, smaller)
        results = noise_results()
        assert all("too little" in result.test.findings[0] for result in results)

    def test_a_biased_sampler(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def biased(sigma: float, size: int, random_bytes: Bytes) -> npt.NDArray[np.int64]:
            drawn = sample_discrete_gaussian(sigma, size, random_bytes)
            # A sign bit that is 1 for 55% of the draws.
            flip = np.frombuffer(random_bytes(size), np.uint8) < 0.1 * 256
            return np.where(flip, np.abs(drawn), drawn)

        mutate_noise(monkeypatch, biased)
        found = [one for r in noise_results() for one in r.test.findings]
        assert found
        assert all("mean" in one for one in found)

    def test_noise_that_repeats_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def seeded(sigma: float, size: int, random_bytes: Bytes) -> npt.NDArray[np.int64]:
            return sample_discrete_gaussian(sigma, size, np.random.default_rng(0).bytes)

        mutate_noise(monkeypatch, seeded)
        assert all("correlates" in r.test.findings[0] for r in noise_results())

    def test_a_biased_draw_of_the_cohort(self, monkeypatch: pytest.MonkeyPatch) -> None:
        draw = poisson.poisson_draw

        def more(n_users: int, rate: float, random_bytes: Bytes) -> npt.NDArray[np.intp]:
            return draw(n_users, min(1.2 * rate, 0.99), random_bytes)

        monkeypatch.setattr(poisson, "poisson_draw", more)
        assert all(result.findings for result in audits.sampling_results())

    @pytest.mark.parametrize("statistic", KNOWN_STATISTICS)
    def test_clip_and_norm_check_skipped(
        self, monkeypatch: pytest.MonkeyPatch, statistic: str
    ) -> None:
        monkeypatch.setattr(contribution, "clip", unclipped)
        monkeypatch.setattr(contribution, "quantize", unchecked)
        result = audit_sensitivity.sensitivity_test(statistic, 100, 1)
        assert any("more than L" in one for one in result.findings)
        assert result.largest_change > 1.5

    @pytest.mark.parametrize("statistic", KNOWN_STATISTICS)
    def test_clip_skipped_alone(self, monkeypatch: pytest.MonkeyPatch, statistic: str) -> None:
        """Rounding then refuses what is too large: nothing leaks, and the audit says so."""
        monkeypatch.setattr(contribution, "clip", unclipped)
        result = audit_sensitivity.sensitivity_test(statistic, 100, 1)
        assert result.largest_change <= 1.0
        assert any("no power" in one for one in result.findings)

    def test_clip_to_ten_per_cent_too_much(self, monkeypatch: pytest.MonkeyPatch) -> None:

        def loose(blocks: RowBlocks, clipping_norm: float) -> RowBlocks:
            return clip(blocks, 1.1 * clipping_norm)

        monkeypatch.setattr(contribution, "clip", loose)
        monkeypatch.setattr(contribution, "quantize", unchecked)
        for statistic in KNOWN_STATISTICS:
            assert audit_sensitivity.sensitivity_test(statistic, 100, 1).findings

    def test_noise_skipped_is_seen_by_canaries_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def none(sigma: float, size: int, random_bytes: Bytes) -> npt.NDArray[np.int64]:
            return np.zeros(size, np.int64)

        mutate_noise(monkeypatch, none)
        assert all("too little" in result.test.findings[0] for result in noise_results())
        result = audit_canaries.canary_test(2.0, 1)
        assert result.bounds.n_correct == result.bounds.n_guesses
        assert len(result.findings) == 3
        assert all("canaries refute epsilon" in one for one in result.findings)

    @pytest.mark.parametrize("scale", [0.0, 0.25])
    def test_too_little_noise_in_a_whole_training(
        self, monkeypatch: pytest.MonkeyPatch, scale: float
    ) -> None:
        def weaker(sigma: float, size: int, random_bytes: Bytes) -> npt.NDArray[np.int64]:
            if scale == 0.0:
                return np.zeros(size, np.int64)
            return sample_discrete_gaussian(sigma * scale, size, random_bytes)

        mutate_noise(monkeypatch, weaker)
        monkeypatch.setattr(audit_training, "N_TRAINING_CANARIES", 4000)
        # The default training's canaries share kernel directions and see only noise that is gone
        # altogether (docs/audit.md); where each has a coordinate of its own, a quarter is seen too.
        shape = audit_training.TrainingShape.default()
        if scale:
            name = PopularityLearner.name
            shape = audit_training.TrainingShape("", name, ("popularity/1",), (1.0,), 8.0, 100)
        result = audit_training.training_canaries(shape, 1)
        assert any("the default training refute epsilon" in one for one in result.findings)


def noise_results() -> tuple[NoiseResult, ...]:
    return tuple(audits.noise_result(z, norm) for z, norm in ((1.0, 4096), (4.0, 16_384)))


def test_a_statistic_the_audit_does_not_know_is_no_pass() -> None:
    with pytest.raises(BadExperiment, match="has a context for"):
        audit_sensitivity.sensitivity_test("new/1", 1, 1)


def test_guesses_are_scored_against_the_coins() -> None:
    coins = np.array([True, False, True, False, True, False])
    scores = np.array([9.0, 1.0, 8.0, 7.0, 2.0, 0.0])
    assert correct_guesses(scores, coins, 4) == 4
    assert correct_guesses(-scores, coins, 4) == 0
