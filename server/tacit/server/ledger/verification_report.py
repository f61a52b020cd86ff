"""What the verification of a ledger found, recomputed from its entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class AccountReport:
    """One budget account, recomputed.

    Attributes:
        account_id: its name.
        cap_epsilon, target_delta: what it allows.
        spent_epsilon: lifetime ε, of everything reserved or committed.
        released_epsilon: lifetime ε of what was committed; never above `spent_epsilon`.
        reserved, committed, aborted: number of reservations in each state.
        window: current window; one more with every refresh.
        window_epsilon: ε of what counts in it; the cap bounds this.
        changes: number of changes of the account that two officers made effective.
        context: what must stand beside the two figures; see `claim_context`.
    """

    account_id: str
    cap_epsilon: float
    target_delta: float
    spent_epsilon: float
    released_epsilon: float
    reserved: int
    committed: int
    aborted: int
    window: int
    window_epsilon: float
    changes: int
    context: Mapping[str, object]

    def to_json(self) -> dict[str, object]:
        """Return the report with its context beside the figures."""
        document = asdict(self)
        del document["context"]
        return {**document, **self.context}


@dataclass(frozen=True, slots=True)
class ReleaseReport:
    """One release, recomputed.

    Attributes:
        population, version: its name.
        trust_level: the level it was made at.
        epsilon, target_delta: what it cost; None at `consent-only`, which spends nothing.
        context: what must stand beside ε; the level's sentence alone where there is no ε.
    """

    population: str
    version: int
    trust_level: str
    epsilon: float | None
    target_delta: float | None
    context: Mapping[str, object]

    def to_json(self) -> dict[str, object]:
        """Return the report; without ε where there is none."""
        name = {"population": self.population, "version": self.version}
        if self.epsilon is None:
            return {**name, **self.context}
        return {**name, "epsilon": self.epsilon, **self.context}


@dataclass(frozen=True, slots=True)
class RetrainingReport:
    """One announced retraining, and what came of it.

    Attributes:
        retraining_sha256: hex digest of the announcement.
        population, kind: which releases.
        tasks: number of affected tasks.
        base_release: where it started from; 0 for nothing.
        consent_size: whoever was erased among so many leaves of the consent log was gone before.
        release: version that carried it out; 0 while there is none.
        superseded: versions it replaced. What was contributed to the affected tasks is
            `retrained-exact` from then on.
        reason: in the operator's words.
    """

    retraining_sha256: str
    population: str
    kind: str
    tasks: int
    base_release: int
    consent_size: int
    release: int
    superseded: tuple[int, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class AuditSummary:
    """One audit that an auditor recorded.

    Attributes:
        report_sha256: hex; names it.
        tool: what audited.
        log_size: how much of the governance log it audited.
        statement: its outcome, derived again from its fields.
        findings: what it found.
    """

    report_sha256: str
    tool: str
    log_size: int
    statement: str
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """A ledger that holds together.

    Attributes:
        ledger_key: hex; who signed it.
        ledger_key_pinned: whether the caller knew that key beforehand.
        governance_size, consent_size: number of leaves.
        governance_root, consent_root: hex.
        checkpoints: number of signed checkpoints verified.
        known_checkpoints: number of checkpoints from elsewhere that agree.
        log_keys: verifier keys of the logs, as C2SP tools and witnesses read them.
        witnesses: witness asked for → number of checkpoints it cosigned.
        map_epochs: number of published roots of the current-state map.
        map_root: hex root of the newest; empty for none.
        map_root_rederived: whether it was re-derived from the entries.
        accounts, releases: what was spent and released.
        retrainings: what was trained again without people who were erased, or is to be.
        audits: what auditors recorded; a ledger that holds together may hold a bad outcome.
        accountant: what recomputed ε, with version, and what it was checked against.
        unit, neighboring_relation: what the ε are about; each account and release also carries its
            own. No part of the document where nothing was ever accounted for.
    """

    ledger_key: str
    ledger_key_pinned: bool
    governance_size: int
    governance_root: str
    consent_size: int
    consent_root: str
    checkpoints: int
    known_checkpoints: int
    log_keys: tuple[str, ...]
    witnesses: Mapping[str, int]
    map_epochs: int
    map_root: str
    map_root_rederived: bool
    accounts: tuple[AccountReport, ...]
    releases: tuple[ReleaseReport, ...]
    retrainings: tuple[RetrainingReport, ...]
    audits: tuple[AuditSummary, ...]
    accountant: str
    unit: str
    neighboring_relation: str

    def to_json(self) -> dict[str, object]:
        """Return the report as a document."""
        document = {
            **asdict(self),
            "accounts": [one.to_json() for one in self.accounts],
            "releases": [one.to_json() for one in self.releases],
        }
        if not self.accounts:
            for name in ("accounts", "accountant", "unit", "neighboring_relation"):
                del document[name]
        return {"ok": True, **document}
