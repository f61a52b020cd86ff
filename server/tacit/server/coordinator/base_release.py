"""Fetch the release that a task continues from: public, and paid for by the task that made it."""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

import numpy.typing as npt

from tacit.privacy.arrays import unpack_arrays
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.release import ReleaseManifest
from tacit.server.coordinator.config import CoordinatorConfig
from tacit.server.errors import BadConfig

_MAX_MODEL_BYTES = 1 << 30


class ReleaseLog(Protocol):
    """What is asked of the ledger (`tacit.server.ledger.client.LedgerClient` has it)."""

    def entries(self, start: int = 0, count: int = 1000) -> list[bytes]:
        """Return up to `count` governance entries from `start`."""
        ...

    def get_blob(self, sha256: bytes) -> bytes:
        """Return a blob."""
        ...


def base_release(config: CoordinatorConfig, log: ReleaseLog) -> dict[str, npt.NDArray[Any]] | None:
    """Return the arrays of the configured base release, `None` when a task starts from nothing.

    Raises:
        BadConfig: if the population has no such release, or it ranks another catalogue.
        BadDocument: if the blob is no array blob.
    """
    if config.base_release == 0:
        return None
    release = _find(config, log)
    if release is None:
        raise BadConfig(
            f"coordinator: base_release: expected a release of {config.population!r}, got "
            f"{config.base_release}, which the governance log does not hold"
        )
    if release.catalogue_sha256 != config.catalogue_sha256:
        raise BadConfig("coordinator: base_release: expected one of the same catalogue")
    blob = log.get_blob(bytes.fromhex(release.model_sha256))
    if hashlib.sha256(blob).hexdigest() != release.model_sha256:
        raise BadConfig("coordinator: base_release: its blob does not match its digest")
    return unpack_arrays(blob, _MAX_MODEL_BYTES)


def _find(config: CoordinatorConfig, log: ReleaseLog) -> ReleaseManifest | None:
    start = 0
    while entries := log.entries(start):
        for raw in entries:
            entry = GovernanceEntry.parse(raw)
            if entry.kind == "release":
                release = ReleaseManifest.from_json(entry.body)
                wanted = (config.population, config.base_release)
                if (release.population, release.version) == wanted:
                    return release
        start += len(entries)
    return None
