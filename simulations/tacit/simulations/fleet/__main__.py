"""`python -m tacit.simulations.fleet --config FILE`; progress goes to standard output as JSON."""

from __future__ import annotations

import argparse
import json
import logging
import pathlib
import sys

from tacit.client import DeviceError
from tacit.simulations.errors import SimulationError
from tacit.simulations.fleet.config import FleetConfig
from tacit.simulations.fleet.fleet import Fleet


def main() -> int:
    """Run a fleet; returns the exit code."""
    parser = argparse.ArgumentParser(description="Host the devices of a population.")
    parser.add_argument("--config", type=pathlib.Path, required=True, help="JSON configuration")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")

    def report(phase: str, done: int, total: int) -> None:
        print(json.dumps({"phase": phase, "done": done, "total": total}), flush=True)  # noqa: T201

    try:
        Fleet(FleetConfig.load(options.config), report).run()
    except (SimulationError, DeviceError) as error:
        sys.stderr.write(f"fleet: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
