"""Learners: pure functions from noised sums to public contexts and models."""

from tacit.server.coordinator.learners.errors import BadHistory, BadPlan, LearnerError
from tacit.server.coordinator.learners.factorization import FactorizationLearner
from tacit.server.coordinator.learners.kernel import soft_bins
from tacit.server.coordinator.learners.linear import (
    LinearLearner,
    LinearTarget,
    linear_target,
)
from tacit.server.coordinator.learners.popularity import PopularityLearner
from tacit.server.coordinator.learners.protocol import (
    Learner,
    NoisedSum,
    PublicArrays,
    RoundSpec,
    check_history,
)
from tacit.server.coordinator.learners.rules import (
    SpectralPlan,
    integer_norm_for,
    spectral_plan,
)
from tacit.server.coordinator.learners.spectral import SpectralLearner

__all__ = [
    "BadHistory",
    "BadPlan",
    "FactorizationLearner",
    "Learner",
    "LearnerError",
    "LinearLearner",
    "LinearTarget",
    "NoisedSum",
    "PopularityLearner",
    "PublicArrays",
    "RoundSpec",
    "SpectralLearner",
    "SpectralPlan",
    "check_history",
    "integer_norm_for",
    "linear_target",
    "soft_bins",
    "spectral_plan",
]
