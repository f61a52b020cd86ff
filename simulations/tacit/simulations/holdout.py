"""Hold out events of a data set: at random, the last of each user, or everything after a time.

What is held out is a set of pairs of user and item. All events of such a pair leave the history,
whatever their signal: a view of the item that somebody then bought would give the purchase away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tacit.client.decide import Recency, age_ranks
from tacit.client.statistics import SIGNAL_WEIGHTS, Profiles, build_profiles, signal_weights
from tacit.simulations.datasets import Dataset
from tacit.simulations.errors import BadExperiment
from tacit.simulations.splits import PUBLIC_SPLIT_SEED, BoolArray, Split

IntArray = npt.NDArray[np.int64]
SplitKind = Literal["random", "leave-one-out", "temporal"]
SPLITS: tuple[SplitKind, ...] = ("random", "leave-one-out", "temporal")

_TEST_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """Choose what is held out and what devices read.

    Attributes:
        kind: one of `SPLITS`.
        seed: public seed.
        signals: signals that learning and ranking may use; `None` for all.
        target: signal whose events are held out; `None` for any.
        recency: how devices weigh their history when they rank; `None` for all alike.
        unseen_share: share of users that do not take part in training, in [0, 1).
    """

    kind: SplitKind = "random"
    seed: int = PUBLIC_SPLIT_SEED
    signals: tuple[str, ...] | None = None
    target: str | None = None
    recency: Recency | None = None
    unseen_share: float = 0.0


def hold_out(dataset: Dataset, options: SplitOptions) -> Split:
    """Split a data set.

    - random: the rounded-down 20% of each user's items, of those with the target signal if one is
      named (then at least one, where anything else is left).
    - leave-one-out: each user's last item (of the target signal), and nothing later stays in the
      history. Where the data set names the held-out items itself, those.
    - temporal: one cut-off time for everybody, after 80% of the events. Histories end there;
      held out is every item a user first meets later. Users who come later have no history and
      are not evaluated; items that come later stay in the catalogue.

    The held-out pairs do not depend on `signals`, so runs with different signals are scored on
    the same events, and what is masked is the whole history whatever the signals.

    Raises:
        BadExperiment: an option is out of range or the data has no such signal.
    """
    _check(dataset, options)
    keys, of_event = np.unique(dataset.users * dataset.n_items + dataset.items, return_inverse=True)
    wanted = np.ones(len(dataset.users), dtype=np.bool_)
    if options.target is not None:
        wanted = dataset.signals == dataset.signal_names.index(options.target)
    order = _time_order(dataset)
    kept: BoolArray
    held: BoolArray
    if options.kind == "temporal":
        held, kept = _after_cut(dataset, wanted, len(keys), of_event)
    elif options.kind == "leave-one-out":
        held, kept = _last(dataset, wanted, keys, of_event, order)
    else:
        held = _at_random(dataset, options, wanted, keys, of_event)
        kept = ~held[of_event]
    names = dataset.signal_names if options.signals is None else options.signals
    allowed = {name: SIGNAL_WEIGHTS.get(name, 0.0) for name in names}
    by_signal = signal_weights(dataset.signal_names, allowed)
    train = _profiles(dataset, kept, by_signal[dataset.signals])
    seen = _profiles(dataset, kept, np.ones(len(kept)))
    test = _pairs(dataset, keys[held])
    fold_in = train
    if options.recency is not None:
        counted = kept & (by_signal[dataset.signals] > 0)
        fold_in = _recent(train, keys, of_event, order, counted, options.recency)
    rng = np.random.default_rng([options.seed, 1])
    participants = rng.random(dataset.n_users) >= options.unseen_share
    if options.unseen_share and not bool(np.any(participants)):
        raise BadExperiment("expected somebody left to train on; lower --unseen-users")
    return Split(train, test, options.seed, fold_in, seen, participants)


def training_part(dataset: Dataset, split: Split) -> Dataset:
    """Return the data set with no event of a pair outside the training part.

    Later events on a pair that was met before a temporal cut-off are of no use to learners and
    carry no held-out item; they stay.
    """
    known = split.seen.users * dataset.n_items + split.seen.items
    kept = np.isin(dataset.users * dataset.n_items + dataset.items, known)
    return dataset.only_events(kept)


def _check(dataset: Dataset, options: SplitOptions) -> None:
    if options.kind not in SPLITS:
        raise BadExperiment(f"expected a split among {', '.join(SPLITS)}, got {options.kind!r}")
    if options.seed < 0:
        raise BadExperiment(f"expected a split seed of zero or more, got {options.seed}")
    if not 0.0 <= options.unseen_share < 1.0:
        raise BadExperiment(
            f"expected a share of unseen users in [0, 1), got {options.unseen_share}"
        )
    asked: Sequence[str] = (
        *(options.signals or ()),
        *((options.target,) if options.target else ()),
    )
    for name in asked:
        if name not in dataset.signal_names:
            raise BadExperiment(
                f"expected signals among {', '.join(dataset.signal_names)} (what the data has), "
                f"got {name!r}"
            )
    usable = dataset.signal_names if options.signals is None else options.signals
    if not any(SIGNAL_WEIGHTS.get(name, 0.0) for name in usable):
        raise BadExperiment(f"expected a signal among {', '.join(SIGNAL_WEIGHTS)} to learn from")


def _time_order(dataset: Dataset) -> IntArray:
    """Give each event its place in time; of equal times the later line is the later event."""
    order = np.lexsort((np.arange(len(dataset.timestamps)), dataset.timestamps))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return place


def _at_random(
    dataset: Dataset,
    options: SplitOptions,
    wanted: BoolArray,
    keys: IntArray,
    of_event: IntArray,
) -> BoolArray:
    eligible = np.zeros(len(keys), dtype=np.bool_)
    eligible[of_event[wanted]] = True
    owner = keys // dataset.n_items
    draws = np.random.default_rng(options.seed).random(len(keys))
    # Those that are not eligible sort last, so that the first of a user are his to hold out.
    order = np.lexsort((draws, ~eligible, owner))
    rank = np.empty(len(keys), dtype=np.int64)
    rank[order] = np.arange(len(keys)) - np.searchsorted(owner, owner)[order]
    total = np.bincount(owner, minlength=dataset.n_users)
    able = np.bincount(owner[eligible], minlength=dataset.n_users)
    # The small addend keeps products such as 5 * 0.2 from falling just under an integer.
    number = np.floor(able * _TEST_SHARE + 1e-9).astype(np.int64)
    if options.target is not None:
        number = np.where((able > 0) & (total > 1), np.maximum(number, 1), 0)
    return np.asarray(eligible & (rank < number[owner]), dtype=np.bool_)


def _last(
    dataset: Dataset, wanted: BoolArray, keys: IntArray, of_event: IntArray, order: IntArray
) -> tuple[BoolArray, BoolArray]:
    """Hold out the last wanted pair of every user with more than one."""
    owner = keys // dataset.n_items
    total = np.bincount(owner, minlength=dataset.n_users)
    held = np.zeros(len(keys), dtype=np.bool_)
    if dataset.held_out is not None and bool(np.all(wanted)):
        users = np.flatnonzero((dataset.held_out >= 0) & (total > 1))
        held[np.isin(keys, users * dataset.n_items + dataset.held_out[users])] = True
        return held, ~held[of_event]
    latest = np.full(dataset.n_users, -1, dtype=np.int64)
    np.maximum.at(latest, dataset.users[wanted], order[wanted])
    latest[total < 2] = -1
    is_last = order == latest[dataset.users]
    held[of_event[is_last]] = True
    bound = np.where(latest < 0, len(order), latest)
    return held, ~held[of_event] & (order < bound[dataset.users])


def _after_cut(
    dataset: Dataset, wanted: BoolArray, n_pairs: int, of_event: IntArray
) -> tuple[BoolArray, BoolArray]:
    cut = float(np.quantile(dataset.timestamps, 1.0 - _TEST_SHARE))
    kept = dataset.timestamps < cut
    known = np.zeros(n_pairs, dtype=np.bool_)
    known[of_event[kept]] = True
    later = np.zeros(n_pairs, dtype=np.bool_)
    has_history = np.zeros(dataset.n_users, dtype=np.bool_)
    has_history[dataset.users[kept]] = True
    later[of_event[~kept & wanted & has_history[dataset.users]]] = True
    return later & ~known, kept


def _profiles(dataset: Dataset, kept: BoolArray, weights: npt.NDArray[np.float64]) -> Profiles:
    return build_profiles(
        dataset.users[kept],
        dataset.items[kept],
        weights[kept],
        n_users=dataset.n_users,
        n_items=dataset.n_items,
    )


def _pairs(dataset: Dataset, keys: IntArray) -> Profiles:
    return build_profiles(
        keys // dataset.n_items,
        keys % dataset.n_items,
        np.ones(len(keys)),
        n_users=dataset.n_users,
        n_items=dataset.n_items,
    )


def _recent(
    train: Profiles,
    keys: IntArray,
    of_event: IntArray,
    order: IntArray,
    counted: BoolArray,
    recency: Recency,
) -> Profiles:
    """Weigh every history by how recently each of its items was seen."""
    last = np.full(len(keys), -1, dtype=np.int64)
    np.maximum.at(last, of_event[counted], order[counted])
    seen = last[np.searchsorted(keys, train.users * train.n_items + train.items)]
    weights = recency.reweight(train.weights, age_ranks(seen, train.users), train.users)
    return Profiles(train.indptr, train.items, weights, train.n_items)
