"""Test, from the outside, that a mechanism does what its privacy claim assumes.

An audit can find a violation; it can never prove that there is none. Every result therefore
states its power: what it would have caught, and how surely.

Pure: the caller runs the mechanism and hands over what came out.
"""

from tacit.privacy.audit.noise_test import NoiseTest, noise_power, noise_test
from tacit.privacy.audit.one_run import one_run_epsilon, one_run_p_value
from tacit.privacy.audit.rate_test import RateTest, rate_test

__all__ = [
    "NoiseTest",
    "RateTest",
    "noise_power",
    "noise_test",
    "one_run_epsilon",
    "one_run_p_value",
    "rate_test",
]
