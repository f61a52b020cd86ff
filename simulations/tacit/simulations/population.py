"""Generate a population with known structure: tastes, categories, and a funnel of signals.

Every user mixes a few tastes; every taste prefers a few categories and, inside them, some items
more than others. So public categories explain part of the behaviour and a learner must find the
rest. Popularity alone is a poor guide here, by construction.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tacit.simulations.datasets import Dataset
from tacit.simulations.errors import BadExperiment
from tacit.simulations.product_names import CATEGORIES, product_titles

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

SIGNALS = ("add_to_cart", "product_view", "purchase", "rating")
_CART, _VIEW, _PURCHASE, _RATING = range(4)

_TASTES = 6
_TASTE_FOCUS = 0.08  # Dirichlet concentration over tastes: small means users are specialists
_CATEGORY_LIFT = 2.2  # log-odds of a taste's own categories
_ITEM_SPREAD = 1.0  # spread of log-odds inside a category: what categories cannot explain
_POPULARITY_SPREAD = 0.6
_TYPICAL_ITEMS = 40
_START_S = 1_700_000_000.0
_DAY_S = 86_400.0


def generate(n_users: int = 400, n_items: int = 240, seed: int = 0) -> Dataset:
    """Generate a population.

    Users look at about 40 distinct items each; some views are followed by a cart, some carts by a
    purchase, some purchases by a rating from 1 to 5.

    Args:
        n_users: users, at least 1.
        n_items: items, at least 20.
        seed: seed of the population; never of protective noise.

    Returns:
        A data set with categories as public features, signals of the catalogue and readable titles.

    Raises:
        BadExperiment: a size or the seed is out of range.
    """
    if n_users < 1 or n_items < 20:
        raise BadExperiment(f"expected users >= 1 and items >= 20, got {n_users} and {n_items}")
    if seed < 0:
        raise BadExperiment(f"expected a population seed of zero or more, got {seed}")
    rng = np.random.default_rng(seed)
    categories = np.arange(n_items) % len(CATEGORIES)
    log_odds = _taste_log_odds(rng, categories)
    mixes = rng.dirichlet(np.full(_TASTES, _TASTE_FOCUS), size=n_users)
    odds = np.exp(log_odds + rng.normal(0.0, _POPULARITY_SPREAD, n_items))
    chances = mixes @ (odds / odds.sum(axis=1, keepdims=True))
    parts = [_user_events(rng, user, chances[user]) for user in range(n_users)]
    events = np.concatenate(parts)
    features = (categories[:, np.newaxis] == np.arange(len(CATEGORIES))).astype(np.float64)
    return Dataset(
        name="generated",
        user_ids=tuple(f"user-{index + 1:04d}" for index in range(n_users)),
        item_ids=tuple(f"sku-{index + 1:04d}" for index in range(n_items)),
        titles=product_titles(categories.tolist(), seed),
        feature_names=CATEGORIES,
        features=features,
        signal_names=SIGNALS,
        users=events[:, 0].astype(np.int64),
        items=events[:, 1].astype(np.int64),
        signals=events[:, 2].astype(np.int64),
        values=events[:, 3],
        timestamps=events[:, 4],
    )


def _taste_log_odds(rng: np.random.Generator, categories: IntArray) -> FloatArray:
    """Draw how much each taste favours each item, `(tastes, n_items)`."""
    n_categories = len(CATEGORIES)
    favours = np.zeros((_TASTES, n_categories))
    for taste in range(_TASTES):
        own = [(taste * n_categories // _TASTES + step) % n_categories for step in range(2)]
        favours[taste, own] = _CATEGORY_LIFT
    within = rng.normal(0.0, _ITEM_SPREAD, (_TASTES, len(categories)))
    return favours[:, categories] + within


def _user_events(rng: np.random.Generator, user: int, chances: FloatArray) -> FloatArray:
    """Draw one user's events, `(n, 5)`: user, item, signal, value, timestamp."""
    wanted = int(np.clip(rng.poisson(_TYPICAL_ITEMS), 8, len(chances) // 2))
    seen = rng.choice(len(chances), size=wanted, replace=False, p=chances)
    now = _START_S
    rows: list[tuple[float, ...]] = []
    for item in seen.tolist():
        now += float(rng.exponential(_DAY_S / 2.0))
        rows.append((user, item, _VIEW, 1.0, now))
        if rng.random() < 0.35:
            rows.append((user, item, _CART, 1.0, now + 60.0))
            if rng.random() < 0.6:
                rows.append((user, item, _PURCHASE, 1.0, now + 300.0))
                if rng.random() < 0.5:
                    stars = float(rng.choice((3.0, 4.0, 5.0), p=(0.2, 0.4, 0.4)))
                    rows.append((user, item, _RATING, stars, now + 7 * _DAY_S))
    return np.array(rows, dtype=np.float64)
