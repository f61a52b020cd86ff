"""Releases: what a device checks before it uses a new model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.client.catalogue import Catalogue
from tacit.client.decide import DecideError, read_model
from tacit.client.errors import ReleaseRefused, RollbackRefused
from tacit.client.installed import InstalledRelease
from tacit.client.predictions import TargetModel
from tacit.privacy.arrays import unpack_arrays
from tacit.privacy.errors import PrivacyError
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.release import RANKING, ReleaseManifest


def accept_release(
    entry: GovernanceEntry,
    kind: str,
    installed: InstalledRelease | None,
    population: str,
    catalogue: Catalogue,
    max_model_bytes: int,
) -> ReleaseManifest | None:
    """Decide about a release whose entry was verified (steps 1 to 4 in `verify_entry`).

    5. The manifest is well formed, for this population, and of the kind asked for.
    6. Its version is above the one installed of its kind; the same version must be the same
       release.
    7. It was trained over this device's catalogue.
    8. Its model is not larger than this device takes.

    Args:
        entry: the verified entry.
        kind: the kind asked for.
        installed: the installed release of that kind, or None.
        population: where this device is enrolled.
        catalogue: what it ranks.
        max_model_bytes: the largest model it takes.

    Returns:
        The manifest, or None if the release is the installed one.

    Raises:
        ReleaseRefused: naming the step that fails.
        RollbackRefused: if the version went back, or one version names two models.
    """
    try:
        manifest = ReleaseManifest.from_json(entry.body)
        bytes.fromhex(manifest.model_sha256)
    except PrivacyError as error:
        raise ReleaseRefused(f"step 5, manifest: {error}") from None
    except ValueError:
        raise ReleaseRefused("step 5, manifest: expected a digest in hexadecimal") from None
    if manifest.population != population:
        raise ReleaseRefused("step 5, manifest: the release is for another population")
    if manifest.kind != kind:
        raise ReleaseRefused(f"step 5, manifest: expected kind {kind!r}, got {manifest.kind!r}")
    if installed is not None and not _is_newer(manifest, installed.manifest):
        return None
    if manifest.catalogue_sha256 != catalogue.digest.hex():
        raise ReleaseRefused("step 7, catalogue: the release is for another catalogue")
    if manifest.model_bytes > max_model_bytes:
        raise ReleaseRefused(
            f"step 8, model: expected at most {max_model_bytes} bytes, got {manifest.model_bytes}"
        )
    return manifest


def check_model(manifest: ReleaseManifest, blob: bytes, n_items: int) -> InstalledRelease:
    """Check a fetched model against its accepted manifest.

    8. Its size and digest are the manifest's.
    9. It is finite numbers of the right shapes: a ranking for `n_items` items, another kind for
       the features of its target, with the parameters they need.

    Returns:
        The release, ready to be installed.

    Raises:
        ReleaseRefused: naming the step that fails.
    """
    digest = hashlib.sha256(blob).hexdigest()
    if len(blob) != manifest.model_bytes or digest != manifest.model_sha256:
        raise ReleaseRefused("step 8, model: size or digest is not the manifest's")
    try:
        arrays = unpack_arrays(blob, manifest.model_bytes)
        n_ranked = _ranked_items(manifest.kind, arrays)
    except (PrivacyError, DecideError) as error:
        raise ReleaseRefused(f"step 9, model: {error}") from None
    if any(not bool(np.isfinite(np.asarray(a, np.float64)).all()) for a in arrays.values()):
        raise ReleaseRefused("step 9, model: expected finite numbers, got NaN or infinity")
    if n_ranked is not None and n_ranked != n_items:
        raise ReleaseRefused(f"step 9, model: expected {n_items} items, got {n_ranked}")
    return InstalledRelease(manifest, blob)


def _ranked_items(kind: str, arrays: Mapping[str, npt.NDArray[Any]]) -> int | None:
    """Read a model of a kind; returns how many items it ranks, None if it ranks none."""
    if kind == RANKING:
        return read_model(arrays).n_items
    TargetModel.from_arrays(kind, arrays)
    return None


def _is_newer(offered: ReleaseManifest, installed: ReleaseManifest) -> bool:
    if offered.version < installed.version:
        raise RollbackRefused(
            f"release: expected version {installed.version} or later, got {offered.version}"
        )
    if offered.version == installed.version and offered != installed:
        raise RollbackRefused(f"release: version {installed.version} now names another model")
    return offered.version > installed.version
