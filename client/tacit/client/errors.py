"""Errors raised by `tacit.client`.

    DeviceError (Exception)
    ├── KeyUnavailable        the key-encryption key is missing, exposed or the wrong one
    ├── StoreDamaged          a sealed record does not open, or the store is of another version
    ├── StoreUnavailable      the file cannot be opened, written, or is open in another process
    ├── StoreClosed           the store was closed or erased
    ├── UnknownEvent          an event name outside the signal catalogue
    ├── BadEvent              an event, rating or consent with values that cannot be used
    ├── BadCatalogue          a catalogue that is malformed, missing or the wrong one
    ├── BadGuardrails         a guardrail policy that is malformed, unsigned or contradicts itself
    ├── BadFlags              a set of flags that is malformed or not signed by the app's key
    ├── UnknownDecision       an explanation is asked for something that was never recommended
    ├── NotEnrolled           the device has no identity at a ledger yet
    ├── OfferRefused          the device will not take part in what it was offered
    │   └── PolicyRefused     … because of its own limits, whatever the server says
    ├── ReleaseRefused        a model that must not be installed
    ├── RollbackRefused       something older than, or contradicting, what was seen before
    │                         (also a `tacit.privacy.errors.RollbackDetected`)
    ├── ExportRefused         an export of another device that is no export, altered or foreign
    ├── ReceiptRefused        a consent receipt that does not prove what it should
    └── TransportError        a server could not be reached or gave no usable answer
        └── Rejected          … or refused the request

Messages say what was expected and what was found. They never carry profile values.
"""

from __future__ import annotations

from tacit.privacy.errors import RollbackDetected


class DeviceError(Exception):
    """Root of everything `tacit.client` raises on purpose."""


class KeyUnavailable(DeviceError):  # noqa: N818 - named for what is wrong, as in the tree above
    """The key-encryption key is missing, exposed or the wrong one."""


class StoreDamaged(DeviceError):  # noqa: N818
    """A sealed record does not open, or the store is of another version."""


class StoreUnavailable(DeviceError):  # noqa: N818
    """The store cannot be opened or written, or another process has it open."""


class StoreClosed(DeviceError):  # noqa: N818
    """The store was closed or erased."""


class UnknownEvent(DeviceError):  # noqa: N818
    """An event name outside the signal catalogue."""


class BadEvent(DeviceError):  # noqa: N818
    """An event, rating or consent whose values cannot be used."""


class BadCatalogue(DeviceError):  # noqa: N818
    """A catalogue that is malformed, missing or not the one expected."""


class BadGuardrails(DeviceError):  # noqa: N818
    """A guardrail policy that is malformed, not signed by the app's key, or not to be obeyed."""


class BadFlags(DeviceError):  # noqa: N818
    """A set of flags that is malformed, not signed by the app's key, or not to be obeyed."""


class UnknownDecision(DeviceError):  # noqa: N818
    """An explanation is asked for something that was never recommended."""


class NotEnrolled(DeviceError):  # noqa: N818
    """The device has no identity at a ledger yet."""


class OfferRefused(DeviceError):  # noqa: N818
    """The device will not take part in what it was offered."""


class PolicyRefused(OfferRefused):
    """An offer goes beyond the device's own limits."""


class ReleaseRefused(DeviceError):  # noqa: N818
    """A model that must not be installed."""


class RollbackRefused(DeviceError, RollbackDetected):  # noqa: N818
    """Something older than, or contradicting, what this device has seen before."""


class ExportRefused(DeviceError):  # noqa: N818
    """An export of another device that is no export, was altered, or comes from a stranger."""


class ReceiptRefused(DeviceError):  # noqa: N818
    """A consent receipt that does not prove what it should."""


class TransportError(DeviceError):
    """A server could not be reached or gave no usable answer."""


class Rejected(TransportError):  # noqa: N818
    """A server refused the request.

    Attributes:
        code: name of the gRPC status code, for example `PERMISSION_DENIED`.
        reason: the server's one-line reason.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
