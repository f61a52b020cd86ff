"""What a simulation found, and its documented JSON (`docs/simulate.md`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tacit.privacy.trust import CENTRAL, CLAIMS, CONSENT_ONLY
from tacit.simulations.datasets import Dataset
from tacit.simulations.intervals import Interval, metric_intervals, share_interval
from tacit.simulations.leaks import LeakAudit
from tacit.simulations.metrics import METRICS, Evaluation
from tacit.simulations.slices import SliceGap, Slices, slice_gap
from tacit.simulations.splits import Split
from tacit.simulations.trained import Trained

SHARE_METRIC = "ndcg@100"


@dataclass(frozen=True)
class Row:
    """Hold what one model was worth.

    Attributes:
        label: name of the model.
        evaluation: its metrics.
        slices: what their means hide.
        sampled: metrics of the paper protocol; empty unless asked for.
        wall_s: seconds it took to train.
        trained: what the learner handed back; `None` for a model that is not private.
    """

    label: str
    evaluation: Evaluation
    slices: Slices
    sampled: dict[str, float]
    wall_s: float
    trained: Trained | None

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """Give the 95% interval of each metric over users."""
        return metric_intervals(self.evaluation)

    def to_json(self) -> dict[str, Any]:
        """Return the row as the report's `models` shows it."""
        guarantees = self.trained.guarantees if self.trained is not None else ()
        return {
            "label": self.label,
            "metrics": dict(self.evaluation.means),
            "intervals": {name: got.to_json() for name, got in self.intervals.items()},
            "slices": self.slices.to_json(),
            "sampled": self.sampled,
            "users_evaluated": self.evaluation.users_evaluated,
            "users_dropped": self.evaluation.users_dropped,
            "guarantees": [guarantee.to_json() for guarantee in guarantees],
            "wall_s": self.wall_s,
        }


def non_private_label(learner: str) -> str:
    """Name the row of a learner without noise."""
    return f"{learner}, not private"


@dataclass(frozen=True)
class SimulationReport:
    """Hold what an experiment found.

    Attributes:
        dataset: the data.
        split: what was held out.
        split_kind: how.
        target: signal whose events were held out; `None` for any.
        signals: signals that learning and ranking used.
        recency: whether newer items weighed more on the device.
        epsilon: what was asked for.
        delta: the delta that was used.
        trained: what the learner handed back.
        rows: the learner first, then whatever it was compared with.
        wall_s: elapsed seconds, data already loaded.
        cpu_s: processor seconds of this process over the same time.
        peak_rss_bytes: largest resident size of this process so far.
        warnings: where the result does not mean what it seems to.
        audit: what the leak audit found; `None` where it was not asked for.
        trust_level: level of the trust ladder that was asked for.
    """

    dataset: Dataset
    split: Split
    split_kind: str
    target: str | None
    signals: tuple[str, ...]
    recency: bool
    epsilon: float
    delta: float
    trained: Trained
    rows: tuple[Row, ...]
    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    warnings: tuple[str, ...] = ()
    audit: LeakAudit | None = None
    trust_level: str = CENTRAL

    @property
    def evaluation(self) -> Evaluation:
        """Give the learner's metrics."""
        return self.rows[0].evaluation

    @property
    def popularity(self) -> Evaluation:
        """Give the metrics of exact, non-private item counts: the floor to beat."""
        return next(row for row in self.rows if row.label == "popularity").evaluation

    @property
    def non_private(self) -> Row | None:
        """Give the row of the learner without noise: its own at infinite epsilon, if any."""
        if not self.trained.guarantees:
            return self.rows[0]
        label = non_private_label(self.trained.learner)
        return next((row for row in self.rows if row.label == label), None)

    @property
    def gap(self) -> SliceGap | None:
        """Compare the learner's slices with its non-private version's; `None` without one."""
        reference = self.non_private
        return None if reference is None else slice_gap(self.rows[0].slices, reference.slices)

    def share_of_ease(self, row: Row) -> tuple[float, Interval] | None:
        """Give a row's NDCG@100 as share of EASE's in this run; `None` without EASE.

        A row over other users than EASE's has no such share.
        """
        ease = next((row.evaluation for row in self.rows if row.label == "EASE"), None)
        if ease is None or not np.array_equal(ease.users, row.evaluation.users):
            return None
        mean = row.evaluation.means[SHARE_METRIC] / max(ease.means[SHARE_METRIC], 1e-12)
        return mean, share_interval(row.evaluation, ease, SHARE_METRIC)

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON document."""
        first = self.rows[0]
        payloads = self.trained.payload_bytes
        return {
            "dataset": {
                "name": self.dataset.name,
                "users": self.dataset.n_users,
                "items": self.dataset.n_items,
                "interactions": self.dataset.n_interactions,
                "notes": list(self.dataset.notes),
            },
            "privacy": self._privacy(),
            "guarantees": [guarantee.to_json() for guarantee in self.trained.guarantees],
            "metrics": dict(first.evaluation.means),
            "intervals": {name: got.to_json() for name, got in first.intervals.items()},
            "slices": first.slices.to_json(),
            "cost": {
                "payload_bytes_per_device_round": list(payloads),
                "wall_s": self.wall_s,
                "cpu_s": self.cpu_s,
                "peak_rss_bytes": self.peak_rss_bytes,
            },
            "baselines": {
                row.label.lower(): dict(row.evaluation.means)
                for row in self.rows[1:]
                if row.trained is None
            },
            "models": [row.to_json() | {"share_of_ease": self._share(row)} for row in self.rows],
            "learner": self.trained.learner,
            "notes": [*self.warnings, *self.trained.notes],
            "difference_to_non_private": None if self.gap is None else self.gap.to_json(),
            "leak_audit": None if self.audit is None else self.audit.to_json(),
            "split": {
                "kind": self.split_kind,
                "seed": self.split.seed,
                "target": self.target,
                "signals": list(self.signals),
                "recency": self.recency,
                "users_trained": self.split.cohort.n_users,
                "users_evaluated": self.evaluation.users_evaluated,
                "users_dropped": self.evaluation.users_dropped,
            },
        }

    def _privacy(self) -> dict[str, Any]:
        """State what was spent with all that stands beside it; no figure at `consent-only`."""
        claim = next(iter(self.trained.guarantees), None)
        payloads = self.trained.payload_bytes
        if self.trust_level == CONSENT_ONLY:
            return {
                "trust": CONSENT_ONLY,
                "claim": CLAIMS[CONSENT_ONLY],
                "rounds": len(payloads),
            }
        if claim is None:
            return {
                "epsilon": None,
                "delta": None,
                "unit": "user",
                "neighboring_relation": "add_remove",
                "trust": CONSENT_ONLY,
                "rounds": len(payloads),
                "noise_multiplier": [0.0] * len(payloads),
                "accountant": None,
            }
        return {
            "epsilon": claim.epsilon,
            "delta": claim.delta,
            "unit": claim.unit,
            "neighboring_relation": claim.neighboring_relation,
            "trust": claim.trust,
            "trust_level": claim.trust,
            "claim": CLAIMS[claim.trust],
            "participation": claim.participation,
            "participation_bound": claim.rounds,
            "sampling": claim.sampling,
            "rounds": claim.rounds,
            "noise_multiplier": list(claim.noise_multipliers),
            "accountant": claim.accountant,
            "exclusions": list(claim.exclusions),
        }

    def _share(self, row: Row) -> dict[str, Any] | None:
        share = self.share_of_ease(row)
        if share is None:
            return None
        return {"metric": SHARE_METRIC, "mean": share[0], "interval": share[1].to_json()}


def spread(reports: list[SimulationReport]) -> dict[str, dict[str, float]]:
    """Summarise repeats: mean and sample standard deviation of each metric over seeds."""
    table = np.array([[r.evaluation.means[name] for name in METRICS] for r in reports])
    std = np.std(table, axis=0, ddof=1) if len(reports) > 1 else np.zeros(len(METRICS))
    return {
        name: {"mean": float(np.mean(table[:, column])), "std": float(std[column])}
        for column, name in enumerate(METRICS)
    }
