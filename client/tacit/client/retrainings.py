"""Retrainings: which releases a device must stop using, and what became of what it contributed.

Every enrolled device asks the same public question with each sync, whether anybody was erased from
it or not: so that to ask says nothing. A device that was erased and is nobody asks it too, under no
name. What an erased person contributed stays on the device, in the receipt; the comparison is made
here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tacit.client.errors import ReleaseRefused
from tacit.client.facts import Facts
from tacit.client.installed import InstalledReleases
from tacit.client.policy import TrustRoots
from tacit.client.rights_log import RightsLog, RightsReceipt
from tacit.client.verification import Checkpoints, verify_entry
from tacit.client.wire import LoggedEntry, RetrainingAnswer, Servers
from tacit.privacy.canonical import Json, canonical_json, parse_canonical
from tacit.privacy.checkpoint import stated_checkpoint
from tacit.privacy.erasure import RETRAINED_EXACT, STOPPED, ErasureStatement
from tacit.privacy.errors import PrivacyError
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.retraining import (
    ENTRY_KIND,
    CompletedRetraining,
    Logged,
    Retraining,
    covering,
)
from tacit.privacy.task import TaskManifest

_OWN_ENTRIES = 3  # announcement, task, release; then a release and a task for each base


class Retrainings:
    """Ask for completed retrainings, verify them, and act on them."""

    def __init__(
        self, facts: Facts, releases: InstalledReleases, rights_log: RightsLog, trust: TrustRoots
    ) -> None:
        self._facts = facts
        self._releases = releases
        self._rights_log = rights_log
        self._trust = trust
        self._checkpoints = Checkpoints(facts)

    def waiting(self) -> str:
        """Return the population whose retrainings could change an erasure's label; empty if none.

        Of several the newest erasure's: a device is of one population at a time.
        """
        for one in reversed(self._rights_log.entries()):
            statement = _statement(one)
            if statement is not None and any(
                label not in (STOPPED, RETRAINED_EXACT) for label in labels(one)
            ):
                return statement.population
        return ""

    def look(self, servers: Servers, population: str) -> bool:
        """Ask, verify, withdraw superseded releases, and note what became of contributions.

        1. to 4. as in `verify_entry`, for each entry; an announcement is the ledger's own.
        5. The entries are one retraining, and an exact one (`CompletedRetraining.check`).

        That every release which rests on an announced task is superseded is not checked here: the
        ledger does, and whoever verifies all of its log.

        Returns:
            Whether an installed release was withdrawn.

        Raises:
            ReleaseRefused: if step 1, 3, 4 or 5 fails.
            RollbackRefused: if the governance log shrank or forked.
        """
        content = self._facts.get(_fact(population))
        found = self._ask(servers, population, 0 if content is None else int(content))
        if not found:
            return False
        withdrawn = self._releases.withdraw(
            {version for one in found for version in one.release.document.supersedes}
        )
        # Last: a kill before this makes the device ask again.
        through = 1 + max(one.release.index for one in found)
        self._facts.put(_fact(population), b"%d" % through)
        return withdrawn

    def look_unnamed(self, servers: Servers, population: str) -> None:
        """Ask as a device that was erased and is nobody; nothing of it is remembered but receipts.

        Who enrols anew afterwards asks from the beginning, as every new device does.
        """
        self._ask(servers, population, 0)

    def _ask(self, servers: Servers, population: str, after: int) -> list[CompletedRetraining]:
        known = self._checkpoints.known_size(self._trust.governance_origin)
        answer = servers.get_retrainings(population, known, after)
        found = [self._verified(entries, population) for entries in answer.retrainings]
        self._note(found, answer)
        return found

    def _verified(self, entries: Sequence[LoggedEntry], population: str) -> CompletedRetraining:
        if len(entries) < _OWN_ENTRIES or len(entries) % 2 == 0:
            raise ReleaseRefused("retraining: expected an announcement, a task, a release, bases")
        own_key = self._trust.ledger_key
        kinds = [ENTRY_KIND, "task", "release"]
        kinds += ["release", "task"] * ((len(entries) - _OWN_ENTRIES) // 2)
        bodies = [
            self._entry(logged, kind, own_key if kind == ENTRY_KIND else None).body
            for logged, kind in zip(entries, kinds, strict=True)
        ]
        try:
            found = CompletedRetraining(
                Logged(entries[0].index, Retraining.from_json(bodies[0])),
                Logged(entries[1].index, TaskManifest.from_json(bodies[1])),
                Logged(entries[2].index, ReleaseManifest.from_json(bodies[2])),
                tuple(
                    (ReleaseManifest.from_json(release), TaskManifest.from_json(task))
                    for release, task in zip(bodies[3::2], bodies[4::2], strict=True)
                ),
            )
            found.check()
        except PrivacyError as error:
            raise ReleaseRefused(f"step 5, {error}") from None
        if found.announced.document.population != population:
            raise ReleaseRefused("step 5, retraining: it is of another population")
        return found

    def _entry(self, logged: LoggedEntry, kind: str, signer: bytes | None) -> GovernanceEntry:
        known = self._checkpoints.known(self._trust.governance_origin)
        size = stated_checkpoint(logged.checkpoint).size
        if known is not None and size == known.size:
            # Remembered with the entry before: it has the same root, or it is refused.
            logged = replace(logged, consistency=())
        return verify_entry(
            logged, kind, self._trust, self._checkpoints, ReleaseRefused, signer=signer
        )

    def _note(self, completed: Sequence[CompletedRetraining], answer: RetrainingAnswer) -> None:
        """Keep with each erasure's receipt the retrainings that cover what it lists, and proofs."""
        for receipt in self._rights_log.entries():
            statement = _statement(receipt)
            if statement is None:
                continue
            own = frozenset(one.task_sha256 for one in statement.rounds if one.label != STOPPED)
            proofs = {str(one["release"]): one for one in _proofs(receipt)}
            for one, entries in zip(completed, answer.retrainings, strict=True):
                if any(covering([one], task, own) is not None for task in own):
                    version = str(one.release.document.version)
                    proofs.setdefault(version, _proof(one, entries))
            if len(proofs) > len(_proofs(receipt)):
                kept: list[Json] = [*proofs.values()]
                noted = replace(receipt, retrained=canonical_json({"proofs": kept}).hex())
                self._rights_log.put(replace(noted, summary=_summary(noted)))


def labels(receipt: RightsReceipt) -> tuple[str, ...]:
    """Return the label of each contribution of an erasure as it stands now, in the list's order."""
    statement = _statement(receipt)
    if statement is None:
        return ()
    covered = {str(task) for one in _proofs(receipt) for task in _list(one["tasks"])}
    return tuple(
        RETRAINED_EXACT if one.label != STOPPED and one.task_sha256 in covered else one.label
        for one in statement.rounds
    )


def _summary(receipt: RightsReceipt) -> str:
    now = labels(receipt)
    counts = ", ".join(f"{now.count(label)} {label}" for label in sorted(set(now)))
    return f"erased here and at the ledger; past contributions: {counts}"


def _statement(receipt: RightsReceipt) -> ErasureStatement | None:
    if receipt.verb != "erase" or not receipt.statement:
        return None
    return ErasureStatement.from_json(parse_canonical(bytes.fromhex(receipt.statement)))


def _proof(one: CompletedRetraining, entries: Sequence[LoggedEntry]) -> dict[str, Json]:
    """Return what shows others that a retraining was done: entries, audit paths, checkpoint."""
    return {
        "tasks": list(one.announced.document.tasks),
        "release": one.release.document.version,
        "entries": [
            {
                "entry": logged.entry.hex(),
                "index": logged.index,
                "inclusion": [node.hex() for node in logged.inclusion],
            }
            for logged in entries
        ],
        "checkpoint": entries[0].checkpoint.hex(),
    }


def _proofs(receipt: RightsReceipt) -> list[dict[str, Json]]:
    if not receipt.retrained:
        return []
    held = parse_canonical(bytes.fromhex(receipt.retrained))["proofs"]
    return [one for one in _list(held) if isinstance(one, dict)]


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _fact(population: str) -> str:
    return f"retrainings/{population}"
