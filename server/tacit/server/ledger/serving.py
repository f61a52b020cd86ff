"""Serve a node over gRPC with TLS until told to stop."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from sqlalchemy.exc import SQLAlchemyError

from tacit.server.budget.service import BudgetService
from tacit.server.errors import AddressInUse, ServerError, StateCorrupt
from tacit.server.ledger.config import LedgerConfig
from tacit.server.ledger.node import LedgerNode
from tacit.server.ledger.service import LedgerService
from tacit.server.process import stop_event
from tacit.server.registry.blobs import MAX_BLOB_BYTES
from tacit.v1 import budget_pb2_grpc, ledger_pb2_grpc

logger = logging.getLogger("tacit.ledger")

WORKERS = 16
MAX_MESSAGE_BYTES = MAX_BLOB_BYTES + 65_536
_GRACE_S = 5.0
_WATCH_EVERY_S = 1.0


class LedgerServer:
    """A node that is being served.

    Attributes:
        node: what answers.
        address: host:port as bound.
    """

    def __init__(self, config: LedgerConfig) -> None:
        """Open the state and bind the address; `start` begins to answer.

        Raises:
            AddressInUse: if the address cannot be bound.
            BadConfig, StateCorrupt, LogRolledBack, BadDocument: as `LedgerNode`.
        """
        credentials = grpc.ssl_server_credentials([config.read_tls()])
        self.node = LedgerNode(config)
        self._server = grpc.server(
            ThreadPoolExecutor(WORKERS, thread_name_prefix="ledger"),
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ],
        )
        ledger_pb2_grpc.add_LedgerServiceServicer_to_server(LedgerService(self.node), self._server)
        budget_pb2_grpc.add_BudgetServiceServicer_to_server(BudgetService(self.node), self._server)
        try:
            port = self._server.add_secure_port(config.address, credentials)
        except RuntimeError:
            self.node.close()
            raise AddressInUse(f"{config.address}: cannot be bound; is it in use?") from None
        self.address = f"{config.address.rpartition(':')[0]}:{port}"
        self._map_period_s = config.map_period_s
        self._stopped = threading.Event()
        self._publisher = threading.Thread(target=self._publish_epochs, daemon=True)

    def start(self) -> None:
        """Begin to answer, and import the accountants in the background."""
        self._server.start()
        self._publisher.start()
        self.node.accountant.warm()

    def stop(self) -> None:
        """Let running calls finish, then close the state."""
        self._stopped.set()
        self._server.stop(_GRACE_S).wait()
        if self._publisher.ident is not None:
            self._publisher.join()
        self.node.close()

    def _publish_epochs(self) -> None:
        """Publish the current-state map each period, where consents changed in it."""
        while not self._stopped.wait(self._map_period_s):
            try:
                self.node.consent_map.publish(self.node.now_ms())
            except (SQLAlchemyError, ServerError, OSError) as error:
                # The next period, or the next device that asks for it, tries again.
                logger.warning("no epoch of the consent map: %s", type(error).__name__)


def serve(config: LedgerConfig) -> None:
    """Serve until SIGTERM or SIGINT; prints `ready ADDRESS` once callers may connect.

    Raises:
        AddressInUse, BadConfig, StateCorrupt, LogRolledBack, BadDocument: if the node cannot start.
        StateCorrupt: if the database was lost while serving; what was committed is in it.
    """
    stopped = stop_event()
    server = LedgerServer(config)
    server.start()
    print(f"ready {server.address}", flush=True)  # noqa: T201 - the parent process reads this
    while not stopped.wait(_WATCH_EVERY_S) and server.node.database.failure is None:
        pass
    failure = server.node.database.failure
    server.stop()
    if failure is not None:
        raise StateCorrupt(failure)
