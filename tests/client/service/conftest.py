"""A served profile, and apps that call it with their own tokens."""

from __future__ import annotations

import datetime
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tacit.client import Catalogue, FileKeyProvider, Personalizer
from tacit.client.service import EVERYWHERE, VERBS, PersonalizerServer
from tacit.v1 import personalizer_pb2_grpc

GROUPS = ("Kitchen", "Garden", "Study", "Music")


class App:
    """One app with a token of its own; `app.Track(request)` calls with it."""

    def __init__(self, socket: Path, token: str) -> None:
        self._channel = grpc.insecure_channel(f"unix:{socket}")
        self._stub = personalizer_pb2_grpc.PersonalizerServiceStub(self._channel)
        self.metadata = (("authorization", f"Bearer {token}"),)

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._stub, name)

        def with_token(request: Any, timeout: float = 20.0) -> Any:
            return call(request, metadata=self.metadata, timeout=timeout)

        return with_token

    def close(self) -> None:
        self._channel.close()


class Served:
    """A profile with 24 items, its server, and its apps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "p.db"
        self.keys = FileKeyProvider(folder / "p.key")
        self.catalogue = Catalogue.build((f"i{n}", f"Item {n}", [GROUPS[n % 4]]) for n in range(24))
        self.socket = folder / "run" / "tacit.sock"
        self.apps: list[App] = []
        self.server: PersonalizerServer | None = None

    def open(self) -> Personalizer:
        return Personalizer.open(self.store, self.keys, self.catalogue, exploration=None)

    def serve(self, **options: Any) -> PersonalizerServer:
        self.server = PersonalizerServer(self.socket, self.open, self.keys, **options)
        return self.server

    def app(
        self,
        name: str = "shop",
        verbs: tuple[str, ...] = VERBS,
        surfaces: tuple[str, ...] = (EVERYWHERE,),
    ) -> App:
        assert self.server is not None
        return self.app_with(self.server.tokens.issue(name, verbs, surfaces, 0))

    def app_with(self, token: str) -> App:
        self.apps.append(App(self.socket, token))
        return self.apps[-1]

    def close(self) -> None:
        for app in self.apps:
            app.close()
        if self.server is not None:
            self.server.close()


@pytest.fixture
def served() -> Iterator[Served]:
    # Not tmp_path: a socket's path has to be short.
    folder = Path(tempfile.mkdtemp(prefix="tacit-"))
    made = Served(folder)
    yield made
    made.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def authority() -> bytes:
    """A certificate of an authority that vouches for nobody."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    day = datetime.datetime(2026, 1, 1)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    built = built.public_key(key.public_key()).serial_number(1)
    built = built.not_valid_before(day).not_valid_after(day + datetime.timedelta(days=9999))
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
