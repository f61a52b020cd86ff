"""`tacit budget key | propose | approve | reject`: two officers change an account's terms."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import click

from tacit.cli._officer_connection import (
    connection_options,
    officer_client,
    print_json,
    write_new_key,
)
from tacit.privacy.account_change_documents import (
    ApprovalDocument,
    ChangeDocument,
    RejectionDocument,
)
from tacit.privacy.budget_account import MAX_CAP_EPSILON, UNIT, AccountTerms
from tacit.privacy.budget_changes import Proposal
from tacit.privacy.errors import BadParameter
from tacit.privacy.signatures import SigningKey
from tacit.privacy.trust import LEVELS
from tacit.server.budget.change_summary import summarise
from tacit.server.budget.officers import AccountView, read_account
from tacit.server.ledger.client import LedgerClient

_NEIGHBORS = {"add_remove": "add/remove", "replace": "replace", "zero_out": "zero-out"}
_CHANGE = click.argument("change")
_REASON = click.option("--reason", required=True, help="One line for the record.")


@click.command(short_help="Make an officer's key in FILE.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--name", required=True, help="What the ledger is to call you.")
@click.option("--person", help="Who you are, where you hold several keys. Default: NAME.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def key(file: Path, name: str, person: str | None, as_json: bool) -> None:
    """Make an officer's key in FILE (0600), and print what the ledger has to know of it.

    The printed principal goes into the ledger's configuration, the key id into an account's
    approvers. The file itself never leaves you.
    """
    if not name.strip() or (person is not None and not person.strip()):
        raise click.UsageError("expected a --name, and a --person where one is given, got none")
    made = write_new_key(file)
    principal = {"name": name, "role": "officer", "public_key": made.public_key.hex()}
    if person:
        principal["person"] = person
    document = {"key_id": made.key_id, "principal": principal}
    if as_json:
        print_json(document)
        return
    click.echo(f"key id     {made.key_id}")
    click.echo(f"principal  {_one_line(principal)}")


@click.command(short_help="Ask for other terms, or for a new window; another officer approves.")
@connection_options
@_REASON
@click.option("--refresh", is_flag=True, help="Begin a new window under the same terms.")
@click.option("--cap", type=float, help="ε that a window may spend.")
@click.option("--quota", multiple=True, metavar="PURPOSE=ε", help="Quota; 0 takes it away.")
@click.option("--delta", type=float, help="δ; earlier spends are composed at it too.")
@click.option("--population-size", type=int, help="Users expected; δ must lie below one over it.")
@click.option("--alert", type=float, multiple=True, help="Fraction of the cap; replaces all.")
@click.option("--no-alerts", is_flag=True, help="Take all thresholds away.")
@click.option("--window-days", type=int, help="Least days between refreshes; 0 for no window.")
@click.option("--approver", multiple=True, metavar="KEY_ID", help="Approver; replaces all.")
@click.option("--levels", metavar="LEVEL,…", help="Trust levels allowed, by comma; replaces all.")
@click.option("--unit", help="Only user exists.")
@click.option("--expires-hours", type=click.IntRange(1, 720), default=72, show_default=True)
def propose(
    state: Path | None,
    key: Path,
    ledger: str | None,
    ca: Path | None,
    account: str | None,
    as_json: bool,
    reason: str,
    refresh: bool,
    expires_hours: int,
    **asked: Any,
) -> None:
    """Propose a change of an account; it holds once a different officer approves it.

    STATE is a demo's state directory whose ledger runs; anywhere else give --ledger and --ca. What
    is not named stays as it is. Nothing spent is ever given back: a refresh lets the cap count
    anew, and lifetime ε goes on counting everything.
    """
    _check_asked(refresh, asked)
    with officer_client(state, ledger, ca, key) as (client, signing_key):
        view = read_account(client, account)
        terms = None if refresh else _terms(view.standing.account.terms, asked)
        now_ms = time.time_ns() // 1_000_000
        change = ChangeDocument(
            account_id=view.standing.account.account_id,
            replaces=view.standing.digest(),
            reason=reason,
            expires_at_ms=now_ms + expires_hours * 3_600_000,
            terms=terms,
        )
        what = summarise(view.standing, change)
        index = client.append_governance("account.change", change.to_json())
    digest = change.sha256()
    if as_json:
        print_json(_document(change, digest, what, index, signing_key))
        return
    click.echo(f"proposed: {what} (entry {index})")
    click.echo(f"ledger    {_ledger(view)}")
    click.echo(f"change    {digest}")
    click.echo(f"Nothing changes until another approver runs: tacit budget approve {digest[:12]}")


@click.command(short_help="Make another officer's proposed change hold.")
@_CHANGE
@connection_options
@click.option("--yes", is_flag=True, help="Do not ask; you have read the change elsewhere.")
def approve(
    change: str,
    state: Path | None,
    key: Path,
    ledger: str | None,
    ca: Path | None,
    account: str | None,
    as_json: bool,
    yes: bool,
) -> None:
    """Approve CHANGE, the digest of a proposed change or its first digits; it holds at once.

    The change is shown before it is signed. Nobody approves their own request, with no key.
    """
    if as_json and not yes:
        raise click.UsageError("expected --yes with --json: there is nobody to ask")
    with officer_client(state, ledger, ca, key) as (client, signing_key):
        view = read_account(client, account)
        proposal = view.find(change)
        if proposal.proposer == signing_key.key_id:
            raise click.ClickException(
                "expected the key of another officer than proposed the change: nobody approves "
                "their own request"
            )
        if not yes:
            _show(view, proposal)
            click.confirm("Sign the approval?", abort=True)
        document = ApprovalDocument(proposal.document.account_id, proposal.sha256)
        index = client.append_governance("account.approval", document.to_json())
        _answer(client, view, proposal, index, signing_key, as_json, "approved")


@click.command(short_help="End a proposed change; its author withdraws it so.")
@_CHANGE
@connection_options
@_REASON
def reject(
    change: str,
    state: Path | None,
    key: Path,
    ledger: str | None,
    ca: Path | None,
    account: str | None,
    as_json: bool,
    reason: str,
) -> None:
    """Reject CHANGE, the digest of a proposed change or its first digits. One officer is enough."""
    with officer_client(state, ledger, ca, key) as (client, signing_key):
        view = read_account(client, account)
        proposal = view.find(change)
        document = RejectionDocument(proposal.document.account_id, proposal.sha256, reason)
        index = client.append_governance("account.rejection", document.to_json())
        _answer(client, view, proposal, index, signing_key, as_json, "rejected")


def _check_asked(refresh: bool, asked: dict[str, Any]) -> None:
    """Refuse what is wrong in itself, before any ledger is asked."""
    if refresh:
        if any(value not in (None, (), False) for value in asked.values()):
            raise click.UsageError("expected --refresh alone: it keeps the terms as they are")
        return
    if asked["alert"] and asked["no_alerts"]:
        raise click.UsageError("expected --alert or --no-alerts, got both")
    if not any(value not in (None, (), False) for value in asked.values()):
        raise click.UsageError("expected something to change: --refresh, --cap, --quota, …")
    quotas = _quotas({}, asked["quota"])
    try:
        AccountTerms(
            MAX_CAP_EPSILON if asked["cap"] is None else asked["cap"],
            1e-12 if asked["delta"] is None else asked["delta"],
            quotas,
            population_size=asked["population_size"],
            alert_thresholds=asked["alert"],
            unit=UNIT if asked["unit"] is None else asked["unit"],
            allowed_levels=LEVELS if asked["levels"] is None else tuple(asked["levels"].split(",")),
        )
    except BadParameter as error:
        raise click.UsageError(str(error)) from None


def _terms(before: AccountTerms, asked: dict[str, Any]) -> AccountTerms:
    changes: dict[str, Any] = {}
    for option, field in (("cap", "cap_epsilon"), ("delta", "target_delta"), ("unit", "unit")):
        if asked[option] is not None:
            changes[field] = asked[option]
    if asked["population_size"] is not None:
        changes["population_size"] = asked["population_size"]
    if asked["window_days"] is not None:
        changes["window_days"] = asked["window_days"] or None
    if asked["alert"] or asked["no_alerts"]:
        changes["alert_thresholds"] = asked["alert"]
    if asked["approver"]:
        changes["approvers"] = asked["approver"]
    if asked["levels"] is not None:
        changes["allowed_levels"] = tuple(asked["levels"].split(","))
    if asked["quota"]:
        changes["quotas"] = _quotas(dict(before.quotas), asked["quota"])
    try:
        return dataclasses.replace(before, **changes)
    except BadParameter as error:
        raise click.UsageError(str(error)) from None


def _quotas(quotas: dict[str, float], asked: tuple[str, ...]) -> dict[str, float]:
    for one in asked:
        purpose, _, text = one.partition("=")
        try:
            quotas[purpose] = float(text)
        except ValueError:
            raise click.UsageError(f"--quota: expected PURPOSE=ε, got {one!r}") from None
        if quotas[purpose] == 0.0:
            del quotas[purpose]
    return quotas


def _ledger(view: AccountView) -> str:
    """Name the ledger on which alone the signature holds."""
    ledger = view.standing.ledger
    return f"{ledger.origin}, key {ledger.public_key.hex()}"


def _show(view: AccountView, proposal: Proposal) -> None:
    account = view.standing.account
    click.echo(f"Account {account.account_id}, population {account.population}")
    click.echo(f"  ledger    {_ledger(view)}")
    click.echo(f"  change    {proposal.sha256}")
    click.echo(f"  what      {view.summaries[proposal.sha256]}")
    click.echo(f"  reason    {proposal.document.reason}")
    click.echo(f"  proposer  {proposal.proposer}")
    click.echo(f"  status    {proposal.status(view.standing, time.time_ns() // 1_000_000)}")


def _answer(
    client: LedgerClient,
    view: AccountView,
    proposal: Proposal,
    index: int,
    key: SigningKey,
    as_json: bool,
    what: str,
) -> None:
    summary, shown = (
        view.summaries[proposal.sha256],
        client.show_budget(proposal.document.account_id),
    )
    if as_json:
        print_json(
            _document(proposal.document, proposal.sha256, summary, index, key)
            | {
                "status": what,
                "window": shown.window,
                "window_epsilon": float(shown.window_epsilon),
                "lifetime_epsilon": float(shown.epsilon_spent),
                "cap_epsilon": float(shown.cap_epsilon),
                "target_delta": float(shown.target_delta),
                "unit": shown.unit,
                "neighboring_relation": shown.neighboring_relation,
                "trust_level": shown.trust_level,
            }
        )
        return
    click.echo(f"{what}: {summary} (entry {index})")
    click.echo(
        f"window {shown.window}: ε {shown.window_epsilon} of a cap of {shown.cap_epsilon}; "
        f"lifetime ε {shown.epsilon_spent}, at δ {shown.target_delta}, per {shown.unit}, "
        f"{_NEIGHBORS[shown.neighboring_relation]}, at trust level {shown.trust_level}"
    )


def _document(
    change: ChangeDocument, sha256: str, what: str, index: int, key: SigningKey
) -> dict[str, object]:
    return {
        "account_id": change.account_id,
        "change_sha256": sha256,
        "what": what,
        "reason": change.reason,
        "expires_at_ms": change.expires_at_ms,
        "status": "pending",
        "entry": index,
        "signed_by": key.key_id,
    }


def _one_line(principal: dict[str, str]) -> str:
    inside = ", ".join(f'"{name}": "{value}"' for name, value in principal.items())
    return f"{{{inside}}}"
