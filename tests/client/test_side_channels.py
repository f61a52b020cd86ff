"""What leaves a device beside its vector is the same with and without a user's data."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from tacit.client.contribution import compute
from tacit.client.offers import Offer
from tacit.client.statistics import build_profiles
from tacit.privacy.task import RoundPlan
from tacit.v1 import auth_pb2, device_pb2, gateway_pb2


def fields_of(message: Any) -> set[str]:
    return {field.name for field in message.DESCRIPTOR.fields}


def test_no_message_has_room_for_a_loss_a_count_or_a_duration() -> None:
    """A new field is a new design decision, and this list is where it is made."""
    assert fields_of(device_pb2.Contribution) == {
        "capability",
        "task_sha256",
        "round_id",
        "dtype",
        "values",
    }
    assert fields_of(device_pb2.CheckInRequest) == {"known_size"}
    assert fields_of(device_pb2.GetReleaseRequest) == {"population", "known_size", "kind"}
    assert fields_of(device_pb2.FetchBlobRequest) == {"sha256"}
    assert fields_of(device_pb2.WatchRoundsRequest) == {"after_sequence"}
    assert fields_of(auth_pb2.SignedRequest) == {
        "key_id",
        "issued_at_ms",
        "nonce",
        "body",
        "signature",
    }
    # The gateway tells the coordinator the sum, and the count that SECURITY.md says it sees.
    assert fields_of(gateway_pb2.RunRoundReply) == {"sum", "contributions"}


LENGTHS = {"popularity/1": 30, "feature_gram/1": 10, "subspace/1": 120}


@pytest.mark.parametrize("statistic", LENGTHS)
def test_size_and_type_of_the_vector_do_not_depend_on_the_profile(statistic: str) -> None:
    rng = np.random.default_rng(2)
    context = {"basis": rng.normal(size=(30, 4)), "item_weights": rng.uniform(0.5, 2.0, 30)}
    offer = _offer(RoundPlan(1, statistic, LENGTHS[statistic], 0.5, 4096, 2.0, {}))
    sent: list[bytes] = []
    for items in ([], [3], list(range(30))):
        batch = build_profiles(
            np.zeros(len(items), np.int64),
            np.array(items, dtype=np.int64),
            np.full(len(items), 2.0),
            n_users=1,
            n_items=30,
        )
        vector = compute(batch, offer, context, b"s" * 32)
        assert vector.dtype == np.int64
        sent.append(vector.astype("<i2").tobytes())
    assert {len(one) for one in sent} == {2 * LENGTHS[statistic]}
    assert sent[0] != sent[1] != sent[2], "otherwise nothing was compared"


def _offer(plan: RoundPlan) -> Offer:
    """Return an offer of which only the plan is read."""
    unread = cast(Any, None)
    return Offer(unread, b"d" * 32, unread, plan, frozenset({"product_view"}), b"")
