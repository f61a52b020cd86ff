"""`python -m tacit.server.witness --config FILE`."""

from __future__ import annotations

from tacit.server.process import run_server
from tacit.server.witness.config import WitnessConfig
from tacit.server.witness.serving import serve

if __name__ == "__main__":
    raise SystemExit(run_server("witness", WitnessConfig.load, serve))
