"""The unit of account: a release of a noised sum, as it is stored and composed."""

from collections.abc import Mapping
from dataclasses import dataclass

from tacit.privacy._parameters import positive_integer, positive_real
from tacit.privacy.errors import BadDocument, BadParameter

MIN_NOISE_MULTIPLIER = 1e-3
MAX_NOISE_MULTIPLIER = 1e4
MIN_SENSITIVITY = 1024
"""Smallest l2 bound L on the integers of a contribution. `RoundPlan` enforces it, and the closed
form of the accountant rests on it: on so fine a lattice the noise is as good as continuous."""
_MAX_COUNT = 1 << 31
_MECHANISM = "discrete_gaussian"


@dataclass(frozen=True, slots=True)
class GaussianEvent:
    """`count` releases with discrete Gaussian noise, full participation, add/remove.

    Attributes:
        noise_multiplier: z, noise sigma over the l2 sensitivity L, in ``[1e-3, 1e4]``.
        count: Releases of this kind.

    Raises:
        BadParameter: A field is of the wrong type or out of range.
    """

    noise_multiplier: float
    count: int = 1

    def __post_init__(self) -> None:
        z = positive_real("noise_multiplier", self.noise_multiplier, maximum=MAX_NOISE_MULTIPLIER)
        if z < MIN_NOISE_MULTIPLIER:
            raise BadParameter(f"noise_multiplier: expected at least 1e-3, got {z!r}")
        object.__setattr__(self, "noise_multiplier", z)
        object.__setattr__(self, "count", positive_integer("count", self.count, maximum=_MAX_COUNT))

    def to_json(self) -> dict[str, str | int]:
        """Return the event as canonical JSON fields; the real is its shortest exact decimal."""
        return {
            "mechanism": _MECHANISM,
            "sampling": "none",
            "noise_multiplier": repr(self.noise_multiplier),
            "count": self.count,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> "GaussianEvent":
        """Read what `to_json` wrote, and nothing else.

        Raises:
            BadDocument: Keys are missing or unknown, another mechanism or sampling is named, or a
                number is out of range or not written the canonical way.
        """
        z, count = document.get("noise_multiplier"), document.get("count")
        if not isinstance(z, str) or isinstance(count, bool) or not isinstance(count, int):
            raise BadDocument("event: expected a decimal noise_multiplier and an integer count")
        try:
            event = cls(float(z), count)
        except ValueError as error:  # float's own, or BadParameter, which is one
            raise BadDocument("event: expected numbers in the range of an event") from error
        if event.to_json() != dict(document):
            raise BadDocument(f"event: expected the fields of a {_MECHANISM} event, canonical")
        return event
