"""A device with a clock that tests move, and a made-up model of a catalogue of 24 items."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tacit.client import Catalogue, FileKeyProvider, Personalizer
from tacit.client.installed import InstalledRelease
from tacit.privacy.arrays import pack_arrays
from tacit.privacy.release import ReleaseManifest

HOUR_MS = 3_600_000
GROUPS = ("Kitchen", "Garden", "Study", "Music")


class MovableClock:
    """Unix milliseconds that stand still until a test moves them."""

    def __init__(self) -> None:
        self.now_ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now_ms

    def sleep(self, *, hours: float) -> None:
        self.now_ms += int(hours * HOUR_MS)


class Shop:
    """Opens one profile again and again, and installs made-up releases."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = MovableClock()
        # Item n is in group n mod 4, so neighbours differ.
        self.catalogue = Catalogue.build((f"i{n}", f"Item {n}", [GROUPS[n % 4]]) for n in range(24))

    def open(self, name: str = "p", **options: Any) -> Personalizer:
        options.setdefault("exploration", None)
        keys = FileKeyProvider(self.folder / f"{name}.key")
        return Personalizer.open(
            self.folder / f"{name}.db", keys, self.catalogue, clock_ms=self.clock, **options
        )

    def model(self, seed: int = 0) -> dict[str, Any]:
        """Make a model in which every group is a taste of its own."""
        rng = np.random.default_rng(seed)
        popularity = rng.uniform(0.5, 1.5, size=24)
        popularity /= popularity.sum()
        loadings = 0.002 * rng.normal(size=(24, 4))
        loadings[np.arange(24), np.arange(24) % 4] += 0.03
        return {
            "popularity": popularity,
            "loadings": loadings - loadings.mean(axis=0),
            "prior_variance": np.ones(4),
            "item_variance": popularity,
        }

    def install(
        self, pz: Personalizer, arrays: dict[str, Any], version: int = 1, kind: str = "ranking"
    ) -> None:
        blob = pack_arrays(arrays)
        manifest = ReleaseManifest(
            population="p",
            version=version,
            task_sha256="0" * 64,
            model_sha256="0" * 64,
            model_bytes=len(blob),
            catalogue_sha256=self.catalogue.digest.hex(),
            reservations=("r",),
            epsilon=1.0,
            target_delta=1e-3,
            created_at_ms=0,
            kind=kind,
        )
        pz.releases.put(InstalledRelease(manifest, blob))
        pz.reload()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture(scope="session")
def make_shop() -> Callable[[Path], Shop]:
    """Make shops for tests that need one an example."""
    return Shop


@pytest.fixture
def device(shop: Shop) -> Iterator[Personalizer]:
    with shop.open() as opened:
        yield opened


ViewItems = Callable[[Personalizer, list[str]], None]


@pytest.fixture
def view() -> ViewItems:
    """Track a view of each of some items."""

    def views(pz: Personalizer, items: list[str]) -> None:
        for item in items:
            pz.track("Product Viewed", {"product_id": item})

    return views
