"""Where accounts stand and what officers proposed, on disk; the rules are in `tacit.privacy`."""

from __future__ import annotations

from typing import cast

from sqlalchemy import Connection, delete, insert, select

from tacit.privacy.account_change_documents import ChangeDocument
from tacit.privacy.account_documents import AccountDocument, terms_from_json, terms_to_json
from tacit.privacy.budget import BudgetAccount
from tacit.privacy.budget_changes import Proposal, ProposalState
from tacit.privacy.budget_standing import AccountStanding, Alert, LedgerIdentity
from tacit.privacy.canonical import Fields, Json, canonical_json, encode_real, parse_canonical
from tacit.privacy.governance import GovernanceEntry
from tacit.server.errors import NotFound
from tacit.server.ledger.tables import account_changes, account_standings, accounts


def load_account(connection: Connection, account_id: str) -> BudgetAccount:
    """Read an account under the terms in force; raises `NotFound`."""
    opened, document = _stored(connection, account_id)
    return opened if document is None else _in_force(document, opened)


def load_standing(
    connection: Connection, account_id: str, ledger: LedgerIdentity
) -> AccountStanding:
    """Read where an account stands.

    Args:
        connection: A transaction.
        account_id: Which one.
        ledger: Whose database this is; rows do not repeat it.

    Raises:
        NotFound: There is no such account.
    """
    opened, document = _stored(connection, account_id)
    if document is None:  # of a database from before accounts could change: it never did
        return AccountStanding.opened(opened, 0, ledger)
    return _decode(document, opened, ledger)


def _stored(
    connection: Connection, account_id: str
) -> tuple[BudgetAccount, dict[str, Json] | None]:
    """Read an account as it was opened, and the document of its standing where there is one."""
    opened = connection.execute(
        select(accounts.c.body).where(accounts.c.account_id == account_id)
    ).scalar_one_or_none()
    if opened is None:
        raise NotFound(f"there is no budget account {account_id}")
    account = AccountDocument.from_json(parse_canonical(opened)).account()
    body = connection.execute(
        select(account_standings.c.body).where(account_standings.c.account_id == account_id)
    ).scalar_one_or_none()
    return account, None if body is None else parse_canonical(body)


def save_standing(connection: Connection, standing: AccountStanding) -> None:
    """Write where an account stands, in the transaction of the entry that moved it."""
    account_id = standing.account.account_id
    connection.execute(
        delete(account_standings).where(account_standings.c.account_id == account_id)
    )
    connection.execute(insert(account_standings), standing_row(standing))


def standing_row(standing: AccountStanding) -> dict[str, object]:
    """Return the row that says where an account stands."""
    body = canonical_json(_encode(standing))
    return {"account_id": standing.account.account_id, "body": body}


def load_proposal(connection: Connection, change_sha256: str) -> Proposal | None:
    """Read a proposed change by the digest of its body, None for an unknown one."""
    row = connection.execute(
        select(
            account_changes.c.entry,
            account_changes.c.state,
            account_changes.c.decided_by,
            account_changes.c.decided_at_ms,
        ).where(account_changes.c.change_sha256 == change_sha256)
    ).one_or_none()
    if row is None:
        return None
    entry = GovernanceEntry.parse(row.entry)
    return Proposal(
        sha256=change_sha256,
        document=ChangeDocument.from_json(entry.body),
        proposer=entry.signer,
        recorded_at_ms=entry.recorded_at_ms,
        state=ProposalState(row.state),
        decided_by=row.decided_by,
        decided_at_ms=row.decided_at_ms,
    )


def _encode(standing: AccountStanding) -> dict[str, Json]:
    # An account that never changed stands under the terms it was opened with.
    terms = terms_to_json(standing.account.terms) if standing.revision else None
    return {
        "revision": standing.revision,
        "window": standing.window,
        "window_started_at_ms": standing.window_started_at_ms,
        "reserved_before": standing.reserved_before,
        "carried": cast(Json, sorted(standing.carried)),
        "alerts": [
            {
                "threshold": encode_real(one.threshold),
                "cap_epsilon": encode_real(one.cap_epsilon),
                "epsilon": encode_real(one.epsilon),
                "reservation_id": one.reservation_id,
            }
            for one in standing.alerts
        ],
        "decided_at_ms": standing.decided_at_ms,
        **({} if terms is None else {"terms": terms}),
    }


def _in_force(document: dict[str, Json], opened: BudgetAccount) -> BudgetAccount:
    terms = document.get("terms")
    if not isinstance(terms, dict):
        return opened
    read = terms_from_json(terms, "standing.terms")
    return BudgetAccount.under(opened.account_id, opened.population, read)


def _decode(
    document: dict[str, Json], opened: BudgetAccount, ledger: LedgerIdentity
) -> AccountStanding:
    account = _in_force(document, opened)
    fields = Fields({k: v for k, v in document.items() if k != "terms"}, "standing")
    standing = AccountStanding(
        ledger=ledger,
        account=account,
        revision=fields.integer("revision", 0),
        window=fields.integer("window", 1),
        window_started_at_ms=fields.integer("window_started_at_ms", 0),
        reserved_before=fields.integer("reserved_before", 0),
        carried=frozenset(fields.texts("carried")),
        alerts=tuple(_alert(Fields(one, "alert")) for one in fields.objects("alerts")),
        decided_at_ms=fields.integer("decided_at_ms", 0),
    )
    fields.done()
    return standing


def _alert(fields: Fields) -> Alert:
    alert = Alert(
        threshold=fields.real("threshold", above=0.0),
        cap_epsilon=fields.real("cap_epsilon", above=0.0),
        epsilon=fields.real("epsilon", above=0.0),
        reservation_id=fields.text("reservation_id"),
    )
    fields.done()
    return alert
