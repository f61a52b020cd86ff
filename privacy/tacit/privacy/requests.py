"""The bytes a caller signs to authenticate one request.

A signature over these bytes, in context `"request"`, binds the method, the time, the nonce and the
body: a request recorded on the wire is worth nothing for another method, later, or twice.
"""

from __future__ import annotations

import struct

from tacit.privacy.errors import BadParameter

NONCE_BYTES = 16
SIGNING_CONTEXT = "request"


def request_bytes(method: str, issued_at_ms: int, nonce: bytes, body: bytes) -> bytes:
    """Frame a request for signing.

    The framing is injective: u16 length ‖ method ‖ u64 time ‖ 16-byte nonce ‖ body, big-endian.

    Args:
        method: full gRPC path, for example `/tacit.v1.DeviceService/CheckIn`.
        issued_at_ms: Unix time in milliseconds, in [0, 2^63).
        nonce: 16 random bytes.
        body: the serialised message.

    Raises:
        BadParameter: if a part has the wrong size or range.
    """
    name = method.encode("utf-8")
    if len(nonce) != NONCE_BYTES:
        raise BadParameter(f"expected a nonce of {NONCE_BYTES} bytes, got {len(nonce)}")
    if not 0 <= issued_at_ms < 2**63:
        raise BadParameter("expected a request time in [0, 2^63) milliseconds")
    if not 0 < len(name) < 2**16:
        raise BadParameter("expected a method name of 1 to 65535 bytes")
    return struct.pack(">H", len(name)) + name + struct.pack(">Q", issued_at_ms) + nonce + body
