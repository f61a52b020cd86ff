"""Errors of the decision path.

::

    DecideError(ValueError)
    ├── BadModel        released arrays that are missing, misshapen or not finite
    └── BadHistory      a local history that does not fit the model
"""


class DecideError(ValueError):
    """Report a decision that cannot be made as asked; the root of this subpackage."""


class BadModel(DecideError):  # noqa: N818 - named for what is wrong
    """Report released arrays that do not form a model."""


class BadHistory(DecideError):  # noqa: N818 - named for what is wrong
    """Report a history with unknown items, repeats, or weights that are not positive."""
