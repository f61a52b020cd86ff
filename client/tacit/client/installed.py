"""Installed releases: the newest model of each kind, and the version it will not go below."""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tacit.client.facts import Facts
from tacit.privacy.canonical import canonical_json, parse_canonical
from tacit.privacy.release import KINDS, RANKING, ReleaseManifest


@dataclass(frozen=True, slots=True)
class InstalledRelease:
    """A verified release.

    Attributes:
        manifest: what the coordinator signed.
        model_blob: the array blob whose digest the manifest names.
    """

    manifest: ReleaseManifest
    model_blob: bytes


class InstalledReleases:
    """One place a kind; a new release replaces the old of its kind in one write.

    The ranking release lies where stores from before there were kinds have their only release, so
    they open as they are.
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    @property
    def folder(self) -> Path:
        """Where the store lies, and what is worked out from releases may be put aside."""
        return self._facts.folder

    def get(self, kind: str = RANKING) -> InstalledRelease | None:
        """Return the installed release of a kind, or None."""
        return self._read(_fact(kind))

    def ranking(self, version: int) -> InstalledRelease | None:
        """Return the installed ranking, or the one before it, if it has a version."""
        for fact in (_fact(RANKING), _BEFORE):
            release = self._read(fact)
            if release is not None and release.manifest.version == version:
                return release
        return None

    def _read(self, fact: str) -> InstalledRelease | None:
        content = self._facts.get(fact)
        if content is None:
            return None
        (length,) = struct.unpack_from("<I", content)
        manifest = ReleaseManifest.from_json(parse_canonical(content[4 : 4 + length]))
        return InstalledRelease(manifest, content[4 + length :])

    def erase_all(self) -> None:
        """Remove every installed release."""
        for kind in KINDS:
            self._facts.remove(_fact(kind))

    def withdraw(self, versions: Collection[int]) -> bool:
        """Remove installed releases that were superseded, the one kept for explanations too.

        The device goes on refusing these versions and older ones (`floor`).

        Returns:
            Whether anything in use was removed.
        """
        removed = False
        for kind in KINDS:
            held = self.get(kind)
            if held is not None and held.manifest.version in versions:
                self._facts.put(_floor(kind), b"%d" % held.manifest.version)
                self._facts.remove(_fact(kind))
                removed = True
        before = self._read(_BEFORE)
        if before is not None and before.manifest.version in versions:
            self._facts.remove(_BEFORE)
        return removed

    def floor(self, kind: str) -> int:
        """Return the version of a kind that was withdrawn here last; 0 for none."""
        content = self._facts.get(_floor(kind))
        return 0 if content is None else int(content)

    def put(self, release: InstalledRelease) -> None:
        """Install a release that was verified; on the disk when this returns."""
        manifest = canonical_json(release.manifest.to_json())
        content = struct.pack("<I", len(manifest)) + manifest + release.model_blob
        if release.manifest.kind == RANKING:
            replaced = self._facts.get(_fact(RANKING))
            # Decisions of the release before stay explainable until the next one comes.
            if replaced is not None and replaced != content:
                self._facts.put(_BEFORE, replaced)
        self._facts.put(_fact(release.manifest.kind), content)


_BEFORE = "release-before"


def _floor(kind: str) -> str:
    return f"release-withdrawn/{kind}"


def _fact(kind: str) -> str:
    return "release" if kind == RANKING else f"release/{kind}"
