"""Peers: every accepted connection is of the user that serves.

The mode of the socket and of its directory keep others out already; this notices when they were
changed underneath. gRPC does not say which descriptor a call came over, so all connections of the
socket are looked at, and a foreign one is shut down. On systems without `/proc/self/fd` and
SO_PEERCRED nothing is looked at, and the modes are all there is.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from pathlib import Path

from tacit.client.service.errors import Unauthenticated

_DESCRIPTORS = Path("/proc/self/fd")
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)


class Peers:
    """The connections of one served socket."""

    def __init__(self, path: Path, uid: int | None = None) -> None:
        """Watch a socket.

        Args:
            path: where it is bound.
            uid: whose connections are let in; None for the user of this process.
        """
        self._path = str(path)
        self._uid = os.geteuid() if uid is None else uid
        self._known: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self.watched = hasattr(socket, "SO_PEERCRED") and _DESCRIPTORS.is_dir()

    def check(self) -> None:
        """Look at connections that were not there at the last call; about 0.1 ms.

        Raises:
            Unauthenticated: if one is of another user; it has been shut down, and whoever's call
                this was may try again.
        """
        if not self.watched:
            return
        with self._lock:
            present = _sockets()
            foreign = {one for one in present - self._known if self._shut_foreign(int(one[0]))}
            # Not known until it is gone: a call of it may be on its way in another thread.
            self._known = present - foreign
        if foreign:
            raise Unauthenticated("a connection of another user was closed; try again")

    def _shut_foreign(self, descriptor: int) -> bool:
        try:
            # A copy, so that closing it leaves gRPC's own descriptor alone.
            with socket.socket(fileno=os.dup(descriptor)) as found:
                if found.family != socket.AF_UNIX or found.getsockname() != self._path:
                    return False
                if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    return False
                read = found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
                _, uid, _ = _CREDENTIALS.unpack(read)
                if uid == self._uid:
                    return False
                found.shutdown(socket.SHUT_RDWR)
                return True
        except OSError:
            return False  # closed in the meantime


def _sockets() -> set[tuple[str, str]]:
    """Return (descriptor, inode) of every socket this process has open."""
    found: set[tuple[str, str]] = set()
    for name in os.listdir(_DESCRIPTORS):
        try:
            target = os.readlink(f"{_DESCRIPTORS}/{name}")
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add((name, target))
    return found
