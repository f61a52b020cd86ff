"""The node's configuration: one JSON file, unknown keys refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from tacit.privacy.cosignature import Quorum, Witness
from tacit.privacy.errors import BadParameter
from tacit.privacy.signatures import PUBLIC_KEY_BYTES, SigningKey, key_id
from tacit.server.errors import BadConfig
from tacit.server.key_file import read_key_file
from tacit.server.ledger.log import CONSENT, GOVERNANCE
from tacit.server.witness.client import WitnessAddress

OFFICER = "officer"
ROLES = ("gateway", "coordinator", "operator", "auditor", OFFICER)
_ORIGIN = re.compile(r"[0-9A-Za-z._-]{1,100}")
DEFAULT_MAP_PERIOD_S = 60.0
_KEYS = (
    "state_dir",
    "address",
    "tls_certificate",
    "tls_key",
    "signing_key",
    "origin",
    "principals",
)
_OPTIONAL_KEYS = ("database", "anchor", "witnesses", "map_period_s")
_NOT_TEXT = ("principals", "witnesses", "map_period_s")


@dataclass(frozen=True, slots=True)
class Principal:
    """A server or person that may call the node.

    Attributes:
        name: for people to read.
        role: one of `ROLES`.
        public_key: 32 bytes.
        person: who holds the key, where one person holds several; empty for `name`.
    """

    name: str
    role: str
    public_key: bytes
    person: str = ""

    @property
    def key_id(self) -> str:
        """Name of the key, which requests and entries carry."""
        return key_id(self.public_key)

    @property
    def holder(self) -> str:
        """Who holds the key: four eyes are two holders, whatever number of keys they have."""
        return self.person or self.name


@dataclass(frozen=True, slots=True)
class LedgerConfig:
    """Where the node listens, what it is called, whom it trusts.

    Attributes:
        state_dir: directory of the blobs and, by default, the database; no other process may use
            it.
        address: host:port; port 0 takes a free one.
        tls_certificate, tls_key: PEM files.
        signing_key: file with the node's 32 private bytes in hexadecimal.
        origin: name of the deployment, for example `tacit.example`; the logs are
            `<origin>/governance` and `<origin>/consent`.
        principals: everyone but devices.
        witnesses: who cosigns what both logs publish, and where they listen.
        database: `postgresql://user@host/name`, or empty for SQLite in the state directory. It may
            hold a password, so it is never shown.
        anchor: directory of the checkpoints this node signed last, which a database that was put
            back to an older state contradicts; keep it off the database's disk and out of its
            backups. By default beside the state directory, with `.anchor` added to its name.
        map_period_s: the current-state map is published this often where consents changed, and at
            once for a device that needs it; seconds, above 0, `map_period_s` in the file may be
            left out.
    """

    state_dir: Path
    address: str
    tls_certificate: Path
    tls_key: Path
    signing_key: Path
    origin: str
    principals: tuple[Principal, ...]
    witnesses: tuple[WitnessAddress, ...] = ()
    database: str = field(default="", repr=False)
    anchor: Path | None = None
    map_period_s: float = DEFAULT_MAP_PERIOD_S

    @property
    def anchor_dir(self) -> Path:
        """Where the anchor is."""
        return self.anchor or self.state_dir.with_name(self.state_dir.name + ".anchor")

    @property
    def origins(self) -> Mapping[str, str]:
        """Log name → origin on its checkpoints."""
        return {name: f"{self.origin}/{name}" for name in (GOVERNANCE, CONSENT)}

    @classmethod
    def load(cls, path: Path) -> LedgerConfig:
        """Read a configuration file.

        Raises:
            BadConfig: if it cannot be read, or a key is unknown, missing or of the wrong form.
        """
        try:
            document: object = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise BadConfig(f"ledger configuration: expected a JSON file: {error}") from None
        values = _object(document, _KEYS, "ledger configuration", _OPTIONAL_KEYS)
        principals = values["principals"]
        if not isinstance(principals, list):
            raise BadConfig("ledger configuration: principals: expected a list")
        texts = {name: _text(values, name) for name in values if name not in _NOT_TEXT}
        config = cls(
            state_dir=Path(texts["state_dir"]),
            address=texts["address"],
            tls_certificate=Path(texts["tls_certificate"]),
            tls_key=Path(texts["tls_key"]),
            signing_key=Path(texts["signing_key"]),
            origin=texts["origin"],
            principals=tuple(_principal(one) for one in cast(list[object], principals)),
            witnesses=_witnesses(values.get("witnesses", [])),
            database=texts.get("database", ""),
            anchor=Path(texts["anchor"]) if "anchor" in texts else None,
            map_period_s=_map_period(values.get("map_period_s", DEFAULT_MAP_PERIOD_S)),
        )
        if not _ORIGIN.fullmatch(config.origin):
            raise BadConfig("ledger configuration: origin: expected letters, digits, '.', '-', '_'")
        if len({one.public_key for one in config.principals}) != len(config.principals):
            raise BadConfig("ledger configuration: principals: expected each key once")
        return config

    def read_signing_key(self) -> SigningKey:
        """Read the node's key; raises `BadConfig`."""
        return read_key_file(self.signing_key, "signing_key")

    def read_tls(self) -> tuple[bytes, bytes]:
        """Read (private key, certificate chain) in PEM; raises `BadConfig`."""
        try:
            return self.tls_key.read_bytes(), self.tls_certificate.read_bytes()
        except OSError as error:
            raise BadConfig(f"TLS files: {error.strerror}: {error.filename}") from None


def _principal(document: object) -> Principal:
    values = _object(document, ("name", "role", "public_key"), "principal", ("person",))
    name, role, public_key = (_text(values, key) for key in ("name", "role", "public_key"))
    person = _text(values, "person") if "person" in values else ""
    if role not in ROLES:
        raise BadConfig(f"principal {name}: role: expected one of {', '.join(ROLES)}")
    try:
        raw = bytes.fromhex(public_key)
    except ValueError:
        raw = b""
    if len(raw) != PUBLIC_KEY_BYTES:
        raise BadConfig(f"principal {name}: public_key: expected 64 hexadecimal digits")
    return Principal(name, role, raw, person)


def _witnesses(documents: object) -> tuple[WitnessAddress, ...]:
    if not isinstance(documents, list):
        raise BadConfig("ledger configuration: witnesses: expected a list")
    witnesses = tuple(_witness(one) for one in cast(list[object], documents))
    try:
        Quorum(tuple(one.witness for one in witnesses))
    except BadParameter as error:
        raise BadConfig(f"ledger configuration: {error}") from None
    return witnesses


def _witness(document: object) -> WitnessAddress:
    values = _object(document, ("key", "url"), "witness", ("ca",))
    texts = {name: _text(values, name) for name in values}
    try:
        witness = Witness.parse(texts["key"])
    except BadParameter as error:
        raise BadConfig(f"witness: key: {error}") from None
    try:
        ca_pem = Path(texts["ca"]).read_text("ascii") if "ca" in texts else ""
    except (OSError, UnicodeDecodeError):
        raise BadConfig(f"witness {witness.name}: ca: expected a PEM file") from None
    return WitnessAddress(witness, texts["url"], ca_pem)


def officers_of(principals: Iterable[Principal]) -> dict[str, str]:
    """Return key id to holder of every officer among the principals."""
    return {one.key_id: one.holder for one in principals if one.role == OFFICER}


def _map_period(period: object) -> float:
    if isinstance(period, bool) or not isinstance(period, int | float) or not 0 < period < 1e9:
        raise BadConfig("ledger configuration: map_period_s: expected seconds above 0")
    return float(period)


def _object(
    document: object, keys: tuple[str, ...], what: str, optional: tuple[str, ...] = ()
) -> dict[str, object]:
    if not isinstance(document, dict):
        raise BadConfig(f"{what}: expected an object")
    values = cast(dict[str, object], document)
    if unknown := sorted(set(values).difference(keys, optional)):
        raise BadConfig(f"{what}: unknown key {unknown[0]!r}")
    if missing := [key for key in keys if key not in values]:
        raise BadConfig(f"{what}: key {missing[0]!r} is missing")
    return values


def _text(values: Mapping[str, object], name: str) -> str:
    value = values[name]
    if not isinstance(value, str) or not value:
        raise BadConfig(f"{name}: expected text")
    return value
