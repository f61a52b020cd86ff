"""The factorization learner in torch: Opacus per-sample gradients in place of a fleet of devices.

Its modules import torch, so nothing imports them before they are called for.
"""
