"""`python -m tacit.server.gateway --config FILE`."""

from __future__ import annotations

from tacit.server.gateway.config import GatewayConfig
from tacit.server.gateway.server import serve
from tacit.server.process import run_server

if __name__ == "__main__":
    raise SystemExit(run_server("gateway", GatewayConfig.load, serve))
