"""The socket's place: a path that only this user can open, and that one process at a time serves.

A lock file beside the socket (`NAME.lock`, held while serving, left in place) tells a socket whose
server lives from one that a killed server left: whoever gets the lock may take the latter away. No
connection is made to find out.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from typing import Self

from tacit.client.service.errors import SocketRefused

_LONGEST_PATH = 100
"""Bytes of a socket's path; the least that any supported system takes is 104 with the final 0."""


class SocketFile:
    """A path reserved for a socket, until it is closed."""

    def __init__(self, path: Path) -> None:
        """Reserve a path, taking away the socket that a killed server left there.

        The directory is made, mode 0700, if it is not there.

        Raises:
            SocketRefused: if others could put something in its place, something else lies there,
                the path is too long, or another process serves it.
        """
        self.path = path.parent.resolve() / path.name
        if len(os.fsencode(self.path)) > _LONGEST_PATH:
            raise SocketRefused(f"{self.path}: expected a path of at most {_LONGEST_PATH} bytes")
        try:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            _check_directories(self.path.parent)
            self._lock = os.open(self._lock_path(), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise SocketRefused(f"{self.path}: cannot be served ({error.strerror})") from None
        try:
            self._clear()
        except BaseException:
            os.close(self._lock)
            raise

    def _lock_path(self) -> Path:
        return self.path.with_name(self.path.name + ".lock")

    def _clear(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SocketRefused(f"{self.path}: another process serves this socket") from None
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(found.st_mode):
            raise SocketRefused(f"{self.path}: expected a socket or nothing, got another file")
        self.path.unlink()

    def check_private(self) -> None:
        """Check, after binding, that only this user can open the socket.

        Raises:
            SocketRefused: if it is not this user's, or others have any right to it.
        """
        self.path.chmod(0o600)
        found = self.path.lstat()
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != 0o600:
            raise SocketRefused(f"{self.path}: expected a socket of this user with mode 0600")

    def close(self) -> None:
        """Take the socket away and let the path go; closing twice is harmless."""
        if self._lock >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _check_directories(directory: Path) -> None:
    """Refuse a directory that others can write, or that others can replace from above."""
    trusted = {0, os.geteuid()}
    for place in (directory, *directory.parents):
        found = place.stat()
        writable = found.st_mode & 0o022
        # In a sticky directory (/tmp) others cannot move what is not theirs.
        if place != directory and found.st_mode & stat.S_ISVTX:
            writable = 0
        if writable or found.st_uid not in trusted:
            raise SocketRefused(
                f"{place}: expected a directory that only its owner can write; "
                "others could put a socket of theirs in its place"
            )
