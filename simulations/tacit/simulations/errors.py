"""Errors of the simulations.

::

    SimulationError(ValueError)
    ├── DatasetError        a path or file that cannot be read as a data set
    ├── BadExperiment       parameters no run can be made with
    └── DemoFailed          a process of the demo ended, or did not answer, before its time
"""


class SimulationError(ValueError):
    """Report a simulation that cannot be run as asked; the root of this subpackage."""


class DatasetError(SimulationError):
    """Report a path or file that cannot be read as a data set; one line a person can act on."""


class BadExperiment(SimulationError):  # noqa: N818 - named for what is wrong
    """Report parameters of a run that are out of range or contradict each other."""


class DemoFailed(SimulationError):  # noqa: N818 - named for what happened
    """Report that a process of the demo ended or did not answer; names it and what to do."""
