"""Budget: what was spent on whom, of what cap, and how that may change."""

from __future__ import annotations

from tacit.privacy.budget_changes import Proposal
from tacit.server.budget.explanation import explain
from tacit.server.budget.statement import AccountStatement
from tacit.server.budget.timeline import summaries
from tacit.server.console.answers import Answer, Page, Redirect, Visit
from tacit.server.console.burn_down import burn_down
from tacit.server.console.changes import approve, propose, reject
from tacit.server.console.errors import BadForm, NotThere
from tacit.server.console.services import Console
from tacit.server.console.snapshot import Snapshot
from tacit.server.console.steady_clock import system_ms

_WATCH_S = 5
_SHOWN_STEPS = 500


def budget_page(console: Console, visit: Visit) -> Answer:
    """Show every account beside its cap."""
    snapshot = console.snapshots.current()
    return Page("budget.html", "Budget", {"snapshot": snapshot}, refresh_s=_watch(visit))


def account_page(console: Console, visit: Visit) -> Answer:
    """Show one account: cap, quotas, spends, what it means."""
    snapshot = console.snapshots.current()
    statement = statement_of(snapshot, visit.params["account"])
    counted = {one.reservation_id for one in statement.in_window}
    context = {
        "snapshot": snapshot,
        "statement": statement,
        "context": statement.context(),
        "drawing": burn_down(statement),
        "counted": counted,
        "steps": statement.steps[-_SHOWN_STEPS:],
        "left_out": max(0, len(statement.steps) - _SHOWN_STEPS),
        "sections": explain(statement),
        "can_sign": bool(console.config.source.address and console.config.source.ca),
    }
    title = f"Budget of {statement.account.account_id}"
    return Page("account_budget.html", title, context, refresh_s=_watch(visit))


def propose_page(console: Console, visit: Visit) -> Answer:
    """Show the form that asks for other terms."""
    snapshot = console.snapshots.current()
    statement = statement_of(snapshot, visit.params["account"])
    return Page(
        "propose.html",
        f"Propose a change of {statement.account.account_id}",
        {"statement": statement, "snapshot": snapshot},
    )


def propose_change(console: Console, visit: Visit) -> Answer:
    """Sign a proposal with the officer's own key, and send it to the ledger."""
    account = visit.params["account"]
    statement_of(console.snapshots.current(), account)
    visit.field("reason")
    key = console.people.unseal_key(visit.someone.name, visit.form.get("password", ""))
    digest = propose(console.config.source, key, account, visit.form)
    console.snapshots.expire()
    return Redirect(f"/changes/{digest}", detail=f"proposed {digest}")


def changes_page(console: Console, _visit: Visit) -> Answer:
    """List every change that officers proposed."""
    snapshot = console.snapshots.current()
    now_ms = system_ms()
    rows = [
        {
            "account": statement.account.account_id,
            "proposal": one,
            "what": summaries(statement.steps)[one.sha256],
            "status": one.status(statement.standing, now_ms),
            "officers": statement.officers,
        }
        for statement in snapshot.statements
        for one in statement.proposals
    ]
    rows.sort(key=lambda row: row["status"] != "pending")
    return Page("changes.html", "Changes", {"rows": rows, "snapshot": snapshot})


def change_page(console: Console, visit: Visit) -> Answer:
    """Show one change, with the forms to decide on it."""
    snapshot = console.snapshots.current()
    statement, proposal = change_of(snapshot, visit.params["change"])
    context = {
        "snapshot": snapshot,
        "statement": statement,
        "proposal": proposal,
        "what": summaries(statement.steps)[proposal.sha256],
        "status": proposal.status(statement.standing, system_ms()),
        "entries": [step for step in statement.steps if step.change_sha256 == proposal.sha256],
        "identity": snapshot.contents.keys.identity,
        "is_own": visit.someone.key_id == proposal.proposer,
    }
    return Page("change.html", "A change of a budget", context)


def approve_change(console: Console, visit: Visit) -> Answer:
    """Sign an approval: another person's password opens another person's key."""
    statement, proposal = _undecided(console, visit)
    key = console.people.unseal_key(visit.someone.name, visit.form.get("password", ""))
    approve(console.config.source, key, statement.account.account_id, proposal.sha256)
    console.snapshots.expire()
    return Redirect(f"/changes/{proposal.sha256}", detail=f"approved {proposal.sha256}")


def reject_change(console: Console, visit: Visit) -> Answer:
    """Sign a rejection."""
    statement, proposal = _undecided(console, visit)
    reason = visit.field("reason")
    key = console.people.unseal_key(visit.someone.name, visit.form.get("password", ""))
    reject(console.config.source, key, statement.account.account_id, proposal.sha256, reason)
    console.snapshots.expire()
    return Redirect(f"/changes/{proposal.sha256}", detail=f"rejected {proposal.sha256}")


def statement_of(snapshot: Snapshot, account_id: str) -> AccountStatement:
    """Return the account of that name; raises `NotThere`."""
    for one in snapshot.statements:
        if one.account.account_id == account_id:
            return one
    raise NotThere("there is no account of that name in this ledger")


def change_of(snapshot: Snapshot, digest: str) -> tuple[AccountStatement, Proposal]:
    """Return (account, proposal) of a change; raises `NotThere`."""
    for statement in snapshot.statements:
        for one in statement.proposals:
            if one.sha256 == digest:
                return statement, one
    raise NotThere("there is no change of that digest in this ledger")


def _undecided(console: Console, visit: Visit) -> tuple[AccountStatement, Proposal]:
    """Return the change of a form; the ledger would answer a repeated decision with the first."""
    statement, proposal = change_of(console.snapshots.current(), visit.params["change"])
    status = proposal.status(statement.standing, system_ms())
    if status != "pending":
        raise BadForm(f"expected a pending change; this one is {status}")
    return statement, proposal


def _watch(visit: Visit) -> int:
    return _WATCH_S if "watch" in visit.query else 0
