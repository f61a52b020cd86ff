"""Statuses: which gRPC status and which line an app gets for each error.

A line says what was expected. It never carries tokens, paths, or what the profile holds.
"""

from __future__ import annotations

import grpc

from tacit.client import errors
from tacit.client.service import errors as service_errors
from tacit.client.service.syncing import SyncInterrupted

_LONGEST_LINE = 300

_CODES: tuple[tuple[type[errors.DeviceError], grpc.StatusCode], ...] = (
    (service_errors.Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (service_errors.NotGranted, grpc.StatusCode.PERMISSION_DENIED),
    (service_errors.VerbUnavailable, grpc.StatusCode.UNIMPLEMENTED),
    (service_errors.Busy, grpc.StatusCode.UNAVAILABLE),
    (SyncInterrupted, grpc.StatusCode.ABORTED),
    (errors.UnknownEvent, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.BadEvent, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.BadCatalogue, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.BadGuardrails, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.UnknownDecision, grpc.StatusCode.NOT_FOUND),
    (errors.NotEnrolled, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.OfferRefused, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.ReleaseRefused, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.RollbackRefused, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.ReceiptRefused, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.Rejected, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.TransportError, grpc.StatusCode.UNAVAILABLE),
)

_OF_THE_STORE: tuple[tuple[type[errors.DeviceError], grpc.StatusCode, str], ...] = (
    (
        errors.StoreDamaged,
        grpc.StatusCode.DATA_LOSS,
        "the device's store is damaged; its owner can look with tacit device status",
    ),
    (
        service_errors.TokensDamaged,
        grpc.StatusCode.UNAUTHENTICATED,
        "the device's app tokens are damaged; its owner can look with tacit device token list",
    ),
    (
        errors.KeyUnavailable,
        grpc.StatusCode.INVALID_ARGUMENT,
        "expected a passphrase of at least 12 characters, or the one it was closed with",
    ),
    (
        errors.DeviceError,
        grpc.StatusCode.UNAVAILABLE,
        "the device's store cannot be used now; try again later",
    ),
)
"""Errors whose own words name files of the machine."""


def status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """Return the status and the line for an error; what nobody expected says nothing of itself."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code, " ".join(str(error).split())[:_LONGEST_LINE]
    for kind, code, line in _OF_THE_STORE:
        if isinstance(error, kind):
            return code, line
    return grpc.StatusCode.INTERNAL, "the verb failed unexpectedly; nothing more is said here"
