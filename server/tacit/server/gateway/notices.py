"""The public notice board: what a push message would say, to whoever listens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from tacit.server.errors import Exhausted
from tacit.v1 import device_pb2

_LOOK_UP_S = 0.5


class NoticeBoard:
    """Holds the present notice and wakes listeners when it changes.

    Each listener takes a serving thread for as long as it listens, so there is a limit: beyond it
    devices do without, since checking in tells them the same.

    Args:
        max_listeners: most listeners at a time, at least 1.
    """

    def __init__(self, max_listeners: int) -> None:
        self._max_listeners = max_listeners
        self._listeners = 0
        self._changed = threading.Condition()
        self._closed = False
        self._notice = device_pb2.RoundNotice(sequence=1)

    @property
    def latest_release(self) -> int:
        """Version of the newest release announced; 0 for none."""
        return self._notice.latest_release

    def round_opened(self, task_sha256: bytes, round_id: int) -> None:
        """Announce an open round."""
        self._post(round_open=True, task_sha256=task_sha256, round_id=round_id)

    def round_closed(self) -> None:
        """Announce that no round is open."""
        self._post(round_open=False, task_sha256=b"", round_id=0)

    def released(self, version: int) -> None:
        """Announce a release, unless a newer one was."""
        with self._changed:
            if version > self._notice.latest_release:
                self._post(latest_release=version)

    def listen(
        self, after_sequence: int, is_active: Callable[[], bool]
    ) -> Iterator[device_pb2.RoundNotice]:
        """Yield the present notice and each later one while the caller listens.

        Raises:
            Exhausted: if too many listen already.
        """
        with self._changed:
            if self._listeners >= self._max_listeners:
                raise Exhausted("too many listeners; check in now and then instead")
            self._listeners += 1
        sequence = after_sequence
        try:
            while is_active() and not self._closed:
                with self._changed:
                    if self._notice.sequence <= sequence:
                        self._changed.wait(_LOOK_UP_S)
                        continue
                    notice = self._notice
                sequence = notice.sequence
                yield notice
        finally:
            with self._changed:
                self._listeners -= 1

    def close(self) -> None:
        """Let every listener go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _post(self, **changes: bool | bytes | int) -> None:
        with self._changed:
            # A new message each time: the old one may be on its way to a listener.
            notice = device_pb2.RoundNotice()
            notice.CopyFrom(self._notice)
            for name, value in changes.items():
                setattr(notice, name, value)
            notice.sequence += 1
            self._notice = notice
            self._changed.notify_all()
