"""Errors of the device statistics.

::

    StatisticError(ValueError)
    ├── BadProfile        a profile, a history or design rows break their invariants
    └── BadContext        the public arrays of a round do not fit, or its parameters
"""


class StatisticError(ValueError):
    """Report a statistic that cannot be computed as asked; the root of this subpackage."""


class BadProfile(StatisticError):  # noqa: N818 - named for what is wrong
    """Report profile arrays that break the invariants of `Profiles`."""


class BadContext(StatisticError):  # noqa: N818 - named for what is wrong
    """Report a missing, misshapen or non-finite public array in a round's context."""
