"""Become another command, on a leash: `python leash.py PARENT COMMAND...`.

The command is told by the kernel to stop (SIGTERM) when the process PARENT that started it dies,
and leaves no core dump: one would put contributions, sums before noise and keys on the disk.

This runs in a fresh interpreter rather than between fork and exec, because a fork of a process that
uses gRPC runs gRPC's handlers in the child, and those may abort it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Put on the leash, then replace this interpreter."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("leash: the process that started this is gone")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
