"""The gate: what every call passes before it gets its turn at the profile."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeVar

import grpc

from tacit.client.personalizer import Personalizer
from tacit.client.service import messages
from tacit.client.service.errors import Busy, Unauthenticated
from tacit.client.service.grants import Grant
from tacit.client.service.peers import Peers
from tacit.client.service.runtime import Runtime
from tacit.client.service.statuses import status_of
from tacit.client.service.tokens import AppTokens
from tacit.v1 import personalizer_pb2 as pb

_Reply = TypeVar("_Reply")

LONGEST_WAIT_S = 30.0
"""What a call waits for its turn, whatever its deadline."""

_SCHEME = "Bearer "


class Gate:
    """Admit calls, run verbs, and turn errors into statuses.

    Steps: (1) every connection is of this user; (2) the token is in force; (3) its app was given
    the verb; (4) and the surface; (5) the turn comes before the deadline. Until then nothing was
    read of the profile.
    """

    def __init__(self, runtime: Runtime, tokens: AppTokens, peers: Peers) -> None:
        self._runtime = runtime
        self._tokens = tokens
        self._peers = peers

    def answer(
        self,
        verb: str,
        context: grpc.ServicerContext,
        work: Callable[[Personalizer, Grant], _Reply],
        *,
        surface: str | None = None,
    ) -> _Reply:
        """Answer one call; aborts it with a status and a line where that is not possible."""
        try:
            grant = self._admit(verb, context)
            if surface is not None:
                grant.check_surface(surface)
            return self._runtime.run(verb, _wait_s(context), lambda pz: work(pz, grant))
        except Exception as error:  # noqa: BLE001 - an app gets a status, never a traceback
            _abort(context, error)

    def answer_sync(self, context: grpc.ServicerContext, token: str | None) -> pb.SyncReply:
        """Answer a sync, which other verbs do not wait for."""
        try:
            self._admit("sync", context)
            return messages.synced(self._runtime.sync(token, _wait_s(context)))
        except Exception as error:  # noqa: BLE001 - as above
            _abort(context, error)

    def _admit(self, verb: str, context: grpc.ServicerContext) -> Grant:
        self._peers.check()
        grant = self._tokens.admit(_bearer(context))
        grant.check_verb(verb)
        return grant


def _bearer(context: grpc.ServicerContext) -> str:
    for name, value in context.invocation_metadata():
        if name == "authorization" and isinstance(value, str) and value.startswith(_SCHEME):
            return value.removeprefix(_SCHEME)
    raise Unauthenticated("expected metadata authorization: Bearer TOKEN")


def _wait_s(context: grpc.ServicerContext) -> float:
    if not context.is_active():
        raise Busy("the call was given up before its turn; nothing was done")
    # Without a deadline the time remaining is beyond all bounds.
    return min(context.time_remaining(), LONGEST_WAIT_S)


def _abort(context: grpc.ServicerContext, error: Exception) -> NoReturn:
    code, line = status_of(error)
    context.abort(code, line)
