"""The privacy officer's console: a web application over a ledger, on loopback."""

from tacit.server.console.access_log import AccessLog, Head
from tacit.server.console.roles import Role
from tacit.server.console.services import Console, ConsoleConfig, Planner
from tacit.server.console.serving import Certificate, serve
from tacit.server.console.source import LedgerSource, find_source

__all__ = [
    "AccessLog",
    "Certificate",
    "Console",
    "ConsoleConfig",
    "Head",
    "LedgerSource",
    "Planner",
    "Role",
    "find_source",
    "serve",
]
