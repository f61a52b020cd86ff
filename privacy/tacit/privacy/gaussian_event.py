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
_CENTRAL, _LOCAL = "central", "local"


@dataclass(frozen=True, slots=True)
class GaussianEvent:
    """`count` releases with discrete Gaussian noise, full participation.

    The noise multiplier always is sigma over the l2 sensitivity, whatever that is at the level; so
    events of all levels compose by z alone, and nothing has to be halved when they are read.

    Attributes:
        noise_multiplier: z, noise sigma over the l2 sensitivity, in ``[1e-3, 1e4]``.
        count: Releases of this kind.
        sensitivity: l2 sensitivity in integer units, at least 1,024: 2L at level `local`, where a
            contribution is replaced. None for the L of the round it belongs to, under add/remove:
            the meaning of every event at level `central` that names none.
        trust_level: who adds the noise: `central`, the coordinator, to a sum; `local`, each device,
            to its own contribution. `local` names its sensitivity.

    Raises:
        BadParameter: A field is of the wrong type or out of range.
    """

    noise_multiplier: float
    count: int = 1
    sensitivity: int | None = None
    trust_level: str = _CENTRAL

    def __post_init__(self) -> None:
        z = positive_real("noise_multiplier", self.noise_multiplier, maximum=MAX_NOISE_MULTIPLIER)
        if z < MIN_NOISE_MULTIPLIER:
            raise BadParameter(f"noise_multiplier: expected at least 1e-3, got {z!r}")
        object.__setattr__(self, "noise_multiplier", z)
        object.__setattr__(self, "count", positive_integer("count", self.count, maximum=_MAX_COUNT))
        if self.trust_level not in (_CENTRAL, _LOCAL):
            raise BadParameter(
                f"trust_level: expected {_CENTRAL!r} or {_LOCAL!r}, got {self.trust_level!r}"
            )
        if self.sensitivity is None:
            if self.trust_level == _LOCAL:
                raise BadParameter("sensitivity: expected one at level 'local', got none")
        elif positive_integer("sensitivity", self.sensitivity) < MIN_SENSITIVITY:
            raise BadParameter(
                f"sensitivity: expected at least {MIN_SENSITIVITY}, got {self.sensitivity}"
            )

    def to_json(self) -> dict[str, str | int]:
        """Return the event as canonical JSON fields; the real is its shortest exact decimal.

        Level and sensitivity stand in it where the sensitivity is named; events from before there
        were levels keep their bytes.
        """
        document: dict[str, str | int] = {
            "mechanism": _MECHANISM,
            "sampling": "none",
            "noise_multiplier": repr(self.noise_multiplier),
            "count": self.count,
        }
        if self.sensitivity is not None:
            document |= {"sensitivity": self.sensitivity, "trust_level": self.trust_level}
        return document

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
        sensitivity, level = document.get("sensitivity"), document.get("trust_level", _CENTRAL)
        if not isinstance(level, str) or not (
            sensitivity is None
            or (isinstance(sensitivity, int) and not isinstance(sensitivity, bool))
        ):
            raise BadDocument("event: expected an integer sensitivity beside its trust_level")
        try:
            event = cls(float(z), count, sensitivity, level)
        except ValueError as error:  # float's own, or BadParameter, which is one
            raise BadDocument("event: expected numbers in the range of an event") from error
        if event.to_json() != dict(document):
            raise BadDocument(f"event: expected the fields of a {_MECHANISM} event, canonical")
        return event
