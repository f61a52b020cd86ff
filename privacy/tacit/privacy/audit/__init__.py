"""Test, from the outside, that a mechanism does what its privacy claim assumes.

An audit can find a violation; it can never prove that there is none. Every result therefore
states its power: what it would have caught, and how surely.

Pure: the caller runs the mechanism and hands over what came out.
"""

from tacit.privacy.audit.document import AuditDocument, AuditTest, shortened
from tacit.privacy.audit.f_dp import f_dp_refutes, one_run_mu
from tacit.privacy.audit.independent_trials import independent_trials_mu, rate_upper_limit
from tacit.privacy.audit.noise_test import NoiseTest, noise_power, noise_test
from tacit.privacy.audit.one_run import one_run_epsilon, one_run_p_value
from tacit.privacy.audit.rate_test import RateTest, rate_power, rate_test

__all__ = [
    "AuditDocument",
    "AuditTest",
    "NoiseTest",
    "RateTest",
    "f_dp_refutes",
    "independent_trials_mu",
    "noise_power",
    "noise_test",
    "one_run_epsilon",
    "one_run_mu",
    "one_run_p_value",
    "rate_power",
    "rate_test",
    "rate_upper_limit",
    "shortened",
]
