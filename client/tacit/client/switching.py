"""Verbs about the app's variants: install them, ask for one, opt out of them."""

from __future__ import annotations

from functools import cached_property

from tacit.client.flags import Evaluation, Flags, FlagSet, FlagValue
from tacit.client.parts import Parts


class Switching(Parts):
    """The verbs `variant`, `install_flags` and `opt_out_of_flags`."""

    @cached_property
    def flags(self) -> Flags:
        """The flags of this profile."""
        return Flags(self.facts, self.journal)

    def variant(self, flag: str, default: FlagValue) -> Evaluation:
        """Return this device's variant of a flag; the same each time, and known to no server.

        Never raises for a flag: what cannot be answered is the default, with the reason. The first
        time a variant is met is entered in the journal (`rights.access` shows it).

        Args:
            flag: its name.
            default: what the app does otherwise; its kind is what is asked for.
        """
        now_ms = self.clock_ms()
        return self.flags.evaluate(
            flag, default, lambda purpose: self.consents.permitted(purpose, now_ms), now_ms
        )

    def install_flags(self, signed: bytes, public_key: bytes) -> FlagSet:
        """Verify and install a signed set of flags; it replaces the one before.

        Args:
            signed: what `tacit flags sign` wrote.
            public_key: the app's policy key, pinned in the app.

        Raises:
            BadFlags: if it is malformed or not signed by the key.
            RollbackRefused: if a newer version is installed.
        """
        return self.flags.install(signed, public_key)

    def opt_out_of_flags(self, flag: str = "*", opted_out: bool = True) -> None:
        """Opt the person out of a flag, or of all of them, also later ones; or in again.

        Raises:
            BadEvent: if the name cannot be one.
        """
        self.flags.opt_out(flag, opted_out)
