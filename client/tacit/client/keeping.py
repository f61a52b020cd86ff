"""Verbs over what is kept: forget it, seal it anew, take it to another device of the person."""

from __future__ import annotations

from tacit.client.decision import Forgotten
from tacit.client.erasure import erase
from tacit.client.errors import BadEvent
from tacit.client.integrity import broken_promise
from tacit.client.keys import KeyProvider
from tacit.client.link import Linked, export_content, merge
from tacit.client.link_envelope import card_of, close_for, close_with_passphrase, open_export
from tacit.client.parts import Parts
from tacit.client.rotation import Rotated, rotate


class Keeping(Parts):
    """The verbs `forget`, `forget_item`, `rotate_keys`; `export`, `link` and `link_card`."""

    def forget(
        self,
        *,
        item: str | None = None,
        since: int | None = None,
        all: bool = False,  # noqa: A002 - the verb's public name
    ) -> Forgotten:
        """Forget an item, everything since a time, or everything; exactly one of them is given.

        What is forgotten does not come back, neither when an app repeats an event under its id nor
        when another device of the person is linked. Consents, rounds and dislikes stay. After
        `rotate_keys` no old copy of a deleted row on the disk can be read either.

        Args:
            item: its events are deleted (one about other items too loses only this one), as is
                every record of a decision that showed it.
            since: Unix milliseconds; events that happened then or later, and decisions made then or
                later, are deleted.
            all: the data key is destroyed, the write-ahead log cut, the files searched for the
                key's bytes, and the profile closed. Opening the path again starts a new device with
                a new identity; what noised sums already hold stays bounded by the (ε, δ) that
                `state` showed.

        Raises:
            BadEvent: if none or several are given, or `since` is below 0.
        """
        if (item is not None) + (since is not None) + all != 1:
            raise BadEvent("forget: expected exactly one of item, since and all")
        if all:
            forgotten = erase(self.store)
            self.close()
            self._decider.forget()
            return forgotten
        if item is not None:
            erased = len(self.events.forget_item(item)) + self.journal.forget_items([item])
        else:
            since_ms = 0 if since is None else since
            if since_ms < 0:
                raise BadEvent("forget: since: expected Unix milliseconds, got a negative number")
            erased = len(self.events.forget_since(since_ms)) + self.journal.forget_since(since_ms)
        self.store.checkpoint()
        self._moments.drop()
        return Forgotten(erased, 0)

    def forget_item(self, item: str) -> Forgotten:
        """Forget everything about one item; see `forget`."""
        return self.forget(item=item)

    def rotate_keys(self, keys: KeyProvider | None = None) -> Rotated:
        """Seal everything anew under a new data key and destroy the old one; see `rotation`.

        Args:
            keys: wraps the new data key, for example under a changed passphrase, and opens the
                profile from now on; None for the same as before.

        Raises:
            KeyUnavailable: if `keys` cannot wrap; nothing changed.
            StoreDamaged: if a record does not open; nothing changed.
        """
        # Seals facts of an older format anew; what does not open is for `rotate` to refuse.
        broken_promise(self.store)
        return rotate(self.store, keys)

    def link_card(self) -> bytes:
        """Return what another device of the person needs to write for this one; public."""
        return card_of(self.facts.identity(), self.facts.device_secret())

    def export(self, *, passphrase: str | None = None, recipient: bytes | None = None) -> bytes:
        """Return events and instructions for another device of the person, encrypted.

        The person carries it over; nobody who does can read it. Consents, rounds, models and the
        device's keys stay here.

        Args:
            passphrase: at least 12 characters, to be entered on the other device; or
            recipient: the other device's `link_card`, which it alone can open.

        Raises:
            BadEvent: if not exactly one of the two is given.
            KeyUnavailable: if the passphrase is too short.
            ExportRefused: if the card cannot be used.
        """
        content = export_content(self.events, self.suppressions.get(), self.device_id)
        if recipient is not None and passphrase is None:
            return close_for(content, recipient, self.facts.identity())
        if passphrase is not None and recipient is None:
            return close_with_passphrase(content, passphrase)
        raise BadEvent("export: expected either a passphrase or the recipient's card")

    def link(
        self, exported: bytes, *, passphrase: str | None = None, sender: bytes | None = None
    ) -> Linked:
        """Take over what another device of the person exported; see `tacit.client.link`.

        Decisions here use it as far as the consents here permit `decide`; contributions never do.

        Args:
            exported: what `export` returned there.
            passphrase: it was closed with; or
            sender: the other device's `link_card`.

        Raises:
            KeyUnavailable: if it does not open with the passphrase, or none was given.
            ExportRefused: if it was altered, is for another device or from another one; nothing was
                taken over.
        """
        secret = self.facts.device_secret()
        content = open_export(exported, secret, passphrase=passphrase, sender=sender)
        now_ms = self.clock_ms()
        permitted = self.consents.permitted("decide", now_ms)
        return merge(
            content,
            self.events,
            self.suppressions,
            device_id=self.device_id,
            permits=lambda event: event.signal in permitted,
            expired=lambda event: self.retention.expired(
                event.signal, event.recorded_at_ms, now_ms
            ),
        )
