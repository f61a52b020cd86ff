"""The claim: an (epsilon, delta) figure, what must be said beside it, and who confirmed it."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from tacit.privacy.errors import AccountantsDisagree

RESOLUTION = Decimal("0.000001")
"""In which claims are stated."""

_TOLERANCES = {
    # How far a check's upper bound may lie above the figure (share of the figure, and absolute),
    # and below it (share): each method's own looseness, and what the lattice costs.
    "pld": (0.002, 0.002, 0.002),
    "prv": (0.01, 0.025, 0.01),
    "rdp": (0.6, 0.3, 1e-9),
}


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """What another accountant found for the same events.

    Attributes:
        epsilon: Its figure, an upper bound, not rounded.
        accountant: Its name.
        accountant_version: Version of the library.
        epsilon_lower: Its certified lower bound, where it gives one.
    """

    epsilon: float
    accountant: str
    accountant_version: str
    epsilon_lower: float = 0.0


@dataclass(frozen=True, slots=True)
class EpsilonClaim:
    """An (epsilon, delta) figure with all that must be said beside it.

    Attributes:
        epsilon: The certified upper bound, rounded up to 6 decimals.
        target_delta: delta the figure holds at.
        accountant: Accountant that gave `epsilon`.
        accountant_version: Its version.
        cross_checks: Other accountants' figures, which confirm it; never empty.
        epsilon_lower: Certified lower bound, rounded down to 6 decimals: no correct analysis of
            these events can give less.
        unit: Whose participation is protected.
        neighboring_relation: What neighbouring data sets differ by: "add_remove" at level central,
            "replace" at local, "zero_out" where events of both compose.
        trust_level: Against whom: "central" or "local" (see SECURITY.md); the weaker of the two
            where events of both compose.
        participation: "full": every user may be in every event; "bounded:k": in at most k of
            them, which devices enforce; "poisson": as the coins fall.
        sampling: "none": no amplification is claimed; "poisson": it is, for a draw that is.
    """

    epsilon: float
    target_delta: float
    accountant: str
    accountant_version: str
    cross_checks: tuple[CrossCheck, ...]
    epsilon_lower: float = 0.0
    unit: str = "user"
    neighboring_relation: str = "add_remove"
    trust_level: str = "central"
    participation: str = "full"
    sampling: str = "none"

    def to_json(self) -> dict[str, str | list[dict[str, str]]]:
        """Return the claim as canonical JSON fields; reals are their shortest exact decimals."""
        return {
            "epsilon": repr(self.epsilon),
            "epsilon_lower": repr(self.epsilon_lower),
            "target_delta": repr(self.target_delta),
            "accountant": self.accountant,
            "accountant_version": self.accountant_version,
            "cross_checks": [
                {
                    "epsilon": repr(check.epsilon),
                    "epsilon_lower": repr(check.epsilon_lower),
                    "accountant": check.accountant,
                    "accountant_version": check.accountant_version,
                }
                for check in self.cross_checks
            ],
            "unit": self.unit,
            "neighboring_relation": self.neighboring_relation,
            "trust_level": self.trust_level,
            "participation": self.participation,
            "sampling": self.sampling,
        }


def require_confirmed(figure: float, *checks: CrossCheck) -> None:
    """Raise unless every check allows `figure` as the tight bound for the same events.

    A figure must not fall below a check's certified lower bound, and must be as near its upper
    bound as the method allows: 0.2% for a privacy-loss distribution, 0.025 for Opacus' PRV, 60%
    for Renyi accounting (half the truth, or twice it, is never confirmed).

    Raises:
        AccountantsDisagree: One does not, or a figure is NaN.
    """
    for check in checks:
        method = check.accountant.rpartition("-")[2]
        share, absolute, below = _TOLERANCES[method]
        above = share * figure + absolute
        below = below * check.epsilon + 1e-9
        within = check.epsilon - above <= figure <= check.epsilon + below
        if not (within and figure >= check.epsilon_lower):
            raise AccountantsDisagree(
                f"accountants disagree: the claim is epsilon {figure!r}, {check.accountant} "
                f"{check.accountant_version} gives {check.epsilon!r} (at least "
                f"{check.epsilon_lower!r})"
            )


def round_up(epsilon: float) -> float:
    """Round a figure up to the 6 decimals in which claims are stated."""
    return float(Decimal(epsilon).quantize(RESOLUTION, rounding=ROUND_CEILING))


def round_down(epsilon: float) -> float:
    """Round a lower bound down to the 6 decimals in which claims are stated."""
    return float(Decimal(epsilon).quantize(RESOLUTION, rounding=ROUND_FLOOR))
