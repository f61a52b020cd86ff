"""Callers served by one of them: everybody is, in order, and each gets what is its own."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

from tacit.server.ledger.combining import MAX_TOGETHER, Combining

Job = tuple[str, int]


def ask_all(combining: Combining[Job, str], jobs: Sequence[Job]) -> dict[Job, object]:
    answers: dict[Job, object] = {}

    def ask(job: Job) -> None:
        try:
            answers[job] = combining.answer(job)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            answers[job] = error

    threads = [threading.Thread(target=ask, args=(job,)) for job in jobs]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
        assert not one.is_alive()
    return answers


def queue_of(combining: Any) -> Any:
    return combining._queue


def queued(combining: Combining[Job, str], jobs: Sequence[Job]) -> None:
    while len(queue_of(combining)) < len(jobs):
        pass


def test_everybody_is_served_together_once_somebody_is_being_served() -> None:
    lots: list[list[Job]] = []
    jobs = [(f"device {n}", 1) for n in range(30)]

    def serve(lot: Sequence[Job]) -> list[str | Exception]:
        if not lots:
            queued(combining, jobs[1:])
        lots.append(list(lot))
        return [f"{subject} {number}" for subject, number in lot]

    combining = Combining[Job, str](serve, lambda job: job[0])
    answers = ask_all(combining, jobs)
    assert answers == {job: f"{job[0]} 1" for job in jobs}
    assert [len(lot) for lot in lots] == [1, 29]


def test_no_subject_twice_in_a_lot_and_each_in_its_order() -> None:
    lots: list[list[Job]] = []
    jobs = [(f"device {n % 4}", n) for n in range(24)]

    def serve(lot: Sequence[Job]) -> list[str | Exception]:
        if not lots:
            queued(combining, jobs[1:])
            order.extend(one.job for one in queue_of(combining))
        lots.append(list(lot))
        return ["" for _ in lot]

    order: list[Job] = []
    combining = Combining[Job, str](serve, lambda job: job[0])
    ask_all(combining, jobs)
    served: dict[str, list[int]] = defaultdict(list)
    for lot in lots:
        assert len({subject for subject, _ in lot}) == len(lot)
    for subject, number in (job for lot in lots[1:] for job in lot):
        served[subject].append(number)
    for subject, numbers in served.items():
        assert numbers == [number for of, number in order if of == subject]


def test_an_error_is_its_own_and_one_that_was_raised_is_looked_for() -> None:
    alone: list[Job] = []
    jobs = [(f"device {n}", n) for n in range(10)]
    started: list[int] = []

    def serve(lot: Sequence[Job]) -> list[str | Exception]:
        if not started:
            started.append(1)
            queued(combining, jobs[1:])
        if any(number == 5 for _, number in lot):
            if len(lot) == 1:
                alone.append(lot[0])
            raise OSError("whose?")
        return [KeyError(s) if n == 7 else s for s, n in lot]

    combining = Combining[Job, str](serve, lambda job: job[0])
    answers = ask_all(combining, jobs)
    assert isinstance(answers.pop(("device 5", 5)), OSError)
    assert isinstance(answers.pop(("device 7", 7)), KeyError)
    assert answers == {job: job[0] for job in jobs if job[1] not in (5, 7)}
    assert alone == [("device 5", 5)]


def test_lots_are_bounded_and_nobody_is_left_behind() -> None:
    lots: list[int] = []
    jobs = [(f"device {n}", 1) for n in range(MAX_TOGETHER + 20)]

    def serve(lot: Sequence[Job]) -> list[str | Exception]:
        if not lots:
            queued(combining, jobs[1:])
        lots.append(len(lot))
        return ["done" for _ in lot]

    combining = Combining[Job, str](serve, lambda job: job[0])
    assert set(ask_all(combining, jobs).values()) == {"done"}
    assert lots == [1, MAX_TOGETHER, 19]


def test_who_is_served_by_one_that_was_stopped_is_told() -> None:
    jobs = [("a", 1), ("b", 1), ("c", 1)]
    served: list[int] = []

    def serve(lot: Sequence[Job]) -> list[str | Exception]:
        served.append(len(lot))
        if len(served) == 1:
            queued(combining, jobs[1:])
            raise KeyboardInterrupt
        return ["done" for _ in lot]

    combining = Combining[Job, str](serve, lambda job: job[0])
    rest: dict[Job, object] = {}
    helper = threading.Thread(target=lambda: rest.update(ask_all(combining, jobs[1:])))

    def first() -> None:
        with pytest.raises(KeyboardInterrupt):
            combining.answer(jobs[0])

    leader = threading.Thread(target=first)
    leader.start()
    helper.start()
    leader.join(30)
    helper.join(30)
    assert rest == {("b", 1): "done", ("c", 1): "done"}
