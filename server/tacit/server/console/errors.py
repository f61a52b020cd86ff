"""Errors of the console, each with the page it becomes.

ServerError
└── ConsoleRefused          a request that is answered with a page of `status`
    ├── NotSignedIn         401: no session, or one that ended
    ├── NotPermitted        403: another role, another origin, or a stale form
    ├── NotThere            404: nothing by that name
    ├── BadForm             422: a field is out of range, or the ledger refused the change
    ├── TooLarge            413: more than a form may hold
    ├── TooManyAttempts     429: wrong passwords, or work that is under way already
    └── NoFigures           409: the ledger does not hold together, so nothing is shown of it
"""

from __future__ import annotations

from tacit.server.errors import ServerError


class ConsoleRefused(ServerError):  # noqa: N818 - named for what happened
    """A request was refused.

    Attributes:
        status: HTTP status that answers it.
    """

    status = 400


class NotSignedIn(ConsoleRefused):
    """There is no session, or it ended."""

    status = 401


class NotPermitted(ConsoleRefused):
    """The caller may not do this, or the request did not come from the console's own page."""

    status = 403


class NotThere(ConsoleRefused):
    """There is nothing by that name."""

    status = 404


class BadForm(ConsoleRefused):
    """A field is missing or out of range, or the ledger refused."""

    status = 422


class TooLarge(ConsoleRefused):
    """The body is larger than any form of the console."""

    status = 413


class TooManyAttempts(ConsoleRefused):
    """Too many wrong passwords, or too much work at once."""

    status = 429


class NoFigures(ConsoleRefused):
    """The ledger does not hold together.

    Attributes:
        findings: One line for each thing that is wrong.
    """

    status = 409

    def __init__(self, findings: tuple[str, ...]) -> None:
        self.findings = findings
        super().__init__("the ledger does not hold together; no figure of it is shown")
