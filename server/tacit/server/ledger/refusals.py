"""From exceptions to gRPC statuses: every refusal is one line to the caller and to the log."""

from __future__ import annotations

import logging
import re
from collections.abc import Generator
from contextlib import contextmanager

import grpc

from tacit.privacy.errors import (
    BadSignature,
    BudgetExceeded,
    ChangeRefused,
    PrivacyError,
    RollbackDetected,
)
from tacit.server.errors import Refused, StateCorrupt

logger = logging.getLogger("tacit.ledger")

_KEY_ID = re.compile(r"\b[a-z2-7]{26}\b")


@contextmanager
def refusing(context: grpc.ServicerContext, method: str) -> Generator[None]:
    """Turn what the block refuses into the status of the call.

    Anything not raised on purpose passes through; gRPC answers UNKNOWN and its text is logged.
    """
    try:
        yield
    except Refused as error:
        _abort(context, method, grpc.StatusCode[error.status], str(error))
    except PrivacyError as error:
        _abort(context, method, _status(error), str(error))
    except StateCorrupt as error:
        _abort(context, method, grpc.StatusCode.DATA_LOSS, str(error))


def _status(error: PrivacyError) -> grpc.StatusCode:
    if isinstance(error, BadSignature):
        return grpc.StatusCode.UNAUTHENTICATED
    if isinstance(error, RollbackDetected | ChangeRefused):
        return grpc.StatusCode.FAILED_PRECONDITION
    if isinstance(error, BudgetExceeded):
        return grpc.StatusCode.RESOURCE_EXHAUSTED
    return grpc.StatusCode.INVALID_ARGUMENT


def _abort(context: grpc.ServicerContext, method: str, status: grpc.StatusCode, line: str) -> None:
    # The caller is told whom it is about; a log file would outlive the device's erasure.
    unnamed = _KEY_ID.sub("(a key)", line)
    logger.warning("refused %s: %s: %s", method.rpartition("/")[2], status.name, unnamed)
    context.abort(status, line)
