"""Ctrl-C, SIGTERM and a closed terminal: one way to stop, and time to stop cleanly."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """Report that somebody asked this command to stop."""


@contextmanager
def stop_once() -> Generator[None]:
    """Turn the first request to stop into `Interrupted`; later ones do not disturb the stopping.

    Raises:
        Interrupted: inside the block, at the first SIGINT, SIGTERM or SIGHUP.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only a main thread may handle signals
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise Interrupted

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # `nohup` wants none
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
