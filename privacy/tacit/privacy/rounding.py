"""Randomness for stochastic rounding, reproducible by the device that owns the key and no other.

Rounding must be unpredictable to the server (it hides low-order bits) yet identical when a device
sends again after a crash: two different roundings of one contribution would be two releases of it.
The stream is therefore a function of a device secret and of the round, not of a generator's state.
It protects nothing that the noise does not also protect; epsilon does not rest on it.
"""

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tacit.privacy.errors import BadParameter

_KEY_BYTES = 32
_SALT = b"tacit/rounding/1"


class RoundingStream:
    """One user's uniforms for one round.

    The ChaCha20 key is HKDF-SHA256 (RFC 5869) of the device secret with `info`; the attempt number
    is the nonce, so attempts never share keystream. Uniforms are equidistributed on 0..65535 under
    the assumption that ChaCha20 is a pseudorandom function.

    Args:
        key: Device secret, 32 bytes from the operating system's CSPRNG.
        info: What the stream is for: task digest followed by the round. Never empty.

    Raises:
        BadParameter: The key is not 32 bytes, or `info` is empty.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes, info: bytes) -> None:
        if len(key) != _KEY_BYTES:
            raise BadParameter(f"rounding key: expected {_KEY_BYTES} bytes, got {len(key)}")
        if not info:
            raise BadParameter("rounding info: expected the task digest and round, got nothing")
        self._key = HKDF(SHA256(), _KEY_BYTES, _SALT, info).derive(key)

    def uniform16(self, n: int, attempt: int) -> npt.NDArray[np.uint16]:
        """Return the first `n` uniforms of one attempt, ``(n,)``.

        Pre-conditions: ``n >= 0`` and ``attempt >= 0``.
        Post-condition: a prefix property, ``uniform16(m, a)[:n] == uniform16(n, a)`` for n <= m.
        """
        nonce = bytes(8) + attempt.to_bytes(8, "little")
        stream = Cipher(ChaCha20(self._key, nonce), mode=None).encryptor().update(bytes(2 * n))
        return np.frombuffer(stream, dtype="<u2").astype(np.uint16, copy=False)
