# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false
"""The build with one thing broken on purpose: each function breaks it in the process it runs in.

A mutant takes the place of the real thing wherever a module of the project holds it by name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tacit.client import session
from tacit.client.contribution import compute
from tacit.client.participation import ParticipationLog
from tacit.privacy import (
    accounting_closed_form,
    budget,
    discrete_gaussian,
    local_noise,
    quantize,
)
from tacit.privacy.arrays import pack_arrays
from tacit.privacy.audit import f_dp_refutes, independent_trials_mu, noise_test
from tacit.privacy.blocks import IntegerBlocks
from tacit.server.coordinator import training
from tacit.server.coordinator.learners import SpectralLearner
from tacit.server.coordinator.noise import decoded, noised
from tacit.server.gateway import round as rounds
from tacit.simulations import audit_sensitivity
from tacit.simulations.factorization import poisson

ROOT = pathlib.Path(__file__).resolve().parents[3]
OURS = tuple(
    str(ROOT / folder) for folder in ("client", "privacy", "server", "simulations", "tests")
)
MUTANTS: dict[str, Callable[[], None]] = {}


def mutant(apply: Callable[[], None]) -> Callable[[], None]:
    MUTANTS[apply.__name__] = apply
    return apply


def replace(real: Any, broken: Any) -> None:
    """Put `broken` wherever a loaded module of the project, or of its tests, holds `real`."""
    held = [
        (module, name)
        for module in list(sys.modules.values())
        if str(getattr(module, "__file__", "")).startswith(OURS)
        if module.__file__ != __file__
        for name, value in list(vars(module).items())
        if value is real
    ]
    if not held:
        raise LookupError(f"nothing holds {real!r}")
    for module, name in held:
        setattr(module, name, broken)


@mutant
def sums_in_floats() -> None:
    real = quantize.integer_sum

    def broken(blocks: Any) -> Any:
        return real(blocks).astype(np.float32) * np.float32(1.1)

    replace(real, broken)


@mutant
def float_noise() -> None:
    real = discrete_gaussian.sample_discrete_gaussian
    replace(real, lambda sigma, size, source: real(sigma, size, source) + 0.25)


@mutant
def seedable_noise() -> None:
    def broken(sigma: float, size: int, source: Any) -> Any:
        return np.rint(np.random.normal(0.0, sigma, size)).astype(np.int64)

    replace(discrete_gaussian.sample_discrete_gaussian, broken)


@mutant
def noise_halved() -> None:
    real = discrete_gaussian.sample_discrete_gaussian
    replace(real, lambda sigma, size, source: real(sigma / 2.0, size, source))


@mutant
def local_noise_halved() -> None:
    real = local_noise.local_sigma
    replace(real, lambda plan: real(plan) / 2.0)


@mutant
def sampler_biased() -> None:
    real = discrete_gaussian.sample_discrete_gaussian

    def broken(sigma: float, size: int, source: Any) -> Any:
        drawn = real(sigma, size, source)
        flip = np.frombuffer(source(size), np.uint8) < 0.1 * 256
        return np.where(flip, np.abs(drawn), drawn)

    replace(real, broken)


@mutant
def cohort_draw_biased() -> None:
    real = poisson.poisson_draw
    replace(real, lambda n_users, rate, source: real(n_users, min(1.2 * rate, 0.99), source))


@mutant
def nan_check_removed() -> None:
    class Lenient:
        def __getattr__(self, name: str) -> Any:
            return getattr(np, name)

        def isfinite(self, values: Any) -> Any:
            return np.ones(np.shape(values), dtype=np.bool_)

    pytest.MonkeyPatch().setattr(quantize, "np", Lenient())


@mutant
def gateway_checks_nothing() -> None:
    replace(quantize.check_contribution, lambda vector, length, norm: None)


@mutant
def clip_skipped() -> None:
    """Without the clip alone rounding refuses what is too large, so its check goes too."""
    replace(quantize.clip, lambda blocks, clipping_norm: blocks)
    replace(quantize.quantize, _unchecked)


@mutant
def weighted_by_examples() -> None:
    real = quantize.quantize

    def broken(blocks: Any, clipping_norm: float, integer_norm: int, streams: Any) -> Any:
        sent = real(blocks, clipping_norm, integer_norm, streams)
        examples = np.diff(sent.indptr)
        weights = np.repeat(np.maximum(1, examples), examples)
        return IntegerBlocks(
            sent.indptr, sent.rows, sent.values * weights[:, np.newaxis], sent.n_rows
        )

    replace(real, broken)


@mutant
def divided_by_the_count() -> None:
    real = training.Trainer._collect

    def broken(self: Any, *arguments: Any) -> Any:
        total = real(self, *arguments)
        return dataclasses.replace(total, values=total.values // total.contributions)

    training.Trainer._collect = broken  # type: ignore[method-assign, assignment]


@mutant
def clip_adapts() -> None:
    """Halves the norm whenever a round was released, whatever it held."""
    real_rounds, real_model = SpectralLearner.rounds, SpectralLearner.model

    def model(self: Any, history: Any) -> Any:
        self.shrunk = 0.5 ** len(history)
        return real_model(self, history)

    def adapted(self: Any) -> Any:
        factor = getattr(self, "shrunk", 1.0)
        return tuple(
            dataclasses.replace(spec, clipping_norm=spec.clipping_norm * factor)
            for spec in real_rounds(self)
        )

    SpectralLearner.model = model  # type: ignore[method-assign]
    SpectralLearner.rounds = adapted  # type: ignore[method-assign]


@mutant
def spend_skipped() -> None:
    def broken(self: Any, manifest: Any, index: int, plan: Any, history: Any) -> Any:
        context = pack_arrays(self._learner.context(plan.round_id, history))
        total = self._collect(manifest, index, plan, context)
        integers = noised(total.values, plan, self._random_bytes)
        self._checkpoint.save_noised_sum(plan, integers)
        return decoded(integers, plan)

    training.Trainer._round = broken  # type: ignore[method-assign]


@mutant
def spend_after_noise() -> None:
    def broken(self: Any, manifest: Any, index: int, plan: Any, history: Any) -> Any:
        context = pack_arrays(self._learner.context(plan.round_id, history))
        total = self._collect(manifest, index, plan, context)
        integers = noised(total.values, plan, self._random_bytes)
        digest = self._checkpoint.save_noised_sum(plan, integers)
        spend = self._spend(manifest, plan, hashlib.sha256(context).hexdigest())
        self._ledger.reserve(spend)
        self._ledger.commit(spend.account_id, spend.reservation_id, digest)
        return decoded(integers, plan)

    training.Trainer._round = broken  # type: ignore[method-assign]


@mutant
def epsilon_halved() -> None:
    real = accounting_closed_form.upper_of_sums
    replace(real, lambda sums, delta: real(sums, delta) / 2.0)


@mutant
def zeros_left_out() -> None:
    class Sparse(np.ndarray[Any, Any]):
        def astype(self, *arguments: Any, **named: Any) -> Any:
            kept = np.asarray(self)
            return kept[kept != 0].astype(*arguments, **named)

    real = compute
    replace(real, lambda *arguments: real(*arguments).view(Sparse))


@mutant
def nothing_to_send_is_not_sent() -> None:
    real = session.DeviceSession.contribute

    def broken(self: Any, offer: Any, context: Any = None) -> None:
        if self._device.events.last_sequence():
            real(self, offer, context)

    session.DeviceSession.contribute = broken  # type: ignore[method-assign]


@mutant
def only_the_last_run_is_charged() -> None:
    real = budget.composed_events
    replace(real, lambda reservations: real(list(reservations)[-1:]))


@mutant
def withdrawals_ignored() -> None:
    real = rounds.Round.close

    def broken(self: Any, signals_granted: Any) -> Any:
        everyone = {name: one.signals for name, one in self._contributions.items()}
        return real(self, lambda names: everyone)

    rounds.Round.close = broken  # type: ignore[method-assign]


@mutant
def device_forgets_its_rounds() -> None:
    ParticipationLog.entries = lambda self: []  # type: ignore[method-assign]


@mutant
def smallest_cohort_ignored() -> None:
    real = rounds.Round.close

    def broken(self: Any, signals_granted: Any) -> Any:
        self.manifest = dataclasses.replace(self.manifest, cohort_min=0)
        return real(self, signals_granted)

    rounds.Round.close = broken  # type: ignore[method-assign]


@mutant
def auditor_sees_no_noise() -> None:
    real = noise_test
    replace(real, lambda *arguments: dataclasses.replace(real(*arguments), findings=()))


@mutant
def auditor_refutes_nothing() -> None:
    replace(f_dp_refutes, lambda *arguments: False)
    replace(independent_trials_mu, lambda *arguments: 0.0)


@mutant
def auditor_sees_no_change() -> None:
    replace(audit_sensitivity._squared_change, lambda *arguments: 0)


def _unchecked(blocks: Any, clipping_norm: float, integer_norm: int, streams: Any) -> Any:
    scale = quantize.integer_target(integer_norm, blocks.length) / clipping_norm
    scaled = np.clip(np.rint(blocks.values * scale), -(2.0**40), 2.0**40)
    return IntegerBlocks(blocks.indptr, blocks.rows, scaled.astype(np.int64), blocks.n_rows)
