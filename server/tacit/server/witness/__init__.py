"""A witness: it remembers how far each log has come, and cosigns only what extends that.

Anybody may run one; it needs no trust from the log, and no data but checkpoints reaches it.
"""

from tacit.server.witness.config import WitnessConfig
from tacit.server.witness.node import WitnessNode
from tacit.server.witness.serving import WitnessServer, serve

__all__ = ["WitnessConfig", "WitnessNode", "WitnessServer", "serve"]
