"""Errors raised by the gateway.

    GatewayError (Exception)
    ├── Refused          one device's request is turned down; everyone else's round goes on
    └── RoundAborted     the round ends without a sum
"""


class GatewayError(Exception):
    """Root of everything the gateway raises on purpose."""


class Refused(GatewayError):  # noqa: N818 - a refusal is an answer, not a fault
    """A device's request is turned down.

    Attributes:
        reason: short stable name, used in counts and logs; never user data.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class RoundAborted(GatewayError):  # noqa: N818
    """A round ends without a sum: too few contributions, or it was replaced."""
