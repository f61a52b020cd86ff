"""Errors of the gateway, below `tacit.server.errors`.

FailedPrecondition
└── NotAdmitted      one device's request is turned down; everyone else's round goes on
ServerError
└── RoundAborted     the round ends without a sum
"""

from __future__ import annotations

from tacit.server.errors import FailedPrecondition, ServerError


class NotAdmitted(FailedPrecondition):
    """A device may not join the round, or its contribution may not enter the sum.

    Attributes:
        reason: short stable name, used in counts and logs; never user data.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class RoundAborted(ServerError):  # noqa: N818 - named for what happened
    """A round ends without a sum: too few contributions, or it was replaced."""
