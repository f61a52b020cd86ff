"""Combining: of callers that come at once, one does the work of all.

The first caller serves whoever is in the queue; those who come meanwhile wait, and the first of
them serves the next lot. So work that is cheaper by the hundred (one statement for many rows) is
done by the hundred under load, and a lone caller is served at once. See Hendler et al., "Flat
combining and the synchronization-parallelism tradeoff", SPAA 2010.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

MAX_TOGETHER = 256

_Job = TypeVar("_Job")
_Answer = TypeVar("_Answer")


@dataclass(slots=True, eq=False)
class _Asked(Generic[_Job, _Answer]):
    job: _Job
    woken: threading.Event = field(default_factory=threading.Event)
    answer: _Answer | None = None
    error: Exception | None = None
    served: bool = False


class Combining(Generic[_Job, _Answer]):
    """Answer jobs together. Thread-safe."""

    def __init__(
        self,
        serve: Callable[[Sequence[_Job]], Sequence[_Answer | Exception]],
        subject: Callable[[_Job], Hashable],
    ) -> None:
        """Prepare.

        Args:
            serve: answers jobs, in order, each with its answer or the error that is its own. What
                it raises is taken for the fault of any one of them: each is then served alone.
            subject: what a job is about; no two jobs of one subject are served together, and they
                are served in the order they came.
        """
        self._serve = serve
        self._subject = subject
        self._lock = threading.Lock()
        self._queue: list[_Asked[_Job, _Answer]] = []
        self._led = False

    def answer(self, job: _Job) -> _Answer:
        """Return the answer to a job, or raise the error that is its own."""
        mine = _Asked[_Job, _Answer](job)
        with self._lock:
            self._queue.append(mine)
            leads, self._led = not self._led, True
        if not leads:
            mine.woken.wait()
        if not mine.served:
            self._lead()
        if mine.error is not None:
            raise mine.error
        if mine.answer is None:
            raise RuntimeError("the one who served this call was stopped")
        return mine.answer

    def _lead(self) -> None:
        taken = self._take()
        try:
            self._answer_all(taken)
        finally:
            for one in taken:
                one.served = True
                one.woken.set()
            with self._lock:
                self._led = bool(self._queue)
                if self._queue:
                    self._queue[0].woken.set()  # serves the next lot

    def _take(self) -> list[_Asked[_Job, _Answer]]:
        """Take the head of the queue, where the caller is, with no subject twice."""
        taken: list[_Asked[_Job, _Answer]] = []
        left: list[_Asked[_Job, _Answer]] = []
        subjects: set[Hashable] = set()
        with self._lock:
            for one in self._queue:
                subject = self._subject(one.job)
                fits = len(taken) < MAX_TOGETHER and subject not in subjects
                subjects.add(subject)
                (taken if fits else left).append(one)
            self._queue = left
        return taken

    def _answer_all(self, taken: Sequence[_Asked[_Job, _Answer]]) -> None:
        try:
            answers = self._serve([one.job for one in taken])
        except Exception as error:  # noqa: BLE001 - it is handed to whose it is
            if len(taken) == 1:
                taken[0].error = error
                return
            for one in taken:
                self._answer_all([one])
            return
        for one, answer in zip(taken, answers, strict=True):
            if isinstance(answer, Exception):
                one.error = answer
            else:
                one.answer = answer
