"""Errors of the coordinator, below `tacit.server.errors`.

ServerError
└── RoundFailed      a round ended without a sum; nothing was spent for it
StateCorrupt
└── StateConflict    the checkpoint contradicts the ledger: refuse to train
"""

from __future__ import annotations

from tacit.server.errors import ServerError, StateCorrupt


class RoundFailed(ServerError):  # noqa: N818 - named for what happened
    """A round ended without a sum; nothing was spent for it."""


class StateConflict(StateCorrupt):
    """The coordinator's checkpoint contradicts the ledger, so it refuses to train."""
