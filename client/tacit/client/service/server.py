"""Serve one profile on a unix socket, to apps of this user that have a token."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import grpc

from tacit.client.keys import KeyProvider
from tacit.client.personalizer import Personalizer
from tacit.client.service.errors import SocketRefused
from tacit.client.service.peers import Peers
from tacit.client.service.runtime import Runtime
from tacit.client.service.service import PersonalizerService
from tacit.client.service.socket_file import SocketFile
from tacit.client.service.syncing import Syncing
from tacit.client.service.tokens import AppTokens
from tacit.v1 import personalizer_pb2_grpc

MAX_REQUEST_BYTES = 256 << 10
"""An event has at most 16 kB; lists of items are the longest that apps send."""

MAX_REPLY_BYTES = 4 << 20
"""What every gRPC client takes unless it says otherwise; exports come in pieces."""

MOST_CALLS = 64
"""Calls at once, waiting ones included; more are refused with RESOURCE_EXHAUSTED."""

GRACE_S = 5.0
_THREADS = 8


class PersonalizerServer:
    """A served profile, until it is closed.

    Owns the socket's path, the gRPC server and the profile, and closes them in that order.
    """

    def __init__(
        self,
        socket: Path,
        opener: Callable[[], Personalizer],
        keys: KeyProvider,
        syncing: Syncing | None = None,
    ) -> None:
        """Open the profile, then bind the socket and answer.

        Args:
            socket: path of the socket.
            opener: opens the profile; called again after everything was forgotten.
            keys: the store's, which also vouch for the app tokens.
            syncing: for the verb `Sync`; None where there are no servers.

        Raises:
            SocketRefused: if the socket cannot be made so that only this user can open it.
            DeviceError: if the profile cannot be opened, for example since another process has.
        """
        with contextlib.ExitStack() as stack:
            self._socket = stack.enter_context(SocketFile(socket))
            runtime = Runtime(opener, syncing)
            stack.callback(runtime.close)
            self.tokens = AppTokens(runtime.store_path, keys)
            self._server = grpc.server(
                ThreadPoolExecutor(_THREADS, thread_name_prefix="verb"),
                maximum_concurrent_rpcs=MOST_CALLS,
                options=[
                    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
                    ("grpc.max_send_message_length", MAX_REPLY_BYTES),
                ],
            )
            self.service = service = PersonalizerService(
                runtime, self.tokens, Peers(self._socket.path)
            )
            personalizer_pb2_grpc.add_PersonalizerServiceServicer_to_server(service, self._server)
            self._bind()
            self._server.start()
            stack.callback(self._stop)
            self._closing = stack.pop_all()

    @property
    def socket(self) -> Path:
        """Where it is served."""
        return self._socket.path

    def close(self) -> None:
        """Take no new calls, give those under way five seconds, and close everything."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _bind(self) -> None:
        # The socket is private from the moment it exists, not only once its mode was set.
        before = os.umask(0o177)
        try:
            self._server.add_insecure_port(f"unix:{self._socket.path}")
        except RuntimeError:
            raise SocketRefused(f"{self._socket.path}: cannot be bound") from None
        finally:
            os.umask(before)
        self._socket.check_private()

    def _stop(self) -> None:
        self._server.stop(GRACE_S).wait()
