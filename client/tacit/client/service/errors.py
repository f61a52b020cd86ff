"""Errors raised by `tacit.client.service`.

    tacit.client.DeviceError
    └── ServiceError
        ├── SocketRefused     the socket cannot be made, or not so that it is private
        ├── TokensDamaged     the file of app tokens was altered, or is not this store's
        ├── BadGrant          an app name, verb or surface that cannot be granted
        ├── Unauthenticated   a call without a token that is in force, or from another user
        ├── NotGranted        a call beyond what its app was given
        ├── VerbUnavailable   a verb this runtime was not set up for
        └── Busy              another verb held the profile until the call's deadline

Messages say what was expected. They never carry tokens or what a profile holds.
"""

from __future__ import annotations

from tacit.client.errors import DeviceError


class ServiceError(DeviceError):
    """Root of everything the service raises on purpose."""


class SocketRefused(ServiceError):  # noqa: N818 - named for what is wrong, as in the tree above
    """The socket cannot be made, or not so that only its owner can open it."""


class TokensDamaged(ServiceError):  # noqa: N818
    """The file of app tokens was altered, is of another version, or belongs to another store."""


class BadGrant(ServiceError):  # noqa: N818
    """An app name, verb or surface that cannot be granted."""


class Unauthenticated(ServiceError):  # noqa: N818
    """A call without a token that is in force, or from another user of the machine."""


class NotGranted(ServiceError):  # noqa: N818
    """A call beyond what its app was given."""


class VerbUnavailable(ServiceError):  # noqa: N818
    """A verb that this runtime was not set up for."""


class Busy(ServiceError):  # noqa: N818
    """Another verb held the profile until the deadline of the call."""
