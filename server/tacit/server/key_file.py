"""Files with one private signing key: 32 bytes in hexadecimal, for their owner alone."""

from __future__ import annotations

import os
from pathlib import Path

from tacit.privacy.signatures import SigningKey
from tacit.server.errors import BadConfig


def read_key_file(path: Path, what: str) -> SigningKey:
    """Read a key.

    Args:
        path: the file.
        what: names it in messages.

    Raises:
        BadConfig: if it cannot be read, or holds something else.
    """
    try:
        return SigningKey(bytes.fromhex(path.read_text(encoding="ascii").strip()))
    except (OSError, ValueError):
        raise BadConfig(f"{what}: expected a file with 64 hexadecimal digits") from None


def write_key_file(path: Path) -> SigningKey:
    """Make a key from the system's CSPRNG and write it, mode 0600; nothing is overwritten.

    Raises:
        FileExistsError: if the file is there.
        OSError: if it cannot be written.
    """
    key = SigningKey.generate(os.urandom)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key.private_bytes().hex())
    return key
