from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner

from tacit.cli.ledger import ledger
from tacit.privacy.accounting import GaussianEvent, epsilon_bound, epsilon_without_opacus, round_up
from tacit.privacy.canonical import Json, canonical_json, parse_canonical
from tacit.privacy.checkpoint import Checkpoint, sign
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.merkle import MerkleTree, leaf_hash
from tacit.privacy.signatures import SigningKey
from tacit.privacy.tiles import write_tiles
from tacit.server.errors import BadConfig, VerificationFailed
from tacit.server.ledger.contents import read_export, write_notes
from tacit.server.ledger.export import export_ledger
from tacit.server.ledger.keys import PublicKeys
from tacit.server.ledger.verify import verify_export
from tacit.v1 import ledger_pb2

Tamper = Callable[[list[GovernanceEntry], dict[str, SigningKey]], None]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory, request: Any) -> Any:
    """A stopped node with three consents, one task of three rounds and one release."""
    from tacit.server.tls import make_authority

    kind = request.getfixturevalue("deployment_type")
    deployment = kind(tmp_path_factory.mktemp("history"), make_authority())
    deployment.run_task()
    client = deployment.client("gateway")
    deployment.notes = [
        client.checkpoint(log).checkpoint
        for log in (ledger_pb2.LOG_GOVERNANCE, ledger_pb2.LOG_CONSENT)
    ]
    deployment.stop()
    return deployment


@pytest.fixture
def exported(history: Any, tmp_path: Path) -> Path:
    directory = tmp_path / "export"
    export_ledger(history.state_dir, directory)
    return directory


def findings(path: Path, **arguments: Any) -> str:
    with pytest.raises(VerificationFailed) as raised:
        verify_export(path, **arguments)
    return "\n".join(raised.value.findings)


class TestGoodLedger:
    def test_export_and_database_verify_alike(self, history: Any, exported: Path) -> None:
        key = history.node_key.public_key
        report = verify_export(exported, key, known=history.notes)
        assert report == verify_export(history.state_dir, key, known=history.notes)
        assert report == verify_export(history.state_dir / "ledger.sqlite", key, history.notes)
        assert (report.governance_size, report.consent_size, report.checkpoints) == (9, 3, 12)
        assert (report.ledger_key_pinned, report.known_checkpoints) == (True, 2)
        (account,), (release,) = report.accounts, report.releases
        assert account.spent_epsilon == account.released_epsilon == (release.epsilon or 0.0) > 0
        assert (account.committed, account.reserved, account.aborted) == (3, 0, 0)
        assert "opacus" in report.accountant
        assert "dp-accounting" in report.accountant

    def test_stored_and_recomputed_epsilon_are_equal(self, history: Any, exported: Path) -> None:
        entries = [
            GovernanceEntry.parse(e) for e in read_export(exported).logs["governance"].entries
        ]
        stated = [e.body["epsilon"] for e in entries if e.kind in ("budget.commit", "release")]
        assert float(str(stated[-1])) == float(str(stated[-2]))
        report = verify_export(exported)
        assert report.releases[0].epsilon == float(str(stated[-1]))
        assert report.accounts[0].released_epsilon == float(str(stated[-1]))

    def test_without_opacus_dp_accounting_alone_agrees(self, exported: Path) -> None:
        alone = verify_export(exported, compose=epsilon_without_opacus)
        assert alone.accounts == verify_export(exported).accounts
        assert alone.accountant.startswith("tacit-gaussian 1, ")
        assert "opacus" not in alone.accountant

    def test_export_wants_an_empty_directory(self, history: Any, exported: Path) -> None:
        with pytest.raises(BadConfig, match="empty"):
            export_ledger(history.state_dir, exported)


class TestTampering:
    def test_another_key_is_not_the_pinned_one(self, exported: Path) -> None:
        assert "pinned" in findings(exported, ledger_key=b"\0" * 32)

    def test_every_flipped_byte_is_found(self, exported: Path) -> None:
        """Flip one byte at several places of every file; every flip must be found."""
        files = [p for p in sorted(exported.rglob("*")) if p.is_file()]
        assert len(files) == 9
        for path in files:
            original = path.read_bytes()
            for position in {0, len(original) // 3, len(original) // 2, len(original) - 1}:
                changed = bytearray(original)
                changed[position] ^= 1
                path.write_bytes(changed)
                if not self.fast(exported):
                    # White space between the notes is the one thing nothing depends on.
                    assert path.name == "checkpoints.json", (path, position)
                    assert json.loads(changed) == json.loads(original)
            path.write_bytes(original)
        assert not self.fast(exported)

    def test_every_missing_or_added_file_is_found(self, exported: Path) -> None:
        for path in [p for p in sorted(exported.rglob("*")) if p.is_file()]:
            original = path.read_bytes()
            path.unlink()
            assert self.fast(exported), path
            path.write_bytes(original)
        (exported / "consent" / "extra").write_bytes(b"")
        assert "nothing accounts" in findings(exported)

    def test_truncated_reordered_and_dropped_checkpoints_are_found(self, exported: Path) -> None:
        path = exported / "governance" / "checkpoints.json"
        notes: list[str] = json.loads(path.read_text())
        swapped = [notes[1], notes[0], *notes[2:]]
        for changed in (notes[:-1], notes[1:], [*notes[:3], *notes[4:]], swapped, []):
            path.write_bytes(write_notes(changed))
            if changed:
                (exported / "governance" / "checkpoint").write_text(changed[-1])
            assert self.fast(exported)

    def test_a_consistent_rollback_is_found_with_a_known_checkpoint(
        self, history: Any, exported: Path
    ) -> None:
        for path, keep in ((exported / "governance", 7), (exported / "consent", 2)):
            contents = read_export(exported).logs[path.name]
            shutil.rmtree(path / "tile")
            write_tiles(path, contents.entries[:keep])
            notes = [note.decode() for note in contents.notes[:keep]]
            (path / "checkpoints.json").write_bytes(write_notes(notes))
            (path / "checkpoint").write_text(notes[-1])
        assert verify_export(exported).governance_size == 7  # it is a true prefix
        text = findings(exported, known=history.notes)
        assert text.count("rolled back") == 2

    def test_a_fork_by_the_ledger_itself_is_found_with_a_known_checkpoint(
        self, history: Any, exported: Path
    ) -> None:
        """The ledger re-signs a history that ends in another release of the same spends."""

        def release_another(entries: list[GovernanceEntry], keys: dict[str, SigningKey]) -> None:
            body = dict(entries[8].body) | {"model_sha256": "0" * 64}
            resign(entries, 8, body, keys["coordinator"])

        rebuild(history, exported, release_another)
        assert verify_export(exported).governance_size == 9
        assert "forked" in findings(exported, known=history.notes)

    def test_an_epsilon_changed_by_a_colluding_ledger_is_found(
        self, history: Any, exported: Path
    ) -> None:
        def understate_commit(e: list[GovernanceEntry], keys: dict[str, SigningKey]) -> None:
            resign(e, 5, dict(e[5].body) | {"epsilon": "0.5"}, keys["coordinator"])

        def understate_release(e: list[GovernanceEntry], keys: dict[str, SigningKey]) -> None:
            resign(e, 8, dict(e[8].body) | {"epsilon": "0.5"}, keys["coordinator"])

        def less_noise(e: list[GovernanceEntry], keys: dict[str, SigningKey]) -> None:
            event = {
                "mechanism": "discrete_gaussian",
                "sampling": "none",
                "noise_multiplier": "4.0",
                "count": 1,
            }
            resign(e, 2, dict(e[2].body) | {"event": event}, keys["coordinator"])

        def commit_unreserved(e: list[GovernanceEntry], keys: dict[str, SigningKey]) -> None:
            del e[2]

        def release_uncommitted(e: list[GovernanceEntry], keys: dict[str, SigningKey]) -> None:
            del e[7]

        def skip_version(e: list[GovernanceEntry], keys: dict[str, SigningKey]) -> None:
            resign(e, 8, dict(e[8].body) | {"version": 2}, keys["coordinator"])

        def smaller_cap(e: list[GovernanceEntry], keys: dict[str, SigningKey]) -> None:
            body = dict(e[0].body) | {"cap_epsilon": "0.5", "quotas": {"learn": "0.5"}}
            resign(e, 0, body, keys["operator"])

        def second_cap(e: list[GovernanceEntry], keys: dict[str, SigningKey]) -> None:
            e.insert(1, e[0])
            resign(e, 1, dict(e[0].body) | {"account_id": "twin"}, keys["operator"])

        def round_twice(e: list[GovernanceEntry], keys: dict[str, SigningKey]) -> None:
            body = dict(e[2].body) | {"reservation_id": "again", "idempotency_key": "again"}
            resign(e, 8, body, keys["coordinator"], kind="budget.reserve")

        def spend_left_out(e: list[GovernanceEntry], keys: dict[str, SigningKey]) -> None:
            named = cast("list[Json]", e[8].body["reservations"])
            events = [GaussianEvent(8.0)] * (len(named) - 1)
            less = round_up(epsilon_bound(events, float(str(e[8].body["target_delta"]))))
            body = dict(e[8].body) | {"reservations": named[:-1], "epsilon": repr(less)}
            resign(e, 8, body, keys["coordinator"])

        def open_spend_left_out(e: list[GovernanceEntry], keys: dict[str, SigningKey]) -> None:
            # The last round's commit never was: its spend is open, and the release does without.
            spend_left_out(e, keys)
            del e[7]

        def wrong_role(e: list[GovernanceEntry], keys: dict[str, SigningKey]) -> None:
            resign(e, 0, dict(e[0].body), keys["coordinator"])

        def stranger(e: list[GovernanceEntry], keys: dict[str, SigningKey]) -> None:
            resign(e, 0, dict(e[0].body), SigningKey(b"\7" * 32))

        def unsigned(e: list[GovernanceEntry], keys: dict[str, SigningKey]) -> None:
            body = dict(e[5].body) | {"release_sha256": "0" * 64}
            e[5] = GovernanceEntry(e[5].kind, 0, body, e[5].signer, e[5].signature)

        cases: list[tuple[Tamper, str]] = [
            (understate_commit, "states epsilon 0.5"),
            (understate_release, "states epsilon 0.5"),
            (less_noise, "noise multiplier"),
            (commit_unreserved, "not made before"),
            (release_uncommitted, "not committed"),
            (skip_version, "version 1"),
            (smaller_cap, "cap"),
            (second_cap, "has an account already"),
            (round_twice, "reserved before"),
            (spend_left_out, "leaves out"),
            (open_spend_left_out, "leaves out"),
            (wrong_role, "role"),
            (stranger, "do not name"),
            (unsigned, "does not verify"),
        ]
        for tamper, words in cases:
            directory = exported.with_name(tamper.__name__)
            shutil.copytree(exported, directory)
            rebuild(history, directory, tamper)
            assert words in findings(directory), tamper.__name__

    def test_an_edited_database_is_found(self, history: Any, tmp_path: Path) -> None:
        for name, statement in {
            "edited": "UPDATE leaves SET data = x'00' WHERE log = 'consent' AND position = 1",
            "deleted": "DELETE FROM leaves WHERE log = 'governance' AND position = 4",
            "unsigned": "DELETE FROM checkpoints WHERE log = 'governance' AND size = 4",
        }.items():
            copy = tmp_path / name
            shutil.copytree(history.state_dir, copy)
            database = sqlite3.connect(copy / "ledger.sqlite")
            database.execute(statement)
            database.commit()
            database.close()
            assert findings(copy), name

    @staticmethod
    def fast(path: Path) -> bool:
        """Say whether anything is found, with an accountant that costs nothing."""
        try:
            verify_export(path, compose=epsilon_without_opacus)
        except VerificationFailed:
            return True
        return False


class TestCommand:
    def test_verify_show_and_export(self, history: Any, tmp_path: Path) -> None:
        run, directory = CliRunner(), tmp_path / "out"
        made = run.invoke(ledger, ["export", str(directory), "--database", str(history.state_dir)])
        assert (made.exit_code, made.stdout.startswith("exported 9 governance")) == (0, True)
        key = history.node_key.public_key.hex()
        verified = run.invoke(ledger, ["verify", str(directory), "--key", key])
        assert verified.exit_code == 0
        assert verified.stdout.startswith("verified\n")
        assert "(pinned)" in verified.stdout
        report = json.loads(run.invoke(ledger, ["verify", str(directory), "--json"]).stdout)
        assert report["ok"]
        assert report["accounts"][0]["account_id"] == "main"
        shown = json.loads(run.invoke(ledger, ["show", str(directory), "--json"]).stdout)
        assert [entry["kind"] for entry in shown][:3] == ["account", "task", "budget.reserve"]
        assert "budget.commit" in run.invoke(ledger, ["show", str(directory)]).stdout

    def test_failures_are_lines_and_exit_codes(self, history: Any, tmp_path: Path) -> None:
        run, directory = CliRunner(), tmp_path / "out"
        export_ledger(history.state_dir, directory)
        (directory / "consent" / "tile" / "entries" / "000.p" / "3").write_bytes(b"")
        failed = run.invoke(ledger, ["verify", str(directory)])
        assert failed.exit_code == 1
        assert "does not verify" in failed.stderr
        as_json = run.invoke(ledger, ["verify", str(directory), "--json"])
        assert (as_json.exit_code, json.loads(as_json.stdout)["ok"]) == (1, False)
        assert run.invoke(ledger, ["verify", str(tmp_path / "nowhere")]).exit_code == 2
        assert run.invoke(ledger, ["verify", str(directory), "--key", "zz"]).exit_code == 2
        empty = tmp_path / "empty"
        empty.mkdir()
        assert run.invoke(ledger, ["show", str(empty)]).exit_code == 1


def resign(
    entries: list[GovernanceEntry], index: int, body: Any, key: SigningKey, kind: str = ""
) -> None:
    entries[index] = GovernanceEntry.sign(
        kind or entries[index].kind, body, entries[index].recorded_at_ms, key
    )


def rebuild(history: Any, directory: Path, tamper: Tamper) -> None:
    """Change the governance log as a ledger that colludes would: every root signed again."""
    contents = read_export(directory)
    entries = [GovernanceEntry.parse(e) for e in contents.logs["governance"].entries]
    tamper(entries, history.keys)
    data = [entry.to_bytes() for entry in entries]
    path, origin = directory / "governance", contents.keys.origins["governance"]
    shutil.rmtree(path / "tile")
    write_tiles(path, data)
    tree, notes = MerkleTree(), list[str]()
    for entry in data:
        tree.append(leaf_hash(entry))
        note = sign(Checkpoint(origin, tree.size, tree.root()), history.node_key, origin)
        notes.append(note.decode())
    (path / "checkpoints.json").write_bytes(write_notes(notes))
    (path / "checkpoint").write_text(notes[-1])


def test_keys_are_signed_and_keep_earlier_principals(history: Any, tmp_path: Path) -> None:
    data = (history.state_dir / "keys.json").read_bytes()
    keys = PublicKeys.parse(data)
    roles = {"gateway", "coordinator", "operator", "officer", "auditor"}
    assert {one.role for one in keys.principals} == roles
    document: Any = parse_canonical(data)
    document["keys"]["principals"][0]["role"] = "operator"
    (tmp_path / "keys.json").write_bytes(canonical_json(document))
    shutil.copy(history.state_dir / "ledger.sqlite", tmp_path / "ledger.sqlite")
    assert "keys.json" in findings(tmp_path)
