"""Decisions: everything a device works out on its own, without a socket."""

from tacit.client.decide.errors import BadHistory, BadModel, DecideError
from tacit.client.decide.linear import LinearModel
from tacit.client.decide.readout import Model, attribution, deletion_deltas, scores
from tacit.client.decide.recency import Recency, age_ranks

__all__ = [
    "BadHistory",
    "BadModel",
    "DecideError",
    "LinearModel",
    "Model",
    "Recency",
    "age_ranks",
    "attribution",
    "deletion_deltas",
    "scores",
]
