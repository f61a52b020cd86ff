"""Where the servers are and whom to trust, as one JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import click

from tacit.client import Endpoints, TrustRoots
from tacit.privacy.cosignature import Quorum, Witness
from tacit.privacy.errors import PrivacyError


@dataclass(frozen=True, slots=True)
class Servers:
    """What a device is told about its servers.

    Attributes:
        gateway, ledger: host:port.
        authority: PEM file of the authority that vouches for both; beside the configuration.
        origin: name of the deployment on the ledger's checkpoints.
        ledger_key, coordinator_key: public keys, hexadecimal.
        witnesses: verifier keys of witnesses who must all have cosigned.
        server_name: name in the servers' certificates, where it is not the host's.
    """

    gateway: str
    ledger: str
    authority: str
    origin: str
    ledger_key: str
    coordinator_key: str
    witnesses: tuple[str, ...] = ()
    server_name: str | None = None


def read_servers(path: Path) -> tuple[Endpoints, TrustRoots]:
    """Read a configuration of servers.

    Raises:
        ClickException: naming what was expected.
    """
    try:
        told = Servers(**json.loads(path.read_text(encoding="utf-8")))
        witnesses = tuple(Witness.parse(one) for one in told.witnesses)
        endpoints = Endpoints(
            told.gateway,
            told.ledger,
            (path.parent / told.authority).read_bytes(),
            told.server_name,
        )
        return endpoints, TrustRoots(
            f"{told.origin}/governance",
            f"{told.origin}/consent",
            _key(told.ledger_key),
            _key(told.coordinator_key),
            Quorum(witnesses, len(witnesses)),
        )
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    except (TypeError, ValueError, AttributeError, RecursionError, PrivacyError):
        names = ", ".join(Servers.__dataclass_fields__)
        raise click.ClickException(f"{path}: expected a JSON object with {names}") from None


def _key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != 32:
        raise ValueError
    return key
