"""Errors of the learners.

::

    LearnerError(ValueError)
    ├── BadPlan        a configuration no learner can run with
    └── BadHistory     noised sums that do not fit the learner's rounds
"""


class LearnerError(ValueError):
    """Report a learner that cannot do what was asked; the root of this subpackage."""


class BadPlan(LearnerError):  # noqa: N818 - named for what is wrong
    """Report a catalogue size, cohort, epsilon, feature array or round count out of range."""


class BadHistory(LearnerError):  # noqa: N818 - named for what is wrong
    """Report a missing, surplus, misordered, misshapen or non-finite noised sum."""
