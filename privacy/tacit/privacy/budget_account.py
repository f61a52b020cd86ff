"""Terms of a budget account: whose it is, what may be spent, and who may change that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tacit.privacy._parameters import open_unit, positive_integer, positive_real
from tacit.privacy.errors import BadParameter
from tacit.privacy.trust import CHARGED_LEVELS, LEVELS

UNIT = "user"
"""The only privacy unit there is: one device identity over its whole participation."""
MAX_WINDOW_DAYS = 3660
MAX_CAP_EPSILON = 1e12
"""More than any events can compose to; a cap beyond it would be none."""
_KEY_ID = re.compile(r"[a-z2-7]{26}")


@dataclass(frozen=True, slots=True)
class AccountTerms:
    """Everything of an account that officers may change, as a whole.

    Attributes:
        cap_epsilon: Most that what counts in the current window may compose to, at `target_delta`.
        target_delta: delta of the cap and of every quota.
        quotas: Purpose to the most that reservations of that purpose alone may compose to, at most
            the cap. A purpose without a quota may spend nothing.
        population_size: How many users N the population is expected to have; `target_delta` must
            lie below 1/N. None for accounts from before it was stated.
        window_days: Least days between two refreshes of the window; None where there is no window
            and the cap bounds everything ever spent. Time alone never begins a new window.
        alert_thresholds: Fractions of the cap in (0, 1], increasing, at which people are told.
        approvers: Key ids of the officers of whom two must agree to any change. None at all: the
            terms are fixed for good.
        unit: What one unit of privacy is; only "user".
        allowed_levels: Trust levels that tasks of this population may have, at least one. What
            spends nothing has to be allowed here by name, or it would pass by the cap.

    Raises:
        BadParameter: A field is out of range.
    """

    cap_epsilon: float
    target_delta: float
    quotas: Mapping[str, float]
    population_size: int | None = None
    window_days: int | None = None
    alert_thresholds: tuple[float, ...] = ()
    approvers: tuple[str, ...] = ()
    unit: str = UNIT
    allowed_levels: tuple[str, ...] = CHARGED_LEVELS

    def __post_init__(self) -> None:
        if self.unit != UNIT:
            raise BadParameter(
                f"account unit: expected {UNIT!r}, got {self.unit!r}: events of another unit do "
                "not compose with these, and no other unit is accounted for"
            )
        cap = positive_real("cap_epsilon", self.cap_epsilon, maximum=MAX_CAP_EPSILON)
        delta = open_unit("target_delta", self.target_delta)
        for purpose, quota in self.quotas.items():
            positive_real(f"quota of {purpose!r}", quota, maximum=cap)
        if self.population_size is not None:
            size = positive_integer("population_size", self.population_size)
            if delta * size >= 1.0:
                raise BadParameter(
                    f"target_delta: expected below 1/{size}, one over the population, got {delta!r}"
                )
        if self.window_days is not None:
            positive_integer("window_days", self.window_days, maximum=MAX_WINDOW_DAYS)
        levels = self.allowed_levels
        if not levels or len(set(levels)) != len(levels) or not set(levels) <= set(LEVELS):
            raise BadParameter(f"allowed_levels: expected some of {', '.join(LEVELS)}, each once")
        _check_thresholds(self.alert_thresholds)
        _check_approvers(self.approvers, has_window=self.window_days is not None)
        object.__setattr__(self, "quotas", MappingProxyType(dict(self.quotas)))


@dataclass(frozen=True, slots=True)
class BudgetAccount:
    """A hard cap on what one population's users are exposed to.

    Attributes:
        account_id: Name of the account.
        population: Whose budget it is.
        unit, cap_epsilon, target_delta, quotas, alert_thresholds, approvers, window_days,
            population_size, allowed_levels: The terms; see `AccountTerms`.

    Raises:
        BadParameter: A field is out of range.
    """

    account_id: str
    population: str
    unit: str
    cap_epsilon: float
    target_delta: float
    quotas: Mapping[str, float]
    alert_thresholds: tuple[float, ...] = ()
    approvers: tuple[str, ...] = ()
    window_days: int | None = None
    population_size: int | None = None
    allowed_levels: tuple[str, ...] = CHARGED_LEVELS

    def __post_init__(self) -> None:
        if not self.account_id or not self.population:
            raise BadParameter("account: expected an account_id and a population")
        object.__setattr__(self, "quotas", self.terms.quotas)

    @classmethod
    def under(cls, account_id: str, population: str, terms: AccountTerms) -> BudgetAccount:
        """Return the account of this name under these terms; raises `BadParameter`."""
        return cls(
            account_id=account_id,
            population=population,
            unit=terms.unit,
            cap_epsilon=terms.cap_epsilon,
            target_delta=terms.target_delta,
            quotas=terms.quotas,
            alert_thresholds=terms.alert_thresholds,
            approvers=terms.approvers,
            window_days=terms.window_days,
            population_size=terms.population_size,
            allowed_levels=terms.allowed_levels,
        )

    @property
    def terms(self) -> AccountTerms:
        """The terms alone."""
        return AccountTerms(
            cap_epsilon=self.cap_epsilon,
            target_delta=self.target_delta,
            quotas=self.quotas,
            population_size=self.population_size,
            window_days=self.window_days,
            alert_thresholds=self.alert_thresholds,
            approvers=self.approvers,
            unit=self.unit,
            allowed_levels=self.allowed_levels,
        )


def reached_alerts(account: BudgetAccount, spent_epsilon: float) -> tuple[float, ...]:
    """Return the alert thresholds that `spent_epsilon` has reached, in increasing order."""
    return tuple(
        threshold
        for threshold in account.alert_thresholds
        if spent_epsilon >= threshold * account.cap_epsilon
    )


def _check_thresholds(thresholds: tuple[float, ...]) -> None:
    previous = 0.0
    for threshold in thresholds:
        if positive_real("alert_threshold", threshold, maximum=1.0) <= previous:
            raise BadParameter("alert_thresholds: expected increasing fractions of the cap")
        previous = threshold


def _check_approvers(approvers: tuple[str, ...], *, has_window: bool) -> None:
    if any(not _KEY_ID.fullmatch(one) for one in approvers):
        raise BadParameter("approvers: expected key ids of 26 characters of [a-z2-7]")
    if len(set(approvers)) != len(approvers) or len(approvers) == 1:
        raise BadParameter(
            f"approvers: expected none, or at least two different key ids, got {len(approvers)}"
        )
    if has_window and not approvers:
        raise BadParameter("window_days: expected approvers, for nobody else can refresh a window")
