"""One account in a review: where it stood, every spend, its releases and who changed its terms."""

from __future__ import annotations

from collections.abc import Sequence

from tacit.privacy.trust import ASSUMPTIONS, CLAIMS
from tacit.server.budget.explanation import explain
from tacit.server.budget.statement import AccountStatement
from tacit.server.budget.timeline import BudgetStep
from tacit.server.reports.burn_down import burn_down
from tacit.server.reports.document import (
    Block,
    Bullets,
    Claim,
    Facts,
    Paragraph,
    Section,
    Table,
    Text,
)
from tacit.server.reports.evidence import VerifiedLedger
from tacit.server.reports.figures import exact, noise, places, relation, second, short
from tacit.server.reports.period import Period
from tacit.server.reports.positions import Positions
from tacit.server.reports.quarter_changes import changes_section


def account_sections(
    ledger: VerifiedLedger,
    positions: Positions,
    statement: AccountStatement,
    period: Period,
    until_ms: int,
) -> list[Section]:
    """Return what a review says of one account.

    Args:
        ledger: As it stood at the end of the period.
        positions: Of its entries.
        statement: Of the account, from the same ledger.
        period: What is reviewed.
        until_ms: Moment of the newest entry known, to which lines are drawn.
    """
    account = statement.account
    within = [one for one in statement.steps if period.holds(one.recorded_at_ms)]
    chart = burn_down(statement.steps, account.alert_thresholds, period, until_ms)
    blocks: list[Block] = [
        *(
            Claim(
                f"What may be said at trust level {level}",
                f"“{CLAIMS[level]}”",
                f"This assumes: {ASSUMPTIONS[level]}.",
            )
            for level in sorted({task.trust_level for task in statement.tasks})
        ),
        *((chart,) if chart else ()),
        *_alerts(statement, within),
        _standing(statement, period),
        _context(statement),
    ]
    return [
        Section(f"Account {account.account_id}, population {account.population}", tuple(blocks)),
        Section("Every spend of the period", (_spends(statement, positions, within),), 2),
        Section("Releases of the period", (_releases(statement, positions, period),), 2),
        changes_section(statement, within),
        Section(
            "In plain words, at the end of the period",
            (Facts(tuple(explain(statement))),),
            2,
        ),
    ]


def _standing(statement: AccountStatement, period: Period) -> Table:
    before = [one for one in statement.steps if one.recorded_at_ms < period.start_ms]
    start = before[-1] if before else None
    account = statement.account

    def at_start(value: str) -> str:
        return value if start else "not opened"

    rows: list[tuple[Text, ...]] = [
        (
            "window",
            at_start(str(start.window) if start else ""),
            str(statement.standing.window),
        ),
        (
            "window ε, which the cap bounds",
            at_start(exact(start.window_epsilon) if start else ""),
            exact(statement.window_spent.epsilon),
        ),
        (
            "cap ε of a window",
            at_start(exact(start.cap_epsilon) if start else ""),
            exact(account.cap_epsilon),
        ),
        (
            "lifetime ε, all windows",
            at_start(exact(start.spent_epsilon) if start else ""),
            exact(statement.spent.epsilon),
        ),
        (
            "lifetime ε of what was committed",
            at_start(exact(start.released_epsilon) if start else ""),
            exact(statement.released.epsilon),
        ),
        ("at δ", at_start(repr(start.target_delta) if start else ""), repr(account.target_delta)),
    ]
    rows += [
        (
            f"window ε of purpose {purpose}, of a quota of {exact(quota)}",
            "",
            exact(statement.by_purpose[purpose].epsilon),
        )
        for purpose, quota in sorted(account.quotas.items())
    ]
    return Table(
        "Where the account stood",
        (("figure", False), ("at the start", True), ("at the end", True)),
        tuple(rows),
        "Nothing.",
    )


def _context(statement: AccountStatement) -> Facts:
    spent = statement.spent
    return Facts(
        (
            ("Privacy unit", f"one {spent.unit}, that is one device identity"),
            ("Neighbours", relation(spent.neighboring_relation)),
            ("Participation", f"{spent.participation}: every user is charged for every round"),
            ("Sampling", "none is claimed"),
            (
                "Accountant",
                [
                    f"{spent.accountant} {spent.accountant_version}",
                    "confirmed by "
                    + " and ".join(
                        f"{one.accountant} {one.accountant_version} (ε {exact(one.epsilon)})"
                        for one in spent.cross_checks
                    ),
                ],
            ),
        ),
        "What its figures rest on",
    )


def _alerts(statement: AccountStatement, within: Sequence[BudgetStep]) -> tuple[Block, ...]:
    told = tuple(
        f"{second(step.recorded_at_ms)} UTC, entry {step.index}: window {step.window} reached "
        + " and ".join(f"{one:.6g}" for one in step.alerts)
        + f" of its cap, at ε {exact(step.window_epsilon)}"
        for step in within
        if step.alerts
    )
    thresholds = ", ".join(f"{one:.6g}" for one in statement.account.alert_thresholds)
    if told:
        return (Bullets(told, f"Alerts of the period (thresholds: {thresholds} of the cap)"),)
    return (
        Paragraph(
            f"No alert was given in the period (thresholds: {thresholds} of the cap)."
            if thresholds
            else "The account has no alert thresholds."
        ),
    )


def _spends(
    statement: AccountStatement, positions: Positions, within: Sequence[BudgetStep]
) -> Table:
    tasks = {task.digest().hex(): task for task in statement.tasks}
    states = {one.reservation_id: one for one in statement.reservations}
    rows: list[tuple[Text, ...]] = []
    for step in within:
        if step.kind != "budget.reserve":
            continue
        held = states[step.name]
        task = tasks.get(positions.task_of[step.name])
        entries = [step.index]
        if step.name in positions.settled:
            entries.append(positions.settled[step.name])
        rows.append(
            (
                second(step.recorded_at_ms),
                step.name,
                f"{step.purpose}, {task.trust_level if task else 'unknown'}",
                noise(held.events[0].noise_multiplier),
                str(held.state),
                exact(step.window_epsilon),
                exact(step.spent_epsilon),
                places(entries),
            )
        )
    return Table(
        "Reservations, in order, with window and lifetime ε after each; the state is that at the "
        "end of the period",
        (
            ("time (UTC)", False),
            ("reservation", False),
            ("purpose, level", False),
            ("noise z", True),
            ("state", False),
            ("window ε", True),
            ("lifetime ε", True),
            ("entries", False),
        ),
        tuple(rows),
        "Nothing was spent in the period.",
    )


def _releases(statement: AccountStatement, positions: Positions, period: Period) -> Table:
    return Table(
        "Releases, with the ε of what each was computed from, composed by itself",
        (
            ("version", True),
            ("kind", False),
            ("released (UTC)", False),
            ("level", False),
            ("ε", True),
            ("δ", True),
            ("model", False),
            ("entry", True),
        ),
        tuple(
            (
                str(one.version),
                one.kind,
                second(one.created_at_ms),
                one.trust_level,
                "no figure" if one.epsilon is None else exact(one.epsilon),
                "" if one.target_delta is None else repr(one.target_delta),
                short(one.model_sha256),
                str(positions.releases[one.population, one.version]),
            )
            for one in statement.releases
            if period.holds(one.created_at_ms)
        ),
        "Nothing was released in the period.",
    )
