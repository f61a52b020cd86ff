"""Errors raised by `tacit.server`.

    ServerError (RuntimeError)
    ├── Refused                 a request that is answered with a refusal; `status` says which
    │   ├── Unauthenticated     unknown key, bad signature, stale or replayed request, spent token
    │   ├── PermissionDenied    a known caller without the role this needs
    │   ├── InvalidRequest      malformed, too large or out of range
    │   ├── FailedPrecondition  well-formed, but the present state does not allow it
    │   ├── AlreadyExists       a name that is taken by something else
    │   ├── NotFound            nothing by that name
    │   └── Exhausted           beyond the privacy budget, or beyond a limit
    ├── LedgerUnavailable       the ledger node does not answer
    ├── WitnessUnavailable      a witness does not answer as it should
    ├── LogRolledBack           a witness remembers another or a longer history of a log
    ├── BadConfig               a configuration that cannot be used
    ├── AddressInUse            a port that another process holds
    ├── StateCorrupt            stored state that contradicts itself or its own signatures
    └── VerificationFailed      an exported ledger that does not hold together

Messages say what was expected and what came, with key ids and document names only: never a user's
values, never key material.
"""


class ServerError(RuntimeError):
    """Root of everything `tacit.server` raises on purpose."""


class Refused(ServerError):  # noqa: N818 - named for what happened, as in the tree above
    """A request was refused.

    Attributes:
        status: name of the gRPC status code that carries it.
    """

    status = "UNKNOWN"


class Unauthenticated(Refused):
    """The caller did not prove who it is."""

    status = "UNAUTHENTICATED"


class PermissionDenied(Refused):
    """The caller is known and may not do this."""

    status = "PERMISSION_DENIED"


class InvalidRequest(Refused):
    """The request is malformed, too large or out of range."""

    status = "INVALID_ARGUMENT"


class FailedPrecondition(Refused):
    """The request is well-formed, but the present state does not allow it."""

    status = "FAILED_PRECONDITION"


class AlreadyExists(Refused):
    """The name is taken by something else."""

    status = "ALREADY_EXISTS"


class NotFound(Refused):
    """There is nothing by that name."""

    status = "NOT_FOUND"


class Exhausted(Refused):
    """The privacy budget or a limit does not allow it."""

    status = "RESOURCE_EXHAUSTED"


class LedgerUnavailable(ServerError):  # noqa: N818
    """The ledger node did not answer in time."""


class WitnessUnavailable(ServerError):  # noqa: N818
    """A witness did not answer in time, or not with a cosignature."""


class LogRolledBack(ServerError):  # noqa: N818
    """A witness remembers a history that this log's stored state does not extend."""


class BadConfig(ServerError):  # noqa: N818
    """A configuration cannot be used."""


class AddressInUse(ServerError):  # noqa: N818
    """Another process holds the address."""


class StateCorrupt(ServerError):  # noqa: N818
    """Stored state contradicts itself or its own signatures; nothing is served from it."""


class VerificationFailed(ServerError):  # noqa: N818
    """An exported ledger does not hold together.

    Attributes:
        findings: one line for each thing that is wrong.
    """

    def __init__(self, findings: tuple[str, ...]) -> None:
        self.findings = findings
        first = "; ".join(findings[:1])
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        super().__init__(f"the ledger does not verify: {first}{more}")


REFUSALS: tuple[type[Refused], ...] = (
    Unauthenticated,
    PermissionDenied,
    InvalidRequest,
    FailedPrecondition,
    AlreadyExists,
    NotFound,
    Exhausted,
)
"""Every refusal with a status of its own, so that a client can raise what the server raised."""
