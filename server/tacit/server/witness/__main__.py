"""`python -m tacit.server.witness --config FILE`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from tacit.server.errors import ServerError
from tacit.server.witness.config import WitnessConfig
from tacit.server.witness.serving import serve


def main() -> int:
    """Run a witness; returns the exit code."""
    parser = argparse.ArgumentParser(prog="tacit witness", description="Run a Tacit witness.")
    parser.add_argument("--config", type=Path, required=True, help="JSON configuration")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        serve(WitnessConfig.load(options.config))
    except ServerError as error:
        sys.stderr.write(f"tacit witness: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
