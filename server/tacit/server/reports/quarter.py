"""The review of a period: what was spent, released, changed and recorded, from the ledger alone."""

from __future__ import annotations

import datetime

from tacit.server.budget.statement import AccountStatement
from tacit.server.errors import NotFound
from tacit.server.ledger.contents import LedgerContents
from tacit.server.ledger.log import GOVERNANCE
from tacit.server.reports.audits import audits_section
from tacit.server.reports.consent_coverage import ConsentCoverage
from tacit.server.reports.document import Document, Facts, Section
from tacit.server.reports.evidence import VerifiedLedger, evidence
from tacit.server.reports.figures import exact, plural, relation, second
from tacit.server.reports.incidents import Incident, incidents_of, incidents_section
from tacit.server.reports.period import Period
from tacit.server.reports.positions import Positions
from tacit.server.reports.proofs import verification_section
from tacit.server.reports.quarter_account import account_sections
from tacit.server.reports.quarter_consent import consent_section, rights_section
from tacit.server.reports.quarter_limits import limits_section
from tacit.server.reports.quarter_population import population_sections

_COMMANDS = "tacit ledger verify EXPORT --key {key}"
_WITH_FIGURES = "\ntacit budget history EXPORT\ntacit budget explain EXPORT"
_AGAIN = "\ntacit report quarter EXPORT --from {first} --to {last} --json review.json"


def quarterly_review(
    ledger: LedgerContents | VerifiedLedger,
    period: Period | None = None,
    *,
    account: str | None = None,
    population: str | None = None,
    coverage: ConsentCoverage | None = None,
    drawn_up: datetime.date | None = None,
) -> Document:
    """Review a period: figures are those of the ledger as it stood when the period ended.

    Every prefix of an append-only log is a log under a checkpoint of its own, so what came later
    is left out whole, and the review of a past quarter is the same whenever it is made. Only
    consent coverage is of the moment it was counted, and says so.

    Args:
        ledger: What a ledger published, which is verified first, or what `verified` returned.
        period: Whole days; by default the calendar quarter of the newest entry.
        account: Review this account alone.
        population: Review this population alone.
        coverage: What `read_consent_coverage` counted; None where only an export is at hand.
        drawn_up: The day the review carries; None where it only names the state of the ledger.

    Raises:
        VerificationFailed: The ledger does not hold together: it has no reviews.
        NotFound: There is no such account or population by the end of the period, or no entry.
    """
    verified = evidence(ledger)
    period = period or newest_quarter(verified)
    now = verified.as_of(period.end_ms)
    if not now.size:
        raise NotFound(
            f"expected a ledger with entries by {period.last}; its first is of "
            f"{second(verified.entries[0].recorded_at_ms)[:10] if verified.size else 'no day yet'}"
        )
    statements = _chosen(now, account, population)
    positions = Positions.of(now.entries)
    reviewed = {one.account.population for one in statements}
    without = [
        one
        for one in sorted({task.population for task in now.history.tasks.values()})
        if account is None
        and population in (None, one)
        and one not in {each.account.population for each in now.statements}
    ]
    names = reviewed.union(without)
    incidents = incidents_of(now, positions, period, names)
    audits = [
        one
        for one in now.history.audits
        if period.holds(now.entries[positions.audits[one.report_sha256]].recorded_at_ms)
    ]
    until_ms = verified.entries[-1].recorded_at_ms
    commands = (_COMMANDS + (_WITH_FIGURES if statements else "") + _AGAIN).format(
        key=now.contents.keys.ledger_key.hex(), first=period.first, last=period.last
    )
    sections: list[Section] = [_summary(now, period, statements, incidents, len(audits), names)]
    for one in statements:
        sections += account_sections(now, positions, one, period, until_ms)
    for name in without:
        sections += population_sections(now, positions, name, period)
    sections += [
        consent_section(now, period, coverage, names),
        rights_section(now, positions, period, coverage, names),
        audits_section(now, positions, audits, "No audit was recorded in the period."),
        incidents_section(incidents),
        limits_section(statements),
        verification_section(
            now,
            "Verification",
            commands,
            with_figures=bool(statements),
            beside="consent coverage, which the node's database was asked" if coverage else "",
        ),
    ]
    about = account or population or now.contents.keys.origins[GOVERNANCE]
    return Document(
        title="Quarterly privacy review"
        if period == Period.quarter_of(period.first)
        else "Privacy review",
        subtitle=f"{about}, {period.name}",
        head=_head(verified, now, period, drawn_up),
        sections=tuple(sections),
        running_foot=(
            f"{about}, {period.name}; {now.contents.keys.origins[GOVERNANCE]}, {now.size:,} entries"
        ),
        drawn_up=drawn_up,
        data={
            "period": {"first": period.first.isoformat(), "last": period.last.isoformat()},
            "ledger_entries": now.size,
            "accounts": [_account_data(one, period) for one in statements],
            "consent_coverage": coverage.to_json() if coverage else None,
            "incidents": [one.to_json() for one in incidents],
        },
    )


def newest_quarter(ledger: VerifiedLedger) -> Period:
    """Return the calendar quarter in which the newest entry was recorded.

    Raises:
        NotFound: The ledger has no entry.
    """
    if not ledger.size:
        raise NotFound("expected a ledger with entries; nothing was recorded yet")
    newest_ms = max(entry.recorded_at_ms for entry in ledger.entries)
    at = datetime.datetime.fromtimestamp(newest_ms / 1000, datetime.UTC)
    return Period.quarter_of(at.date())


def _chosen(
    ledger: VerifiedLedger, account: str | None, population: str | None
) -> tuple[AccountStatement, ...]:
    """Return the accounts that the review is about."""
    found = tuple(
        one
        for one in ledger.statements
        if account in (None, one.account.account_id)
        and population in (None, one.account.population)
    )
    if found or (account is None and population is None):
        return found
    populations = {task.population for task in ledger.history.tasks.values()}
    if account is None and population in populations:
        return ()
    known = ", ".join(
        f"{one.account.account_id} (population {one.account.population})"
        for one in ledger.statements
    )
    asked = " ".join(
        f"{what} {name!r}"
        for what, name in (("account", account), ("population", population))
        if name is not None
    )
    raise NotFound(
        f"expected an account or population there was by then ({known or 'none'}), got {asked}"
    )


def _head(
    verified: VerifiedLedger, now: VerifiedLedger, period: Period, drawn_up: datetime.date | None
) -> Facts:
    if now.size < verified.size:
        state = "as it stood at the end of the period"
    else:
        state = "the newest of this copy: what was recorded after it is not in this review"
    return Facts(
        (
            ("Period", f"{period.first} to {period.last}, whole days in UTC"),
            (
                "Ledger",
                f"{now.contents.keys.origins[GOVERNANCE]}, verified; {now.size:,} entries up to "
                f"{second(now.entries[-1].recorded_at_ms)} UTC, {state}",
            ),
            *((("Drawn up", drawn_up.isoformat()),) if drawn_up else ()),
            ("Made by", "generated from the ledger; no field was typed by hand"),
            ("Times", "as those who signed the entries stated them"),
        )
    )


def _summary(
    ledger: VerifiedLedger,
    period: Period,
    statements: tuple[AccountStatement, ...],
    incidents: tuple[Incident, ...],
    audits: int,
    names: set[str],
) -> Section:
    steps = [step for one in statements for step in one.steps if period.holds(step.recorded_at_ms)]
    releases = [
        one
        for name in names
        for one in ledger.history.releases.get(name, [])
        if period.holds(one.created_at_ms)
    ]
    changes = sum(step.kind == "account.approval" for step in steps)
    rows = [
        (
            f"Account {one.account.account_id}",
            f"window {one.standing.window}: ε {exact(one.window_spent.epsilon)} of a cap of "
            f"{exact(one.account.cap_epsilon)}; lifetime ε {exact(one.spent.epsilon)}; at δ = "
            f"{one.account.target_delta!r}, per {one.spent.unit}, "
            f"{relation(one.spent.neighboring_relation).partition(':')[0]}, at trust level "
            f"{one.spent.trust_level}",
        )
        for one in statements
    ]
    rows += [
        *(
            (
                (
                    "Spends",
                    plural(sum(step.kind == "budget.reserve" for step in steps), "reservation"),
                ),
                ("Changes of terms", f"{changes:,} approved by two officers"),
            )
            if statements
            else ()
        ),
        ("Releases", f"{len(releases):,}"),
        ("Audits", f"{audits:,} recorded"),
        (
            "Incidents",
            plural(len(incidents), "entry or state", "entries or states") + " to look at",
        ),
    ]
    return Section("Summary", (Facts(tuple(rows)),))


def _account_data(statement: AccountStatement, period: Period) -> dict[str, object]:
    return {
        **statement.to_json(),
        "steps": [one.to_json() for one in statement.steps if period.holds(one.recorded_at_ms)],
    }
