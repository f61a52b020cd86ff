"""Verify a whole ledger offline, from its export or its database alone.

What is re-derived: both roots and the root behind every checkpoint ever signed, every signature,
the life of every reservation, every cap, every ε that a commit or a release states, and of the
current-state map its sequence of epochs and the consent root each names. The newest map root is
re-derived from a database that holds no later decision; from an export no map root can be, because
publishing the entries would let readers link the changes of one person.

What this cannot see: whether the ledger showed other people another history (compare checkpoints
with theirs; `known` takes them), and whether noise was really drawn as the reservations say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tacit.privacy.accounting import (
    EpsilonClaim,
    GaussianEvent,
    epsilon,
    epsilon_without_opacus,
    libraries_installed,
)
from tacit.privacy.budget import ReservationState, composed_events
from tacit.privacy.checkpoint import verify_checkpoint
from tacit.privacy.cosignature import NO_QUORUM, Quorum, witnesses_of
from tacit.privacy.errors import PrivacyError
from tacit.privacy.merkle import EMPTY_ROOT, MerkleTree, leaf_hash
from tacit.privacy.receipt import LEAF_BYTES, LEAF_VERSION
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.signed_note import verifier_key
from tacit.privacy.state_map import StateMap
from tacit.privacy.task import TaskManifest
from tacit.privacy.tiles import tile_paths, verify_tiles
from tacit.privacy.trust import CLAIMS, claim_context
from tacit.server.budget.accountant import CONFIRMED_IN_REPLAY, Accountant
from tacit.server.errors import VerificationFailed
from tacit.server.ledger.contents import (
    CHECKPOINT_FILE,
    CHECKPOINTS_FILE,
    LOGS,
    LedgerContents,
    LogContents,
    read_database,
    read_export,
)
from tacit.server.ledger.database import DATABASE_FILE
from tacit.server.ledger.keys import KEYS_FILE
from tacit.server.ledger.log import CONSENT, GOVERNANCE
from tacit.server.ledger.replay import GovernanceHistory, replay_governance
from tacit.server.ledger.replay_lineage import check_consent_roots, retraining_reports
from tacit.server.ledger.verification_report import (
    AccountReport,
    AuditSummary,
    ReleaseReport,
    VerificationReport,
)

Compose = Callable[[Sequence[GaussianEvent], float], EpsilonClaim]


def verify_export(
    path: Path,
    ledger_key: bytes | None = None,
    known: Sequence[bytes] = (),
    compose: Compose | None = None,
    witnesses: Quorum = NO_QUORUM,
) -> VerificationReport:
    """Verify an exported directory, a node's state directory, or its database file.

    Args:
        path: what to verify; a directory that holds a ledger database is read from that.
        ledger_key: the ledger's pinned public key; without it the export vouches for itself.
        known: signed checkpoints from elsewhere (devices, witnesses); a history that was rolled
            back or forked after one of them does not agree with it.
        compose: the accountant; by default the ledger's own, confirmed by Opacus and
            dp-accounting, or by dp-accounting alone where Opacus is not installed.
        witnesses: who must have cosigned the newest checkpoint of each log. A node asks for that
            when it starts, stops, or proves something; a database that is written to meanwhile
            may be ahead of it.

    Raises:
        VerificationFailed: with every finding.
    """
    is_export = path.is_dir() and not (path / DATABASE_FILE).exists()
    contents = read_export(path) if is_export else read_database(path)
    directory = path if is_export else None
    return verify_contents(contents, ledger_key, known, compose, directory, witnesses)


def verify_contents(
    contents: LedgerContents,
    ledger_key: bytes | None = None,
    known: Sequence[bytes] = (),
    compose: Compose | None = None,
    directory: Path | None = None,
    witnesses: Quorum = NO_QUORUM,
) -> VerificationReport:
    """Verify what was read of a ledger.

    Args:
        contents: what it published.
        ledger_key: as in `verify_export`.
        known: as in `verify_export`.
        compose: as in `verify_export`.
        directory: the export it was read from, None where it comes from a database.
        witnesses: as in `verify_export`.

    Raises:
        VerificationFailed: with every finding.
    """
    findings: list[str] = []
    if ledger_key is not None and contents.keys.ledger_key != ledger_key:
        raise VerificationFailed(("the ledger's key is not the one that was pinned",))
    trees = {name: _check_log(name, contents, findings) for name in LOGS}
    if directory is not None:
        _check_files(directory, trees, findings)
    agreeing = _check_known(known, contents, trees, findings)
    cosigned = _check_witnesses(witnesses, contents, findings)
    findings.extend(
        f"consent leaf {index}: expected {LEAF_BYTES} bytes of version 1"
        for index, data in enumerate(contents.logs[CONSENT].entries)
        if len(data) != LEAF_BYTES or data[:1] != LEAF_VERSION
    )
    accountant = replaying_accountant(compose)
    history = replay_governance(contents.logs[GOVERNANCE].entries, contents.keys, accountant)
    findings.extend(history.findings)
    rederived = _check_map(history, contents, trees[CONSENT], findings)
    check_consent_roots(history.retrainings, trees[CONSENT], findings)
    if findings:
        raise VerificationFailed(tuple(findings))
    example = accountant.claim((GaussianEvent(1.0),), 1e-5)
    return VerificationReport(
        ledger_key=contents.keys.ledger_key.hex(),
        ledger_key_pinned=ledger_key is not None,
        governance_size=trees[GOVERNANCE].size,
        governance_root=trees[GOVERNANCE].root().hex(),
        consent_size=trees[CONSENT].size,
        consent_root=trees[CONSENT].root().hex(),
        checkpoints=sum(len(contents.logs[name].notes) for name in LOGS),
        known_checkpoints=agreeing,
        log_keys=tuple(
            verifier_key(contents.keys.origins[name], contents.keys.ledger_key) for name in LOGS
        ),
        witnesses=cosigned,
        map_epochs=len(history.map_epochs),
        map_root=history.map_epochs[-1].map_root if history.map_epochs else "",
        map_root_rederived=rederived,
        accounts=_accounts(history, accountant),
        releases=tuple(
            _release(one, history.tasks[one.task_sha256], accountant)
            for releases in history.releases.values()
            for one in releases
        ),
        retrainings=retraining_reports(history.retrainings, history.tasks, history.releases),
        audits=tuple(
            AuditSummary(one.report_sha256, one.tool, one.log_size, one.statement, one.findings)
            for one in history.audits
        ),
        accountant=(
            f"{example.accountant} {example.accountant_version}, cross-checked with "
            + " and ".join(f"{c.accountant} {c.accountant_version}" for c in example.cross_checks)
        ),
        unit=example.unit,
        neighboring_relation=example.neighboring_relation,
    )


def _release(release: ReleaseManifest, task: TaskManifest, accountant: Accountant) -> ReleaseReport:
    context: dict[str, object] = {
        "trust_level": release.trust_level,
        "claim": CLAIMS[release.trust_level],
    }
    if release.target_delta is not None:
        claim = accountant.claim(task.events(), release.target_delta)
        context = claim_context(claim, task.participation_bound)
    return ReleaseReport(
        release.population,
        release.version,
        release.trust_level,
        release.epsilon,
        release.target_delta,
        context,
    )


def replaying_accountant(compose: Compose | None = None) -> Accountant:
    """Return an accountant for one whole log; by default with every cross-check installed here."""
    return Accountant(compose or available_accountant(), CONFIRMED_IN_REPLAY)


def available_accountant() -> Compose:
    """Return the accountant with every cross-check that is installed here.

    The figure is the same with either; only who confirms it differs.
    """
    opacus, dp_accounting = libraries_installed()
    if not dp_accounting:
        raise VerificationFailed(
            ("no accountant is installed: install dp-accounting, or opacus too",)
        )
    return epsilon if opacus else epsilon_without_opacus


def _check_log(name: str, contents: LedgerContents, findings: list[str]) -> MerkleTree:
    """Check that one checkpoint is signed for every size, and that each is the leaves' root."""
    log: LogContents = contents.logs[name]
    origin, key = contents.keys.origins[name], contents.keys.ledger_key
    if len(log.notes) != len(log.entries):
        findings.append(
            f"{name} log: expected a checkpoint for each of {len(log.entries)} sizes, "
            f"got {len(log.notes)}"
        )
    tree = MerkleTree()
    for size, entry in enumerate(log.entries, start=1):
        tree.append(leaf_hash(entry))
        if size > len(log.notes):
            continue
        try:
            checkpoint = verify_checkpoint(log.notes[size - 1], origin, origin, key)
        except PrivacyError as error:
            findings.append(f"{name} checkpoint {size}: {error}")
            continue
        if (checkpoint.size, checkpoint.root) != (size, tree.root()):
            findings.append(
                f"{name} checkpoint {size}: signed for size {checkpoint.size} and another root "
                "than the leaves give"
            )
    return tree


def _check_files(directory: Path, trees: dict[str, MerkleTree], findings: list[str]) -> None:
    """Check the hash tiles, and that no file is there that nothing accounts for."""
    expected = {KEYS_FILE}
    for name, tree in trees.items():
        try:
            verify_tiles(directory / name, tree)
        except PrivacyError as error:
            findings.append(f"{name}/{error}")
        expected.add(f"{name}/{CHECKPOINTS_FILE}")
        expected.update(f"{name}/{path}" for path in tile_paths(tree.size))
        if tree.size:
            expected.add(f"{name}/{CHECKPOINT_FILE}")
    found = {p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file()}
    findings.extend(f"{path}: nothing accounts for this file" for path in sorted(found - expected))


def _check_known(
    known: Sequence[bytes],
    contents: LedgerContents,
    trees: dict[str, MerkleTree],
    findings: list[str],
) -> int:
    """Check checkpoints from elsewhere against the leaves; returns how many agree."""
    names = {contents.keys.origins[name]: name for name in LOGS}
    agreeing = 0
    for note in known:
        origin = note.partition(b"\n")[0].decode("utf-8", "replace")
        name = names.get(origin)
        if name is None:
            findings.append("known checkpoint: of a log this ledger does not have")
            continue
        try:
            checkpoint = verify_checkpoint(note, origin, origin, contents.keys.ledger_key)
        except PrivacyError as error:
            findings.append(f"known checkpoint of the {name} log: {error}")
            continue
        tree = trees[name]
        if checkpoint.size > tree.size:
            findings.append(
                f"{name} log: has {tree.size} leaves, the ledger signed {checkpoint.size} before: "
                "it was rolled back"
            )
        elif checkpoint.root != (tree.root(checkpoint.size) if checkpoint.size else EMPTY_ROOT):
            findings.append(f"{name} log: forked at or before size {checkpoint.size}")
        else:
            agreeing += 1
    return agreeing


def _check_witnesses(
    quorum: Quorum, contents: LedgerContents, findings: list[str]
) -> dict[str, int]:
    """Check that a quorum cosigned the end of each log; returns what each witness cosigned."""
    counts = dict.fromkeys((one.name for one in quorum.witnesses), 0)
    if not counts:
        return counts
    for name in LOGS:
        covered = 0
        for size, note in enumerate(contents.logs[name].notes, start=1):
            try:
                seen = witnesses_of(note, quorum.witnesses)
            except PrivacyError:
                continue  # a malformed note is a finding of its own
            for witness in seen:
                counts[witness] += 1
            if len(seen) >= quorum.threshold:
                covered = size
        if covered < (total := len(contents.logs[name].notes)):
            findings.append(
                f"{name} log: {quorum.threshold} of {len(quorum.witnesses)} witnesses saw "
                f"{covered} of its {total} entries; what follows nobody else has seen"
            )
    return counts


def _check_map(
    history: GovernanceHistory, contents: LedgerContents, tree: MerkleTree, findings: list[str]
) -> bool:
    """Check map epochs against the consent log; returns whether the newest root was re-derived."""
    for one in history.map_epochs:
        if one.consent_size > tree.size or one.consent_root != tree.root(one.consent_size).hex():
            findings.append(
                f"map epoch {one.epoch}: names another consent root than {one.consent_size} leaves "
                "give"
            )
    if contents.map_entries is None or not history.map_epochs:
        return False
    newest = history.map_epochs[-1]
    if StateMap(contents.map_entries).root.hex() != newest.map_root:
        findings.append(f"map epoch {newest.epoch}: its entries give another root")
    return True


def _accounts(history: GovernanceHistory, accountant: Accountant) -> tuple[AccountReport, ...]:
    reports: list[AccountReport] = []
    for standing in history.standings.values():
        account = standing.account
        held = history.reservations[account.account_id]
        committed = [one for one in held if one.state is ReservationState.COMMITTED]
        states = [one.state for one in held]

        events = composed_events(held)
        spent = accountant.claim(events, account.target_delta)
        released = accountant.claim(composed_events(committed), account.target_delta)
        current = accountant.claim(composed_events(standing.in_window(held)), account.target_delta)
        reports.append(
            AccountReport(
                account_id=account.account_id,
                cap_epsilon=account.cap_epsilon,
                target_delta=account.target_delta,
                spent_epsilon=spent.epsilon,
                released_epsilon=released.epsilon,
                reserved=states.count(ReservationState.RESERVED),
                committed=len(committed),
                aborted=states.count(ReservationState.ABORTED),
                window=standing.window,
                window_epsilon=current.epsilon,
                changes=standing.revision,
                context=claim_context(spent, sum(event.count for event in events)),
            )
        )
    return tuple(reports)
