"""A small app: a reading corner that learns what one person likes, on this machine alone.

    python examples/reading_corner.py

One day in the life of an app: a first visit with nothing known, a question instead of guesses, a
shelf with a reason for every book, a variant of the page, a "not for me", a look at what is held,
and everything forgotten. No server and no connection; the profile is encrypted in a temporary
directory.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from tacit.client import Catalogue, FileKeyProvider, Personalizer
from tacit.client.flags import read_source, sign_flags
from tacit.privacy.signatures import SigningKey

BOOKS = Catalogue.build(
    [
        ("tides", "The Tides at Night", ["Sea"]),
        ("harbour", "A Harbour in Winter", ["Sea"]),
        ("whale", "Counting Whales", ["Sea", "Nature"]),
        ("moss", "A Year of Moss", ["Nature"]),
        ("owls", "Owls of the Old Town", ["Nature", "City"]),
        ("trams", "The Last Tram", ["City"]),
        ("roofs", "Roofs and Chimneys", ["City"]),
    ]
)
PAGE = {
    "type": "tacit.flags/1",
    "app": "reading-corner",
    "version": 1,
    "issued_at_ms": 0,
    "flags": [
        {
            "flag": "shelf-size",
            "variants": [{"variant": "short", "weight": 1, "value": 3}],
        }
    ],
}


class ReadingCorner:
    """The app: it asks the device for everything personal and keeps nothing itself."""

    def __init__(self, device: Personalizer) -> None:
        self._device = device

    def welcome(self) -> None:
        question = self._device.next_question()
        if question is not None:
            print(f"{question.text} ({question.why})")
            # The person says yes to the sea; an answer is a verb and its arguments.
            self._device.prefer("category", "Sea", 1.0)

    def shelf(self) -> list[str]:
        size = self._device.variant("shelf-size", 5).value
        decision = self._device.recommend("home", k=int(str(size)))
        for book in decision.items:
            why = self._device.explain(decision.id, book.item_id)
            print(f"  {book.title:22} {why.text}")
        self._device.shown(decision.id)
        return [book.item_id for book in decision.items]

    def read(self, book: str, minutes: int) -> None:
        self._device.track("Product Viewed", {"product_id": book, "dwell_ms": minutes * 60_000})

    def not_for_me(self, book: str) -> None:
        self._device.prefer("item", book, -1.0)


def main() -> None:
    key = SigningKey.generate(os.urandom)  # on the owner's machine; the app has the public half
    with tempfile.TemporaryDirectory() as folder:
        keys = FileKeyProvider(Path(folder, "device.key"))
        # Without exploration, so that the output is the same each time.
        with Personalizer.open(Path(folder, "p.db"), keys, BOOKS, exploration=None) as device:
            flags = sign_flags(read_source(json.dumps(PAGE).encode()), key)
            device.install_flags(flags, key.public_key)
            app = ReadingCorner(device)

            app.welcome()
            print("\nAfter one answer:")
            first = app.shelf()
            app.read("owls", minutes=12)
            app.not_for_me(first[0])
            print("\nAfter twelve minutes with owls, and without a book that was not for them:")
            again = app.shelf()
            print(f"\nStill shown what was not for them: {first[0] in again}")

            state = device.state()
            print(
                f"Held: {state.events} events; permitted to leave: {len(state.consents['learn'])}"
            )
            print(f"Forgotten: {device.forget(all=True).rows_erased} records and their key")


if __name__ == "__main__":
    main()
