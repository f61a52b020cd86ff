"""How an account's thresholds, officers and changes look on a terminal."""

from __future__ import annotations

import datetime
import time

from rich.console import Console
from rich.table import Table

from tacit.server.budget.statement import AccountStatement
from tacit.server.budget.timeline import summaries

SHOWN_DIGITS = 12


def print_governance(console: Console, statement: AccountStatement) -> None:
    """Print alerts, who may change the account, and the changes that were proposed."""
    account, standing = statement.account, statement.standing
    for threshold in statement.reached:
        console.print(
            f"Alert: window {standing.window} has reached {threshold:.6g} of its cap.",
            style="bold",
            highlight=False,
        )
    if not account.approvers:
        console.print("No approvers: its terms are fixed for good.", highlight=False)
        return
    names = ", ".join(statement.officers[one] for one in account.approvers)
    period = (
        "It has no window: the cap is for life"
        if account.window_days is None
        else f"Its window can be refreshed {account.window_days} days after it began "
        f"({_time(standing.window_started_at_ms)})"
    )
    console.print(
        f"Changes need two of: {names}. {period}. Population: {account.population_size:,}.",
        highlight=False,
    )
    if not statement.proposals:
        return
    told, now_ms = summaries(statement.steps), time.time_ns() // 1_000_000
    table = Table("change", "status", "what", "by", "expires (UTC)", box=None, pad_edge=False)
    for one in statement.proposals:
        by = statement.officers[one.proposer]
        if one.decided_by:
            by += f", {statement.officers[one.decided_by]}"
        status = one.status(standing, now_ms)
        expires = _time(one.document.expires_at_ms) if status == "pending" else ""
        table.add_row(one.sha256[:SHOWN_DIGITS], status, told[one.sha256], by, expires)
    console.print(table)


def _time(at_ms: int) -> str:
    return f"{datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC):%Y-%m-%d %H:%M:%S}"
