"""Array blobs: same arrays, same bytes; hostile bytes, one clear error."""

from __future__ import annotations

import contextlib
import io
import zipfile

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.privacy.arrays import pack_arrays, unpack_arrays
from tacit.privacy.errors import BadDocument

LIMIT = 1 << 20


def _arrays() -> dict[str, npt.NDArray[np.generic]]:
    return {
        "basis": np.arange(12, dtype=np.float64).reshape(4, 3),
        "counts": np.array([1, -2, 3], dtype=np.int64),
        "scalar": np.array(2.5),
        "empty": np.zeros((0, 5), dtype=np.float32),
    }


def test_arrays_round_trip() -> None:
    decoded = unpack_arrays(pack_arrays(_arrays()), LIMIT)
    assert set(decoded) == set(_arrays())
    for name, array in _arrays().items():
        assert decoded[name].dtype == array.dtype
        np.testing.assert_array_equal(decoded[name], array)


def test_equal_arrays_give_equal_bytes_whatever_their_layout_or_order() -> None:
    arrays = _arrays()
    basis = np.asarray(arrays["basis"], dtype=np.float64)
    other = dict(reversed(arrays.items()))
    other["basis"] = np.asfortranarray(basis.astype(">f8"))
    assert pack_arrays(other) == pack_arrays(arrays)


def test_numpy_reads_the_blob() -> None:
    with np.load(io.BytesIO(pack_arrays(_arrays())), allow_pickle=False) as loaded:
        np.testing.assert_array_equal(loaded["counts"], _arrays()["counts"])


@pytest.mark.parametrize(
    "bad",
    [
        {"x": np.array([object()])},
        {"x": np.array(["text"])},
        {"x": np.array([1j])},
        {"not a name": np.zeros(1)},
        {"../x": np.zeros(1)},
        {f"a{i}": np.zeros(1) for i in range(65)},
    ],
)
def test_packing_refuses_what_is_no_number(bad: dict[str, npt.NDArray[np.generic]]) -> None:
    with pytest.raises(BadDocument):
        pack_arrays(bad)


def _zip(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, body in entries.items():
            archive.writestr(name, body)
    return buffer.getvalue()


def _npy(array: npt.NDArray[np.generic], allow_pickle: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


def _claiming(shape: str) -> bytes:
    return _npy(np.zeros(4)).replace(b"(4,), ", shape.encode().ljust(6))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a zip",
        _zip({"x.npy": b""}),
        _zip({"x.npy": b"\x93NUMPY\x01\x00"}),
        _zip({"x.txt": _npy(np.zeros(1))}),
        _zip({"../x.npy": _npy(np.zeros(1))}),
        _zip({"x.npy": _npy(np.zeros(4))[:-1]}),
        _zip({"x.npy": _npy(np.zeros(4)) + b"\0"}),
        _zip({"x.npy": _claiming("(9**9,)")}),
        _zip({"x.npy": _claiming("(-4,),")}),
        _zip({"x.npy": _npy(np.array([{}]), allow_pickle=True)}),
        _zip({"x.npy": _npy(np.zeros(100_000))}, zipfile.ZIP_DEFLATED),
        _zip({f"a{i}.npy": _npy(np.zeros(1)) for i in range(65)}),
    ],
    ids=range(13),
)
def test_unpacking_refuses_hostile_bytes(data: bytes) -> None:
    with pytest.raises(BadDocument):
        unpack_arrays(data, LIMIT)


def test_unpacking_refuses_a_blob_beyond_the_limit() -> None:
    data = pack_arrays(_arrays())
    with pytest.raises(BadDocument, match="at most"):
        unpack_arrays(data, len(data) - 1)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2000), st.integers(0, 255))
def test_a_changed_byte_never_escapes_as_another_error(position: int, value: int) -> None:
    data = bytearray(pack_arrays(_arrays()))
    data[position % len(data)] = value
    with contextlib.suppress(BadDocument):
        unpack_arrays(bytes(data), LIMIT)


def _blob_with_header(header: str, body: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.npy", content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "shape",
    ["(-2, -3)", "(0, 2**70)", f"(0, {2**70})", "(True,)", "(" + "1," * 70 + ")", "(", "[]", "1"],
)
def test_hostile_headers_are_refused_in_one_way(shape: str) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
    with pytest.raises(BadDocument):
        unpack_arrays(_blob_with_header(header, bytes(48)), LIMIT)


@pytest.mark.parametrize("header", ["(" * 5000, "{[]: 1}", "{'descr': (", ""])
def test_headers_that_are_no_header_are_refused_in_one_way(header: str) -> None:
    with pytest.raises(BadDocument):
        unpack_arrays(_blob_with_header(header), LIMIT)


def test_entries_that_claim_more_than_the_blob_holds_are_refused() -> None:
    data = bytearray(pack_arrays({"a": np.zeros(100), "b": np.zeros(100)}))
    # Both directory entries now claim 1,400 bytes: either fits the blob, both do not.
    for start in (data.index(b"PK\x01\x02"), data.rindex(b"PK\x01\x02")):
        data[start + 20 : start + 28] = (1400).to_bytes(4, "little") * 2
    with pytest.raises(BadDocument, match="together"):
        unpack_arrays(bytes(data), LIMIT)
