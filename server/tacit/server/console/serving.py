"""The console's process: a certificate of its own, one socket on loopback, uvicorn."""

from __future__ import annotations

import datetime
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tacit.server.console.gate import Gate
from tacit.server.console.routes import routes
from tacit.server.console.services import Console
from tacit.server.errors import AddressInUse, BadConfig
from tacit.server.tls import issue, make_authority

_HOST = "127.0.0.1"
_RENEW_BEFORE = datetime.timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the console presents.

    Attributes:
        authority: File to import where browsers are to trust it.
        certificate, key: Its own files.
        fingerprint: SHA-256 of the certificate, as browsers show it.
    """

    authority: Path
    certificate: Path
    key: Path
    fingerprint: str


def console_certificate(directory: Path) -> Certificate:
    """Return the console's certificate, making a new one where there is none or it ends soon.

    The key of the authority that vouches for it is thrown away: it can never vouch for more.

    Raises:
        BadConfig: The files cannot be read or written.
    """
    authority, own, key = (directory / f"{name}.pem" for name in ("authority", "console", "key"))
    try:
        if not (own.exists() and key.exists() and authority.exists() and _lasts(own)):
            made = make_authority("Tacit console")
            authority.write_bytes(made.certificate_pem)
            issue(made, ["localhost", _HOST]).write(own, key)
        loaded = x509.load_pem_x509_certificate(own.read_bytes())
    except (OSError, ValueError) as error:
        raise BadConfig(f"{directory}: its certificate cannot be used: {error}") from None
    fingerprint = loaded.fingerprint(hashes.SHA256()).hex(":").upper()
    return Certificate(authority, own, key, fingerprint)


def serve(console: Console, ready: Callable[[str, Certificate], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        console: What is served.
        ready: Called with the origin once the port is held.

    Raises:
        AddressInUse: Another process has the port.
        BadConfig: As `console_certificate`.
    """
    certificate = console_certificate(console.config.directory)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_HOST, console.config.port))
            listener.listen(128)
        except OSError:
            raise AddressInUse(f"port {console.config.port} is in use; choose another") from None
        console.snapshots.warm()
        config = uvicorn.Config(
            Gate(console, routes()).application(),
            ssl_certfile=certificate.certificate,
            ssl_keyfile=certificate.key,
            http="h11",
            ws="none",
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_level="warning",
            limit_concurrency=512,
            timeout_graceful_shutdown=5,
        )
        ready(f"https://{_HOST}:{listener.getsockname()[1]}", certificate)
        uvicorn.Server(config).run([listener])


def _lasts(path: Path) -> bool:
    until = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    return until - datetime.datetime.now(datetime.UTC) > _RENEW_BEFORE
