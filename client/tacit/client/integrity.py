"""Integrity: read all of a store that must be whole for its promises to hold."""

from __future__ import annotations

from tacit.client.consents import ConsentLog
from tacit.client.errors import DeviceError
from tacit.client.facts import Facts
from tacit.client.guardrails import InstalledGuardrails
from tacit.client.handover import HandOvers
from tacit.client.installed import InstalledReleases
from tacit.client.participation import ParticipationLog
from tacit.client.rights_log import RightsLog
from tacit.client.store import TABLES, Store
from tacit.client.suppressions import Suppressions
from tacit.privacy.errors import PrivacyError
from tacit.privacy.release import KINDS

LOSABLE = ("events", "decisions")
"""Tables of which single records may be lost alone."""


def broken_promise(store: Store) -> str | None:
    """Say what is broken of keys, facts, consents and rounds; None if all of it opens.

    Facts that a format-1 store holds are sealed anew on the way (`Facts.get`), but for those named
    after a ledger, which the next sync reads.
    """
    facts = Facts(store)
    try:
        facts.identity()
        facts.device_secret()
        for name in ("population", "gpc", "retention"):
            facts.get(name)
        Suppressions(facts).get()
        HandOvers(facts).agreed()
        InstalledGuardrails(facts).get()
        RightsLog(facts).entries()
        for kind in KINDS:
            InstalledReleases(facts).get(kind)
        InstalledReleases(facts).ranking(0)
        ConsentLog(store, facts).signed()
        rounds = ParticipationLog(store, facts)
        rounds.entries()
        rounds.answer("", 0)
        with store.reading() as connection:
            for table in set(TABLES) - set(LOSABLE):
                connection.execute(f"SELECT * FROM {table}").fetchall()
    except (DeviceError, PrivacyError, ValueError) as error:
        return str(error)
    return None
