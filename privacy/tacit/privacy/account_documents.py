"""Body of the governance entry that opens a budget account; terms as documents hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tacit.privacy._document_fields import take_expected, take_name
from tacit.privacy.budget_account import MAX_WINDOW_DAYS, UNIT, AccountTerms, BudgetAccount
from tacit.privacy.canonical import Fields, Json, encode_real
from tacit.privacy.errors import BadDocument
from tacit.privacy.signals import check_purpose
from tacit.privacy.trust import CHARGED_LEVELS

_FIRST, _SECOND = "tacit.account/1", "tacit.account/2"


def terms_to_json(terms: AccountTerms) -> dict[str, Json]:
    """Return terms as documents hold them; reals are decimal strings."""
    document: dict[str, Json] = {
        "unit": terms.unit,
        "cap_epsilon": encode_real(terms.cap_epsilon),
        "target_delta": encode_real(terms.target_delta),
        "quotas": {k: encode_real(v) for k, v in sorted(terms.quotas.items())},
        "population_size": terms.population_size,
        "window_days": terms.window_days,
        "alert_thresholds": [encode_real(one) for one in terms.alert_thresholds],
        "approvers": list(terms.approvers),
    }
    return document | _levels_to_json(terms.allowed_levels)


def terms_from_json(document: Mapping[str, Json], what: str) -> AccountTerms:
    """Read what `terms_to_json` wrote, with the size of the population stated.

    Raises:
        BadDocument, BadParameter: It is malformed or out of range.
    """
    left = dict(document)
    has_window = left.get("window_days", 0) is not None
    if not has_window:
        del left["window_days"]
    fields = Fields(left, what)
    terms = AccountTerms(
        unit=fields.text("unit"),
        cap_epsilon=fields.real("cap_epsilon", above=0.0),
        target_delta=fields.real("target_delta", above=0.0, at_most=0.5),
        quotas=fields.reals("quotas", above=0.0),
        population_size=fields.integer("population_size", 1),
        window_days=fields.integer("window_days", 1, MAX_WINDOW_DAYS) if has_window else None,
        alert_thresholds=_reals(fields.texts("alert_thresholds"), f"{what}.alert_thresholds"),
        approvers=fields.texts("approvers"),
        allowed_levels=_take_levels(fields, document, what),
    )
    fields.done()
    for purpose in terms.quotas:
        check_purpose(purpose)
    return terms


@dataclass(frozen=True, slots=True)
class AccountDocument:
    """Opens a budget account (kind `account`).

    Attributes:
        account_id: unique name.
        population: the devices it is the budget of.
        cap_epsilon: no composition of spends may exceed this ε at `target_delta`.
        target_delta: δ.
        quotas: purpose → ε, a cap per purpose inside the cap; a purpose not named may spend
            nothing.
        population_size: number of users expected; None makes a document of the first version,
            which has none of what follows and whose terms are fixed for good.
        window_days, alert_thresholds, approvers: see `AccountTerms`.
        allowed_levels: trust levels the population's tasks may have. Documents leave out the usual
            ones, those that are charged for.
    """

    account_id: str
    population: str
    cap_epsilon: float
    target_delta: float
    quotas: Mapping[str, float]
    population_size: int | None = None
    window_days: int | None = None
    alert_thresholds: tuple[float, ...] = ()
    approvers: tuple[str, ...] = ()
    allowed_levels: tuple[str, ...] = CHARGED_LEVELS

    def account(self) -> BudgetAccount:
        """Return the account it opens; raises `BadParameter` if its figures are unusable."""
        terms = AccountTerms(
            cap_epsilon=self.cap_epsilon,
            target_delta=self.target_delta,
            quotas=self.quotas,
            population_size=self.population_size,
            window_days=self.window_days,
            alert_thresholds=self.alert_thresholds,
            approvers=self.approvers,
            allowed_levels=self.allowed_levels,
        )
        return BudgetAccount.under(self.account_id, self.population, terms)

    def to_json(self) -> dict[str, Json]:
        """Return the body of the entry.

        Raises:
            BadParameter: a figure is unusable.
            BadDocument: a document of the first version would have to hold fields of the second.
        """
        names: dict[str, Json] = {"account_id": self.account_id, "population": self.population}
        if self.population_size is not None:
            terms = terms_to_json(self.account().terms)
            return {"type": _SECOND, **names, "terms": terms}
        if self.window_days is not None or self.alert_thresholds or self.approvers:
            raise BadDocument(
                "account.population_size: expected it beside window, alerts, officers"
            )
        document: dict[str, Json] = {
            "type": _FIRST,
            **names,
            "unit": UNIT,
            "cap_epsilon": encode_real(self.cap_epsilon),
            "target_delta": encode_real(self.target_delta),
            "quotas": {k: encode_real(v) for k, v in sorted(self.quotas.items())},
        }
        return document | _levels_to_json(self.allowed_levels)

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> AccountDocument:
        """Parse and validate either version; raises `BadDocument` or `BadParameter`."""
        if document.get("type") == _SECOND:
            return cls._second(document)
        fields = Fields(document, "account")
        take_expected(fields, "account", "type", _FIRST)
        take_expected(fields, "account", "unit", UNIT)
        account = cls(
            account_id=take_name(fields, "account", "account_id"),
            population=take_name(fields, "account", "population"),
            cap_epsilon=fields.real("cap_epsilon", above=0.0),
            target_delta=fields.real("target_delta", above=0.0, at_most=0.5),
            quotas=fields.reals("quotas", above=0.0),
            allowed_levels=_take_levels(fields, document, "account"),
        )
        fields.done()
        for purpose in account.quotas:
            check_purpose(purpose)
        return account

    @classmethod
    def _second(cls, document: Mapping[str, Json]) -> AccountDocument:
        left, terms = split_object(document, "account", "terms")
        fields = Fields(left, "account")
        take_expected(fields, "account", "type", _SECOND)
        read = terms_from_json(terms, "account.terms")
        account = cls(
            account_id=take_name(fields, "account", "account_id"),
            population=take_name(fields, "account", "population"),
            cap_epsilon=read.cap_epsilon,
            target_delta=read.target_delta,
            quotas=read.quotas,
            population_size=read.population_size,
            window_days=read.window_days,
            alert_thresholds=read.alert_thresholds,
            approvers=read.approvers,
            allowed_levels=read.allowed_levels,
        )
        fields.done()
        if account.to_json() != dict(document):
            raise BadDocument("account.terms: expected shortest decimals")
        return account


def split_object(
    document: Mapping[str, Json], what: str, name: str
) -> tuple[dict[str, Json], dict[str, Json]]:
    """Return the document without its field `name`, and that field, an object."""
    left = dict(document)
    part = left.pop(name, None)
    if not isinstance(part, dict):
        raise BadDocument(f"{what}.{name}: expected an object")
    return left, part


def _levels_to_json(levels: tuple[str, ...]) -> dict[str, Json]:
    return {} if levels == CHARGED_LEVELS else {"allowed_levels": list(levels)}


def _take_levels(fields: Fields, document: Mapping[str, Json], what: str) -> tuple[str, ...]:
    if "allowed_levels" not in document:
        return CHARGED_LEVELS
    levels = fields.texts("allowed_levels")
    if levels == CHARGED_LEVELS:
        raise BadDocument(f"{what}.allowed_levels: expected none, for these are the usual ones")
    return levels


def _reals(texts: tuple[str, ...], what: str) -> tuple[float, ...]:
    values: list[float] = []
    for text in texts:
        try:
            values.append(float(text))
        except ValueError:
            raise BadDocument(f"{what}: expected decimal strings") from None
    return tuple(values)
