"""The privacy facts of a release, for officers and registries: derived from the ledger alone.

The fields are those that NIST SP 800-226 (2025) asks of anyone who evaluates a
differential-privacy guarantee, and that public deployment registries list (Dwork, Kohli, Mulligan
2019, doi:10.29012/jpc.689): unit, relation, epsilon, delta, trust model, composition, mechanism,
accountant, what is left out and why it should be believed. Nothing in a card is typed by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

from tacit.privacy.accounting import EpsilonClaim
from tacit.privacy.audit import AuditDocument
from tacit.privacy.budget import Reservation
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.task import TaskManifest
from tacit.privacy.trust import ASSUMPTIONS, CENTRAL, CLAIMS, LOCAL, exclusions
from tacit.server.budget.accountant import Accountant
from tacit.server.budget.statement import stated
from tacit.server.ledger.contents import LedgerContents
from tacit.server.ledger.replay import GovernanceHistory

TYPE = "tacit.privacy-facts/1"
_CHECKED = {
    CENTRAL: "devices and gateway check every contribution against the integer norm",
    LOCAL: "devices check every contribution against the integer norm, then noise it themselves",
}


@dataclass(frozen=True, slots=True)
class ReleaseFacts:
    """What is claimed of one release, and what its account had spent by then.

    Attributes:
        ledger_key: Hex; the ledger that all of this was derived from.
        release: The signed manifest.
        task: The task that trained it.
        paid: The reservations whose noised sums it was computed from.
        claim: Of these reservations, recomputed and confirmed by every accountant in it; None at
            trust level `consent-only`, which spends nothing and claims nothing of the kind.
        lifetime_epsilon: Of everything reserved or committed on its account when it was released,
            over all windows, at `lifetime_delta`.
        lifetime_delta: delta of the account then, which may differ from the release's own.
        window: The account's window then.
        window_epsilon: Of what counted in that window.
        cap_epsilon: The account's cap then, which bounds a window.
        audits: Those recorded in the log that derived this release again; they may come after it.
    """

    ledger_key: str
    release: ReleaseManifest
    task: TaskManifest
    paid: tuple[Reservation, ...]
    claim: EpsilonClaim | None
    lifetime_epsilon: float
    lifetime_delta: float
    window: int
    window_epsilon: float
    cap_epsilon: float
    audits: tuple[AuditDocument, ...]

    def to_json(self) -> dict[str, object]:
        """Return the card; at trust level `consent-only` it has no figure, for there is none."""
        claim, task = self.claim, self.task
        head: dict[str, object] = {
            "type": TYPE,
            "release": {
                "population": self.release.population,
                "version": self.release.version,
                "model_sha256": self.release.model_sha256,
                "created_at_ms": self.release.created_at_ms,
                "purpose": task.purpose,
                "learner": task.learner,
                "signals": sorted(task.signals),
                "task_sha256": self.release.task_sha256,
                "base_release": task.base_release,
            },
        }
        if claim is None:
            return {
                **head,
                "trust_level": task.trust_level,
                "claim": CLAIMS.get(task.trust_level),
                "assumptions": ASSUMPTIONS.get(task.trust_level),
            }
        return {
            **head,
            "unit": claim.unit,
            "neighboring_relation": claim.neighboring_relation,
            "epsilon": claim.epsilon,
            "epsilon_lower": claim.epsilon_lower,
            "delta": claim.target_delta,
            "lifetime_epsilon": self.lifetime_epsilon,
            "lifetime_delta": self.lifetime_delta,
            "window": self.window,
            "window_epsilon": self.window_epsilon,
            "cap_epsilon": self.cap_epsilon,
            "budget_account": task.budget_account,
            "trust_level": task.trust_level,
            "claim": CLAIMS.get(task.trust_level),
            "assumptions": ASSUMPTIONS.get(task.trust_level),
            "participation": claim.participation,
            "participation_bound": task.participation_bound,
            "sampling": claim.sampling,
            "cohort": {
                "min": task.cohort_min,
                "expected": task.cohort_expected,
                "max": task.cohort_max,
            },
            "mechanism": {
                "name": "discrete Gaussian on integers, from the operating system's CSPRNG",
                "rounds": [
                    {
                        "round_id": plan.round_id,
                        "statistic": plan.statistic,
                        "length": plan.length,
                        "clipping_norm": plan.clipping_norm,
                        "integer_norm": plan.integer_norm,
                        "noise_multiplier": plan.noise_multiplier,
                    }
                    for plan in task.rounds
                ],
                "events": [event.to_json() for one in self.paid for event in one.events],
            },
            "accountant": f"{claim.accountant} {claim.accountant_version}",
            "cross_checks": [
                {
                    "accountant": f"{check.accountant} {check.accountant_version}",
                    "epsilon": check.epsilon,
                    "epsilon_lower": check.epsilon_lower or None,
                }
                for check in claim.cross_checks
            ],
            "audits": [
                {
                    "report_sha256": audit.report_sha256,
                    "tool": audit.tool,
                    "log_size": audit.log_size,
                    "statement": audit.statement,
                    "findings": list(audit.findings),
                }
                for audit in self.audits
            ],
            "exclusions": list(exclusions(claim)),
            "implementation": f"tacit {version('tacit')} derived this card; the ledger does not "
            "record what the coordinator ran",
            "security_rationale": (
                f"each of the {len(self.paid)} spends stands in the governance log before the "
                f"commit to its noised sum; {_CHECKED[task.trust_level]}; "
                "signatures, caps and every stated epsilon were derived again "
                f"from the log of ledger key {self.ledger_key}"
            ),
        }


def release_facts(contents: LedgerContents, accountant: Accountant) -> tuple[ReleaseFacts, ...]:
    """Derive the facts of every release of a ledger, in order.

    Args:
        contents: What the ledger published.
        accountant: One that has its figures confirmed by independent libraries.

    Raises:
        VerificationFailed: The governance log breaks a rule; then it has no facts.
    """
    cards: list[ReleaseFacts] = []
    history, statements = stated(contents, accountant)
    for statement in statements:
        tasks = {task.digest().hex(): task for task in statement.tasks}
        after = {step.name: step for step in statement.steps if step.kind == "release"}
        places = {one.reservation_id: n for n, one in enumerate(statement.reservations)}
        for release in statement.releases:
            step = after.get(f"{release.population} {release.version}")
            if step is None:  # of before its population had an account: nothing was paid
                cards.append(_unpaid(contents, release, tasks[release.task_sha256]))
                continue
            named = sorted(places[name] for name in release.reservations)
            paid = tuple(statement.reservations[place] for place in named)
            events = [event for one in paid for event in one.events]
            delta = release.target_delta
            cards.append(
                ReleaseFacts(
                    ledger_key=contents.keys.ledger_key.hex(),
                    release=release,
                    task=tasks[release.task_sha256],
                    paid=paid,
                    claim=None if delta is None else accountant.claim(events, delta),
                    lifetime_epsilon=step.spent_epsilon,
                    lifetime_delta=step.target_delta,
                    window=step.window,
                    window_epsilon=step.window_epsilon,
                    cap_epsilon=step.cap_epsilon,
                    audits=tuple(
                        one
                        for one in statement.audits
                        if (release.population, release.version) in one.releases
                    ),
                )
            )
    return (*cards, *_of_populations_without_account(contents, history))


def _of_populations_without_account(
    contents: LedgerContents, history: GovernanceHistory
) -> tuple[ReleaseFacts, ...]:
    """Derive the cards of releases that no account paid for, all of trust level consent-only."""
    with_account = {account.population for account in history.accounts.values()}
    return tuple(
        _unpaid(contents, release, history.tasks[release.task_sha256])
        for population, releases in history.releases.items()
        if population not in with_account
        for release in releases
    )


def _unpaid(contents: LedgerContents, release: ReleaseManifest, task: TaskManifest) -> ReleaseFacts:
    return ReleaseFacts(
        ledger_key=contents.keys.ledger_key.hex(),
        release=release,
        task=task,
        paid=(),
        claim=None,
        # The card of a release that paid nothing holds none of these.
        lifetime_epsilon=0.0,
        lifetime_delta=0.0,
        window=0,
        window_epsilon=0.0,
        cap_epsilon=0.0,
        audits=(),
    )
