"""Run a gateway: the device service on TLS, the bridge on a 0600 unix socket."""

from __future__ import annotations

import logging
import os
import pathlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

from tacit.privacy.errors import PrivacyError
from tacit.privacy.signatures import SigningKey
from tacit.server.authn import RequestVerifier
from tacit.server.errors import AddressInUse, BadConfig, ServerError
from tacit.server.gateway.config import GatewayConfig
from tacit.server.gateway.gateway import Gateway
from tacit.server.gateway.services import BridgeService, DeviceService
from tacit.server.ledger.client import LedgerClient
from tacit.server.process import stop_event
from tacit.v1 import device_pb2_grpc, gateway_pb2_grpc

logger = logging.getLogger("tacit.gateway")

MAX_CONTRIBUTION_BYTES = 64 << 20
"""Requests beyond this are refused by gRPC before they are read."""

_RELEASE_POLL_S = 1.0


class GatewayServer:
    """A running gateway.

    Args:
        config: see `GatewayConfig`.

    Attributes:
        gateway: what answers.
        address: host:port of the device service as bound.

    Raises:
        BadConfig: if a key or certificate cannot be read.
        AddressInUse: if the address or the socket cannot be bound.
    """

    def __init__(self, config: GatewayConfig) -> None:
        try:
            key = SigningKey(bytes.fromhex(_read(config.signing_key).decode("ascii").strip()))
        except ValueError:
            raise BadConfig("the signing key file: expected 64 hexadecimal digits") from None
        self._ledger = LedgerClient(config.ledger_address, _read(config.ledger_ca), key)
        self.gateway = Gateway(config, self._ledger, key)
        self._devices = self._device_server(config)
        self._bridge = self._bridge_server()
        try:
            self.address = _listen(self._devices, config)
            _listen_privately(self._bridge, pathlib.Path(config.bridge_socket))
        except ServerError:
            self._devices.stop(None)
            self._bridge.stop(None)
            self._ledger.close()
            raise
        self._stopped = threading.Event()
        self._poller = threading.Thread(target=self._poll_releases, daemon=True)

    def start(self) -> None:
        """Start serving."""
        self._bridge.start()
        self._devices.start()
        self._poller.start()

    def stop(self, grace_s: float = 1.0) -> None:
        """Stop serving; open rounds are abandoned."""
        self._stopped.set()
        self.gateway.stop()
        self._devices.stop(grace_s).wait()
        self._bridge.stop(grace_s).wait()
        self._ledger.close()

    def _device_server(self, config: GatewayConfig) -> grpc.Server:
        server = grpc.server(
            ThreadPoolExecutor(config.max_workers, "device"),
            options=[
                ("grpc.max_receive_message_length", MAX_CONTRIBUTION_BYTES),
                ("grpc.so_reuseport", 0),
            ],
        )
        verifier = RequestVerifier(
            self.gateway.admission.public_key_of, lambda: time.time_ns() // 1_000_000
        )
        service = DeviceService(self.gateway, verifier)
        device_pb2_grpc.add_DeviceServiceServicer_to_server(service, server)
        return server

    def _bridge_server(self) -> grpc.Server:
        server = grpc.server(
            ThreadPoolExecutor(4, "bridge"),
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
            ],
        )
        gateway_pb2_grpc.add_GatewayServiceServicer_to_server(BridgeService(self.gateway), server)
        return server

    def _poll_releases(self) -> None:
        while not self._stopped.wait(_RELEASE_POLL_S):
            try:
                self.gateway.refresh_release()
            except (ServerError, PrivacyError) as error:
                logger.warning("cannot learn of releases: %s", error)


def serve(config: GatewayConfig) -> None:
    """Serve until SIGTERM or SIGINT; prints `ready ADDRESS` once devices may connect.

    Raises:
        ServerError: if the gateway cannot start.
    """
    stop = stop_event()
    server = GatewayServer(config)
    server.start()
    print(f"ready {server.address}", flush=True)  # noqa: T201 - the parent process reads this
    stop.wait()
    server.stop()


def _listen(server: grpc.Server, config: GatewayConfig) -> str:
    credentials = grpc.ssl_server_credentials(
        [(_read(config.tls_key), _read(config.tls_certificate))]
    )
    try:
        port = server.add_secure_port(config.address, credentials)
    except RuntimeError:
        raise AddressInUse(
            f"cannot listen on {config.address}: the port is in use or not allowed; "
            "choose another address"
        ) from None
    return f"{config.address.rpartition(':')[0]}:{port}"


def _listen_privately(server: grpc.Server, socket: pathlib.Path) -> None:
    # The socket is made under a mask that leaves it to this user alone.
    socket.unlink(missing_ok=True)
    previous = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{socket}")
    except RuntimeError:
        raise AddressInUse(
            f"cannot listen on the socket {socket.name}: its folder cannot be written, "
            "or the path is longer than a socket's may be"
        ) from None
    finally:
        os.umask(previous)


def _read(path: str) -> bytes:
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise BadConfig(f"cannot read {path}: {error.strerror}") from None
