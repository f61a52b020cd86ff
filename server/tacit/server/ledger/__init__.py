"""The ledger node: consent log, governance log, budget and registry behind one address.

Other servers need only the client, so only the client is imported here; the node itself is
`python -m tacit.server.ledger`.
"""

from tacit.server.errors import LedgerUnavailable
from tacit.server.ledger.client import ConsentState, LedgerClient

__all__ = ["ConsentState", "LedgerClient", "LedgerUnavailable"]
