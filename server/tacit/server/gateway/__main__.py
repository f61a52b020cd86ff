"""`python -m tacit.server.gateway --config FILE`."""

from __future__ import annotations

import argparse
import logging
import pathlib
import sys

from tacit.server.errors import ServerError
from tacit.server.gateway.config import GatewayConfig
from tacit.server.gateway.server import serve
from tacit.server.process import exit_with_parent


def main() -> int:
    """Run a gateway; returns the exit code."""
    parser = argparse.ArgumentParser(prog="tacit gateway", description="Run a Tacit gateway.")
    parser.add_argument("--config", type=pathlib.Path, required=True, help="JSON configuration")
    parser.add_argument(
        "--exit-with-parent", action="store_true", help="exit when the starting process dies"
    )
    options = parser.parse_args()
    if options.exit_with_parent:
        exit_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        serve(GatewayConfig.load(options.config))
    except ServerError as error:
        sys.stderr.write(f"tacit gateway: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
