"""Consent events made small before they are sealed: most of an event is the same in all of them.

DEFLATE (RFC 1951) with a preset dictionary, which both sides know and no row has to hold. Rows from
before it hold the plain JSON, which begins with a brace, and read back as they are.
"""

from __future__ import annotations

import zlib

from tacit.privacy.consent import MAX_EVENT_BYTES
from tacit.server.errors import StateCorrupt

_VERSION = b"\1"
# Part of the format: rows written with it can only be read with it. What is common stands last.
_DICTIONARY = (
    b'"decide""measure""basic""contextual""requested""refused""withdrawn""expired""invalidated"'
    b'"contract""legitimate_interest""implied""browser_signal""prompt""settings""page_view""dwell"'
    b'"scroll""search""add_to_cart""purchase""preference""time_of_day""rating""product_view"'
    b'{"controller":"","event_time_ms":17,"gpc":{"conflict":false,"present":false},'
    b'"jurisdiction":"EU","lawful_basis":"consent","method":"settings","notice":{"id":"privacy",'
    b'"language":"en","served_at_ms":17,"sha256":"","version":"1"},"prev_commitment":"'
    b'0000000000000000000000000000000000000000000000000000000000000000","purpose":"learn",'
    b'"recipients":[],"record_id":"","retention_days":365,"schema":"tacit.consent/1","seq":1,'
    b'"signals":["product_view","rating"],"state":"given","storage_location":"EU",'
    b'"subject_pseudonym":"","valid_until_ms":17,"withdrawal_uri":"app:settings"}'
)


def pack(event: bytes) -> bytes:
    """Return an event's canonical JSON, smaller."""
    packing = zlib.compressobj(level=6, wbits=-15, zdict=_DICTIONARY)
    return _VERSION + packing.compress(event) + packing.flush()


def unpack(packed: bytes) -> bytes:
    """Return what was packed, byte for byte, or an event of before it was.

    Raises:
        StateCorrupt: if it is neither.
    """
    if packed[:1] == b"{":
        return packed
    if packed[:1] != _VERSION:
        raise StateCorrupt("a stored consent event is of another version of tacit")
    unpacking = zlib.decompressobj(wbits=-15, zdict=_DICTIONARY)
    try:
        event = unpacking.decompress(packed[1:], MAX_EVENT_BYTES)
    except zlib.error:
        raise StateCorrupt("a stored consent event cannot be unpacked") from None
    if not unpacking.eof or unpacking.unused_data:
        raise StateCorrupt("a stored consent event cannot be unpacked")
    return event
