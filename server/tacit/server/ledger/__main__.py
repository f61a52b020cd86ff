"""`python -m tacit.server.ledger --config FILE`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from tacit.privacy.errors import PrivacyError
from tacit.server.errors import ServerError
from tacit.server.ledger.config import LedgerConfig
from tacit.server.ledger.serving import serve
from tacit.server.process import exit_with_parent


def main() -> int:
    """Run a ledger node; returns the exit code."""
    parser = argparse.ArgumentParser(prog="tacit ledger", description="Run a Tacit ledger node.")
    parser.add_argument("--config", type=Path, required=True, help="JSON configuration")
    parser.add_argument(
        "--exit-with-parent", action="store_true", help="exit when the starting process dies"
    )
    options = parser.parse_args()
    if options.exit_with_parent:
        exit_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        serve(LedgerConfig.load(options.config))
    except (ServerError, PrivacyError) as error:
        sys.stderr.write(f"tacit ledger: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
