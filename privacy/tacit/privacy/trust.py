"""The trust ladder in words: the only sentences that may be said of a level, and their limits.

They stand beside every epsilon that people read. SECURITY.md says the same at length.
"""

from collections.abc import Mapping
from types import MappingProxyType

CLAIMS: Mapping[str, str] = MappingProxyType(
    {
        "central": "Released models are (ε,δ) user-level DP. The operator can see your "
        "contribution.",
        "local": "(ε₀,δ) against everyone.",
    }
)
"""Trust level to the exact sentence; a level that is not here has none and claims nothing."""

ASSUMPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "central": "the operator runs the released code, adds the noise, and deletes contributions "
        "and sums after use",
        "local": "nothing about the operator; the device adds the noise to its own contribution",
    }
)
"""Trust level to what must be true for its sentence to be."""

EXCLUSIONS: tuple[str, ...] = (
    "counts of devices per round, and who took part, are exact and visible to the operator",
    "whether and when a round or a release happened is not noised",
    "nobody outside can prove that noise was drawn as the ledger says",
    "a person with several device identities counts as several users",
)
"""What no epsilon of this project covers, at the levels it runs today."""
