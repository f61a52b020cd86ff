"""What moved each account over time: opened, reserved, committed, aborted, released."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from tacit.privacy import budget as rules
from tacit.privacy.budget import BudgetAccount, Reservation
from tacit.privacy.budget_documents import AbortDocument, CommitDocument, ReserveDocument
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.release import ReleaseManifest
from tacit.server.budget.accountant import Accountant
from tacit.server.budget.store import reservation_of


@dataclass(frozen=True, slots=True)
class BudgetStep:
    """One entry of the governance log, and where the account stood after it.

    Attributes:
        index: Position in the governance log.
        recorded_at_ms: Unix milliseconds, as its signer saw them.
        kind: Kind of the entry.
        name: Reservation, release or account it is about.
        purpose: Purpose of the reservation; empty for other kinds.
        noise_multiplier: z of the reservation; None for other kinds.
        spent_epsilon, spent_epsilon_lower: Bounds of everything that counts after the entry.
        released_epsilon: Of what is committed after it.
    """

    index: int
    recorded_at_ms: int
    kind: str
    name: str
    purpose: str
    noise_multiplier: float | None
    spent_epsilon: float
    spent_epsilon_lower: float
    released_epsilon: float

    def to_json(self) -> dict[str, object]:
        """Return the step as a document."""
        return asdict(self)


def timelines(
    entries: Sequence[GovernanceEntry],
    accounts: Mapping[str, BudgetAccount],
    accountant: Accountant,
) -> dict[str, tuple[BudgetStep, ...]]:
    """Return account id to its steps, of a log that `replay_governance` found nothing wrong with.

    Raises:
        PrivacyError: An entry is malformed after all.
    """
    of_population = {one.population: name for name, one in accounts.items()}
    held: dict[str, Reservation] = {}
    steps: dict[str, list[BudgetStep]] = {name: [] for name in accounts}
    for index, entry in enumerate(entries):
        moved: Reservation | None = None
        if entry.kind == "account":
            account_id = name = str(entry.body["account_id"])
        elif entry.kind == "release":
            release = ReleaseManifest.from_json(entry.body)
            if release.population not in of_population:
                continue  # of a population without an account, which spends nothing
            account_id = of_population[release.population]
            name = f"{release.population} {release.version}"
        elif entry.kind.startswith("budget."):
            moved = _moved(entry, held)
            held[moved.reservation_id] = moved
            account_id, name = moved.account_id, moved.reservation_id
        else:
            continue
        mine = [one for one in held.values() if one.account_id == account_id]
        delta = accounts[account_id].target_delta
        spent = accountant.claim(rules.composed_events(mine), delta)
        committed = [one for one in mine if one.release_sha256]
        steps[account_id].append(
            BudgetStep(
                index=index,
                recorded_at_ms=entry.recorded_at_ms,
                kind=entry.kind,
                name=name,
                purpose=moved.purpose if moved else "",
                noise_multiplier=moved.events[0].noise_multiplier if moved else None,
                spent_epsilon=spent.epsilon,
                spent_epsilon_lower=spent.epsilon_lower,
                released_epsilon=accountant.claim(rules.composed_events(committed), delta).epsilon,
            )
        )
    return {name: tuple(some) for name, some in steps.items()}


def _moved(entry: GovernanceEntry, held: Mapping[str, Reservation]) -> Reservation:
    if entry.kind == "budget.reserve":
        return reservation_of(ReserveDocument.from_json(entry.body))
    if entry.kind == "budget.commit":
        commit = CommitDocument.from_json(entry.body)
        return rules.commit(held[commit.reservation_id], commit.release_sha256)
    return rules.abort(held[AbortDocument.from_json(entry.body).reservation_id])
