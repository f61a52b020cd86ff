from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from tacit.server.gateway.errors import NotAdmitted, RoundAborted

NewRound = Callable[..., Any]
RATING = frozenset({"rating"})


def refusal(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(NotAdmitted) as raised:
        call()
    return raised.value.reason, str(raised.value)


def waiting(made: Any) -> threading.Thread:
    thread = threading.Thread(target=made.round.wait, daemon=True)
    thread.start()
    return thread


class TestOneContribution:
    @pytest.mark.parametrize("size", [0, 1, 19, 21, 22])
    def test_of_a_wrong_length_is_refused(self, new_round: NewRound, size: int) -> None:
        made = new_round()
        made.round.offer("a")
        reason, line = refusal(lambda: made.round.accept("a", RATING, b"\1" * size))
        assert reason == "wrong length"
        assert line == f"expected 20 bytes, got {size}"
        assert made.round.counts.refused == {"wrong length": 1}

    @pytest.mark.parametrize("values", [(4097,), (-4097,), (-32768,), (4096, 1), (2897, 2897)])
    def test_over_the_norm_is_refused(self, new_round: NewRound, values: tuple[int, ...]) -> None:
        made = new_round()
        made.round.offer("a")
        reason, line = refusal(lambda: made.accept("a", *values))
        assert reason == "over norm"
        assert not any(str(abs(v)) in line for v in values if abs(v) not in (1, 4096))

    @pytest.mark.parametrize("values", [(4096,), (0, -4096), (2896, 2896), ()])
    def test_at_the_norm_is_accepted(self, new_round: NewRound, values: tuple[int, ...]) -> None:
        made = new_round(cohort_min=1)
        made.join("a", *values)
        assert made.close().values[: len(values)].tolist() == list(values)

    def test_not_offered_is_refused(self, new_round: NewRound) -> None:
        made = new_round()
        made.round.offer("a")
        assert refusal(lambda: made.accept("b", 1))[0] == "not offered"
        assert made.round.counts.contributed == 0

    def test_sent_again_is_accepted_and_counted_once(self, new_round: NewRound) -> None:
        made = new_round(cohort_min=1)
        made.join("a", 3, 4)
        made.accept("a", 3, 4)
        result = made.close()
        assert result.contributions == 1
        assert result.values.tolist() == [3, 4] + [0] * 8

    def test_that_differs_from_the_first_is_refused_and_the_first_stays(
        self, new_round: NewRound
    ) -> None:
        made = new_round(cohort_min=1)
        made.join("a", 3)
        assert refusal(lambda: made.accept("a", 4))[0] == "second contribution"
        assert made.close().values[0] == 3

    def test_a_repetition_is_not_beyond_the_cohort(self, new_round: NewRound) -> None:
        made = new_round(cohort_max=2)
        made.join("a", 1)
        made.join("b", 2)
        made.accept("a", 1)
        assert made.close().values[0] == 3

    def test_beyond_the_cohort_there_is_no_sum(self, new_round: NewRound) -> None:
        """A device must not take another one's place: 2 L would lie between with and without it."""
        made = new_round(cohort_max=2)
        made.round.offer("late")
        made.join("a", 1)
        made.join("b", 2)
        assert refusal(lambda: made.accept("late", 4))[0] == "cohort full"
        with pytest.raises(RoundAborted, match="cohort_max = 2"):
            made.close()

    def test_after_the_cut_off_is_refused(self, new_round: NewRound) -> None:
        made = new_round(cohort_min=1)
        made.round.offer("late")
        made.join("a", 1)
        assert made.close().values[0] == 1
        assert not made.round.is_open
        assert refusal(lambda: made.accept("late", 1))[0] == "round closed"
        assert refusal(lambda: made.accept("a", 1))[0] == "round closed"
        assert refusal(lambda: made.round.offer("b"))[0] == "round closed"


class TestOffers:
    def test_one_who_contributed_is_not_offered_again(self, new_round: NewRound) -> None:
        made = new_round()
        made.join("a", 1)
        assert refusal(lambda: made.round.offer("a"))[0] == "already contributed"

    def test_a_full_cohort_asks_nobody_else(self, new_round: NewRound) -> None:
        made = new_round(cohort_max=2)
        made.join("a", 1)
        made.join("b", 1)
        assert refusal(lambda: made.round.offer("c"))[0] == "cohort full"
        assert made.round.counts.offered == 2
        with pytest.raises(RoundAborted, match="cohort_max = 2"):
            made.close()


class TestClosingTime:
    def test_comes_when_everyone_eligible_is_in(self, new_round: NewRound) -> None:
        made = new_round(eligible="abc")
        thread = waiting(made)
        made.join("a")
        made.join("b")
        thread.join(0.05)
        assert thread.is_alive()
        made.join("c")
        thread.join(5)
        assert not thread.is_alive()
        assert made.round.is_open  # it is `close` that cuts off

    def test_nobody_who_comes_later_takes_part_or_closes_it(self, new_round: NewRound) -> None:
        """One device must not displace another, nor let it in: who may come is fixed."""
        made = new_round(eligible="abc")
        thread = waiting(made)
        made.join("a")
        made.join("b")
        assert refusal(lambda: made.round.offer("later"))[0] == "came later"
        thread.join(0.05)
        assert thread.is_alive()
        made.join("c")
        thread.join(5)
        assert not thread.is_alive()

    def test_without_the_quiet_rule_it_waits_whoever_else_came(self, new_round: NewRound) -> None:
        for first in ("a", "b"):
            made = new_round(timeout_s=60.0, quiet_s=0.0)
            made.join(first)
            made.join("c")
            made.clock.now_s += 59.0
            made.join("d")  # gets in, however long nothing came
            thread = waiting(made)
            thread.join(0.05)
            assert thread.is_alive()
            made.clock.now_s += 1.0
            thread.join(5)
            assert not thread.is_alive()

    def test_comes_when_someone_finds_no_room_and_not_before(self, new_round: NewRound) -> None:
        made = new_round(cohort_max=2)
        thread = waiting(made)
        made.join("a")
        made.join("b")
        thread.join(0.05)
        assert thread.is_alive()
        assert refusal(lambda: made.round.offer("c"))[0] == "cohort full"
        thread.join(5)
        assert not thread.is_alive()

    def test_comes_after_quiet_once_there_are_enough(self, new_round: NewRound) -> None:
        made = new_round(quiet_s=3.0)
        made.join("a")
        made.clock.now_s += 2.97
        made.join("b")  # the quiet starts anew
        made.clock.now_s += 2.97
        thread = waiting(made)
        thread.join(0.1)
        assert thread.is_alive()
        made.clock.now_s += 0.04
        thread.join(5)
        assert not thread.is_alive()

    def test_never_comes_from_quiet_while_there_are_too_few(self, new_round: NewRound) -> None:
        made = new_round(timeout_s=60.0, quiet_s=0.01)
        made.join("a")
        made.clock.now_s += 59.96
        thread = waiting(made)
        thread.join(0.1)
        assert thread.is_alive()
        made.clock.now_s += 0.05
        thread.join(5)
        assert not thread.is_alive()

    def test_comes_at_the_deadline_however_busy_it_is(self, new_round: NewRound) -> None:
        made = new_round(timeout_s=60.0)
        made.join("a")
        made.clock.now_s += 60.0
        made.join("b")
        made.join("c")
        made.round.wait()

    def test_comes_when_the_round_is_abandoned(self, new_round: NewRound) -> None:
        made = new_round()
        made.join("a")
        made.join("b")
        thread = waiting(made)
        made.round.abandon()
        thread.join(5)
        assert not thread.is_alive()
        with pytest.raises(RoundAborted, match="already closed"):
            made.close()


class TestCutOff:
    def test_drops_who_withdrew_and_who_narrowed(self, new_round: NewRound) -> None:
        made = new_round()
        both = frozenset({"rating", "product_view"})
        for bit, name in enumerate(("stays", "stays_too", "gone", "narrowed", "widened")):
            made.join(name, 1 << bit, signals=RATING if name == "widened" else both)
        result = made.close(
            stays=both, stays_too=both | {"purchase"}, narrowed=RATING, widened=both
        )
        assert result.values[0] == 0b10011
        assert result.contributions == 3
        assert made.round.counts.dropped_at_cutoff == 2

    def test_judges_a_vector_by_the_signals_it_came_under(self, new_round: NewRound) -> None:
        # Offered again under a narrower consent, answered under the wider one of before.
        made = new_round(cohort_min=1)
        made.round.offer("a")
        made.round.offer("a")
        made.accept("a", 1, signals=frozenset({"rating", "product_view"}))
        made.join("b", 2)
        assert made.close(a=RATING, b=RATING).values[0] == 2

    def test_aborts_when_too_few_are_left(self, new_round: NewRound) -> None:
        made = new_round(cohort_min=2)
        made.join("a", 1)
        made.join("b", 2)
        with pytest.raises(RoundAborted, match="expected at least 2 contributions, got 1"):
            made.close(a=RATING)
        assert not made.round.is_open

    def test_forgets_everything_if_consents_cannot_be_asked(self, new_round: NewRound) -> None:
        made = new_round(cohort_min=1)
        made.join("a", 1)

        def unreachable(_ids: list[str]) -> Any:
            raise ConnectionError

        with pytest.raises(ConnectionError):
            made.round.close(unreachable)
        with pytest.raises(RoundAborted):
            made.close()

    def test_happens_once(self, new_round: NewRound) -> None:
        made = new_round(cohort_min=1)
        made.join("a", 1)
        made.close()
        with pytest.raises(RoundAborted):
            made.close()

    def test_asks_about_exactly_those_who_contributed(self, new_round: NewRound) -> None:
        made = new_round(cohort_min=1)
        made.round.offer("silent")
        made.join("b", 1)
        made.join("a", 1)
        asked: list[list[str]] = []

        def ask(ids: list[str]) -> dict[str, frozenset[str]]:
            asked.append(ids)
            return dict.fromkeys(ids, RATING)

        made.round.close(ask)
        assert asked == [["a", "b"]]


class TestSum:
    def test_is_exact_beyond_16_bits_and_in_any_order(self, new_round: NewRound) -> None:
        order = [(f"d{n}", [4096 - n, -n, n]) for n in range(60)]
        order = [(name, [v if i else 4000 for i, v in enumerate(vs)]) for name, vs in order]
        results: list[Any] = []
        for seed in range(3):
            random.Random(seed).shuffle(order)
            made = new_round()
            for name, values in order:
                made.join(name, *values)
            results.append(made.close().values)
        expected = np.sum([v + [0] * 7 for _, v in order], axis=0)
        assert expected[0] == 240_000
        for total in results:
            assert total.dtype == np.int64
            assert np.array_equal(total, expected)

    def test_holds_each_vector_accepted_before_the_close_exactly_once(
        self, new_round: NewRound, in_threads: Callable[[list[Callable[[], Any]]], list[Any]]
    ) -> None:
        def send_twice(made: Any, accepted: set[str], name: str, value: int) -> None:
            made.accept(name, 0, value)
            accepted.add(name)
            with contextlib.suppress(NotAdmitted):
                made.accept(name, 0, value)  # as after a lost reply

        cut = 0
        for attempt in range(40):
            made = new_round(cohort_min=1)
            made.join("early", 1)
            names = {f"d{n}": 1 << n for n in range(10)}
            for name in names:
                made.round.offer(name)
            accepted: set[str] = set()
            calls: list[Callable[[], Any]] = [
                partial(send_twice, made, accepted, name, bit) for name, bit in names.items()
            ]
            place = attempt % 10
            calls.insert(place, made.close)
            total = in_threads(calls).pop(place)
            # What was accepted is in, what was refused is out, and nothing is in twice.
            assert total.values.tolist() == [1, sum(names[n] for n in accepted)] + [0] * 8
            assert total.contributions == 1 + len(accepted)
            cut += len(accepted) < len(names)
        assert cut, "no round was cut off in the middle; the race was not run"
