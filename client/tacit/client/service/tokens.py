"""App tokens: one file beside the store, which only the holder of the store's key can change.

Reading it does not open the store, so tokens can be issued, listed and revoked while the service
has the store open; it notices at the next call. A token is 32 bytes of the operating system's
CSPRNG; the file keeps its SHA-256, which needs no salt or stretching, for nobody can search 2^256
tokens. The file carries an HMAC under a key that the store's `KeyProvider` wraps: whoever can write
the file but not unwrap the key cannot add an app, or give one more. Putting back an older file
whole is not noticed; whoever can do that owns the account the device runs under.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import stat
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tacit.client.errors import KeyUnavailable
from tacit.client.keys import KEY_BYTES, KeyProvider, derive_key
from tacit.client.service.errors import BadGrant, ServiceError, TokensDamaged, Unauthenticated
from tacit.client.service.grants import Grant
from tacit.privacy.canonical import Fields, Json, canonical_json, parse_canonical
from tacit.privacy.errors import BadDocument

TYPE = "tacit.app-tokens/1"
_PURPOSE = b"tacit/device/app-tokens"
_TOKEN_BYTES = 32
_NOBODY = hashlib.sha256(b"").digest()


@dataclass(frozen=True, slots=True)
class _Held:
    """The file, parsed: the wrapped key, and app → (grant, digest of its token)."""

    wrapped_key: bytes
    apps: Mapping[str, tuple[Grant, bytes]]


class AppTokens:
    """The tokens of one store."""

    def __init__(self, store_path: Path, keys: KeyProvider) -> None:
        """Name the file; nothing is read or made yet.

        Args:
            store_path: of the store whose service the tokens open.
            keys: the store's.
        """
        self.path = store_path.with_name(store_path.name + ".apps")
        self._keys = keys
        self._key: tuple[bytes, bytes] | None = None
        self._read: tuple[tuple[int, ...], _Held] | None = None

    def issue(
        self, app: str, verbs: Sequence[str], surfaces: Sequence[str], issued_at_ms: int
    ) -> str:
        """Give an app a token; on the disk when this returns. The token is shown this once.

        Raises:
            BadGrant: if a name cannot be granted, or the app has a token already.
            TokensDamaged, KeyUnavailable: if the file is not this store's.
        """
        grant = Grant(app, tuple(verbs), tuple(surfaces), issued_at_ms)
        secret = os.urandom(_TOKEN_BYTES)
        with self._changing() as held:
            if app in held.apps:
                raise BadGrant("this app has a token; revoke it first")
            digest = hashlib.sha256(secret).digest()
            self._write(_Held(held.wrapped_key, {**held.apps, app: (grant, digest)}))
        return f"{app}:{base64.urlsafe_b64encode(secret).decode().rstrip('=')}"

    def revoke(self, app: str) -> Grant:
        """Take an app's token back; no call that begins after this returned gets in with it.

        Raises:
            BadGrant: if the app has none.
            TokensDamaged, KeyUnavailable: if the file is not this store's.
        """
        with self._changing() as held:
            if app not in held.apps:
                raise BadGrant("no app of this name has a token")
            rest = {name: kept for name, kept in held.apps.items() if name != app}
            self._write(_Held(held.wrapped_key, rest))
        return held.apps[app][0]

    def grants(self) -> tuple[Grant, ...]:
        """Return what was given, by name of the app.

        Raises:
            TokensDamaged, KeyUnavailable: if the file is not this store's.
        """
        return tuple(grant for _, (grant, _) in sorted(self._load().apps.items()))

    def admit(self, token: str) -> Grant:
        """Return what the bearer of a token may do.

        Compares digests in constant time, and an unknown app's like a known one's.

        Raises:
            Unauthenticated: if no app has this token now.
            TokensDamaged, KeyUnavailable: if the file is not this store's.
        """
        app, _, secret = token.partition(":")
        grant, digest = self._load().apps.get(app, (None, _NOBODY))
        if not hmac.compare_digest(_digest(secret), digest) or grant is None:
            raise Unauthenticated("expected a token that was issued and not revoked")
        return grant

    def _load(self) -> _Held:
        """Read the file if it changed since it was read last."""
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                version = (found.st_ino, found.st_mtime_ns, found.st_size)
                if self._read is not None and self._read[0] == version:
                    return self._read[1]
                if stat.S_IMODE(found.st_mode) & 0o077:
                    raise TokensDamaged(f"{self.path}: expected mode 0600")
                held = self._parse(file.read())
        except FileNotFoundError:
            return _Held(b"", {})
        except OSError as error:
            raise TokensDamaged(f"{self.path}: cannot be read ({error.strerror})") from None
        self._read = (version, held)
        return held

    def _parse(self, content: bytes) -> _Held:
        try:
            document = parse_canonical(content)
            stated = bytes.fromhex(str(document.pop("mac", "")))
            fields = Fields(document, "app tokens")
            if fields.text("type") != TYPE:
                raise BadDocument(f"expected {TYPE}")
            wrapped = bytes.fromhex(fields.text("wrapped_key", max_length=1024))
            computed = hmac.digest(self._unwrapped(wrapped), canonical_json(document), "sha256")
            if not hmac.compare_digest(stated, computed):
                raise BadDocument("it was altered without the store's key")
            apps = dict(_app(one) for one in fields.objects("apps"))
            fields.done()
        except KeyUnavailable:
            raise TokensDamaged(f"{self.path}: it belongs to another store") from None
        except (BadDocument, ValueError, ServiceError) as error:
            raise TokensDamaged(f"{self.path}: expected this store's app tokens; {error}") from None
        return _Held(wrapped, apps)

    def _unwrapped(self, wrapped: bytes) -> bytes:
        # A passphrase takes 0.1 s to derive, so once for each wrapping.
        if self._key is None or self._key[0] != wrapped:
            self._key = wrapped, derive_key(self._keys.unwrap(wrapped, _PURPOSE), b"app-tokens")
        return self._key[1]

    @contextmanager
    def _changing(self) -> Generator[_Held]:
        """Keep other changers out from reading to writing."""
        lock = os.open(self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            held = self._load()
            if not held.wrapped_key:
                held = _Held(self._keys.wrap(os.urandom(KEY_BYTES), _PURPOSE), {})
            yield held
        finally:
            os.close(lock)

    def _write(self, held: _Held) -> None:
        document: dict[str, Json] = {
            "type": TYPE,
            "wrapped_key": held.wrapped_key.hex(),
            "apps": [
                {
                    "app": app,
                    "verbs": list(grant.verbs),
                    "surfaces": list(grant.surfaces),
                    "issued_at_ms": grant.issued_at_ms,
                    "token_sha256": digest.hex(),
                }
                for app, (grant, digest) in sorted(held.apps.items())
            ],
        }
        key = self._unwrapped(held.wrapped_key)
        document["mac"] = hmac.digest(key, canonical_json(document), "sha256").hex()
        # Aside and then renamed: a kill midway leaves the old file or the new one.
        unfinished = self.path.with_name(self.path.name + ".part")
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(canonical_json(document))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.path)
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _app(document: dict[str, Json]) -> tuple[str, tuple[Grant, bytes]]:
    fields = Fields(document, "app")
    grant = Grant(
        fields.text("app"),
        fields.texts("verbs"),
        fields.texts("surfaces"),
        fields.integer("issued_at_ms", 0),
    )
    digest = bytes.fromhex(fields.text("token_sha256"))
    fields.done()
    return grant.app, (grant, digest)


def _digest(secret: str) -> bytes:
    """Return the SHA-256 of a secret as it was given out; of nothing that exists if malformed."""
    try:
        padded = secret + "=" * (-len(secret) % 4)
        return hashlib.sha256(base64.b64decode(padded, altchars=b"-_", validate=True)).digest()
    except ValueError:
        return bytes(32)
