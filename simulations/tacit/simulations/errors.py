"""Errors of the simulations.

::

    SimulationError(ValueError)
    ├── DatasetError        a path or file that cannot be read as a data set
    └── BadExperiment       parameters no run can be made with
"""


class SimulationError(ValueError):
    """Report a simulation that cannot be run as asked; the root of this subpackage."""


class DatasetError(SimulationError):
    """Report a path or file that cannot be read as a data set; one line a person can act on."""


class BadExperiment(SimulationError):  # noqa: N818 - named for what is wrong
    """Report parameters of a run that are out of range or contradict each other."""
