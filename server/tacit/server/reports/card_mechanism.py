"""How a release was noised and accounted for, round by round; who could take part."""

from __future__ import annotations

from tacit.privacy.accounting import EpsilonClaim
from tacit.privacy.task import RoundPlan, TaskManifest
from tacit.privacy.trust import LOCAL
from tacit.server.budget.facts import ReleaseFacts
from tacit.server.reports.document import Block, Facts, Paragraph, Section, Table, Text
from tacit.server.reports.figures import exact, noise, places
from tacit.server.reports.positions import Positions

_WHERE = {
    False: "The coordinator adds noise of scale z times the integer norm L to the sum of a round.",
    True: "Each device adds noise of scale z times 2L to its own contribution, L being the integer "
    "norm: at this level one contribution replaces another, so the sensitivity is 2L.",
}


def mechanism_section(facts: ReleaseFacts, positions: Positions) -> Section:
    """List the rounds with their sensitivity and noise, and who composed and confirmed ε."""
    contribution = Paragraph(
        "A device answers a round with one vector: a statistic compiled into the installed client, "
        "clipped to ℓ₂ norm C, rounded to integers whose ℓ₂ norm is at most L, checked on the "
        "integers that are sent. Nothing else of a person leaves the device in a round."
    )
    if facts.claim is None:
        return Section("How it was learned", (contribution, _exact_rounds(facts, positions)))
    return Section(
        "Mechanism and accounting",
        (
            contribution,
            Paragraph(
                "The mechanism is the discrete Gaussian on integers (Canonne, Kamath, Steinke "
                "2020), drawn from the operating system's CSPRNG. "
                + _WHERE[facts.task.trust_level == LOCAL]
            ),
            _rounds(facts, positions),
            *_accountants(facts, facts.claim),
        ),
    )


def participation_section(facts: ReleaseFacts) -> Section:
    """Say who could take part, what is charged, and what the ledger does not hold of it."""
    task = facts.task
    charged = (
        "Each user is charged for every round of the task, whether it took part or not."
        if facts.claim
        else "Nothing is charged at this level."
    )
    return Section(
        "Participation",
        (
            Facts(
                (
                    ("Population", facts.release.population),
                    (
                        "Cohort of a round",
                        f"at least {task.cohort_min:,}, at most {task.cohort_max:,}, expected "
                        f"{task.cohort_expected:,}; a round outside of this is given up, and "
                        "nothing of it released",
                    ),
                    (
                        "Bound",
                        f"a user contributes to at most {task.participation_bound} rounds, as the "
                        "signed task states",
                    ),
                    ("Charge", charged),
                    (
                        "Consent",
                        f"a device takes part only under a live, explicit grant of purpose "
                        f"“{task.purpose}”, and reads no signal beyond it; a withdrawal before the "
                        "cut-off of a round drops the contribution",
                    ),
                    (
                        "Not recorded",
                        "how many devices contributed, and which: the ledger holds no count and no "
                        "name of anybody who took part",
                    ),
                )
            ),
        ),
    )


def _rounds(facts: ReleaseFacts, positions: Positions) -> Table:
    task, digest = facts.task, facts.release.task_sha256
    rows: list[tuple[Text, ...]] = []
    for plan in task.rounds:
        entries = [
            where[name]
            for name in positions.spends.get((digest, plan.round_id), [])
            if name in facts.release.reservations
            for where in (positions.reserved, positions.settled)
        ]
        rows.append(
            (
                str(plan.round_id),
                plan.statistic,
                f"{plan.length:,}",
                f"{plan.clipping_norm:.6g}",
                f"{plan.integer_norm:,}",
                noise(plan.noise_multiplier),
                _scale(plan, task),
                places(entries),
            )
        )
    return Table(
        "Rounds, as the signed task plans them and the ledger has them paid",
        (
            ("round", True),
            ("statistic", False),
            ("length", True),
            ("norm C", True),
            ("norm L", True),
            ("noise z", True),
            ("scale σ", True),
            ("paid in entries", False),
        ),
        tuple(rows),
        "The task has no rounds.",
    )


def _exact_rounds(facts: ReleaseFacts, positions: Positions) -> Table:
    digest = facts.release.task_sha256
    return Table(
        "Rounds, as the signed task plans them; their sums are exact",
        (
            ("round", True),
            ("statistic", False),
            ("length", True),
            ("norm C", True),
            ("norm L", True),
            ("on record in entry", True),
        ),
        tuple(
            (
                str(plan.round_id),
                plan.statistic,
                f"{plan.length:,}",
                f"{plan.clipping_norm:.6g}",
                f"{plan.integer_norm:,}",
                str(positions.rounds.get((digest, plan.round_id), "none")),
            )
            for plan in facts.task.rounds
        ),
        "The task has no rounds.",
    )


def _accountants(facts: ReleaseFacts, claim: EpsilonClaim) -> tuple[Block, ...]:
    rows: list[tuple[Text, ...]] = [
        (
            f"{claim.accountant} {claim.accountant_version}",
            exact(claim.epsilon),
            exact(claim.epsilon_lower),
            "the figure that is claimed: certified closed form, rounded up",
        )
    ]
    rows += [
        (
            f"{one.accountant} {one.accountant_version}",
            exact(one.epsilon),
            exact(one.epsilon_lower) if one.epsilon_lower else "",
            "independent, confirms it",
        )
        for one in claim.cross_checks
    ]
    stated = exact(facts.release.epsilon or 0.0)
    return (
        Table(
            f"ε of the {len(facts.paid)} paid events together, at δ = {claim.target_delta!r}",
            (("accountant", False), ("ε at most", True), ("at least", True), ("role", False)),
            tuple(rows),
            "No accountant.",
        ),
        Paragraph(
            f"The signed release states ε {stated}; it was composed anew from the paid events for "
            "this card, and agrees."
        ),
    )


def _scale(plan: RoundPlan, task: TaskManifest) -> str:
    sensitivity = plan.integer_norm * (2 if task.trust_level == LOCAL else 1)
    return f"{plan.noise_multiplier * sensitivity:,.0f}"
