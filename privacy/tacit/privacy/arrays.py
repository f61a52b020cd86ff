"""Array blobs: named numeric arrays as one byte string that is hashed and shipped.

Round contexts and models travel as `.npz` files, so that any numpy reads them. The same arrays
always give the same bytes (names sorted, nothing compressed, time stamps fixed), and reading never
unpickles, never allocates more than the bytes at hand, and refuses anything but numbers.
"""

from __future__ import annotations

import io
import math
import struct
import tokenize
import zipfile
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tacit.privacy.errors import BadDocument

MAX_ARRAYS = 64
"""More arrays than this in one blob are refused."""

_KINDS = frozenset("fiub")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MAX_NAME = 64
_MAX_DIMENSIONS = 8


def pack_arrays(arrays: Mapping[str, npt.NDArray[np.generic]]) -> bytes:
    """Encode named arrays; equal arrays give equal bytes.

    Args:
        arrays: ASCII identifiers → arrays of numbers or booleans, of any shape.

    Raises:
        BadDocument: if there are too many arrays, a name is no identifier, or an array holds
            anything but numbers.
    """
    if len(arrays) > MAX_ARRAYS:
        raise BadDocument(f"expected at most {MAX_ARRAYS} arrays, got {len(arrays)}")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            _check_name(name)
            array = np.asarray(arrays[name])
            _check_dtype(array.dtype)
            # One byte order and one memory order, so that equal arrays have equal bytes.
            little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
            content = io.BytesIO()
            np.lib.format.write_array(content, little, version=(1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), content.getvalue())
    return buffer.getvalue()


def unpack_arrays(data: bytes, max_bytes: int) -> dict[str, npt.NDArray[np.generic]]:
    """Decode a blob written by `pack_arrays`.

    Args:
        data: the blob; its digest should have been checked already.
        max_bytes: largest acceptable blob.

    Returns:
        Read-only arrays that share memory with the decoded entries.

    Raises:
        BadDocument: if the blob is too large, is no uncompressed zip of `.npy` entries, or an
            entry's header does not match its size.
    """
    if len(data) > max_bytes:
        raise BadDocument(f"expected at most {max_bytes} bytes of arrays, got {len(data)}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check_entries(entries, len(data))
            contents = {entry.filename: archive.read(entry) for entry in entries}
    except BadDocument:
        raise
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, struct.error):
        # RuntimeError: an entry claims to be encrypted; ValueError: its name is no text.
        raise BadDocument("expected an array blob, got bytes that are no readable zip") from None
    return {name.removesuffix(".npy"): _parse(name, body) for name, body in contents.items()}


def _check_entries(entries: list[zipfile.ZipInfo], limit: int) -> None:
    names = [entry.filename for entry in entries]
    if len(entries) > MAX_ARRAYS or len(set(names)) != len(names):
        raise BadDocument(f"expected at most {MAX_ARRAYS} distinct arrays, got {len(entries)}")
    if sum(entry.file_size for entry in entries) > limit:
        # Entries that overlap would unpack to more memory than the blob has bytes.
        raise BadDocument("expected entries that together fit the size of the blob")
    for entry in entries:
        if not entry.filename.endswith(".npy"):
            raise BadDocument("expected only .npy entries in an array blob")
        _check_name(entry.filename.removesuffix(".npy"))
        if entry.compress_type != zipfile.ZIP_STORED:
            raise BadDocument("expected uncompressed entries in an array blob")


def _parse(name: str, body: bytes) -> npt.NDArray[np.generic]:
    stream = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise BadDocument(f"{name}: expected npy format 1.0, got {version[0]}.{version[1]}")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    except BadDocument:
        raise
    except (ValueError, TypeError, EOFError, RecursionError, tokenize.TokenError):
        # numpy reads the header as Python source, and tokenizes it when it is none.
        raise BadDocument(f"{name}: expected a well-formed npy header") from None
    _check_dtype(dtype)
    if len(shape) > _MAX_DIMENSIONS or not all(
        type(size) is int and 0 <= size <= len(body) for size in shape
    ):
        raise BadDocument(f"{name}: expected at most {_MAX_DIMENSIONS} dimensions that fit")
    count = math.prod(shape)
    remaining = len(body) - stream.tell()
    if fortran_order or count * dtype.itemsize != remaining:
        raise BadDocument(
            f"{name}: expected {count} C-ordered values of {dtype.itemsize} bytes, "
            f"got {remaining} bytes"
        )
    flat: npt.NDArray[np.generic] = np.frombuffer(body, dtype=dtype, offset=stream.tell())
    return flat.reshape(shape)


def _check_dtype(dtype: np.dtype[np.generic]) -> None:
    if dtype.kind not in _KINDS or dtype.hasobject:
        raise BadDocument(f"expected arrays of numbers, got dtype kind {dtype.kind!r}")


def _check_name(name: str) -> None:
    if not (name.isascii() and name.isidentifier() and len(name) <= _MAX_NAME):
        raise BadDocument(f"expected array names to be ASCII identifiers up to {_MAX_NAME} long")
