"""The trust ladder in words: the only sentences that may be said of a level, and their limits.

They stand beside every epsilon that people read. SECURITY.md says the same at length.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tacit.privacy.accounting_claim import EpsilonClaim

CONSENT_ONLY = "consent-only"
CENTRAL = "central"
LOCAL = "local"
LEVELS = (CONSENT_ONLY, CENTRAL, LOCAL)
"""Levels this version runs, from the least that is promised to the most."""

CHARGED_LEVELS = (CENTRAL, LOCAL)
"""Levels that spend budget. At the other nothing is noised, so there is nothing to account for."""

CLAIMS: Mapping[str, str] = MappingProxyType(
    {
        CONSENT_ONLY: "Raw profiles do not leave the device.",
        CENTRAL: "Released models are (ε,δ) user-level DP. The operator can see your contribution.",
        LOCAL: "(ε₀,δ) against everyone.",
    }
)
"""Trust level to the exact sentence; a level that is not here has none and claims nothing."""

ASSUMPTIONS: Mapping[str, str] = MappingProxyType(
    {
        CONSENT_ONLY: "the operator is honest: it sees every contribution and every exact sum, and "
        "whoever reads a model may learn about single people from it",
        CENTRAL: "the operator runs the released code, adds the noise, and deletes contributions "
        "and sums after use",
        LOCAL: "nothing about the operator; the device adds the noise to its own contribution",
    }
)
"""Trust level to what must be true for its sentence to be."""

EXCLUSIONS: tuple[str, ...] = (
    "counts of devices per round, and who took part, are exact and visible to the operator",
    "whether and when a round or a release happened is not noised",
    "nobody outside can prove that noise was drawn as the ledger says",
    "a person with several device identities counts as several users",
)
"""What an epsilon at level `central` does not cover."""

LOCAL_EXCLUSIONS: tuple[str, ...] = (
    "that a device took part in a round, and when, is visible: only what it holds is protected",
    "a person with several device identities counts as several users",
    "whoever controls the device or its operating system reads the profile itself",
)
"""What an epsilon at level `local` does not cover."""

MIXED_EXCLUSION = "that a device took part in rounds at level local is visible"
"""What is left out, too, where events of both levels are composed."""


def exclusions(claim: EpsilonClaim) -> tuple[str, ...]:
    """Return what a claim does not cover, by its level and its neighbours."""
    if claim.trust_level == LOCAL:
        return LOCAL_EXCLUSIONS
    if claim.neighboring_relation == "zero_out":
        return (*EXCLUSIONS, MIXED_EXCLUSION)
    return EXCLUSIONS


def claim_context(claim: EpsilonClaim, participation_bound: int) -> dict[str, object]:
    """Return everything that must stand beside the figure of a claim, wherever it is shown.

    Args:
        claim: the figure.
        participation_bound: most releases one user is charged for; the figure charges them all.
    """
    return {
        "trust_level": claim.trust_level,
        "claim": CLAIMS[claim.trust_level],
        "unit": claim.unit,
        "neighboring_relation": claim.neighboring_relation,
        "target_delta": claim.target_delta,
        "participation": claim.participation,
        "participation_bound": participation_bound,
        "sampling": claim.sampling,
        "accountant": f"{claim.accountant} {claim.accountant_version}",
        "exclusions": list(exclusions(claim)),
    }


def level_and_relation(levels: Iterable[str]) -> tuple[str, str]:
    """Return the level and the neighbouring relation at which events of these levels compose.

    | events | level | neighbours differ by |
    |---|---|---|
    | all `central` (or none) | central | one user added or removed |
    | all `local` | local | one user's contributions replaced |
    | both | central | one user's contributions set to zero |

    Zeroing a contribution is removing it from a central sum, and a replacement like any other at
    level `local`, so the composition of both kinds holds for it (zero-out neighbours: Kairouz,
    McMahan, Song, Thakkar, Thakurta, Xu 2021, arXiv:2103.00039). The weaker
    assumption, that of `central`, is then the one that counts.
    """
    found = set(levels)
    if found == {LOCAL}:
        return LOCAL, "replace"
    return CENTRAL, "zero_out" if LOCAL in found else "add_remove"
