"""What a device answers: decisions, explanations, acknowledgements, its own state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tacit.client.exposure import DeviceExposure
from tacit.client.features import Features
from tacit.client.traffic_log import TrafficAccount

Source = Literal["model", "rule", "popular", "fallback", "explore", "promoted"]
"""Where a recommendation comes from: a released model folded with the local history; categories
shared with it; a released model's popularity alone; the catalogue alone; chance, for exploration;
the app's own promotion."""

Basis = Literal["model", "rule", "popular", "fallback"]
"""What the scores of a decision are made of; see `Source`."""


@dataclass(frozen=True, slots=True)
class Ack:
    """What `track` answers.

    Attributes:
        event_id: the id the event goes by; the same id is recorded once.
        sequence: its place in the log; None if it was not recorded.
        recorded: False if no consent covers the signal, or what the id named was forgotten, so
            nothing was kept.
        duplicate: True if this id was recorded before.
    """

    event_id: str
    sequence: int | None
    recorded: bool
    duplicate: bool


@dataclass(frozen=True, slots=True)
class RecommendedItem:
    """One recommended item.

    Attributes:
        item_id, title: as the catalogue has them.
        score: comparable within one decision only; higher is better.
        source: see `Source`.
        reasons: why, one short sentence each, most telling first.
        propensity: probability that this item got this slot, given those above; see
            `tacit.client.slate`.
    """

    item_id: str
    title: str
    score: float
    source: Source
    reasons: tuple[str, ...]
    propensity: float


@dataclass(frozen=True, slots=True)
class HandOver:
    """A suggestion that a person should take over.

    Attributes:
        reason: why.
        context: what that person may be told: only what the user agreed to, never a profile.
    """

    reason: str
    context: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Decision:
    """What `recommend` answers.

    Attributes:
        id: names the decision, for `explain`.
        surface: where it is shown.
        items: best first.
        model_version: version of the installed release; 0 for none.
        took_us: time it took, microseconds.
        basis: what the scores are made of.
        confidence: share of the uncertainty about this user's taste that the history removed, in
            [0, 1]; 0 without a model.
        removed: guardrail rule → how many of the candidates it removed.
        closed: rules that closed the surface altogether, so that nothing is shown.
        escalate: the device suggests that a person takes over; None mostly.
    """

    id: str
    surface: str
    items: tuple[RecommendedItem, ...]
    model_version: int
    took_us: int
    basis: Basis
    confidence: float
    removed: Mapping[str, int]
    closed: tuple[str, ...]
    escalate: HandOver | None


@dataclass(frozen=True, slots=True)
class Control:
    """Something a person can do about a reason.

    Attributes:
        name: `not_interested` or `forget_this`; for a question, `yes`, `no` or `why_am_i_asked`.
        label: as a button may say it.
        verb: the verb of `Personalizer` that does it.
        arguments: its keyword arguments.
    """

    name: str
    label: str
    verb: str
    arguments: Mapping[str, str | float]


@dataclass(frozen=True, slots=True)
class CitedEvent:
    """Something of the user's own that speaks for a recommended item.

    Attributes:
        sequence: place in the log of the event that counts; 0 for a seed of the app's.
        signal: what it stands for.
        item_id, title: the item it is about.
        share: its exact additive part of the score; all shares and `base` add up to the score.
        percent: its part of everything in the history that speaks for the item, 0 to 100.
        deletion_delta: how much lower the score would be had it never happened; above 0.
        sequences: every event about that item; "had it never happened" means all of them.
        rank_without: where the item would have ranked, 1 for first; None beyond the first ten
            cited.
        controls: what the person can do about it.
    """

    sequence: int
    signal: str
    item_id: str
    title: str
    share: float
    percent: float
    deletion_delta: float
    sequences: tuple[int, ...]
    rank_without: int | None
    controls: tuple[Control, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an item was recommended.

    Attributes:
        decision_id, item_id, title, source: what is explained.
        score: the item's score.
        base: the part of the score that everybody would get.
        history: the part that the user's whole history adds; `base + history = score`.
        cited: what speaks for it, most telling first; only the user's own, only permitted.
        text: the same for a person to read.
        rank: its rank by score among everything that might have been shown; 0 if it might not.
        rules: guardrails that removed it; empty for an item that was shown.
        controls: what the person can do about the item.
    """

    decision_id: str
    item_id: str
    title: str
    source: Source
    score: float
    base: float
    history: float
    cited: tuple[CitedEvent, ...]
    text: str
    rank: int
    rules: tuple[str, ...]
    controls: tuple[Control, ...]


@dataclass(frozen=True, slots=True)
class FeatureShare:
    """How much one feature moves a prediction.

    Attributes:
        feature: its public name.
        value: what it reads for this user, in [-1, 1].
        share: what it adds to the score compared with the mean user.
    """

    feature: str
    value: float
    share: float


@dataclass(frozen=True, slots=True)
class TargetPrediction:
    """What an installed linear release expects of this user.

    Attributes:
        kind: `churn` (no activity within the time) or `intent` (a cart or a purchase within it).
        version: of the release.
        within_s: how far ahead it looks, seconds.
        probability: calibrated, in [1e-4, 1 - 1e-4]; the figure to show or to act on.
        score: the linear score that is explained, not bounded to [0, 1].
        low, high: 95% interval of the score: how well noise and sampling let the model be known.
        base_rate: mean of the target over the population.
        drowned: noise left nothing to learn from; the score is the mean, for everybody.
        features: what it rests on, the largest share first; `base_rate` and the shares add up to
            `score` up to float rounding.
    """

    kind: str
    version: int
    within_s: int
    probability: float
    score: float
    low: float
    high: float
    base_rate: float
    drowned: bool
    features: tuple[FeatureShare, ...]


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What a device knows about itself.

    Attributes:
        device_id: name of its key.
        population: where it is enrolled; None before.
        consents: purpose → signals that may be read now.
        pending_consents: decisions the ledger has not receipted.
        events: events held.
        rounds: rounds contributed to.
        exposure: what those exposed the user to, by trust level, purpose and task, with everything
            that must stand beside a figure; and the device's own cap.
        release_version: installed ranking release; 0 for none.
        releases: kind → version of every installed release.
        predictions: what the installed linear releases expect of this user, by kind; a kind is left
            out where nothing permitted says anything about now.
        features: what permitted events say about the user now; see `tacit.client.features`.
        retention_days: signal → days its events are kept.
        traffic: what all syncs sent and received.
    """

    device_id: str
    population: str | None
    consents: Mapping[str, frozenset[str]]
    pending_consents: int
    events: int
    rounds: int
    exposure: DeviceExposure
    release_version: int
    releases: Mapping[str, int]
    predictions: Mapping[str, TargetPrediction]
    features: Features
    retention_days: Mapping[str, int]
    traffic: TrafficAccount

    @property
    def epsilon(self) -> float | None:
        """ε of all rounds together at `target_delta`; None if one had no noise."""
        return self.exposure.epsilon

    @property
    def target_delta(self) -> float:
        """δ of that figure."""
        return self.exposure.target_delta


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What `forget` did.

    Attributes:
        rows_erased: records deleted.
        bytes_scanned: bytes of the store's files searched afterwards for the erased key; 0 for a
            single item, whose key stays.
    """

    rows_erased: int
    bytes_scanned: int
