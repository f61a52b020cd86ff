"""Serve a witness over HTTP until told to stop."""

from __future__ import annotations

import logging
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

from tacit.privacy.add_checkpoint import MAX_REQUEST_BYTES
from tacit.server.errors import AddressInUse, BadConfig
from tacit.server.process import stop_event
from tacit.server.witness.config import WitnessConfig
from tacit.server.witness.node import Answer, WitnessNode

logger = logging.getLogger("tacit.witness")

_PATH = "/add-checkpoint"
_IDLE_S = 30.0


class WitnessServer:
    """A witness that is being served.

    Attributes:
        node: what answers.
        url: the submission prefix, as bound.
    """

    def __init__(self, config: WitnessConfig) -> None:
        """Open the memory and bind the address; `start` begins to answer.

        Raises:
            AddressInUse: if the address cannot be bound.
            BadConfig, StateCorrupt: as `WitnessNode`.
        """
        host, _, port = config.address.rpartition(":")
        context = _tls(config)
        self.node = WitnessNode(config)
        try:
            self._http = _Http((host, int(port)), self.node)
        except (OSError, ValueError, OverflowError):
            self.node.close()
            raise AddressInUse(f"{config.address}: cannot be bound; is it in use?") from None
        if context is not None:
            # The handshake is left to the connection's own thread: a caller that never speaks
            # must not keep the others waiting.
            self._http.socket = context.wrap_socket(
                self._http.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "https" if context else "http"
        self.url = f"{scheme}://{host}:{self._http.server_address[1]}"
        self._thread = threading.Thread(
            target=self._http.serve_forever, name="witness", daemon=True
        )

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering, then close the memory."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self.node.close()


def serve(config: WitnessConfig) -> None:
    """Serve until SIGTERM or SIGINT; prints `ready URL VERIFIER_KEY` once callers may connect.

    Raises:
        AddressInUse, BadConfig, StateCorrupt: if the witness cannot start.
    """
    stopped = stop_event()
    server = WitnessServer(config)
    server.start()
    key = server.node.witness.verifier_key
    print(f"ready {server.url} {key}", flush=True)  # noqa: T201 - people and parents read this
    stopped.wait()
    server.stop()


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], node: WitnessNode) -> None:
        self.node = node
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "tacit-witness"
    sys_version = ""
    timeout = _IDLE_S

    def do_POST(self) -> None:
        """Answer `add-checkpoint`."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_REQUEST_BYTES:
            # What was not read would be taken for the next request on this connection.
            self.close_connection = True
            self._send(Answer(413 if length.isdecimal() else 411, b"expected a short body\n"))
            return
        body = self.rfile.read(int(length))
        if self.path != _PATH:
            self._send(Answer(404, b"expected POST /add-checkpoint\n"))
            return
        answer = cast(_Http, self.server).node.add_checkpoint(body)
        if answer.status != 200:
            logger.info("add-checkpoint refused with status %d", answer.status)
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class
        """Keep addresses of callers out of the log."""


def _tls(config: WitnessConfig) -> ssl.SSLContext | None:
    if not config.tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.tls_certificate, config.tls_key)
    except (OSError, ssl.SSLError):
        raise BadConfig("witness: TLS files: expected a PEM certificate and its key") from None
    return context
