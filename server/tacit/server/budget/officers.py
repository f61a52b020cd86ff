"""What an officer reads before signing: an account and its proposals, from a running ledger's log.

Signatures are not checked here, which `tacit budget show` and `tacit ledger verify` do. What an
officer signs is bound all the same: a change names the digest of the standing it is about, which
the ledger's origin and public key are part of, and an approval the digest of the change, both
computed here from what was shown. That the ledger of this key signed what is shown is checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tacit.privacy.account_change_documents import (
    ApprovalDocument,
    ChangeDocument,
    RejectionDocument,
)
from tacit.privacy.account_documents import AccountDocument
from tacit.privacy.budget_changes import Proposal, ProposalState, decided, take_effect
from tacit.privacy.budget_standing import AccountStanding, LedgerIdentity
from tacit.privacy.checkpoint import verify_checkpoint
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.merkle import MerkleTree, leaf_hash
from tacit.server.budget.change_summary import summarise
from tacit.server.errors import FailedPrecondition, NotFound
from tacit.server.ledger.client import LedgerClient
from tacit.server.ledger.keys import PublicKeys
from tacit.v1 import ledger_pb2

_MIN_PREFIX = 6


@dataclass(slots=True)
class AccountView:
    """An account as its entries tell.

    Attributes:
        standing: Terms, revision and window; its reservations and alerts are not read here.
        proposals: Hex digest to proposal, in order.
        summaries: Hex digest to what the change would alter.
    """

    standing: AccountStanding
    proposals: dict[str, Proposal] = field(default_factory=dict[str, Proposal])
    summaries: dict[str, str] = field(default_factory=dict[str, str])

    def find(self, prefix: str) -> Proposal:
        """Return the proposal whose digest begins so.

        Raises:
            NotFound: There is none, or more than one.
        """
        found = [one for name, one in self.proposals.items() if name.startswith(prefix)]
        name = self.standing.account.account_id
        if len(prefix) < _MIN_PREFIX or len(found) != 1:
            raise NotFound(
                f"account {name}: expected the digest of one proposed change, or its first "
                f"{_MIN_PREFIX} digits or more, got {prefix!r}, which {len(found)} have"
            )
        return found[0]


def read_account(client: LedgerClient, account_id: str | None) -> AccountView:
    """Read an account from a running ledger; the only one where none is named.

    Raises:
        NotFound: There is none of that name, none at all, or several and none is named.
        FailedPrecondition: The ledger's log and what it says of the account disagree, or its last
            checkpoint is not of this log.
        BadSignature: The ledger signed neither its keys nor that checkpoint.
    """
    note = client.checkpoint(ledger_pb2.LOG_GOVERNANCE).checkpoint
    entries = list(_entries(client))
    found = [GovernanceEntry.parse(data) for data in entries]
    names = [str(one.body.get("account_id")) for one in found if one.kind == "account"]
    if account_id is None and len(names) == 1:
        (account_id,) = names
    if account_id is None or account_id not in names:
        listed = ", ".join(names) or "none"
        raise NotFound(f"expected the name of one account; the ledger has: {listed}")
    shown = client.show_budget(account_id)
    ledger = PublicKeys.parse(shown.ledger_keys).identity
    view = account_views(_signed_by(ledger, note, entries), ledger).get(account_id)
    if view is None or shown.standing_sha256 != view.standing.digest():
        raise FailedPrecondition(
            f"account {account_id}: the ledger states other terms than its log gives; verify it "
            "before signing anything"
        )
    return view


def account_views(entries: Iterable[bytes], ledger: LedgerIdentity) -> dict[str, AccountView]:
    """Return account id to what the entries of a ledger tell of it.

    Raises:
        FailedPrecondition: An entry is about an account or a change that none before it opened.
        PrivacyError: An entry is malformed.
    """
    views: dict[str, AccountView] = {}
    for data in entries:
        entry = GovernanceEntry.parse(data)
        if entry.kind == "account":
            account = AccountDocument.from_json(entry.body).account()
            standing = AccountStanding.opened(account, entry.recorded_at_ms, ledger)
            views[account.account_id] = AccountView(standing)
        elif entry.kind.startswith("account."):
            try:
                _apply(views, entry)
            except KeyError:
                raise FailedPrecondition(
                    "the log decides on an account or a change that is not in it; verify the ledger"
                ) from None
    return views


def _apply(views: dict[str, AccountView], entry: GovernanceEntry) -> None:
    if entry.kind == "account.change":
        change = ChangeDocument.from_json(entry.body)
        view, digest = views[change.account_id], entry.body_digest().hex()
        view.proposals[digest] = Proposal(digest, change, entry.signer, entry.recorded_at_ms)
        view.summaries[digest] = summarise(view.standing, change)
    elif entry.kind == "account.approval":
        approval = ApprovalDocument.from_json(entry.body)
        view = views[approval.account_id]
        view.standing, view.proposals[approval.change_sha256] = take_effect(
            view.standing,
            view.proposals[approval.change_sha256],
            entry.signer,
            entry.recorded_at_ms,
            (),
        )
    else:
        rejection = RejectionDocument.from_json(entry.body)
        proposals = views[rejection.account_id].proposals
        proposals[rejection.change_sha256] = decided(
            proposals[rejection.change_sha256],
            ProposalState.REJECTED,
            entry.signer,
            entry.recorded_at_ms,
        )


def _signed_by(ledger: LedgerIdentity, note: bytes, entries: Sequence[bytes]) -> Sequence[bytes]:
    """Return the entries that a checkpoint covers, which the named ledger must have signed.

    So nobody passes off a log of their own making under the name and keys of another ledger.
    """
    checkpoint = verify_checkpoint(note, ledger.origin, ledger.origin, ledger.public_key)
    covered, tree = entries[: checkpoint.size], MerkleTree()
    for data in covered:
        tree.append(leaf_hash(data))
    if (tree.size, tree.root()) != (checkpoint.size, checkpoint.root):
        raise FailedPrecondition(
            f"the ledger shows entries that are not those of its checkpoint as {ledger.origin}; "
            "verify it before signing anything"
        )
    return covered


def _entries(client: LedgerClient) -> Iterable[bytes]:
    start = 0
    while batch := client.entries(start):
        yield from batch
        start += len(batch)
