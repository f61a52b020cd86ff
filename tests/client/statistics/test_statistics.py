"""Statistics: their definitions, their norms, and independence from the batch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tacit.client.statistics import (
    STATISTICS,
    BadContext,
    BadProfile,
    Profiles,
    build_profiles,
    contributions,
)
from tacit.privacy.quantize import dense
from tacit.privacy.task import RoundPlan

N_ITEMS, WIDTH = 60, 5
# `factorization/1` needs another context: tests of its own are in test_factorization.py.
NAMES = sorted(set(STATISTICS) - {"factorization/1"})


def cohort(n_users: int = 23, seed: int = 3) -> Profiles:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 30, n_users)
    counts[4] = 0
    users = np.repeat(np.arange(n_users), counts)
    items = np.concatenate([rng.permutation(N_ITEMS)[:c] for c in counts.tolist()])
    weights = rng.choice((1.0, 1.5, 2.0), size=len(items))
    return build_profiles(users, items, weights, n_users=n_users, n_items=N_ITEMS)


def context(width: int = WIDTH) -> dict[str, npt.NDArray[np.float32]]:
    rng = np.random.default_rng(9)
    return {
        "basis": rng.normal(size=(N_ITEMS, width)).astype(np.float32),
        "item_weights": rng.uniform(0.5, 2.0, N_ITEMS).astype(np.float32),
        "turn": rng.normal(size=(width, 2)).astype(np.float32),
    }


def dense_profiles(profiles: Profiles) -> npt.NDArray[np.float64]:
    matrix = np.zeros((profiles.n_users, profiles.n_items))
    matrix[profiles.users, profiles.items] = profiles.weights
    return matrix


def units(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix / np.where(norms > 0, norms, 1.0), dtype=np.float64)


def expected(name: str, profiles: Profiles) -> npt.NDArray[np.float64]:
    """Compute a statistic from its definition, densely."""
    given = context()
    basis = given["basis"].astype(np.float64)
    item_weights = given["item_weights"].astype(np.float64)
    if name == "popularity/1":
        return units(dense_profiles(profiles))
    rows = units(dense_profiles(profiles) * item_weights)
    projected = rows @ basis
    if name == "subspace/1":
        outer = np.einsum("ui,uk->uik", rows, projected)
        return np.asarray(outer.reshape(len(rows), -1), dtype=np.float64)
    if name == "cross_gram/1":
        turned = projected @ given["turn"].astype(np.float64)
        cross = np.einsum("ui,uk->uik", units(projected), turned)
        return np.asarray(cross.reshape(len(rows), -1), dtype=np.float64)
    gram = np.einsum("ui,uj->uij", projected, projected)
    upper, lower = np.triu_indices(WIDTH)
    triangle = gram[:, upper, lower] * np.where(upper == lower, 1.0, np.sqrt(2.0))
    return np.asarray(triangle, dtype=np.float64)


@pytest.mark.parametrize("name", NAMES)
def test_matches_its_definition(name: str) -> None:
    profiles = cohort()
    blocks = STATISTICS[name](profiles, context(), {})
    got = np.zeros((profiles.n_users, blocks.n_rows, blocks.width))
    for user in range(profiles.n_users):
        mine = slice(int(blocks.indptr[user]), int(blocks.indptr[user + 1]))
        got[user, blocks.rows[mine]] = blocks.values[mine]
    np.testing.assert_allclose(
        got.reshape(profiles.n_users, -1), expected(name, profiles), atol=1e-12
    )


@pytest.mark.parametrize("name", NAMES)
def test_one_user_is_bit_identical_alone_and_in_a_batch(name: str) -> None:
    profiles = cohort()
    length = STATISTICS[name](profiles, context(), {}).length
    secrets = [bytes([user]) * 32 for user in range(profiles.n_users)]

    def contribute(part: Profiles, keys: list[bytes]) -> list[npt.NDArray[np.int64]]:
        blocks = contributions(
            part,
            context(),
            RoundPlan(2, name, length, 0.7, 4096, 1.0, {}),
            task_digest=b"t" * 32,
            device_secrets=keys,
        )
        return [dense(blocks, user) for user in range(part.n_users)]

    together = contribute(profiles, secrets)
    for user, whole in enumerate(together):
        alone = contribute(profiles.slice(user, user + 1), [secrets[user]])[0]
        np.testing.assert_array_equal(alone, whole)
        raw_alone = STATISTICS[name](profiles.slice(user, user + 1), context(), {}).values
        blocks = STATISTICS[name](profiles, context(), {})
        raw = blocks.values[int(blocks.indptr[user]) : int(blocks.indptr[user + 1])]
        assert raw_alone.tobytes() == raw.tobytes()
        assert int(np.dot(whole, whole)) <= 4096**2
    assert any(np.any(vector) for vector in together)
    assert not np.any(together[4])  # the empty profile contributes nothing


def test_rounding_depends_on_round_task_and_device() -> None:
    profiles = cohort().slice(0, 1)

    def sent(round_id: int = 1, digest: bytes = b"a" * 32, secret: bytes = b"s" * 32) -> bytes:
        return contributions(
            profiles,
            {},
            RoundPlan(round_id, "popularity/1", N_ITEMS, 1.0, 4096, 1.0, {}),
            task_digest=digest,
            device_secrets=[secret],
        ).values.tobytes()

    assert sent() == sent()
    assert len({sent(), sent(round_id=2), sent(digest=b"b" * 32), sent(secret=b"z" * 32)}) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"basis": None}, "basis"),
        ({"item_weights": None}, "item_weights"),
        ({"basis": np.ones((N_ITEMS - 1, 2))}, "shape"),
        ({"basis": np.ones(N_ITEMS)}, "shape"),
        ({"basis": np.full((N_ITEMS, 2), np.nan)}, "finite"),
        ({"item_weights": np.full(N_ITEMS, np.inf)}, "finite"),
        ({"item_weights": np.zeros(N_ITEMS)}, "above zero"),
        ({"item_weights": -np.ones(N_ITEMS)}, "above zero"),
    ],
)
@pytest.mark.parametrize("name", ["feature_gram/1", "cross_gram/1", "subspace/1"])
def test_refuses_a_context_that_does_not_fit(
    name: str, change: dict[str, npt.NDArray[np.float64] | None], message: str
) -> None:
    merged = {**context(), **change}
    given = {key: array for key, array in merged.items() if array is not None}
    with pytest.raises(BadContext, match=message):
        STATISTICS[name](cohort(), given, {})


def test_refuses_an_unknown_statistic_or_length() -> None:
    def contribute(statistic: str, length: int) -> None:
        contributions(
            cohort().slice(0, 1),
            {},
            RoundPlan(1, statistic, length, 1.0, 4096, 1.0, {}),
            task_digest=b"t" * 32,
            device_secrets=[b"s" * 32],
        )

    with pytest.raises(BadContext, match="popularity/1"):
        contribute("popularity/2", N_ITEMS)
    with pytest.raises(BadContext, match="61 coordinates"):
        contribute("popularity/1", 61)


def test_profiles_do_not_depend_on_event_order_or_repeats() -> None:
    users = np.array([1, 0, 1, 1, 0])
    items = np.array([2, 5, 2, 0, 5])
    weights = np.array([1.0, 1.0, 2.0, 1.0, 0.0])
    first = build_profiles(users, items, weights, n_users=3, n_items=6)
    turned = build_profiles(users[::-1], items[::-1], weights[::-1], n_users=3, n_items=6)
    assert first.indptr.tolist() == turned.indptr.tolist() == [0, 1, 3, 3]
    assert first.items.tolist() == turned.items.tolist() == [5, 0, 2]
    assert first.weights.tolist() == turned.weights.tolist() == [1.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("indptr", "items", "weights"),
    [
        ([0, 2], [3, 1], [1.0, 1.0]),
        ([0, 2], [1, 1], [1.0, 1.0]),
        ([0, 1], [9], [1.0]),
        ([0, 1], [-1], [1.0]),
        ([0, 1], [1], [0.0]),
        ([0, 1], [1], [np.nan]),
        ([0, 2], [1], [1.0]),
        ([1, 1], [1], [1.0]),
        ([0, 1], [1], [1.0, 2.0]),
    ],
)
def test_refuses_bad_profiles(indptr: list[int], items: list[int], weights: list[float]) -> None:
    with pytest.raises(BadProfile):
        Profiles(
            np.array(indptr, dtype=np.int64),
            np.array(items, dtype=np.int64),
            np.array(weights),
            9,
        )
