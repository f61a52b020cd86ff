"""Decisions: everything a device works out on its own, without a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tacit.client.decide.errors import BadHistory, BadModel, DecideError
from tacit.client.decide.estimate import ScoreEstimate
from tacit.client.decide.factors import FactorModel
from tacit.client.decide.readout import Model
from tacit.client.decide.recency import DEFAULT_RECENCY, Recency, age_ranks
from tacit.client.decide.released import (
    ReleasedModel,
    attribution,
    attributions,
    base_score,
    deletion_deltas,
    estimate,
    read_model,
    scores,
)

if TYPE_CHECKING:
    from tacit.client.decide.linear import LinearModel

__all__ = [
    "DEFAULT_RECENCY",
    "BadHistory",
    "BadModel",
    "DecideError",
    "FactorModel",
    "LinearModel",
    "Model",
    "Recency",
    "ReleasedModel",
    "ScoreEstimate",
    "age_ranks",
    "attribution",
    "attributions",
    "base_score",
    "deletion_deltas",
    "estimate",
    "read_model",
    "scores",
]


def __getattr__(name: str) -> object:
    """Load linear models on first use (PEP 562); recommending does not need them."""
    if name == "LinearModel":
        from tacit.client.decide.linear import LinearModel

        return LinearModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
