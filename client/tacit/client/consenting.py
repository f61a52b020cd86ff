"""Verbs by which a person agrees and refuses."""

from __future__ import annotations

from collections.abc import Collection

from tacit.client.consents import BASIC_SIGNALS
from tacit.client.errors import BadEvent
from tacit.client.features import FEATURE_SIGNALS
from tacit.client.parts import Parts
from tacit.privacy.consent import ConsentEvent
from tacit.privacy.signals import PURPOSES

_GPC = "gpc"
_GPC_PURPOSES = ("learn", "measure")


class Consenting(Parts):
    """The verbs `consent`, `observe_gpc`, `infer`, and `decide` for who needs the signed event."""

    def consent(
        self,
        purpose: str,
        signals: Collection[str] | None,
        granted: bool,
        *,
        gpc: bool = False,
    ) -> None:
        """Record a person's decision: in force, and on the disk, when this returns.

        Args:
            purpose: `decide` (on this device), `learn` (train the shared model) or `measure`.
            signals: signals the decision is about; None for every basic signal when granting, and
                for everything granted when refusing.
            granted: yes or no.
            gpc: a Global Privacy Control signal is present; also true while `observe_gpc` says so.

        Raises:
            BadEvent: if purpose or signals are unknown, or no consent can cover them.
        """
        now_ms = self.clock_ms()
        if signals is None:
            stands = self.consents.permitted(purpose, now_ms) if purpose in PURPOSES else None
            signals = BASIC_SIGNALS if granted or not stands else stands
        self.decide(
            purpose,
            signals,
            granted=granted,
            gpc=gpc or (self.gpc_present and purpose in _GPC_PURPOSES),
        )

    @property
    def gpc_present(self) -> bool:
        """Whether a Global Privacy Control signal was present when last observed."""
        return self.facts.get(_GPC) == b"1"

    def observe_gpc(self, present: bool) -> None:
        """Tell the device whether a Global Privacy Control signal is present.

        It contradicts a stored opt-in to anything that leaves the device: the conflict is recorded,
        and counts as a refusal. When the signal is gone nothing comes back by itself; the person
        may agree again.
        """
        self.facts.put(_GPC, b"1" if present else b"0")
        for purpose in _GPC_PURPOSES if present else ():
            if stands := self.consents.permitted(purpose, self.clock_ms()):
                self.decide(purpose, stands, granted=True, gpc=True)

    def infer(self, feature: str, allowed: bool) -> None:
        """Switch a feature of the person off, or on again; on the disk when this returns.

        A feature that is off is not worked out and nothing goes by it, whatever the consents; its
        events stay for what else they are permitted for.

        Args:
            feature: a name of `FEATURE_SIGNALS`.
            allowed: whether it may be worked out.

        Raises:
            BadEvent: if there is no such feature.
        """
        if feature not in FEATURE_SIGNALS:
            raise BadEvent(f"infer: expected a feature among {', '.join(FEATURE_SIGNALS)}")
        self.suppressions.change("features", feature, suppressed=not allowed)

    def decide(
        self, purpose: str, signals: Collection[str], *, granted: bool, gpc: bool = False
    ) -> ConsentEvent:
        """Record a decision under this app's terms, and return the event; see `ConsentLog`."""
        return self.consents.decide(
            purpose,
            signals,
            granted=granted,
            now_ms=self.clock_ms(),
            terms=self._terms,
            gpc=gpc,
        )
