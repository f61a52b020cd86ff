"""`tacit budget`: what was spent, what it means, and what a further task would cost."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console

from tacit.cli._budget_officers import approve, key, propose, reject
from tacit.cli._budget_tables import (
    print_explanation,
    print_facts,
    print_history,
    print_statement,
    print_what_if,
)
from tacit.cli._ledger_path import read_ledger
from tacit.privacy.errors import PrivacyError
from tacit.server.budget.explanation import explain as explain_statement
from tacit.server.budget.facts import release_facts
from tacit.server.budget.statement import AccountStatement, account_statements, find_account
from tacit.server.errors import NotFound, ServerError
from tacit.server.ledger.verify import replaying_accountant
from tacit.simulations.what_if import answer

_STATE = click.argument("state", type=click.Path(exists=True, path_type=Path))
_ACCOUNT = click.option("--account", help="Only this account. Default: all, or the only one.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")


@click.group()
def budget() -> None:
    """Show, explain, plan and govern privacy budgets.

    STATE is a demo's state directory, a ledger node's state directory or database, or an export.
    Every figure is composed anew from the events in its governance log, whose signatures and rules
    are checked on the way; `tacit ledger verify` checks roots and checkpoints as well.

    An account's terms change by two officers: one proposes, another approves. Both sign with a key
    file of their own, against the running ledger.
    """


for _command in (key, propose, approve, reject):
    budget.add_command(_command)


@budget.command()
@_STATE
@_ACCOUNT
@_JSON
def show(state: Path, account: str | None, as_json: bool) -> None:
    """Show accounts: cap, spent, quotas, reservations, releases."""
    statements = _statements(state, account)
    if as_json:
        _print_json({"accounts": [one.to_json() for one in statements]})
        return
    for one in statements:
        print_statement(Console(), one)


@budget.command()
@_STATE
@_ACCOUNT
@_JSON
def history(state: Path, account: str | None, as_json: bool) -> None:
    """List what moved each account, and where it stood after."""
    statements = _statements(state, account)
    if as_json:
        steps = [
            {
                "account_id": one.account.account_id,
                "cap_epsilon": one.account.cap_epsilon,
                **one.context(),
                "spent": one.spent.to_json(),
                "steps": [step.to_json() for step in one.steps],
            }
            for one in statements
        ]
        _print_json({"accounts": steps})
        return
    for one in statements:
        print_history(Console(), one)


@budget.command()
@_STATE
@_ACCOUNT
@_JSON
def explain(state: Path, account: str | None, as_json: bool) -> None:
    """Say in plain words what is claimed, and what is not."""
    statements = _statements(state, account)
    told = [(one.account.account_id, explain_statement(one)) for one in statements]
    if as_json:
        _print_json(
            {
                "accounts": [
                    {
                        "account_id": name,
                        "sections": [{"heading": h, "text": text} for h, text in sections],
                    }
                    for name, sections in told
                ]
            }
        )
        return
    for name, sections in told:
        print_explanation(Console(), name, sections)


@budget.command()
@_STATE
@_JSON
def facts(state: Path, as_json: bool) -> None:
    """Print the privacy facts card of each release.

    Figures are confirmed by every independent library installed, which takes some seconds.
    """
    contents = read_ledger(state)
    with _refusals(), Console(stderr=True).status("composing and confirming ε …"):
        cards = release_facts(contents, replaying_accountant())
    if as_json:
        _print_json({"releases": [card.to_json() for card in cards]})
        return
    if not cards:
        click.echo("no release yet")
    for card in cards:
        print_facts(Console(), card.to_json())


@budget.command("what-if", short_help="Plan: ε, noise, rounds, utility, and what a cap would keep.")
@click.argument("state", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--epsilon", type=float, help="ε of the whole task.")
@click.option("--noise-multiplier", "-z", type=float, help="z, of every round.")
@click.option("--rounds", type=int, help="Rounds, every user in every one.")
@click.option(
    "--delta",
    type=float,
    help="Default: the account's with STATE, else the smaller of 1e-5 and 0.1 / users.",
)
@click.option(
    "--users",
    type=int,
    help="Users who contribute; δ must lie below one over it. Default: the last task's expected "
    "cohort with STATE.",
)
@click.option("--account", help="Account that would pay; STATE's only one by default.")
@click.option("--purpose", default="learn", show_default=True, help="Quota it would fall under.")
@_JSON
def what_if(
    state: Path | None,
    epsilon: float | None,
    noise_multiplier: float | None,
    rounds: int | None,
    delta: float | None,
    users: int | None,
    account: str | None,
    purpose: str,
    as_json: bool,
) -> None:
    """Find the third of ε, noise multiplier and rounds from the other two; spends nothing.

    With STATE also what the account would have left, by composition of its events.
    """
    if state is None and account is not None:
        raise click.UsageError("expected --account together with STATE")
    statement: AccountStatement | None = None
    if state is not None:
        (statement,) = _statements(state, account, single=True)
    try:
        found = answer(
            statement,
            epsilon=epsilon,
            noise_multiplier=noise_multiplier,
            rounds=rounds,
            target_delta=delta,
            n_users=users,
            purpose=purpose,
        )
    except PrivacyError as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        _print_json(found.to_json())
    else:
        print_what_if(Console(), found)


def _statements(
    state: Path, account: str | None, *, single: bool = False
) -> tuple[AccountStatement, ...]:
    contents = read_ledger(state)
    with _refusals():
        statements = account_statements(contents)
        if single or account is not None:
            return (find_account(statements, account),)
        if not statements:
            raise click.ClickException(f"{state}: no account was opened in this ledger yet")
        return statements


@contextmanager
def _refusals() -> Generator[None]:
    """Turn what the ledger's contents do not allow into one line and an exit code."""
    try:
        yield
    except NotFound as error:
        raise click.BadParameter(str(error), param_hint="'--account'") from None
    except (ServerError, PrivacyError) as error:
        raise click.ClickException(str(error)) from None


def _print_json(document: object) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
