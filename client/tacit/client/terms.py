"""Terms: what a person is told when asked for consent, as the consent record must state it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tacit.privacy.trust import CENTRAL, CONSENT_ONLY, LOCAL

_BEFORE = (
    "Your activity stays on this device, encrypted. With your permission, and only for the "
    "signals you choose, this device may add one bounded, encrypted-in-transit vector per round "
    "to a sum over many people; "
)
_AFTER = "You can withdraw at any time, as easily as you agreed."

NOTICE_TEXT = f"{_BEFORE}noise is added to the sum before anything is learned from it. {_AFTER}"
"""The notice shown when an app brings none of its own: that of trust level `central`."""

NOTICE_TEXTS: Mapping[str, str] = MappingProxyType(
    {
        CENTRAL: NOTICE_TEXT,
        LOCAL: f"{_BEFORE}this device adds noise to the vector before it leaves. {_AFTER}",
        CONSENT_ONLY: f"{_BEFORE}nothing is added to hide single people in it, and whoever runs "
        f"the service can see your vector. Raw profiles do not leave the device. {_AFTER}",
    }
)
"""Trust level → a notice that is true of it."""

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class ConsentTerms:
    """What every consent event of this app says beside the decision itself.

    Attributes:
        controller: who asks.
        notice_id, notice_version, notice_text, language: the notice shown; BCP 47 language.
        valid_days: a grant lapses after so many days.
        retention_days: how long the record is kept.
        storage_location, recipients, jurisdiction, withdrawal_uri: as the notice says.
    """

    controller: str = "app"
    notice_id: str = "tacit-notice"
    notice_version: str = "1"
    notice_text: str = NOTICE_TEXT
    language: str = "en"
    valid_days: int = 365
    retention_days: int = 730
    storage_location: str = "device; ledger (encrypted)"
    recipients: tuple[str, ...] = ("coordinator",)
    jurisdiction: str = "EU"
    withdrawal_uri: str = "app://settings/privacy"

    @property
    def notice_sha256(self) -> str:
        """Hex digest of the notice's text."""
        return hashlib.sha256(self.notice_text.encode("utf-8")).hexdigest()


def terms_for(trust_level: str) -> ConsentTerms:
    """Return the default terms with the notice that is true of a trust level."""
    if trust_level == CENTRAL:
        return ConsentTerms()
    return ConsentTerms(
        notice_id=f"tacit-notice-{trust_level}", notice_text=NOTICE_TEXTS[trust_level]
    )
