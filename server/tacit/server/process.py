"""Life and death of a server process on one machine."""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TypeVar

from tacit.privacy.errors import PrivacyError
from tacit.server.errors import ServerError

Config = TypeVar("Config")

_PR_SET_PDEATHSIG = 1


def exit_with_parent() -> None:
    """Ask the kernel to send this process SIGTERM when its parent dies (Linux; else no effect).

    A parent that died before the request was made is noticed too.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def stop_event() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set, for a graceful stop; main thread only."""
    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        # Not here: the signal may come while this very thread holds the event's lock in `wait`.
        threading.Thread(target=stopped.set, name="stop", daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return stopped


def run_server(name: str, load: Callable[[Path], Config], serve: Callable[[Config], None]) -> int:
    """Run `python -m tacit.server.NAME --config FILE`; returns the exit code.

    Args:
        name: of the server, for people.
        load: reads its configuration.
        serve: serves until the process is told to stop.
    """
    parser = argparse.ArgumentParser(prog=f"tacit {name}", description=f"Run a Tacit {name}.")
    parser.add_argument("--config", type=Path, required=True, help="JSON configuration")
    parser.add_argument(
        "--exit-with-parent", action="store_true", help="exit when the starting process dies"
    )
    options = parser.parse_args()
    if options.exit_with_parent:
        exit_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        serve(load(options.config))
    except (ServerError, PrivacyError) as error:
        sys.stderr.write(f"tacit {name}: {error}\n")
        return 1
    return 0
