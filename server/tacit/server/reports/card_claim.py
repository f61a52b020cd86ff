"""What is claimed of a release, word for word, and what that means."""

from __future__ import annotations

from tacit.privacy.accounting import EpsilonClaim
from tacit.privacy.trust import ASSUMPTIONS, CLAIMS
from tacit.server.budget.explanation import odds_in_words
from tacit.server.budget.facts import ReleaseFacts
from tacit.server.reports.document import Block, Claim, Facts, Paragraph, Section
from tacit.server.reports.epsilon_bars import epsilon_bars
from tacit.server.reports.figures import exact, relation


def claim_section(facts: ReleaseFacts) -> Section:
    """State the claim: the only sentence the level allows, its assumptions, its figures."""
    level = facts.task.trust_level
    blocks: list[Block] = [
        Claim(
            f"What may be said at trust level {level}",
            f"“{CLAIMS[level]}”",
            f"This assumes: {ASSUMPTIONS[level]}.",
        )
    ]
    if facts.claim is None:
        blocks.append(
            Paragraph(
                "Sums of this level are exact. There is no figure for what they, or this model, "
                "tell about a person, and none is given."
            )
        )
        return Section("What is claimed", tuple(blocks))
    blocks += [_figures(facts, facts.claim), epsilon_bars(facts), _meaning(facts.claim)]
    return Section("What is claimed", tuple(blocks))


def _figures(facts: ReleaseFacts, claim: EpsilonClaim) -> Facts:
    return Facts(
        (
            (
                "This release",
                f"ε at most {exact(claim.epsilon)} (and at least {exact(claim.epsilon_lower)}) "
                f"at δ = {claim.target_delta!r}",
            ),
            (
                "Lifetime",
                f"ε {exact(facts.lifetime_epsilon)} at δ = {facts.lifetime_delta!r}: everything "
                f"ever charged to account {facts.task.budget_account} up to this release; it "
                "counts for somebody who was there all along",
            ),
            (
                "Window",
                f"ε {exact(facts.window_epsilon)} in window {facts.window}, of a cap of "
                f"{exact(facts.cap_epsilon)}",
            ),
            ("Privacy unit", f"one {claim.unit}, that is one device identity, over all its rounds"),
            ("Neighbours", relation(claim.neighboring_relation)),
            (
                "Participation",
                f"{claim.participation}: each user is charged for every round, and may be in at "
                f"most {facts.task.participation_bound}",
            ),
            ("Sampling", "none is claimed: nothing of ε is saved by who happened to be drawn"),
            ("Accountant", f"{claim.accountant} {claim.accountant_version}, confirmed below"),
        )
    )


def _meaning(claim: EpsilonClaim) -> Paragraph:
    odds = odds_in_words(claim.epsilon, claim.neighboring_relation).strip()
    return Paragraph(
        f"What ε {exact(claim.epsilon)} means: {odds[:1].lower()}{odds[1:]} δ = "
        f"{claim.target_delta!r} bounds the probability by which that may be exceeded. ε is not "
        "the chance of a leak, and says nothing about groups."
    )
