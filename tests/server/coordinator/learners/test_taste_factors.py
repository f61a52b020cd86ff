"""The joint posterior of tastes: its limits, and what it gains on planted tastes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from tacit.server.coordinator.learners import NoisedSum
from tacit.server.coordinator.learners.cross_grams import CrossGram
from tacit.server.coordinator.learners.kernel import TasteKernel
from tacit.server.coordinator.learners.taste_factors import taste_factor
from tacit.server.coordinator.learners.taste_gram import CAUTION, MeasuredGram, shrunk

FloatArray = npt.NDArray[np.float64]
LEADING, ALL, FACTORS = 40, 120, 3
VARIANCES = 1.0 / np.arange(1.0, ALL + 1.0)


def planted(rng: np.random.Generator) -> FloatArray:
    """Draw tastes whose strength over directions falls off as the kernel says, `(ALL, FACTORS)`."""
    return np.asarray(8.0 * rng.standard_normal((ALL, FACTORS)) * np.sqrt(VARIANCES)[:, None])


def measure(tastes: FloatArray, noise: float, rng: np.random.Generator) -> MeasuredGram:
    upper = np.triu(rng.standard_normal((LEADING, LEADING)), 1)
    diagonal = math.sqrt(2.0) * np.diag(rng.standard_normal(LEADING))
    moment = tastes[:LEADING] @ tastes[:LEADING].T
    values = moment + noise * (upper + upper.T + diagonal)
    return MeasuredGram(values, noise, np.zeros_like(values))


def sketch(tastes: FloatArray, noise: float, rng: np.random.Generator) -> CrossGram:
    """Sketch along the strongest true directions, as after a good first round."""
    values, axes = np.linalg.eigh(tastes[:LEADING] @ tastes[:LEADING].T)
    turn = axes[:, np.argsort(-values)[:FACTORS]]
    rows = tastes @ (tastes[:LEADING].T @ turn)
    return CrossGram(turn, rows + noise * rng.standard_normal(rows.shape), noise)


def error(factor: FloatArray, tastes: FloatArray, rows: int = ALL) -> float:
    return float(np.sum(((factor @ factor.T - tastes @ tastes.T)[:rows]) ** 2))


def leading_part(moment: FloatArray) -> FloatArray:
    """Cut a symmetric matrix to its positive part of the right rank."""
    values, axes = np.linalg.eigh(moment)
    best = np.argsort(-values)[:FACTORS]
    return np.asarray((axes[:, best] * np.maximum(values[best], 0.0)) @ axes[:, best].T)


def test_without_noise_the_tastes_come_back() -> None:
    rng = np.random.default_rng(0)
    tastes = planted(rng)
    exact = measure(tastes, 0.0, rng)
    factor = taste_factor(exact, exact.values, VARIANCES, [sketch(tastes, 0.0, rng)])
    assert error(factor, tastes) < 1e-3 * float(np.sum((tastes @ tastes.T) ** 2))


def test_nothing_found_stays_nothing() -> None:
    rng = np.random.default_rng(1)
    measured = measure(np.zeros((ALL, FACTORS)), 1.0, rng)
    assert taste_factor(measured, np.zeros((LEADING, LEADING)), VARIANCES).shape == (ALL, 0)


def test_pure_noise_is_shrunk_away() -> None:
    """Started at noise itself, relevance determination must remove almost all of it."""
    rng = np.random.default_rng(2)
    measured = measure(np.zeros((ALL, FACTORS)), 1.0, rng)
    start = leading_part(measured.values)
    factor = taste_factor(measured, start, VARIANCES)
    assert np.sum((factor @ factor.T) ** 2) < 0.2 * np.sum(start**2)


@pytest.mark.parametrize("noise", [1.0, 3.0, 10.0])
def test_beats_shrinkage_alone(noise: float) -> None:
    """That tastes are few is worth something over shrinking block by block, over 8 draws."""
    kernel = TasteKernel(np.eye(LEADING), VARIANCES[:LEADING])
    ours, blocks = 0.0, 0.0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        tastes = planted(rng)
        measured = measure(tastes, noise, rng)
        start = shrunk(measured, kernel)
        ours += error(taste_factor(measured, start, VARIANCES)[:LEADING], tastes[:LEADING])
        blocks += float(np.sum((start - tastes[:LEADING] @ tastes[:LEADING].T) ** 2))
    assert ours < 0.6 * blocks


def test_a_sketch_sharpens_leading_rows_and_gives_the_others() -> None:
    alone, leading, everything, none = 0.0, 0.0, 0.0, 0.0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        tastes = planted(rng)
        measured = measure(tastes, 3.0, rng)
        start = leading_part(measured.values)
        joint = taste_factor(measured, start, VARIANCES, [sketch(tastes, 3.0, rng)])
        first = taste_factor(measured, start, VARIANCES)
        alone += error(first[:LEADING], tastes[:LEADING])
        leading += error(joint[:LEADING], tastes[:LEADING])
        everything += error(joint, tastes)
        none += error(first, tastes)
        assert not np.any(first[LEADING:])
    assert leading < 0.95 * alone
    assert everything < 0.7 * none


def test_a_noisier_release_counts_less() -> None:
    """The same sketch, said to be a thousand times as noisy, changes nothing."""
    rng = np.random.default_rng(3)
    tastes = planted(rng)
    measured = measure(tastes, 2.0, rng)
    start = leading_part(measured.values)
    good = sketch(tastes, 2.0, rng)
    useless = CrossGram(good.turn, good.rows, 2e4)
    ignored = taste_factor(measured, start, VARIANCES, [useless])
    alone = taste_factor(measured, start, VARIANCES)
    scale = float(np.linalg.norm(alone @ alone.T))
    assert np.linalg.norm(ignored @ ignored.T - alone @ alone.T) < 0.02 * scale


# --- bringing a cross-Gram matrix into units -----------------------------------------------------


def release(multiple: float, noise: float, seed: int = 0) -> tuple[NoisedSum, FloatArray]:
    """Release `multiple * M R + noise` with a moment M of tastes and accident."""
    rng = np.random.default_rng(seed)
    tastes = planted(rng)
    turn = np.eye(LEADING, 4)
    moment = tastes @ tastes.T + CAUTION * 100 * np.eye(ALL)
    values = 0.01 * (multiple * moment[:, :LEADING] @ turn + noise * rng.standard_normal((ALL, 4)))
    return NoisedSum(3, "cross_gram/1", values.ravel(), 0.01 * noise), tastes


@pytest.mark.parametrize("multiple", [0.2, 1.0, 7.0])
def test_the_gram_round_gives_the_scale(multiple: float) -> None:
    released, tastes = release(multiple, 1e-6)
    turn = np.eye(LEADING, 4)
    moment = tastes[:LEADING] @ tastes[:LEADING].T + CAUTION * 100 * np.eye(LEADING)
    got = CrossGram.of(released, 0.01, turn, moment, np.eye(ALL), 100)
    assert got is not None
    np.testing.assert_allclose(got.rows, tastes @ tastes[:4].T, rtol=1e-3, atol=1e-3)
    assert got.noise_std == pytest.approx(1e-6 / multiple, rel=1e-3)


def test_a_cross_gram_of_pure_noise_is_no_signal() -> None:
    """A false alarm has a probability of 3e-5 a draw."""
    tastes = planted(np.random.default_rng(0))
    moment = tastes[:LEADING] @ tastes[:LEADING].T
    for seed in range(20):
        values = np.random.default_rng(seed).standard_normal(ALL * 4)
        released = NoisedSum(3, "cross_gram/1", values, 1.0)
        turn = np.eye(LEADING, 4)
        assert CrossGram.of(released, 0.01, turn, moment, np.eye(ALL), 100) is None
