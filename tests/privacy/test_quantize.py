"""Clipping and quantisation: the exact norm, batch independence, refusals."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tacit.privacy.errors import BadContribution, BadParameter
from tacit.privacy.quantize import (
    IntegerBlocks,
    RoundingStream,
    RowBlocks,
    check_contribution,
    clip,
    decode_sum,
    dense,
    integer_sum,
    integer_target,
    quantize,
)

Floats = npt.NDArray[np.float64]


class ScriptedStream(RoundingStream):
    """Returns one chosen uniform for each attempt and remembers the attempts."""

    def __init__(self, uniforms: Sequence[int]) -> None:
        super().__init__(bytes(32), b"scripted")
        self.uniforms = uniforms
        self.attempts: list[int] = []

    def uniform16(self, n: int, attempt: int) -> npt.NDArray[np.uint16]:
        self.attempts.append(attempt)
        return np.full(n, self.uniforms[attempt], dtype=np.uint16)


def one_user(values: Floats) -> RowBlocks:
    """Wrap a dense vector as a batch of one user with one row."""
    one = np.array([0, 1], dtype=np.int64)
    return RowBlocks(one, np.zeros(1, dtype=np.int64), values.reshape(1, -1), 1)


def batch(
    rng: np.random.Generator, n_users: int, n_rows: int, width: int, scale: float = 1.0
) -> RowBlocks:
    """Draw a batch whose users touch between none and all of the rows."""
    counts = rng.integers(0, n_rows + 1, size=n_users)
    rows: list[npt.NDArray[np.int64]] = [
        np.sort(rng.permutation(n_rows)[:count]).astype(np.int64)
        for count in [int(one) for one in counts]
    ]
    indptr = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    flat = np.concatenate(rows)
    return RowBlocks(indptr, flat, scale * rng.standard_normal((len(flat), width)), n_rows)


def alone(blocks: RowBlocks, user: int) -> RowBlocks:
    """Take one user out of a batch."""
    mine = slice(int(blocks.indptr[user]), int(blocks.indptr[user + 1]))
    indptr = np.array([0, mine.stop - mine.start], dtype=np.int64)
    return RowBlocks(indptr, blocks.rows[mine].copy(), blocks.values[mine].copy(), blocks.n_rows)


def streams(n: int, info: bytes = b"task and round") -> list[RoundingStream]:
    return [RoundingStream(hashlib.sha256(b"%d" % user).digest(), info) for user in range(n)]


@pytest.mark.parametrize(
    ("n_users", "n_rows", "width"),
    [(40, 30, 7), (25, 50, 1), (9, 1, 333), (60, 300, 64)],
    ids=["odd width", "narrow", "dense", "several chunks"],
)
def test_one_user_is_bit_identical_alone_and_in_a_batch(
    n_users: int, n_rows: int, width: int
) -> None:
    blocks = batch(np.random.default_rng(5), n_users, n_rows, width)
    keys = streams(n_users)
    clipped = clip(blocks, 3.0)
    whole = quantize(clipped, 3.0, 2000, keys)
    for user in range(n_users):
        single = clip(alone(blocks, user), 3.0)
        mine = slice(int(blocks.indptr[user]), int(blocks.indptr[user + 1]))
        assert single.values.tobytes() == clipped.values[mine].tobytes()
        result = quantize(single, 3.0, 2000, [keys[user]])
        assert np.array_equal(dense(result, 0), dense(whole, user))


def test_quantisation_is_pinned() -> None:
    # Devices retransmit after an upgrade: the integers for a key and a round must never change.
    values = ((np.arange(120.0) * 37.0) % 101.0 - 50.0).reshape(24, 5) / 64.0
    indptr = np.array([0, 4, 4, 10, 24], dtype=np.int64)
    rows = np.array([*range(4), *range(2, 8), *range(14)], dtype=np.int64)
    blocks = clip(RowBlocks(indptr, rows, values, 20), 2.0)
    result = quantize(blocks, 2.0, 32767, streams(4))
    digest = hashlib.sha256(result.values.astype("<i8").tobytes()).hexdigest()
    assert digest == PINNED_DIGEST


PINNED_DIGEST = "0e43eaf8e2f9c11c1111285aed6fb496cf0d1c0d307285f00c0113c003e49954"


@settings(max_examples=150, deadline=None)
@given(
    values=hnp.arrays(
        np.float64,
        st.integers(1, 60),
        elements=st.floats(-1e150, 1e150, allow_nan=False, allow_subnormal=True),
    ),
    clipping_norm=st.floats(1e-6, 1e6),
    integer_norm=st.integers(20, 32767),
)
def test_no_finite_vector_leaves_above_the_integer_norm(
    values: Floats, clipping_norm: float, integer_norm: int
) -> None:
    blocks = clip(one_user(values), clipping_norm)
    assert float(np.linalg.norm(blocks.values)) <= clipping_norm * (1 + 1e-12)
    vector = dense(quantize(blocks, clipping_norm, integer_norm, streams(1)), 0)
    assert sum(int(q) ** 2 for q in vector) <= integer_norm**2
    check_contribution(vector.astype(np.int16), len(values), integer_norm)


def test_clip_keeps_short_vectors_and_shortens_long_ones() -> None:
    blocks = clip(one_user(np.array([3.0, 4.0])), 5.0)
    assert blocks.values.tolist() == [[3.0, 4.0]]
    blocks = clip(one_user(np.array([30.0, -40.0])), 5.0)
    assert blocks.values[0] == pytest.approx([3.0, -4.0], rel=1e-15)
    assert clip(one_user(np.zeros(3)), 5.0).values.tolist() == [[0.0, 0.0, 0.0]]
    assert clip(one_user(np.array([1e38, 0.0])), 5.0).values.tolist() == [[5.0, 0.0]]


def test_the_norm_is_of_the_whole_contribution_not_of_a_row() -> None:
    two_rows = RowBlocks(
        np.array([0, 2], dtype=np.int64),
        np.array([0, 1], dtype=np.int64),
        np.array([[3.0], [4.0]]),
        2,
    )
    assert clip(two_rows, 1.0).values.ravel() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
def test_clip_refuses_values_without_a_norm(bad: float) -> None:
    with pytest.raises(BadContribution):
        clip(one_user(np.array([0.5, bad, 0.5])), 1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1.5, -1e38])
def test_quantize_refuses_what_was_not_clipped(bad: float) -> None:
    with pytest.raises(BadContribution):
        quantize(one_user(np.array([0.1, bad])), 1.0, 1000, streams(1))


def test_quantize_refuses_a_long_vector_of_small_values() -> None:
    with pytest.raises(BadContribution, match="larger norm"):
        quantize(one_user(np.full(400, 0.9)), 1.0, 1000, streams(1))


def test_rounding_is_unbiased() -> None:
    # 20,000 roundings of each coordinate: the mean of one is within 6 sigma = 6 * 0.5 / sqrt(2e4)
    # = 0.0213, so the false-failure rate is below 12 * 2e-9; the streams are fixed.
    values = np.linspace(-0.6, 0.6, 12)
    n = 20_000
    indptr = np.arange(n + 1, dtype=np.int64)
    many = RowBlocks(indptr, np.zeros(n, dtype=np.int64), np.tile(values, (n, 1)), 1)
    blocks = clip(many, 2.0)
    mean = integer_sum(quantize(blocks, 2.0, 40, streams(n))) / n
    expected = blocks.values[0] * integer_target(40, 12) / 2.0
    assert np.abs(mean - expected).max() < 0.0213
    assert np.abs(np.rint(expected) - expected).max() > 0.2


def crowded() -> RowBlocks:
    """Build a vector that exceeds integer norm 34, not 120, when every coordinate is rounded up."""
    values = np.full(1000, 0.02)
    values[:25] = 4.01
    return clip(one_user(values), 20.5)


def test_a_refused_attempt_is_drawn_again() -> None:
    stream = ScriptedStream([65535, 65535, 0])
    quantize(crowded(), 20.5, 120, [stream])
    assert stream.attempts == [0]
    stream = ScriptedStream([65535, 65535, 0])
    vector = dense(quantize(crowded(), 20.5, 34, [stream]), 0)
    assert stream.attempts == [0, 1, 2]
    assert int(np.dot(vector, vector)) <= 34**2


def test_eight_refused_attempts_end_in_truncation() -> None:
    blocks = crowded()
    negative = RowBlocks(blocks.indptr, blocks.rows, -blocks.values, 1)
    stream = ScriptedStream([65535] * 8)
    vector = dense(quantize(blocks, 20.5, 34, [stream]), 0)
    assert stream.attempts == list(range(8))
    scaled = blocks.values[0] * integer_target(34, 1000) / 20.5
    assert vector.tolist() == np.trunc(scaled).astype(int).tolist()
    down = ScriptedStream([0] * 8)
    assert dense(quantize(negative, 20.5, 34, [down]), 0).tolist() == (-vector).tolist()
    assert down.attempts == list(range(8))


def test_a_retry_touches_only_the_user_that_needs_it() -> None:
    one = crowded()
    both = RowBlocks(
        np.array([0, 1, 2], dtype=np.int64),
        np.zeros(2, dtype=np.int64),
        np.concatenate([one.values, one.values]),
        1,
    )
    calm, unlucky = ScriptedStream([0]), ScriptedStream([65535, 0])
    result = quantize(both, 20.5, 34, [calm, unlucky])
    assert calm.attempts == [0]
    assert unlucky.attempts == [0, 1]
    assert dense(result, 0).tolist() == dense(result, 1).tolist()


def test_zero_stays_zero_and_empty_users_are_allowed() -> None:
    assert not dense(quantize(one_user(np.zeros(50)), 1.0, 100, streams(1)), 0).any()
    nothing = RowBlocks(
        np.zeros(3, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros((0, 4)), 5
    )
    result = quantize(clip(nothing, 1.0), 1.0, 100, streams(2))
    assert integer_sum(result).tolist() == [0] * 20


def test_there_is_one_stream_for_each_user() -> None:
    with pytest.raises(BadParameter, match="1 rounding streams"):
        quantize(one_user(np.zeros(3)), 1.0, 100, streams(2))


def test_integer_target_leaves_room_for_rounding() -> None:
    deviation = math.sqrt(2 * math.log(2**16))
    for norm, length in [(100, 50), (32767, 200_000), (2000, 10_000)]:
        target = integer_target(norm, length)
        worst = target**2 + length / 4 + deviation * (target + math.sqrt(length) / 2)
        assert worst <= norm**2
        assert target > norm / 2
    assert integer_target(32767, 10_000) > 0.9995 * 32767


@pytest.mark.parametrize(
    ("norm", "length"),
    [(100, 40_000), (1, 1), (0, 5), (-3, 5), (100, 0), (1 << 21, 5), (1 << 20, 1 << 24)],
)
def test_integer_target_refuses(norm: int, length: int) -> None:
    with pytest.raises(BadParameter):
        integer_target(norm, length)


@pytest.mark.parametrize("bad", [0, -1.0, math.nan, math.inf, True, "1.0", None])
def test_clipping_norm_is_validated(bad: float) -> None:
    for call in (
        lambda: clip(one_user(np.zeros(2)), bad),
        lambda: quantize(one_user(np.zeros(2)), bad, 100, streams(1)),
        lambda: decode_sum(np.zeros(2, dtype=np.int64), bad, 100, 2),
    ):
        with pytest.raises(BadParameter):
            call()


@pytest.mark.parametrize("bad", [0, -1, 1.5, math.nan, math.inf, True, "100"])
def test_integer_norm_is_validated(bad: int) -> None:
    with pytest.raises(BadParameter):
        integer_target(bad, 2)
    with pytest.raises(BadParameter):
        check_contribution(np.zeros(2, dtype=np.int64), 2, bad)


def test_check_contribution_is_exact_at_the_norm() -> None:
    check_contribution(np.array([12, -16], dtype=np.int16), 2, 20)
    with pytest.raises(BadContribution):
        check_contribution(np.array([12, -16, 1], dtype=np.int16), 3, 20)
    # 2 * 23170^2 would be just above 32767^2; such squares overflow int16.
    check_contribution(np.array([23169, -23169], dtype=np.int16), 2, 32767)
    with pytest.raises(BadContribution):
        check_contribution(np.array([23170, -23170], dtype=np.int16), 2, 32767)


@pytest.mark.parametrize(
    "vector",
    [
        np.array([0, np.iinfo(np.int64).min], dtype=np.int64),
        np.array([0, np.iinfo(np.uint64).max], dtype=np.uint64),
        np.array([-32768, 0], dtype=np.int16),
        np.array([1 << 32, 0], dtype=np.int64),
        np.array([0.0, 1.0]),
        np.array([True, False]),
        np.array([1, 0], dtype=object),
        np.array([1 + 0j, 0]),
        np.array([1], dtype=np.int16),
        np.array([1, 0, 0], dtype=np.int16),
        np.array([[1, 0]], dtype=np.int16),
        np.array(1, dtype=np.int16),
    ],
    ids=str,
)
def test_check_contribution_refuses(vector: npt.NDArray[np.int64]) -> None:
    with pytest.raises(BadContribution):
        check_contribution(vector, 2, 32767)


def test_refusals_do_not_repeat_values() -> None:
    with pytest.raises(BadContribution) as caught:
        check_contribution(np.array([31337, 31338], dtype=np.int64), 2, 100)
    assert "3133" not in str(caught.value)


def test_integer_sum_is_the_sum_in_any_order() -> None:
    rng = np.random.default_rng(2)
    blocks = batch(rng, 50, 40, 6, scale=0.1)
    result = quantize(clip(blocks, 1.0), 1.0, 5000, streams(50))
    expected = sum(dense(result, user) for user in range(50))
    assert np.array_equal(integer_sum(result), expected)
    order = rng.permutation(50)
    counts = np.diff(result.indptr)[order]
    picked = np.concatenate(
        [np.arange(int(result.indptr[u]), int(result.indptr[u + 1])) for u in order]
    )
    shuffled = IntegerBlocks(
        np.concatenate(([0], np.cumsum(counts))), result.rows[picked], result.values[picked], 40
    )
    assert np.array_equal(integer_sum(shuffled), integer_sum(result))


def test_integer_sum_of_dense_rows() -> None:
    values = np.arange(24, dtype=np.int64).reshape(6, 4)
    rows = np.array([0, 1, 2, 0, 1, 2], dtype=np.int64)
    blocks = IntegerBlocks(np.array([0, 3, 6], dtype=np.int64), rows, values, 3)
    assert integer_sum(blocks).tolist() == (values[:3] + values[3:]).ravel().tolist()


def test_decode_sum_returns_to_the_units_of_the_statistic() -> None:
    blocks = clip(batch(np.random.default_rng(3), 30, 20, 4, scale=0.2), 4.0)
    total = integer_sum(quantize(blocks, 4.0, 32767, streams(30)))
    decoded = decode_sum(total, 4.0, 32767, blocks.length)
    expected = np.zeros((20, 4))
    np.add.at(expected, blocks.rows, blocks.values)
    # Each of 30 roundings is off by less than one integer step.
    assert np.abs(decoded - expected.ravel()).max() < 30 * 4.0 / integer_target(32767, 80)
    steps = decode_sum(np.array([-200, 0, 7]), 5.0, 200, 3)
    assert steps == pytest.approx(np.array([-200, 0, 7]) * 5.0 / integer_target(200, 3), rel=1e-14)
    wrong: list[npt.NDArray[Any]] = [
        np.zeros(79, dtype=np.int64),
        np.zeros(80),
        np.zeros((80, 1), dtype=np.int64),
    ]
    for bad in wrong:
        with pytest.raises(BadContribution):
            decode_sum(bad, 4.0, 32767, 80)


@pytest.mark.parametrize(
    ("indptr", "rows", "n_values"),
    [
        ([0, 2], [1, 1], 2),
        ([0, 2], [1, 0], 2),
        ([0, 1], [5], 1),
        ([0, 1], [-1], 1),
        ([0, 3], [0, 1], 2),
        ([1, 2], [0, 1], 2),
        ([0, 2, 1, 2], [0, 1], 2),
        ([0, 2], [0, 1], 3),
        ([], [], 0),
    ],
    ids=["twice", "falling", "beyond", "negative", "short", "offset", "back", "blocks", "none"],
)
def test_malformed_batches_are_refused(indptr: list[int], rows: list[int], n_values: int) -> None:
    with pytest.raises(BadContribution):
        RowBlocks(
            np.array(indptr, dtype=np.int64),
            np.array(rows, dtype=np.int64),
            np.zeros((n_values, 2)),
            5,
        )


def test_dtypes_and_users_are_checked() -> None:
    one, row = np.array([0, 1], dtype=np.int64), np.zeros(1, dtype=np.int64)
    for values in (np.zeros((1, 2), dtype=np.float32), np.zeros((1, 2), dtype=np.int64)):
        with pytest.raises(BadContribution):
            RowBlocks(one, row, values, 1)  # type: ignore[arg-type]  # pyright: ignore
    with pytest.raises(BadContribution):
        RowBlocks(one, row, np.zeros(2), 1)
    good = IntegerBlocks(one, row, np.zeros((1, 2), dtype=np.int64), 1)
    assert (good.n_users, good.width, good.length) == (1, 2, 2)
    for user in (-1, 1):
        with pytest.raises(BadContribution):
            dense(good, user)


def test_rounding_streams_depend_on_key_info_and_attempt_only() -> None:
    stream = RoundingStream(bytes(range(32)), b"task|1")
    first = stream.uniform16(1000, 0)
    assert first.dtype == np.uint16
    assert np.array_equal(first, RoundingStream(bytes(range(32)), b"task|1").uniform16(1000, 0))
    assert np.array_equal(first[:7], stream.uniform16(7, 0))
    for other in (
        stream.uniform16(1000, 1),
        RoundingStream(bytes(range(32)), b"task|2").uniform16(1000, 0),
        RoundingStream(bytes(32), b"task|1").uniform16(1000, 0),
    ):
        # Two independent streams of 1,000 share 0.015 places on average; 8 or more: below 1e-19.
        assert int((first == other).sum()) < 8
    # 64 cells of 100,000 draws: chi-square has mean 63 and deviation 11.2; the stream is fixed.
    counts = np.bincount(stream.uniform16(100_000, 3) >> 10, minlength=64)
    assert float(((counts - 1562.5) ** 2 / 1562.5).sum()) < 63 + 6 * 11.2


def test_rounding_streams_refuse_weak_keys_and_hide_the_key() -> None:
    for key in (b"", bytes(31), bytes(33)):
        with pytest.raises(BadParameter):
            RoundingStream(key, b"task")
    with pytest.raises(BadParameter):
        RoundingStream(bytes(32), b"")
    assert "_key" not in repr(RoundingStream(bytes(32), b"task"))
