"""Run one short demo with recorded sums: python recorded_demo.py STATE REPORT [TRUST_LEVEL].

In a network namespace of its own it first brings loopback up, so that the run can be made where
no other network exists.
"""

from __future__ import annotations

import fcntl
import json
import pathlib
import socket
import struct
import sys

from tacit.simulations.demo.options import DemoOptions
from tacit.simulations.demo.run import Demo

APP = pathlib.Path(__file__).parent / "recording_app"
_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x41


class Quiet:
    def step(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")

    def count(self, phase: str, done: int, total: int) -> None:
        return


def bring_loopback_up() -> None:
    """Set `lo` up; without the right to do so it is up already."""
    request = struct.pack("16sh", b"lo", _IFF_UP_RUNNING)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _SIOCSIFFLAGS, request)
        except PermissionError:
            return


def main() -> None:
    state, report = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    bring_loopback_up()
    level = sys.argv[3] if len(sys.argv) > 3 else "central"
    options = DemoOptions(short=True, seed=3, trust_level=level)
    document = Demo(options, state, Quiet(), app=APP).run()
    document["interfaces"] = [name for _, name in socket.if_nameindex()]
    report.write_text(json.dumps(document), encoding="utf-8")


if __name__ == "__main__":
    main()
