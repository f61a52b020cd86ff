"""Files that appear whole or not at all, and stay once written."""

from __future__ import annotations

import os
from pathlib import Path


def write_durably(
    path: Path, content: bytes, *, temporary: Path | None = None, mode: int = 0o600
) -> None:
    """Write a file; when this returns it survives the loss of power.

    Crash before the rename: the earlier file stands, if there was one, beside a stray temporary
    file. After it, before the directory is synced: either may be there after power loss, and the
    caller was not answered.

    Args:
        path: the file; replaced if it is there.
        content: its bytes.
        temporary: where they are written first, in the same directory; by default a hidden name
            made of the file's. Callers that may write one file at once name different ones.
        mode: permissions of a new file, less the umask.

    Raises:
        OSError: if it cannot be written.
    """
    temporary = temporary or path.with_name(f".{path.name}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
