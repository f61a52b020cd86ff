"""The device runtime for apps in other languages: its verbs on a unix socket, tokens for apps.

Needs the `device` extra (gRPC); `tacit.client` alone does not import it.
"""

from tacit.client.service.errors import (
    BadGrant,
    Busy,
    NotGranted,
    ServiceError,
    SocketRefused,
    TokensDamaged,
    Unauthenticated,
    VerbUnavailable,
)
from tacit.client.service.grants import EVERYDAY_VERBS, EVERYWHERE, PERSONAL_VERBS, VERBS, Grant
from tacit.client.service.server import PersonalizerServer
from tacit.client.service.syncing import Syncing, SyncInterrupted
from tacit.client.service.tokens import AppTokens

__all__ = [
    "EVERYDAY_VERBS",
    "EVERYWHERE",
    "PERSONAL_VERBS",
    "VERBS",
    "AppTokens",
    "BadGrant",
    "Busy",
    "Grant",
    "NotGranted",
    "PersonalizerServer",
    "ServiceError",
    "SocketRefused",
    "SyncInterrupted",
    "Syncing",
    "TokensDamaged",
    "Unauthenticated",
    "VerbUnavailable",
]
