"""The installed release: the model this device ranks with, and the version it will not go below."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tacit.client.facts import Facts
from tacit.privacy.canonical import canonical_json, parse_canonical
from tacit.privacy.release import ReleaseManifest

_FACT = "release"


@dataclass(frozen=True, slots=True)
class InstalledRelease:
    """A verified release.

    Attributes:
        manifest: what the coordinator signed.
        model_blob: the array blob whose digest the manifest names.
    """

    manifest: ReleaseManifest
    model_blob: bytes


class ReleaseSlot:
    """The one place for a release; a new one replaces the old in one write."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def get(self) -> InstalledRelease | None:
        """Return the installed release, or None."""
        content = self._facts.get(_FACT)
        if content is None:
            return None
        (length,) = struct.unpack_from("<I", content)
        manifest = ReleaseManifest.from_json(parse_canonical(content[4 : 4 + length]))
        return InstalledRelease(manifest, content[4 + length :])

    def put(self, release: InstalledRelease) -> None:
        """Install a release that was verified; on the disk when this returns."""
        manifest = canonical_json(release.manifest.to_json())
        self._facts.put(_FACT, struct.pack("<I", len(manifest)) + manifest + release.model_blob)
