"""Who is calling: signed requests, sealed by callers and opened once by the server they are for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from tacit.privacy.errors import PrivacyError
from tacit.privacy.requests import NONCE_BYTES, SIGNING_CONTEXT, request_bytes
from tacit.privacy.signatures import SigningKey, verify
from tacit.server.errors import Exhausted, Unauthenticated
from tacit.v1.auth_pb2 import SignedRequest

__all__ = ["MAX_SKEW_MS", "RequestVerifier", "Unauthenticated", "seal"]

MAX_SKEW_MS = 60_000
MAX_REMEMBERED = 1_000_000


def seal(
    key: SigningKey,
    method: str,
    body: bytes,
    now_ms: int,
    random_bytes: Callable[[int], bytes],
) -> SignedRequest:
    """Sign one request; each call takes a fresh nonce, so a retry must be sealed again.

    Args:
        key: the caller's key.
        method: full gRPC path, `/package.Service/Method`.
        body: the serialised message.
        now_ms: Unix time in milliseconds.
        random_bytes: the operating system's randomness in production.
    """
    nonce = random_bytes(NONCE_BYTES)
    signature = key.sign(SIGNING_CONTEXT, request_bytes(method, now_ms, nonce, body))
    return SignedRequest(
        key_id=key.key_id, issued_at_ms=now_ms, nonce=nonce, body=body, signature=signature
    )


class RequestVerifier:
    """Open signed requests: each at most once, and only near the time it was signed.

    A nonce is remembered until the request that carried it would be refused as stale, so memory is
    bounded by the rate of valid requests; only verified requests are remembered. A restart empties
    the memory: someone inside the TLS channel could then replay a request of the last minute, which
    is why every method that changes state is also idempotent or bound to a sequence of its own.

    Thread-safe.
    """

    def __init__(
        self,
        public_key_of: Callable[[str], bytes | None],
        now_ms: Callable[[], int],
        max_skew_ms: int = MAX_SKEW_MS,
    ) -> None:
        """Set up.

        Args:
            public_key_of: key id → 32-byte public key, or None for an unknown caller.
            now_ms: the server's clock, Unix milliseconds.
            max_skew_ms: furthest a request's time may be from the server's.
        """
        self._public_key_of = public_key_of
        self._now_ms = now_ms
        self._max_skew_ms = max_skew_ms
        self._lock = threading.Lock()
        self._seen: set[tuple[str, bytes]] = set()
        self._order: deque[tuple[int, tuple[str, bytes]]] = deque()

    def open(self, method: str, request: SignedRequest) -> tuple[str, bytes]:
        """Verify a request for `method` and return (key id, body).

        Raises:
            Unauthenticated: unknown key, bad signature, stale, from the future, or replayed.
            Exhausted: more fresh requests are remembered than fit in memory.
        """
        now = self._now_ms()
        public_key = self._public_key_of(request.key_id)
        if public_key is None:
            raise Unauthenticated("the request is signed by a key this server does not know")
        try:
            message = request_bytes(method, request.issued_at_ms, request.nonce, request.body)
            verify(public_key, SIGNING_CONTEXT, message, request.signature)
        except PrivacyError:
            raise Unauthenticated(f"{request.key_id}: the signature does not verify") from None
        if abs(now - request.issued_at_ms) > self._max_skew_ms:
            raise Unauthenticated(
                f"{request.key_id}: expected a request signed within {self._max_skew_ms / 1000:g} s"
                f" of the server's clock, got {(now - request.issued_at_ms) / 1000:.1f} s"
            )
        self._remember(request, now)
        return request.key_id, request.body

    def _remember(self, request: SignedRequest, now: int) -> None:
        mark = (request.key_id, request.nonce)
        with self._lock:
            # A request stays acceptable until issued_at + skew, so no nonce is dropped before.
            while self._order and self._order[0][0] < now:
                self._seen.discard(self._order.popleft()[1])
            if mark in self._seen:
                raise Unauthenticated(f"{request.key_id}: the request was seen before")
            if len(self._seen) >= MAX_REMEMBERED:
                raise Exhausted("too many requests within the replay window")
            self._seen.add(mark)
            self._order.append((now + 2 * self._max_skew_ms, mark))
