"""Errors raised by the coordinator.

    CoordinatorError (Exception)
    ├── BadConfiguration    the configuration cannot be used
    ├── RoundFailed         a round ended without a sum; nothing was spent for it
    └── StateConflict       the checkpoint contradicts the ledger: refuse to train
"""


class CoordinatorError(Exception):
    """Root of everything the coordinator raises on purpose."""


class BadConfiguration(CoordinatorError):  # noqa: N818
    """The configuration cannot be used; the message names the field."""


class RoundFailed(CoordinatorError):  # noqa: N818
    """A round ended without a sum; nothing was spent for it."""


class StateConflict(CoordinatorError):  # noqa: N818
    """The coordinator's checkpoint contradicts the ledger, so it refuses to train."""
