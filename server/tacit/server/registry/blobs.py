"""Public blobs by their SHA-256: round contexts, models, catalogues."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from tacit.server.durable_file import write_durably
from tacit.server.errors import InvalidRequest, NotFound, StateCorrupt

MAX_BLOB_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 256 * 1024


class BlobStore:
    """Keep blobs in a directory, one file per digest; a file that exists is whole and durable."""

    def __init__(self, directory: Path, max_bytes: int = MAX_BLOB_BYTES) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        directory.mkdir(parents=True, exist_ok=True)

    def put(self, content: bytes) -> bytes:
        """Store a blob durably and return its 32-byte digest; storing it again changes nothing.

        Raises:
            InvalidRequest: if it is empty or too large.
        """
        if not 0 < len(content) <= self._max_bytes:
            raise InvalidRequest(
                f"expected a blob of 1 to {self._max_bytes} bytes, got {len(content)}"
            )
        digest = hashlib.sha256(content).digest()
        path = self._path(digest)
        if path.exists():
            return digest
        temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
        write_durably(path, content, temporary=temporary, mode=0o666)
        return digest

    def size(self, digest: bytes) -> int | None:
        """Return the size in bytes of a stored blob, None if it is not there."""
        path = self._path(digest)
        return path.stat().st_size if path.exists() else None

    def get(self, digest: bytes) -> bytes:
        """Return a blob.

        Raises:
            NotFound: if there is none.
            StateCorrupt: if the file no longer has its digest.
        """
        try:
            content = self._path(digest).read_bytes()
        except FileNotFoundError:
            raise NotFound("there is no blob with this digest") from None
        if hashlib.sha256(content).digest() != digest:
            raise StateCorrupt("a stored blob no longer has its digest")
        return content

    def chunks(self, digest: bytes) -> Iterator[bytes]:
        """Yield a blob in pieces small enough for one message; raises as `get` does."""
        content = self.get(digest)
        for start in range(0, len(content), CHUNK_BYTES):
            yield content[start : start + CHUNK_BYTES]

    def _path(self, digest: bytes) -> Path:
        if len(digest) != 32:
            raise InvalidRequest(f"expected a SHA-256 digest of 32 bytes, got {len(digest)}")
        return self._directory / digest.hex()
