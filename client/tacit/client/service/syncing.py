"""A sync that a person's decision can interrupt.

Decisions go on while a sync waits for servers. Withdrawing consent, forgetting and changing keys do
not: they close the sync's connections first, wait the moment until it has ended, and then hold. A
sync may end at any point (it may be killed at any), so nothing is lost but its time.
"""

from __future__ import annotations

import threading

import grpc

from tacit.client.errors import DeviceError
from tacit.client.personalizer import Personalizer
from tacit.client.policy import Endpoints, TrustRoots
from tacit.client.service.errors import ServiceError
from tacit.client.session import DeviceSession
from tacit.client.sync import SyncReport, run
from tacit.client.transport import Connection


class SyncInterrupted(ServiceError):  # noqa: N818 - named for what happened
    """A verb that must not wait for servers ended this sync."""


class Syncing:
    """Sync one device with the servers it was set up for."""

    def __init__(self, servers: Endpoints, trust: TrustRoots) -> None:
        self._servers = servers
        self._trust = trust
        self._lock = threading.Lock()
        self._interrupts = 0
        self._connection: Connection | None = None

    def run(self, device: Personalizer, token: str | None) -> SyncReport:
        """Open connections, run a session and close them; see `Personalizer.sync`.

        Raises:
            SyncInterrupted: if `interrupt` was called before or meanwhile.
            DeviceError: see `Personalizer.sync`.
        """
        with Connection(self._servers) as connection:
            with self._lock:
                if self._interrupts:
                    raise SyncInterrupted("interrupted by a verb that comes first; sync again")
                self._connection = connection
            servers = connection.servers(device.facts.identity(), device.clock_ms)
            try:
                return run(device, DeviceSession(device, servers, self._trust), token=token)
            except (DeviceError, ValueError, grpc.RpcError):
                # A closed channel answers with any of these.
                if self._interrupts:
                    raise SyncInterrupted(
                        "interrupted by a verb that comes first; sync again"
                    ) from None
                raise
            finally:
                with self._lock:
                    self._connection = None

    def interrupt(self) -> None:
        """End the sync under way, and let none begin, until `resume`."""
        with self._lock:
            self._interrupts += 1
            if self._connection is not None:
                self._connection.close()

    def resume(self) -> None:
        """Let syncs begin again."""
        with self._lock:
            self._interrupts -= 1
