"""Targets: public, documented ways from a person's own events to regression rows.

Each module gives the name of its statistic, the names of its features, a function for the rows of
training (features and target), and one for the features of the present moment, which the device
uses when it decides. Both read the same code, so what is learned is what is applied.
"""

from tacit.client.statistics.targets import bandit, churn, intent

__all__ = ["bandit", "churn", "intent"]
