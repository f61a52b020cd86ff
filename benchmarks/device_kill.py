"""Kill a writer of a device's store again and again: `python benchmarks/device_kill.py DIR KILLS`.

Each round is a process of its own that opens the store, records events one by one and says of each,
through a pipe, once it was acknowledged; it is killed with SIGKILL after some of them, wherever it
happens to be. Writers are forked from this process, which has opened nothing, so that a thousand
kills are not a thousand imports. Then the store is opened and read: every acknowledged event must
be there, once and in order.
"""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import sys
import time
from pathlib import Path

from tacit.client.events import Event, EventLog
from tacit.client.keys import FileKeyProvider
from tacit.client.store import Store


def opened(folder: Path) -> Store:
    return Store.open(folder / "device.db", FileKeyProvider(folder / "device.key"))


def write(folder: Path, acknowledged: int) -> None:
    """Open, say so, and record events until killed, saying the sequence of each."""
    started = time.perf_counter()
    log = EventLog(opened(folder))
    start = log.last_sequence()
    os.write(acknowledged, struct.pack("<d", time.perf_counter() - started))
    n = start
    while True:
        event = Event("v", "product_view", (str(n),), None, n)
        sequence, _ = log.append(event, f"id-{n}")
        os.write(acknowledged, struct.pack("<q", sequence))
        n += 1


def kill_once(folder: Path, after: int) -> tuple[int, float]:
    """Run a writer and kill it; returns what it acknowledged last, and how long it took to open."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            write(folder, writing)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        first = told.read(8)
        if len(first) < 8:
            raise SystemExit("the writer could not open the store")
        (opening_s,) = struct.unpack("<d", first)
        said = [told.read(8) for _ in range(after)]
        os.kill(child, signal.SIGKILL)
        # What it had said before it died counts too; a torn number was not said.
        rest = told.read()
    os.waitpid(child, 0)
    said += [rest[at : at + 8] for at in range(0, len(rest) - 7, 8)]
    return (struct.unpack("<q", said[-1])[0] if said else 0), opening_s


def kill_many(folder: Path, kills: int) -> dict[str, float]:
    """Kill `kills` writers of one store; returns what was acknowledged, kept and lost."""
    acknowledged, slowest_s = 0, 0.0
    chance = random.Random(0)
    for done in range(kills):
        last, opening_s = kill_once(folder, chance.randrange(8))
        acknowledged, slowest_s = max(acknowledged, last), max(slowest_s, opening_s)
        if done % 100 == 99:
            print(f"killed {done + 1} of {kills}", file=sys.stderr)
    with opened(folder) as store:
        kept = [int(e.event.items[0]) for e in EventLog(store).read(["product_view"])]
    if kept != list(range(len(kept))):
        raise SystemExit("events are missing between others, or out of order")
    lost = max(0, acknowledged - len(kept))
    return {
        "kills": kills,
        "acknowledged": acknowledged,
        "kept": len(kept),
        "lost": lost,
        "slowest_reopen_ms": 1000 * slowest_s,
    }


if __name__ == "__main__":
    print(json.dumps(kill_many(Path(sys.argv[1]), int(sys.argv[2]))))
