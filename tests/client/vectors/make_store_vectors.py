"""Write `store_format_N.sql`: a store as the version of this code wrote it, for tests of migration.

Run it once with the version whose format it is (`python make_store_vectors.py`), and keep what it
writes: a dump with sealed rows, and in its first line the key-encryption key, which seals nothing
but made-up events.
"""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

from tacit.client import Catalogue, FileKeyProvider, Personalizer

HERE = Path(__file__).resolve().parent
NOW_MS = 1_800_000_000_000


def main() -> None:
    """Make the store and dump it."""
    catalogue = Catalogue.build((f"i{n}", f"Item {n}", ["Kitchen"]) for n in range(6))
    with tempfile.TemporaryDirectory() as folder:
        path, key = Path(folder) / "p.db", Path(folder) / "p.key"
        with Personalizer.open(
            path, FileKeyProvider(key), catalogue, exploration=None, clock_ms=lambda: NOW_MS
        ) as pz:
            for n in range(3):
                pz.track("Product Viewed", {"product_id": f"i{n}"}, event_id=f"visit-{n}")
            pz.consent("learn", ["product_view"], True)
            pz.prefer("item", "i5", -1.0)
            pz.enrolled("shop")
            pz.facts.put("checkpoint/log.example", b"remembered")
            pz.shown(pz.recommend().id)
            pz.store.checkpoint()
            version = pz.store.meta("format")
        with sqlite3.connect(path) as connection:
            dump = "\n".join(connection.iterdump())
        connection.close()
        text = f"-- key {key.read_bytes().hex()}\n{dump}\n"
        (HERE / f"store_format_{version}.sql").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
