"""The one open profile behind a service: verbs take turns, and a sync does not hold them up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tacit.client.errors import StoreClosed
from tacit.client.personalizer import Personalizer
from tacit.client.service.errors import Busy, VerbUnavailable
from tacit.client.service.syncing import Syncing
from tacit.client.sync import SyncReport

_Reply = TypeVar("_Reply")

INTERRUPTING = frozenset({"identify", "consent", "forget", "export", "rotate_keys"})
"""Verbs that change, or copy whole, what a sync reads; a sync under way is ended for them."""


class Runtime:
    """Own a profile and run its verbs, one at a time.

    A sync runs beside them: the store orders its transactions, and the verbs that must not run
    beside one interrupt it.
    """

    def __init__(self, opener: Callable[[], Personalizer], syncing: Syncing | None = None) -> None:
        """Open the profile.

        Args:
            opener: opens it; called again after everything was forgotten.
            syncing: syncs it; None where it has no servers.

        Raises:
            DeviceError: if it cannot be opened.
        """
        self._open = opener
        self._syncing = syncing
        self._turn = threading.Lock()
        self._sync_turn = threading.Lock()
        self._device = opener()

    @property
    def store_path(self) -> Path:
        """Where the profile lies."""
        return self._device.store.path

    def run(self, verb: str, timeout_s: float, work: Callable[[Personalizer], _Reply]) -> _Reply:
        """Run a verb when its turn comes.

        Args:
            verb: its name.
            timeout_s: how long to wait for the turn; the verb itself is not cut short.
            work: the verb.

        Raises:
            Busy: if the turn did not come in time; nothing was done.
        """
        until_s = time.monotonic() + timeout_s
        if verb not in INTERRUPTING or self._syncing is None:
            with _held(self._turn, until_s):
                return self._work(work)
        self._syncing.interrupt()
        try:
            with _held(self._sync_turn, until_s), _held(self._turn, until_s):
                return self._work(work)
        finally:
            self._syncing.resume()

    def sync(self, token: str | None, timeout_s: float) -> SyncReport:
        """Sync, while other verbs go on.

        Raises:
            VerbUnavailable: if there are no servers.
            Busy: if another sync is under way.
            SyncInterrupted: if another verb came first.
            DeviceError: see `Personalizer.sync`.
        """
        if self._syncing is None:
            raise VerbUnavailable("this device was served without servers to sync with")
        with _held(self._sync_turn, time.monotonic() + timeout_s):
            device = self._device
            try:
                return self._syncing.run(device, token)
            finally:
                # What was installed is taken up between two verbs, never within one.
                with self._turn:
                    device.reload()

    def close(self) -> None:
        """End a sync, let the verb under way finish, and close the profile."""
        if self._syncing is not None:
            self._syncing.interrupt()
        with self._sync_turn, self._turn:
            self._device.close()

    def _work(self, work: Callable[[Personalizer], _Reply]) -> _Reply:
        try:
            return work(self._device)
        finally:
            if _is_closed(self._device):
                # Everything was forgotten: what goes on is a new device.
                self._device = self._open()


def _is_closed(device: Personalizer) -> bool:
    try:
        return not device.store.sealer
    except StoreClosed:
        return True


@contextmanager
def _held(lock: threading.Lock, until_s: float) -> Generator[None]:
    if not lock.acquire(timeout=max(0.0, until_s - time.monotonic())):
        raise Busy("another verb held the profile until the deadline; nothing was done")
    try:
        # Whoever asked has gone: what they were told was not done must not be done now.
        if time.monotonic() > until_s:
            raise Busy("the deadline came before the verb's turn; nothing was done")
        yield
    finally:
        lock.release()
