"""`python -m tacit.server.ledger --config FILE`."""

from __future__ import annotations

from tacit.server.ledger.config import LedgerConfig
from tacit.server.ledger.serving import serve
from tacit.server.process import run_server

if __name__ == "__main__":
    raise SystemExit(run_server("ledger", LedgerConfig.load, serve))
