"""Stop what the deployment's processes started themselves.

Flower starts the coordinator in a session of its own, where signals to the SuperLink's process
group do not reach it; left alone it would outlive the demo by many seconds.
"""

from __future__ import annotations

import contextlib
from typing import Self

import psutil

_GRACE_S = 3.0


class Descendants:
    """Remembers processes below this one, and ends those that remain; a context manager.

    Enter it before the processes start and leave it after they were stopped. Processes that were
    there before are not touched; an id that was given to another process is not mistaken for ours.
    """

    def __init__(self) -> None:
        self._before: frozenset[psutil.Process] = frozenset()
        self._seen: set[psutil.Process] = set()

    def __enter__(self) -> Self:
        self._before = frozenset(psutil.Process().children(recursive=True))
        return self

    def note(self) -> None:
        """Remember who is there now: once its parent has died, a process is not found again."""
        self._seen.update(set(psutil.Process().children(recursive=True)) - self._before)

    def __exit__(self, *_: object) -> None:
        left = [one for one in self._seen if one.is_running()]
        for one in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.terminate()
        for one in psutil.wait_procs(left, timeout=_GRACE_S)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
