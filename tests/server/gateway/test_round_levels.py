"""What a gateway accepts at each trust level: noised 32-bit integers at `local`, and only there."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tacit.privacy.local_noise import add_local_noise, largest_noised_norm
from tacit.server.gateway.errors import NotAdmitted

NewRound = Callable[..., Any]
RATING = frozenset({"rating"})


def noised(made: Any) -> bytes:
    zero = np.zeros(made.round.plan.length, dtype=np.int64)
    return add_local_noise(zero, made.round.plan, os.urandom).astype("<i4").tobytes()


def refusal(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(NotAdmitted) as raised:
        call()
    return raised.value.reason, str(raised.value)


def test_noised_contributions_are_summed_as_they_came(new_round: NewRound) -> None:
    made = new_round(trust_level="local")
    sent = {name: noised(made) for name in "abc"}
    for name, values in sent.items():
        made.round.offer(name)
        made.round.accept(name, RATING, values)
        made.round.accept(name, RATING, values)  # sent again: the same bytes
    result = made.close()
    expected = sum(np.frombuffer(v, "<i4").astype(np.int64) for v in sent.values())
    assert result.contributions == 3
    np.testing.assert_array_equal(result.values, expected)
    assert int(np.max(np.abs(result.values))) > 4096, "a norm no clipped vector has"


def test_a_second_draw_of_noise_is_refused(new_round: NewRound) -> None:
    made = new_round(trust_level="local")
    made.round.offer("a")
    made.round.accept("a", RATING, noised(made))
    assert refusal(lambda: made.round.accept("a", RATING, noised(made)))[0] == "second contribution"


def test_a_noised_contribution_under_central_is_refused(new_round: NewRound) -> None:
    local, central = new_round(trust_level="local"), new_round()
    central.round.offer("a")
    reason, line = refusal(lambda: central.round.accept("a", RATING, noised(local)))
    assert (reason, line) == ("wrong length", "expected 20 bytes, got 40")
    # Squeezed into 16 bits it breaks the norm instead.
    squeezed = np.full(10, 32_000, "<i2").tobytes()
    assert refusal(lambda: central.round.accept("a", RATING, squeezed))[0] == "over norm"


def test_a_contribution_without_noise_under_local_has_the_wrong_width(new_round: NewRound) -> None:
    made = new_round(trust_level="local")
    made.round.offer("a")
    plain = np.zeros(10, "<i2").tobytes()
    assert refusal(lambda: made.round.accept("a", RATING, plain)) == (
        "wrong length",
        "expected 40 bytes, got 20",
    )


def test_what_honest_noise_does_not_give_is_refused(new_round: NewRound) -> None:
    made = new_round(trust_level="local")
    made.round.offer("a")
    far = np.zeros(10, "<i4")
    far[0] = int(largest_noised_norm(made.round.plan)) + 2
    reason, line = refusal(lambda: made.round.accept("a", RATING, far.tobytes()))
    assert reason == "over norm"
    assert "noised contribution" in line
    assert str(far[0]) not in line
