"""Have many devices append at once and kill -9 the process at each of its steps in turn.

    python consent_kills.py CONFIG DIRECTORY FIRST STRIDE COUNT

For each kill point the process forks. The child opens the node and lets devices withdraw and grant
from as many threads, so that their appends share commits. It counts its steps (every SQL statement
and commit, before and after; every answer) and sends itself SIGKILL at the step it was told. The
parent then opens what is left, asks for every event again, and prints one JSON line a kill point.

A script of its own, because a process that has threads should not fork.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from tacit.privacy.accounting import epsilon_without_opacus
from tacit.server.budget.accountant import Accountant
from tacit.server.errors import StateCorrupt
from tacit.server.ledger import node as node_module
from tacit.server.ledger.config import LedgerConfig
from tacit.server.ledger.node import LedgerNode


class Steps:
    """Counts steps of all threads; at the chosen one the process is gone."""

    def __init__(self, kill_at: int) -> None:
        self.kill_at = kill_at
        self.count = 0
        self.lock = threading.Lock()

    def step(self, *_: Any) -> None:
        with self.lock:
            self.count += 1
            if self.count == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        for name in ("before_cursor_execute", "after_cursor_execute", "begin", "commit"):
            event.listen(Engine, name, self.step)


def open_node(config: LedgerConfig) -> LedgerNode:
    """Open the node; a database server may take a moment to notice that the last one died."""
    for _ in range(2000):
        try:
            return LedgerNode(config)
        except StateCorrupt as error:
            if "another" not in str(error):
                raise
            threading.Event().wait(0.01)
    raise SystemExit("the database stayed locked")


def append(node: LedgerNode, one: dict[str, str], number: int) -> tuple[str, int]:
    """Append the event of a device and a kill point; returns commitment key and position."""
    data, signature = one["events"][number], one["signatures"][number]
    key, proof = node.consent.append(
        one["device"],
        bytes.fromhex(one["key"]),
        bytes.fromhex(data),
        bytes.fromhex(signature),
        0,
        node.now_ms(),
    )
    return key.hex(), proof.index


def child(config: LedgerConfig, devices: list[Any], number: int, point: int, writing: int) -> None:
    steps = Steps(point)
    node = open_node(config)
    steps.install()
    together = threading.Barrier(len(devices))

    def work(one: Any) -> None:
        together.wait()
        key, position = append(node, one, number)
        steps.step()
        os.write(writing, f"{one['device']} {key} {position}\n".encode())
        steps.step()

    threads = [threading.Thread(target=work, args=(one,)) for one in devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os._exit(0)


def main() -> None:
    config_path, directory, first, stride, count = sys.argv[1:]
    config = LedgerConfig.load(Path(config_path))
    devices = json.loads((Path(directory) / "devices.json").read_text())
    module: Any = node_module
    module.Accountant = lambda: Accountant(epsilon_without_opacus)  # torch would be most of it
    for number in range(int(count)):
        point = int(first) + number * int(stride)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            child(config, devices, number, point, writing)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            told = dict(line.split(" ", 1) for line in pipe.read().split("\n")[:-1])
        _, status = os.waitpid(pid, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if not killed and os.waitstatus_to_exitcode(status) != 0:
            raise SystemExit(f"the child failed at point {point}")
        node = open_node(config)
        found = node.logs.consent.size
        lost = 0
        for one in devices:
            if one["device"] in told:
                key, position = append(node, one, number)
                lost += told[one["device"]] != f"{key} {position}"
        unchanged = node.logs.consent.size == found
        for one in devices:
            append(node, one, number)
        outcome = {
            "point": point,
            "killed": killed,
            "answered": len(told),
            "found": found - number * len(devices),
            "lost": lost,
            "unchanged": unchanged,
            "complete": node.logs.consent.size == (number + 1) * len(devices),
        }
        node.close()
        sys.stdout.write(json.dumps(outcome) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
