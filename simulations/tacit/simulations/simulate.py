"""One experiment: split, train under a budget, evaluate beside the baselines, account."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from tacit.client.decide import Recency
from tacit.privacy.trust import CENTRAL, CONSENT_ONLY, LEVELS, LOCAL
from tacit.simulations.baselines import count_scorer, ease_scorer, ials_scorer
from tacit.simulations.datasets import Dataset
from tacit.simulations.errors import BadExperiment, DatasetError
from tacit.simulations.holdout import SplitKind, SplitOptions, hold_out, training_part
from tacit.simulations.leaks import LeakAudit, audit_leak
from tacit.simulations.learners import LEARNERS, LEARNERS_OF_EVERY_LEVEL
from tacit.simulations.memory import peak_rss_bytes
from tacit.simulations.metrics import Evaluation, evaluate
from tacit.simulations.report import Row, SimulationReport, non_private_label
from tacit.simulations.sampled import sampled_metrics
from tacit.simulations.slices import slices
from tacit.simulations.splits import PUBLIC_SPLIT_SEED, BoolArray, Split
from tacit.simulations.time_order import time_warnings
from tacit.simulations.trained import OnProgress, Scorer, Trained, TrainingOptions

_LARGEST_DELTA = 1e-5
_HELD_OUT_FROM: Mapping[SplitKind, str] = MappingProxyType(
    {
        "random": "the random split takes them from users with 5 items or more",
        "leave-one-out": "leave-one-out takes one from users with 2 items or more",
        "temporal": "the temporal split takes what users with a history first meet after the "
        "cut-off, at 80% of the events",
    }
)

OnPhase = Callable[[str, float], None]
"""Called with the name of a phase and the share of it that is done, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """Choose an experiment.

    Attributes:
        learner: a key of `LEARNERS`.
        epsilon: total budget, above zero; infinity trains without noise and claims nothing.
        delta: target delta, below one over the training users; `None` applies `default_delta`.
        rounds: total number of rounds; `None` applies the learner's rule.
        split_seed: public seed of the split.
        split: what is held out.
        recency: whether devices weigh newer items more when they rank; `None` does where the
            split is by time.
        signals: signals that learning and ranking may use; `None` for all.
        target: signal whose events are held out; `None` for any.
        unseen_share: share of users that never take part in training.
        cohort_size: how many of the others do; `None` for all.
        baselines: whether to fit EASE, iALS and the learner without noise as well.
        paper_protocol: whether to compute the sampled metrics too.
        audit_leaks: whether to train once more, on decoys, to see if training reads the test part.
        trust_level: level of the trust ladder; `consent-only` adds no noise and has no epsilon.
    """

    learner: str = "spectral"
    epsilon: float = 8.0
    delta: float | None = None
    rounds: int | None = None
    split_seed: int = PUBLIC_SPLIT_SEED
    split: SplitKind = "random"
    recency: bool | None = None
    signals: tuple[str, ...] | None = None
    target: str | None = None
    unseen_share: float = 0.0
    cohort_size: int | None = None
    baselines: bool = False
    paper_protocol: bool = False
    audit_leaks: bool = False
    trust_level: str = CENTRAL

    @property
    def spent_epsilon(self) -> float:
        """Return the budget to train with: infinity where there is no noise."""
        return math.inf if self.trust_level == CONSENT_ONLY else self.epsilon

    def training(self, delta: float) -> TrainingOptions:
        """Return the part that concerns training."""
        return TrainingOptions(self.spent_epsilon, delta, self.rounds, self.trust_level)

    @property
    def uses_recency(self) -> bool:
        """Say whether devices weigh newer items more."""
        return self.split != "random" if self.recency is None else self.recency

    def split_options(self) -> SplitOptions:
        """Return the part that concerns the split."""
        return SplitOptions(
            kind=self.split,
            seed=self.split_seed,
            signals=self.signals,
            target=self.target,
            recency=Recency() if self.uses_recency else None,
            unseen_share=self.unseen_share,
            cohort_size=self.cohort_size,
        )


def default_delta(n_users: int) -> float:
    """Choose a delta well under one over the cohort: the smaller of 1e-5 and `0.1 / n_users`."""
    return min(_LARGEST_DELTA, 0.1 / n_users)


def simulate(
    dataset: Dataset, options: SimulationOptions, on_phase: OnPhase | None = None
) -> SimulationReport:
    """Train one learner over a whole population under a budget and evaluate it.

    The number of training users stands for the public expected cohort. Learners and baselines are
    handed a split and a data set without any held-out event.

    Args:
        dataset: the population.
        options: the experiment.
        on_phase: told how far each phase is.

    Raises:
        BadExperiment: an option is out of range, the learner cannot run with these sizes.
        DatasetError: nobody has anything to hold out.
    """
    started, cpu_started = time.perf_counter(), time.process_time()
    _check(options)
    split = hold_out(dataset, options.split_options())
    if not np.any(np.diff(split.test.indptr)):
        raise DatasetError(
            f"expected users with held-out items ({_HELD_OUT_FROM[options.split]}), got none to "
            "evaluate"
        )
    if not len(split.cohort.items):
        raise DatasetError(
            f"expected users with a history of {' or '.join(options.signals or ('any signal',))}, "
            "got none to train on"
        )
    delta = _delta(split, options)
    bench = _Bench(dataset, split, options, on_phase)
    trained, wall_s = bench.train(options.learner, options.training(delta))
    seen = split.participants if options.unseen_share else None
    rows = [bench.row(trained.learner, trained.scorer, wall_s, trained, among=seen)]
    if options.unseen_share:
        label = f"{trained.learner}, users never trained on"
        rows.append(bench.row(label, trained.scorer, 0.0, trained, among=split.unseen))
    rows.append(bench.row("popularity", count_scorer(split), 0.0, None, among=seen))
    if options.baselines:
        rows += bench.baselines(delta, among=seen)
    audit = bench.audit(delta) if options.audit_leaks else None
    return SimulationReport(
        dataset=dataset,
        split=split,
        split_kind=options.split,
        target=options.target,
        signals=options.signals or dataset.signal_names,
        recency=options.uses_recency,
        epsilon=options.spent_epsilon,
        delta=delta,
        trust_level=options.trust_level,
        trained=trained,
        rows=tuple(rows),
        wall_s=time.perf_counter() - started,
        cpu_s=time.process_time() - cpu_started,
        peak_rss_bytes=peak_rss_bytes(),
        warnings=(
            *time_warnings(dataset, options.split, options.uses_recency),
            *_without_history(split),
        ),
        audit=audit,
    )


def utility_by_cohort(
    dataset: Dataset,
    options: SimulationOptions,
    sizes: tuple[int, ...],
    on_phase: OnPhase | None = None,
) -> tuple[tuple[int, Row], ...]:
    """Train on ever more users and evaluate each model on the same users, never trained on.

    Args:
        dataset: the population.
        options: the experiment; a fifth of the users stay unseen where it names no share.
        sizes: cohort sizes.
        on_phase: told how far each phase is.

    Returns:
        Size and evaluation of each.
    """
    share = options.unseen_share or 0.2
    points: list[tuple[int, Row]] = []
    for size in sizes:
        asked = replace(options, unseen_share=share, cohort_size=size, baselines=False)
        report = simulate(dataset, asked, on_phase)
        points.append((size, report.rows[1]))
    return tuple(points)


class _Bench:
    """Train and evaluate one model after another on the same split."""

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        options: SimulationOptions,
        on_phase: OnPhase | None,
    ) -> None:
        self._dataset, self._split, self._options = dataset, split, options
        self._on_phase = on_phase
        self._blind_split = split.without_test()
        self._blind_data = training_part(dataset, split)

    def train(self, learner: str, training: TrainingOptions) -> tuple[Trained, float]:
        started = time.perf_counter()
        trained = LEARNERS[learner](
            self._blind_split, self._blind_data, training, self._phase("training")
        )
        return trained, time.perf_counter() - started

    def row(
        self,
        label: str,
        scorer: Scorer,
        wall_s: float,
        trained: Trained | None,
        among: BoolArray | None,
    ) -> Row:
        evaluation: Evaluation = evaluate(self._split, scorer, self._phase("scoring"), among=among)
        sampled: dict[str, float] = {}
        if self._options.paper_protocol:
            sampled = sampled_metrics(self._split, scorer, self._options.split_seed, among)
        cut = slices(self._split, evaluation, self._dataset.groups)
        return Row(label, evaluation, cut, sampled, wall_s, trained)

    def baselines(self, delta: float, among: BoolArray | None) -> list[Row]:
        rows: list[Row] = []
        fits: tuple[tuple[str, Callable[[Split], Scorer]], ...] = (
            ("EASE", ease_scorer),
            ("iALS", self._fit_ials),
        )
        for label, fit in fits:
            started = time.perf_counter()
            try:
                scorer = fit(self._blind_split)
            except BadExperiment as error:
                if label != "EASE":
                    raise
                if self._on_phase is not None:
                    self._on_phase(f"left out: {error}", 1.0)
                continue
            rows.append(self.row(label, scorer, time.perf_counter() - started, None, among))
        if not math.isinf(self._options.spent_epsilon):
            options = TrainingOptions(math.inf, delta, None)
            trained, wall_s = self.train(self._options.learner, options)
            label = non_private_label(trained.learner)
            rows.append(self.row(label, trained.scorer, wall_s, None, among))
        return rows

    def audit(self, delta: float) -> LeakAudit:
        """Train once more on a split whose test part is decoys, which is not kept from the code."""
        training = self._options.training(delta)
        learn = LEARNERS[self._options.learner]

        def train(decoys: Split) -> Scorer:
            return learn(decoys, self._blind_data, training, self._phase("auditing")).scorer

        return audit_leak(self._split, train)

    def _fit_ials(self, split: Split) -> Scorer:
        return ials_scorer(split, self._phase("fitting iALS"))

    def _phase(self, name: str) -> OnProgress | None:
        on_phase = self._on_phase
        return None if on_phase is None else lambda share: on_phase(name, share)


def _without_history(split: Split) -> tuple[str, ...]:
    """Count the users who are ranked for without a history of the signals in use."""
    held, read = np.diff(split.test.indptr) > 0, np.diff(split.fold_in.indptr) > 0
    empty = int(np.sum(held & ~read))
    if not empty:
        return ()
    return (
        f"{empty:,} of {int(np.sum(held)):,} evaluated users have no history of the signals in "
        "use: they get what the model shows anybody",
    )


def _check(options: SimulationOptions) -> None:
    if options.learner not in LEARNERS:
        raise BadExperiment(
            f"expected a learner among {', '.join(LEARNERS)}, got {options.learner!r}"
        )
    if not options.epsilon > 0.0:
        raise BadExperiment(f"expected epsilon above zero, got {options.epsilon}")
    if options.trust_level not in LEVELS:
        raise BadExperiment(
            f"expected a trust level among {', '.join(LEVELS)}, got {options.trust_level!r}"
        )
    if options.trust_level != CENTRAL and options.learner not in LEARNERS_OF_EVERY_LEVEL:
        raise BadExperiment(
            f"learner {options.learner!r} trains at trust level central only; expected one of "
            f"{', '.join(LEARNERS_OF_EVERY_LEVEL)} at {options.trust_level}"
        )
    if options.trust_level == LOCAL and math.isinf(options.epsilon):
        raise BadExperiment("expected a finite epsilon at trust level local, got inf")
    if options.paper_protocol and options.split != "leave-one-out":
        raise BadExperiment("the paper protocol needs one held-out item: --split leave-one-out")


def _delta(split: Split, options: SimulationOptions) -> float:
    n_users = split.cohort.n_users
    delta = default_delta(n_users) if options.delta is None else options.delta
    if not 0.0 < delta < 1.0 / n_users:
        raise BadExperiment(
            f"expected delta above 0 and below 1/{n_users} (one over the users), got {delta}"
        )
    return delta
