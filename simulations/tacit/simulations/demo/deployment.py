"""The files of one deployment on one machine: keys, certificates, addresses, configurations.

STATE/
  demo.json          what was asked
  keys/              signing keys of every role, the officers and the witness (0600)
  tls/               the deployment's own authority and server certificate
  ledger/            the ledger node: database, blobs
  witness/           what an outsider remembers of the ledger's logs
  flower/            SuperNode key, CLI profile; the SuperLink keeps its messages in memory
  gateway/           configuration, bridge socket
  coordinator/       configuration, checkpoint, log
  fleet/             one folder a device, their keys, the fleet's report
  logs/              one log a process
  ledger-export/     what `tacit ledger verify` reads
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tacit.privacy.cosignature import Witness
from tacit.privacy.signatures import SigningKey
from tacit.server import tls
from tacit.server.coordinator.superlink import FlowerFiles

POPULATION = "demo"
ACCOUNT = "demo"
WITNESS = "tacit.demo/witness"
OFFICERS = ("officer-1", "officer-2")
"""Whose approval a change of the account's terms takes; the demo itself never uses their keys."""
ROLES = ("ledger", "operator", "gateway", "coordinator", "auditor", "witness", *OFFICERS)
_MAX_SOCKET_PATH = 100
_FOLDERS = ["keys", "tls", "ledger", "witness", "flower", "gateway", "coordinator", "fleet", "logs"]


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports, free when they were chosen."""

    ledger: int
    gateway: int
    superlink: int
    supernode: int
    witness: int

    @classmethod
    def choose(cls) -> Ports:
        """Ask the operating system for free ports."""
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in dataclasses.fields(cls)]
            for s in sockets:
                s.bind(("127.0.0.1", 0))
            return cls(*(s.getsockname()[1] for s in sockets))


class Deployment:
    """Creates or opens the state directory and knows where everything is.

    Args:
        state: the directory; made if it is not there, its keys kept if it is.
    """

    def __init__(self, state: pathlib.Path) -> None:
        self.state = state.resolve()
        self.ports = Ports.choose()
        # Of its own, or `parents` below would make it with the mode of any other folder.
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in _FOLDERS:
            (self.state / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        self.keys = {role: self._signing_key(role) for role in ROLES}
        self._make_certificates()
        self._make_node_key()
        self._socket_dir: str | None = None

    def path(self, *parts: str) -> pathlib.Path:
        """Return a path below the state directory."""
        return self.state.joinpath(*parts)

    def address(self, name: str) -> str:
        """Return the loopback address of a process, by its name among `Ports`."""
        return f"127.0.0.1:{getattr(self.ports, name)}"

    def key_file(self, role: str) -> pathlib.Path:
        """Return the file of a role's signing key."""
        return self.path("keys", f"{role}.key")

    @property
    def witness(self) -> Witness:
        """The witness that cosigns what the ledger publishes."""
        return Witness(WITNESS, self.keys["witness"].public_key)

    @property
    def authority_pem(self) -> bytes:
        """The certificate that every TLS client here pins."""
        return self.path("tls", "authority.pem").read_bytes()

    @property
    def bridge_socket(self) -> pathlib.Path:
        """The gateway's unix socket; in a private temporary folder if our path is too long."""
        preferred = self.path("gateway", "bridge.sock")
        if len(str(preferred)) <= _MAX_SOCKET_PATH:
            return preferred
        if self._socket_dir is None:
            self._socket_dir = tempfile.mkdtemp(prefix="tacit-")
        return pathlib.Path(self._socket_dir, "bridge.sock")

    def flower(self) -> FlowerFiles:
        """Return Flower's files.

        Nothing of ours depends on an earlier run of Flower: the coordinator resumes from its own
        checkpoint, so a message of a run that died must not be delivered again.
        """
        files = FlowerFiles(
            home=self.path("flower", "home"),
            tls_certificate=self.path("tls", "server.pem"),
            tls_key=self.path("tls", "server.key"),
            tls_authority=self.path("tls", "authority.pem"),
            superlink_port=self.ports.superlink,
            supernode_port=self.ports.supernode,
            node_key=self.path("flower", "node.key"),
            node_public_key=self.path("flower", "node.pub"),
        )
        files.write_home()
        return files

    def write_config(self, part: str, document: Mapping[str, object]) -> pathlib.Path:
        """Write one process's configuration, readable by this user only."""
        path = self.path(part, "config.json")
        _write_private(path, (json.dumps(document, indent=2) + "\n").encode())
        return path

    def clean_up(self) -> None:
        """Remove what lies outside the state directory."""
        if self._socket_dir is not None:
            shutil.rmtree(self._socket_dir, ignore_errors=True)

    def _signing_key(self, role: str) -> SigningKey:
        path = self.key_file(role)
        if not path.exists():
            _write_private(path, os.urandom(32).hex().encode("ascii"))
        return SigningKey(bytes.fromhex(path.read_text(encoding="ascii")))

    def _make_certificates(self) -> None:
        certificate = self.path("tls", "server.pem")
        if certificate.exists():
            return
        # The authority's private key is dropped: this deployment needs one certificate, once.
        authority = tls.make_authority()
        self.path("tls", "authority.pem").write_bytes(authority.certificate_pem)
        tls.issue(authority, ["127.0.0.1", "localhost"]).write(
            certificate, self.path("tls", "server.key")
        )

    def _make_node_key(self) -> None:
        private, public = self.path("flower", "node.key"), self.path("flower", "node.pub")
        if public.exists():
            return
        key = ec.generate_private_key(ec.SECP384R1())
        _write_private(
            private,
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.OpenSSH,
                serialization.NoEncryption(),
            ),
        )
        public.write_bytes(
            key.public_key().public_bytes(
                serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
            )
        )


def _write_private(path: pathlib.Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
