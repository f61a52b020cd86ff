from __future__ import annotations

import dataclasses
import os
import time
from typing import Any

import grpc
import pytest
from sqlalchemy import select

from tacit.privacy.accounting import GaussianEvent, epsilon, epsilon_bound, round_up
from tacit.privacy.checkpoint import verify_checkpoint
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.merkle import leaf_hash, verify_consistency, verify_inclusion
from tacit.privacy.notice import NoticeDocument
from tacit.privacy.receipt import Receipt, verify_receipt
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.signatures import SigningKey
from tacit.server.authn import seal
from tacit.server.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from tacit.server.ledger.tables import consent_events, subjects
from tacit.v1 import ledger_pb2

CONSENT = "test.example/consent"
GOVERNANCE = "test.example/governance"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def refusal(call: Any, *arguments: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as raised:
        call(*arguments)
    error: Any = raised.value
    return error.code(), error.details()


def as_receipt(reply: Any) -> Receipt:
    return Receipt(
        reply.commitment_key,
        reply.index,
        tuple(reply.inclusion),
        reply.checkpoint,
        tuple(reply.consistency),
    )


class TestEnrolment:
    def test_a_token_works_once(self, deployment: Any) -> None:
        stub = deployment.stub()
        (token,) = deployment.client("operator").create_tokens("shop", 1, now_ms() + 60_000)
        deployment.device_type(stub).enrol(token)
        code, line = refusal(deployment.device_type(stub).enrol, token)
        assert code is grpc.StatusCode.UNAUTHENTICATED
        assert "used before" in line

    def test_a_lost_reply_is_answered_again(self, deployment: Any) -> None:
        stub = deployment.stub()
        (token,) = deployment.client("operator").create_tokens("shop", 1, now_ms() + 60_000)
        device = deployment.device_type(stub)
        assert device.enrol(token) == device.enrol(token)
        assert device.enrol(token).device_id == device.key.key_id

    def test_bad_enrolments_are_refused(self, deployment: Any) -> None:
        stub = deployment.stub()
        kind: Any = deployment.device_type
        operator = deployment.client("operator")
        (token,) = operator.create_tokens("shop", 1, now_ms() + 60_000)
        (short,) = operator.create_tokens("shop", 1, now_ms() + 150)
        other = SigningKey.generate(os.urandom)
        assert "unknown" in refusal(kind(stub).enrol, "no such token")[1]
        stolen = other.sign("enrol", token.encode())
        code, line = refusal(lambda: kind(stub).enrol(token, proof=stolen))
        assert (code, "possession" in line) == (grpc.StatusCode.UNAUTHENTICATED, True)
        code, _ = refusal(lambda: kind(stub).enrol(token, public_key=b"short"))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        time.sleep(0.2)
        assert "expired" in refusal(kind(stub).enrol, short)[1]
        kind(stub).enrol(token)  # none of the refusals consumed it

    def test_tokens_are_bounded(self, deployment: Any) -> None:
        operator = deployment.client("operator")
        for population, count, expiry in (
            ("shop", 0, now_ms() + 9999),
            ("shop", 10_001, now_ms() + 9999),
            ("shop", 1, now_ms() - 1),
            ("a b", 1, now_ms() + 9999),
        ):
            with pytest.raises(InvalidRequest):
                operator.create_tokens(population, count, expiry)


class TestAuthentication:
    def test_replayed_stale_forged_and_foreign_requests(self, deployment: Any) -> None:
        device = deployment.device()
        event = device.event().to_bytes()
        body = ledger_pb2.AppendConsentRequest(
            event=event, event_signature=device.key.sign("consent", event)
        )
        request = device.sealed(body)
        device.stub.AppendConsent(request)
        assert "seen before" in refusal(device.stub.AppendConsent, request)[1]
        for at_ms in (now_ms() - 61_000, now_ms() + 61_000):
            code, line = refusal(device.stub.AppendConsent, device.sealed(body, at_ms=at_ms))
            assert (code, "clock" in line) == (grpc.StatusCode.UNAUTHENTICATED, True)
        other = device.sealed(body, method="GetConsentStates")
        assert "does not verify" in refusal(device.stub.AppendConsent, other)[1]
        forged = device.sealed(body)
        forged.body = forged.body + b"\x18\x01"
        assert "does not verify" in refusal(device.stub.AppendConsent, forged)[1]
        stranger = deployment.device_type(device.stub)
        assert "does not know" in refusal(device.stub.AppendConsent, stranger.sealed(body))[1]

    def test_roles(self, deployment: Any) -> None:
        task = deployment.task()
        gateway = deployment.client("gateway")
        with pytest.raises(PermissionDenied):
            gateway.create_tokens("shop", 1, now_ms() + 9999)
        with pytest.raises(PermissionDenied):
            gateway.put_blob(b"x")
        with pytest.raises(PermissionDenied):
            deployment.client("operator").consent_states("learn")
        with pytest.raises(PermissionDenied):
            deployment.client("operator").append_governance("task", task.to_json())
        with pytest.raises(PermissionDenied):
            deployment.client("coordinator").append_governance(
                "account", deployment.account().to_json()
            )
        with pytest.raises(PermissionDenied):
            deployment.client("gateway").reserve(deployment.reserve(task))
        device = deployment.device()
        with pytest.raises(PermissionDenied, match="device"):
            deployment.client("", device.key).consent_states("learn")
        with pytest.raises(PermissionDenied, match="devices do not sign"):
            deployment.client("", device.key).append_governance("task", task.to_json())
        with pytest.raises(Unauthenticated):
            deployment.client("", SigningKey.generate(os.urandom)).consent_states("learn")

    def test_an_entry_signed_by_another_key_is_refused(self, deployment: Any) -> None:
        from tacit.privacy.governance import GovernanceEntry

        operator, stub = deployment.keys["operator"], deployment.stub()
        body = deployment.account().to_json()
        for entry in (
            GovernanceEntry.sign("account", body, now_ms(), deployment.keys["coordinator"]),
            GovernanceEntry("account", now_ms(), body, operator.key_id, b"\0" * 64),
        ):
            message = ledger_pb2.AppendGovernanceRequest(entry=entry.to_bytes())
            path = "/tacit.v1.LedgerService/AppendGovernance"
            request = seal(operator, path, message.SerializeToString(), now_ms(), os.urandom)
            assert refusal(stub.AppendGovernance, request)[0] is grpc.StatusCode.UNAUTHENTICATED
        assert deployment.client("operator").entries() == []

    def test_a_client_that_pins_another_authority_gets_nothing(self, deployment: Any) -> None:
        from tacit.server.errors import LedgerUnavailable
        from tacit.server.ledger.client import LedgerClient
        from tacit.server.tls import make_authority

        other = make_authority().certificate_pem
        key = deployment.keys["gateway"]
        with (
            LedgerClient(deployment.server.address, other, key, patience_s=0.3) as client,
            pytest.raises(LedgerUnavailable),
        ):
            client.consent_states("learn")


class TestConsent:
    def test_receipts_verify_and_chain(self, deployment: Any) -> None:
        device = deployment.device()
        known = None
        for _ in range(5):
            event = device.event()
            reply = device.append(event, known.size if known else 0)
            data = event.to_bytes()
            known = verify_receipt(
                as_receipt(reply),
                data,
                device.key.sign("consent", data),
                origin=CONSENT,
                name=CONSENT,
                ledger_key=deployment.node_key.public_key,
                known=known,
            )
        assert known is not None
        assert known.size == 5

    def test_withdrawal_is_visible_at_once(self, deployment: Any) -> None:
        device, gateway = deployment.device(), deployment.client("gateway")
        ids = [device.key.key_id]
        (before,) = gateway.consent_states("learn", ids)
        assert (before.granted, before.signals, before.sequence) == (False, (), 0)
        device.append(device.event())
        (given,) = gateway.consent_states("learn", ids)
        assert given.granted
        assert given.signals == ("product_view", "rating")
        assert (given.public_key, given.population) == (device.key.public_key, "shop")
        (other,) = gateway.consent_states("measure", ids)
        assert (other.granted, other.sequence) == (False, 1)
        device.append(device.event("withdrawn"))
        (after,) = gateway.consent_states("learn", ids)
        assert (after.granted, after.signals, after.sequence) == (False, (), 2)

    def test_a_grant_is_not_replayed_after_its_withdrawal(self, deployment: Any) -> None:
        device, gateway = deployment.device(), deployment.client("gateway")
        grant = device.event()
        device.append(grant)
        device.append(device.event("withdrawn"))
        first = device.append(grant)  # the same event again: its receipt, and nothing changes
        assert first.index == 0
        assert not gateway.consent_states("learn", [device.key.key_id])[0].granted
        for seq, previous in ((3, grant.prev_commitment), (3, "1" * 64), (4, "1" * 64)):
            if seq > 1 and previous == grant.prev_commitment:
                continue
            stale = device.event(seq=seq, prev_commitment=previous)
            assert refusal(device.append, stale)[0] is grpc.StatusCode.FAILED_PRECONDITION
        again = device.event(seq=1, prev_commitment=grant.prev_commitment)
        assert refusal(device.append, again)[0] is grpc.StatusCode.FAILED_PRECONDITION
        assert not gateway.consent_states("learn", [device.key.key_id])[0].granted

    def test_resending_returns_the_same_leaf(self, deployment: Any) -> None:
        device = deployment.device()
        event = device.event()
        first, second = device.append(event), device.append(event)
        assert (first.index, first.commitment_key) == (second.index, second.commitment_key)
        assert deployment.node.logs.consent.size == 1

    def test_bad_events_are_refused_and_leave_nothing(self, deployment: Any) -> None:
        device, stranger = deployment.device(), SigningKey.generate(os.urandom)
        event = device.event()
        wrong = stranger.sign("consent", event.to_bytes())
        assert refusal(lambda: device.append(event, signature=wrong))[0] is (
            grpc.StatusCode.UNAUTHENTICATED
        )
        assert refusal(lambda: device.append(event, known_size=7))[0] is (
            grpc.StatusCode.INVALID_ARGUMENT
        )
        for bad in (
            device.event(signals=("health",)),
            device.event(signals=("no_such_signal",)),
            device.event(method="implied"),
            device.event(event_time_ms=now_ms() + 3_600_000, valid_until_ms=now_ms() * 2),
            device.event(purpose="advertise"),
        ):
            assert refusal(device.append, bad)[0] is grpc.StatusCode.INVALID_ARGUMENT
        assert deployment.node.logs.consent.size == 0

    def test_expired_and_contradicted_grants_count_for_nothing(self, deployment: Any) -> None:
        device, gateway = deployment.device(), deployment.client("gateway")
        device.append(device.event(gpc_present=True, gpc_conflict=True))
        assert not gateway.consent_states("learn", [device.key.key_id])[0].granted
        device.append(device.event(valid_until_ms=now_ms() + 300))
        assert gateway.consent_states("learn", [device.key.key_id])[0].granted
        time.sleep(0.35)
        assert not gateway.consent_states("learn", [device.key.key_id])[0].granted

    def test_once_notices_are_published_consent_names_one(self, deployment: Any) -> None:
        device = deployment.device()
        notice = NoticeDocument("privacy", "2", "en", "We learn from clipped, noised sums.")
        operator = deployment.client("operator")
        assert operator.append_governance("notice", notice.to_json()) == 0
        assert operator.append_governance("notice", notice.to_json()) == 0
        changed = NoticeDocument("privacy", "2", "en", "We sell everything.")
        with pytest.raises(AlreadyExists):
            operator.append_governance("notice", changed.to_json())
        assert "no notice" in refusal(device.append, device.event())[1]
        from tacit.privacy.consent import NoticeShown

        forged = NoticeShown("privacy", "2", "0" * 64, "en", 0)
        assert "published" in refusal(device.append, device.event(notice=forged))[1]
        shown = NoticeShown("privacy", "2", notice.text_digest(), "en", 0)
        device.append(device.event(notice=shown))
        # Taking consent away needs no notice, not even the right one.
        device.append(device.event(state="withdrawn", notice=forged))
        states = deployment.client("gateway").consent_states("learn", [device.key.key_id])
        assert not states[0].granted

    def test_erasure_leaves_proofs_and_no_plaintext(self, deployment: Any) -> None:
        device, other = deployment.device(), deployment.device()
        event, marker = device.event(controller="Marker-Controller"), b"Marker-Controller"
        device.append(event)
        kept = other.event()
        before = other.append(kept)
        with deployment.node.database.reading() as connection:
            held = [row.sealed for row in connection.execute(select(consent_events))]
            keys = [row.key for row in connection.execute(select(subjects))]
        assert any(held[0] in content for content in deployment.table_files())
        device.erase()
        gateway = deployment.client("gateway")
        assert gateway.consent_states("learn", [device.key.key_id]) == []
        known = verify_checkpoint(
            before.checkpoint, CONSENT, CONSENT, deployment.node_key.public_key
        )
        after = as_receipt(other.append(kept, known_size=known.size))
        signature = other.key.sign("consent", kept.to_bytes())
        names: dict[str, Any] = {
            "origin": CONSENT,
            "name": CONSENT,
            "ledger_key": deployment.node_key.public_key,
        }
        verify_receipt(after, kept.to_bytes(), signature, known=known, **names)
        verify_receipt(as_receipt(before), kept.to_bytes(), signature, **names)
        assert "does not know" in refusal(device.append, device.event())[1]
        for content in deployment.table_files():
            assert marker not in content
            assert held[0] not in content
            assert keys[0] not in content

    def test_consent_states_of_many_devices(self, deployment: Any) -> None:
        device, gateway = deployment.device(), deployment.client("gateway")
        unknown = [f"unknown-{i}" for i in range(999)]
        device.append(device.event())
        states = gateway.consent_states("learn", [*unknown, device.key.key_id])
        assert [one.device_id for one in states] == [device.key.key_id]
        assert [one.device_id for one in gateway.consent_states("learn")] == [device.key.key_id]


class TestGovernance:
    def test_entries_come_with_proofs(self, deployment: Any) -> None:
        deployment.run_task()
        client = deployment.client("gateway")
        entries = client.entries()
        key = deployment.node_key.public_key
        known = verify_checkpoint(
            client.checkpoint(ledger_pb2.LOG_GOVERNANCE).checkpoint, GOVERNANCE, GOVERNANCE, key
        )
        assert known.size == len(entries) == 9
        logged, seen = client.logged_entry(0), known
        for index, entry in enumerate(entries):
            logged = client.logged_entry(index, known_size=3)
            seen = verify_checkpoint(logged.checkpoint, GOVERNANCE, GOVERNANCE, key)
            assert (logged.entry, logged.index) == (entry, index)
            verify_inclusion(leaf_hash(entry), index, seen.size, logged.inclusion, seen.root)
        from tacit.privacy.merkle import root

        old = root([leaf_hash(entry) for entry in entries[:3]])
        verify_consistency(3, old, seen.size, seen.root, logged.consistency)
        newest = client.latest_release("shop")
        assert newest is not None
        assert newest.entry == entries[-1]
        assert client.latest_release("elsewhere") is None
        with pytest.raises(InvalidRequest):
            client.logged_entry(9)
        with pytest.raises(InvalidRequest, match="remembers"):
            client.logged_entry(0, known_size=10)

    def test_names_are_taken_once(self, deployment: Any) -> None:
        task = deployment.open_account()
        operator, coordinator = deployment.client("operator"), deployment.client("coordinator")
        assert operator.append_governance("account", deployment.account().to_json()) == 0
        assert coordinator.append_governance("task", task.to_json()) == 1
        with pytest.raises(AlreadyExists):
            operator.append_governance("account", deployment.account(cap=80.0).to_json())
        twin = deployment.account(account_id="twin")
        with pytest.raises(FailedPrecondition, match="one cap"):
            operator.append_governance("account", twin.to_json())
        with pytest.raises(AlreadyExists):
            coordinator.append_governance("task", deployment.task(z=1.0).to_json())
        lost = deployment.task(task_id="t2", budget_account="none")
        with pytest.raises(NotFound):
            coordinator.append_governance("task", lost.to_json())
        looser = deployment.task(task_id="t3", target_delta=1e-5)
        with pytest.raises(FailedPrecondition):
            coordinator.append_governance("task", looser.to_json())
        document = deployment.reserve(task).to_json()
        with pytest.raises(InvalidRequest, match="budget service"):
            coordinator.append_governance("budget.reserve", document)
        assert len(operator.entries()) == 2

    def test_an_open_spend_of_its_task_is_not_left_out_of_a_release(self, deployment: Any) -> None:
        """A sum an open reservation pays for may exist, and be behind the model like any other."""
        task = deployment.open_account()
        coordinator, model = deployment.client("coordinator"), b"model"
        for plan in task.rounds:
            coordinator.reserve(deployment.reserve(task, plan.round_id))
        names = [f"{task.task_id}/{plan.round_id}" for plan in task.rounds]
        coordinator.commit("main", names[0], "ab" * 32)
        coordinator.put_blob(model)
        less = epsilon_bound([GaussianEvent(8.0)], deployment.delta)
        early = deployment.release(
            task, model, reservations=(names[0],), epsilon=round_up(less)
        ).to_json()
        with pytest.raises(FailedPrecondition, match=f"leaves out reservation {names[1]}"):
            coordinator.append_governance("release", early)
        for name in names[1:]:
            coordinator.abort(name, "nobody came")
        coordinator.append_governance("release", early)

    def test_releases_are_checked(self, deployment: Any) -> None:
        task = deployment.run_task()
        coordinator, model = deployment.client("coordinator"), b"model two"
        spent = float(coordinator.show_budget("main").epsilon_spent)
        good = deployment.release(task, model, version=2, epsilon=spent)
        with pytest.raises(FailedPrecondition, match="model"):
            coordinator.append_governance("release", good.to_json())
        coordinator.put_blob(model)
        for changes, words in (
            ({"version": 3}, "version 2"),
            ({"epsilon": spent - 1e-4}, "epsilon"),
            ({"reservations": good.reservations[:2]}, "leaves out"),
            ({"reservations": ()}, "reservation"),
            ({"reservations": (good.reservations[0],) * 2}, "once"),
            ({"reservations": ("nothing",)}, "not committed"),
            ({"task_sha256": "0" * 64}, "task"),
            ({"catalogue_sha256": "0" * 64}, "catalogue"),
            ({"kind": "churn"}, "the kind 'ranking' its task teaches"),
            ({"model_bytes": 3}, "model"),
        ):
            bad = deployment.release(
                task, model, **({"version": 2, "epsilon": spent} | dict(changes))
            )
            with pytest.raises(FailedPrecondition, match=words):
                coordinator.append_governance("release", bad.to_json())
        old = deployment.release(task, model, version=1, epsilon=spent)
        with pytest.raises(AlreadyExists):
            coordinator.append_governance("release", old.to_json())
        first = coordinator.append_governance("release", good.to_json())
        assert coordinator.append_governance("release", good.to_json()) == first

    def test_the_newest_release_is_found_by_kind(self, deployment: Any) -> None:
        deployment.run_task()
        coordinator, model = deployment.client("coordinator"), b"who stays away"
        task = deployment.task(task_id="churn", rounds=1)
        plan = dataclasses.replace(task.rounds[0], statistic="churn_moments/1")
        task = dataclasses.replace(task, rounds=(plan,))
        coordinator.append_governance("task", task.to_json())
        coordinator.reserve(deployment.reserve(task, plan.round_id))
        coordinator.commit("main", f"churn/{plan.round_id}", "cd" * 32)
        coordinator.put_blob(model)
        events = [GaussianEvent(plan.noise_multiplier)]
        release = deployment.release(
            task, model, version=2, kind="churn", epsilon=epsilon(events, task.target_delta).epsilon
        )
        ranking = dataclasses.replace(release, kind="ranking")
        with pytest.raises(FailedPrecondition, match="the kind 'churn' its task teaches"):
            coordinator.append_governance("release", ranking.to_json())
        coordinator.append_governance("release", release.to_json())

        def newest(kind: str) -> int | None:
            logged = coordinator.latest_release("shop", kind=kind)
            if logged is None:
                return None
            return ReleaseManifest.from_json(GovernanceEntry.parse(logged.entry).body).version

        assert [newest(kind) for kind in ("", "ranking", "churn", "intent", "luck")] == [
            2,
            1,
            2,
            None,
            None,
        ]

    def test_blobs(self, deployment: Any) -> None:
        coordinator = deployment.client("coordinator")
        content = os.urandom(700_000)
        digest = coordinator.put_blob(content)
        assert coordinator.put_blob(content) == digest
        assert coordinator.get_blob(digest) == content
        with pytest.raises(NotFound):
            coordinator.get_blob(b"\0" * 32)
        with pytest.raises(InvalidRequest):
            coordinator.get_blob(b"../../etc/passwd")
        with pytest.raises(InvalidRequest):
            coordinator.put_blob(b"")
