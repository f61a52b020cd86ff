"""Verbs that forget."""

from __future__ import annotations

from typing import Literal

from tacit.client.decision import Forgotten
from tacit.client.erasure import erase
from tacit.client.parts import Parts


class Keeping(Parts):
    """The verbs `forget_item` and `forget`."""

    def forget_item(self, item: str) -> Forgotten:
        """Forget everything about one item; as if it had never been met.

        Its events are deleted (one about other items too loses only this one), as is every record
        of a decision that showed it; what other decisions rested on it can no longer be explained.
        The write-ahead log is cut. A dislike of the item stays until it is taken back.
        """
        erased = len(self.events.forget_item(item)) + self.journal.forget_items([item])
        self.store.checkpoint()
        self._moments.drop()
        return Forgotten(erased, 0)

    def forget(self, *, all: Literal[True]) -> Forgotten:  # noqa: A002 - the verb's public name
        """Erase everything on this device and close the profile.

        The data key is destroyed, the write-ahead log cut, and the files searched for the key's
        bytes. Opening the path again starts a new device with a new identity; what noised sums
        already hold stays bounded by the (ε, δ) that `state` showed.
        """
        del all
        forgotten = erase(self.store)
        self.close()
        self._decider.forget()
        return forgotten
