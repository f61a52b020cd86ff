"""Devices and the bridge against a gateway over gRPC, before a real ledger node."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from tacit.privacy import capability as capabilities
from tacit.privacy.canonical import parse_canonical
from tacit.privacy.capability import Capability
from tacit.privacy.signatures import SigningKey
from tacit.server.errors import AddressInUse, BadConfig
from tacit.server.gateway.config import GatewayConfig
from tacit.server.gateway.server import GatewayServer
from tacit.v1 import device_pb2

Code = grpc.StatusCode
SECRETS = (1234, 2345)
"""What a refused device put into its vector; no log line may hold it."""


def refusal(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as raised:
        call()
    error: Any = raised.value
    return error.code(), error.details()


def code_of_first(stream: Any) -> grpc.StatusCode:
    """Return OK if the stream begins with a message, else the status it ended with."""
    try:
        next(stream)
    except grpc.RpcError as error:
        return error.code() if isinstance(error, grpc.Call) else Code.UNKNOWN
    return Code.OK


def values_of(reply: Any) -> list[int]:
    return [int(v) for v in np.frombuffer(reply.sum, dtype="<i8")]


def one_line_without_values(caplog: pytest.LogCaptureFixture, line: str) -> None:
    """Assert that a refusal was logged once, as one line, with nothing of the vector."""
    messages = [r.getMessage() for r in caplog.records if r.name == "tacit.gateway"]
    assert sum(line in message for message in messages) == 1
    for message in messages:
        assert "\n" not in message
        assert not any(str(secret) in message for secret in SECRETS)


class Misfit:
    """A device that was offered the round together with others, and goes wrong."""

    def __init__(self, site: Any) -> None:
        self.site = site
        self.others = [site.device() for _ in range(2)]
        self.device = site.device()
        self.task = site.publish()
        self.result = site.open(self.task)
        self.offer = site.offer(self.device)

    def finish(self) -> None:
        """Let everyone else contribute, the misfit withdraw, and check the exact sum."""
        for n, other in enumerate(self.others):
            self.site.contribute(other, self.site.offer(other), 1 + n, -7)
        self.close()
        reply = self.result.result(20)
        assert reply.contributions == 2
        assert values_of(reply) == [3, -14] + [0] * 8

    def close(self) -> None:
        """Bring the end forward, as the misfit keeps the round from being complete."""
        gateway = self.site.server.gateway
        running = gateway._running  # pyright: ignore[reportPrivateUsage]
        if running is None:  # everybody had contributed, so it is closed already
            return
        current = running.round
        current._deadline_s = 0.0
        with current._condition:
            current._condition.notify_all()

    def send(self, **changes: Any) -> Any:
        return self.site.contribute(self.device, self.offer, *SECRETS, **changes)


@pytest.fixture
def misfit(site: Any, caplog: pytest.LogCaptureFixture) -> Misfit:
    caplog.set_level(logging.INFO, "tacit.gateway")
    return Misfit(site)


class TestContributionsThatAreRefused:
    """Each with its status and one line, while everyone else's round completes."""

    @pytest.mark.parametrize(
        ("changes", "line"),
        [
            ({"values": b""}, "expected 20 bytes, got 0"),
            ({"values": b"\1" * 22}, "expected 20 bytes, got 22"),
            ({"values": b"\xff\x7f" * 10}, "expected l2 norm at most 4096, got a larger"),
            ({"values": b"\xa1\x0b" * 10}, "expected l2 norm at most 4096, got a larger norm"),
            ({"dtype": device_pb2.DTYPE_UNSPECIFIED}, "expected DTYPE_INT16"),
            ({"dtype": 9}, "expected DTYPE_INT16"),
            ({"task_sha256": b"\0" * 32}, "expected a contribution to the open round"),
            ({"round_id": 2}, "expected a contribution to the open round"),
            ({"capability": b""}, "expected"),
            ({"capability": b"{}"}, "capability"),
        ],
    )
    def test_in_a_field(
        self,
        misfit: Misfit,
        caplog: pytest.LogCaptureFixture,
        changes: dict[str, Any],
        line: str,
    ) -> None:
        code, details = refusal(lambda: misfit.send(**changes))
        assert code is Code.FAILED_PRECONDITION
        assert line in details
        one_line_without_values(caplog, details)
        assert sum(misfit.site.counts().refused.values()) == 1
        misfit.finish()

    @pytest.mark.parametrize("what", ["expired", "device", "task", "round", "gateway"])
    def test_under_a_capability_that_is_not_for_it(
        self, misfit: Misfit, caplog: pytest.LogCaptureFixture, what: str
    ) -> None:
        envelope: Any = parse_canonical(misfit.offer.capability)
        good = Capability.from_json(envelope["capability"])
        key = misfit.site.ledger.keys["gateway"]
        changed = {
            "expired": dataclasses.replace(good, expires_at_ms=time.time_ns() // 1_000_000),
            "device": dataclasses.replace(good, device_id=misfit.others[0].key.key_id),
            "task": dataclasses.replace(good, task_sha256="0" * 64),
            "round": dataclasses.replace(good, round_id=2),
            "gateway": good,
        }[what]
        if what == "gateway":
            key = SigningKey.generate(os.urandom)
        code, details = refusal(lambda: misfit.send(capability=capabilities.issue(key, changed)))
        assert code is Code.FAILED_PRECONDITION
        one_line_without_values(caplog, details)
        assert dict(misfit.site.counts().refused) == {"bad capability": 1}
        misfit.finish()

    @pytest.mark.parametrize(
        ("state", "signals", "line"),
        [
            ("withdrawn", ("rating",), "consent to 'learn' is not granted"),
            ("given", ("product_view",), "no signal of the task is consented to"),
        ],
    )
    def test_after_consent_changed_since_the_offer(
        self,
        misfit: Misfit,
        caplog: pytest.LogCaptureFixture,
        state: str,
        signals: tuple[str, ...],
        line: str,
    ) -> None:
        misfit.device.append(misfit.device.event(state, signals=signals))
        code, details = refusal(misfit.send)
        assert (code, details) == (Code.FAILED_PRECONDITION, line)
        one_line_without_values(caplog, line)
        misfit.finish()

    def test_after_consent_was_narrowed_since_the_offer(self, site: Any) -> None:
        device, other = site.device(signals=("product_view", "rating")), site.device()
        task = site.publish(signals={"rating": 1.0, "product_view": 0.5}, cohort_min=1)
        result = site.open(task)
        offer = site.offer(device)
        device.append(device.event(signals=("rating",)))
        code, details = refusal(lambda: site.contribute(device, offer, 5))
        assert (code, details) == (
            Code.FAILED_PRECONDITION,
            "consent was withdrawn since the offer",
        )
        # Under a new offer it may.
        site.contribute(device, site.offer(device), 1)
        site.contribute(other, site.offer(other), 2)
        assert values_of(result.result(20))[0] == 3

    def test_before_an_offer(self, misfit: Misfit) -> None:
        # With a capability of the gateway, but for an earlier opening of the same round.
        misfit.close()
        again = misfit.site.open(misfit.task)
        code, details = refusal(misfit.send)
        assert (code, details) == (
            Code.FAILED_PRECONDITION,
            "expected a device that was offered this round",
        )
        misfit.result = again
        misfit.finish()

    def test_when_no_round_is_open(self, misfit: Misfit) -> None:
        misfit.finish()
        assert refusal(misfit.send) == (Code.FAILED_PRECONDITION, "no round is open")


class TestRequestsThatAreRefused:
    def test_signed_with_the_wrong_key(self, misfit: Misfit) -> None:
        request = misfit.site.contribution(misfit.device, misfit.offer, *SECRETS)
        request.key_id = misfit.others[0].key.key_id
        code, details = refusal(lambda: misfit.site.stub.Contribute(request))
        assert code is Code.UNAUTHENTICATED
        assert details == f"{misfit.others[0].key.key_id}: the signature does not verify"
        misfit.finish()

    def test_from_an_unknown_device(self, misfit: Misfit, caplog: pytest.LogCaptureFixture) -> None:
        stranger = misfit.site.ledger.device_type(None)
        code, details = refusal(lambda: misfit.site.check_in(stranger))
        assert code is Code.UNAUTHENTICATED
        one_line_without_values(caplog, details)
        code, _ = refusal(lambda: misfit.site.contribute(stranger, misfit.offer, *SECRETS))
        assert code is Code.UNAUTHENTICATED
        misfit.finish()

    def test_replayed(self, misfit: Misfit) -> None:
        site = misfit.site
        request = site.sealed(misfit.device, "CheckIn", device_pb2.CheckInRequest())
        assert site.stub.CheckIn(request).HasField("offer")
        code, details = refusal(lambda: site.stub.CheckIn(request))
        assert code is Code.UNAUTHENTICATED
        assert "seen before" in details
        misfit.finish()

    @pytest.mark.parametrize("skew_s", [-61, 61, -86_400])
    def test_from_another_time(self, misfit: Misfit, skew_s: int) -> None:
        at_ms = time.time_ns() // 1_000_000 + skew_s * 1000
        request = misfit.site.sealed(misfit.device, "CheckIn", device_pb2.CheckInRequest(), at_ms)
        code, details = refusal(lambda: misfit.site.stub.CheckIn(request))
        assert code is Code.UNAUTHENTICATED
        assert "within 60 s" in details
        misfit.finish()

    def test_meant_for_another_method(self, misfit: Misfit) -> None:
        request = misfit.site.sealed(misfit.device, "CheckIn", device_pb2.CheckInRequest())
        code, _ = refusal(lambda: misfit.site.stub.Contribute(request))
        assert code is Code.UNAUTHENTICATED
        misfit.finish()

    def test_with_a_body_that_is_no_message(self, misfit: Misfit) -> None:
        class Garbage:
            def SerializeToString(self) -> bytes:  # noqa: N802
                return b"\xff\xff\xff"

        request = misfit.site.sealed(misfit.device, "Contribute", Garbage())
        code, details = refusal(lambda: misfit.site.stub.Contribute(request))
        assert (code, details) == (Code.INVALID_ARGUMENT, "expected a Contribute message")
        misfit.finish()


class TestConsentAtTheCutOff:
    def test_a_withdrawal_after_the_upload_takes_the_vector_out(self, misfit: Misfit) -> None:
        misfit.send()
        misfit.device.append(misfit.device.event("withdrawn"))
        misfit.finish()
        counts = misfit.site.counts()
        assert (counts.contributed, counts.dropped_at_cutoff) == (2, 1)

    def test_too_few_left_aborts_the_round(self, misfit: Misfit) -> None:
        misfit.send()
        other = misfit.others[0]
        misfit.site.contribute(other, misfit.site.offer(other), 1)
        misfit.device.append(misfit.device.event("withdrawn"))
        misfit.close()
        code, details = refusal(lambda: misfit.result.result(20))
        assert (code, details) == (
            Code.ABORTED,
            "expected at least 2 contributions, got 1",
        )

    def test_a_withdrawal_reaches_check_in_at_once(self, site: Any) -> None:
        device = site.device()
        site.open(site.publish())
        for _ in range(3):
            site.offer(device)
            device.append(device.event("withdrawn"))
            assert site.check_in(device).idle_reason == "consent to 'learn' is not granted"
            device.append(device.event(signals=("rating",)))


class TestSendingAgain:
    def test_the_same_is_answered_with_success_and_counted_once(self, misfit: Misfit) -> None:
        send = misfit.site.contribute
        for other in misfit.others:
            offer = misfit.site.offer(other)
            for _ in range(3):
                send(other, offer, 5)
        misfit.send()
        assert values_of(misfit.result.result(20))[:2] == [10 + SECRETS[0], SECRETS[1]]

    def test_another_vector_is_refused_and_the_first_counts(self, misfit: Misfit) -> None:
        misfit.send()
        code, details = refusal(lambda: misfit.site.contribute(misfit.device, misfit.offer, 1, 2))
        assert (code, details) == (
            Code.FAILED_PRECONDITION,
            "expected one contribution a device and round",
        )
        for other in misfit.others:
            misfit.site.contribute(other, misfit.site.offer(other))
        assert values_of(misfit.result.result(20))[:2] == list(SECRETS)

    def test_a_device_that_is_in_has_nothing_to_do(self, misfit: Misfit) -> None:
        misfit.send()
        reply = misfit.site.check_in(misfit.device)
        assert not reply.HasField("offer")
        assert reply.idle_reason == "this device has contributed to this round"


class TestOpening:
    def refused(self, site: Any, request: Any) -> str:
        before = site.rounds()
        code, details = refusal(lambda: site.bridge.RunRound(request, timeout=20))
        assert code is Code.INVALID_ARGUMENT
        assert site.rounds() == before, "no round was opened"
        assert isinstance(details, str)
        return details

    def test_a_header_of_another_key_is_refused(self, site: Any) -> None:
        request = site.request(site.publish(), SigningKey.generate(os.urandom))
        assert "signature does not verify" in self.refused(site, request)
        request.round_signature = b""
        assert "64-byte signature" in self.refused(site, request)

    def test_a_header_for_another_context_is_refused(self, site: Any) -> None:
        task = site.publish()
        request = site.request(task, context_sha256=hashlib.sha256(b"other").hexdigest())
        assert "its context does not match" in self.refused(site, request)
        request = site.request(task)
        request.context += b" and more"
        assert "its context does not match" in self.refused(site, request)

    def test_a_header_for_another_task_is_refused(self, site: Any) -> None:
        request = site.request(site.publish(), task_sha256="0" * 64)
        assert "names another task" in self.refused(site, request)

    def test_a_round_the_task_has_not_is_refused(self, site: Any) -> None:
        request = site.request(site.publish(), round_id=2)
        assert "expected a round from 1 to 1, got 2" in self.refused(site, request)

    def test_an_expired_header_is_refused(self, site: Any) -> None:
        request = site.request(site.publish(), closes_at_ms=time.time_ns() // 1_000_000)
        assert "has expired" in self.refused(site, request)

    def test_a_task_of_another_signer_or_kind_is_refused(self, site: Any) -> None:
        request = site.request(site.publish())
        request.task.entry = site.ledger.client("operator").entries(0, 1)[0]
        assert "expected an entry signed by" in self.refused(site, request)
        request.task.entry = b"{}"
        assert "entry" in self.refused(site, request)

    def test_a_task_of_another_population_is_refused(self, site: Any) -> None:
        site.server.gateway._config = dataclasses.replace(site.config, population="other")
        assert "another population" in self.refused(site, site.request(site.publish()))

    def test_a_second_request_takes_over(self, misfit: Misfit) -> None:
        other = misfit.others[0]
        misfit.site.contribute(other, misfit.site.offer(other), 64)
        again = misfit.site.open(misfit.task)
        code, _ = refusal(lambda: misfit.result.result(20))
        assert code is Code.ABORTED
        misfit.result = again
        misfit.finish()  # without the 64

    def test_a_lone_device_gets_no_sum_out(self, site: Any) -> None:
        device = site.device()
        server_round = site.open(site.publish(), closes_at_ms=time.time_ns() // 1_000_000 + 1500)
        site.contribute(device, site.offer(device), 1)
        code, details = refusal(lambda: server_round.result(20))
        assert (code, details) == (Code.ABORTED, "expected at least 2 contributions, got 1")


class TestNotices:
    def test_tell_of_an_open_round_and_its_end(self, misfit: Misfit) -> None:
        listening = misfit.site.stub.WatchRounds(device_pb2.WatchRoundsRequest(), timeout=20)
        notice = next(listening)
        assert notice.round_open
        assert notice.round_id == 1
        assert notice.task_sha256 == misfit.task.digest()
        misfit.finish()
        after = next(listening)
        assert not after.round_open
        assert after.task_sha256 == b""
        assert after.sequence > notice.sequence
        listening.cancel()

    def test_tell_of_a_release_within_seconds(self, site: Any) -> None:
        listening = site.stub.WatchRounds(device_pb2.WatchRoundsRequest(), timeout=20)
        assert next(listening).latest_release == 0
        site.ledger.run_task(devices=0)
        assert next(listening).latest_release == 1
        listening.cancel()
        assert site.check_in(site.device()).latest_release == 1

    def test_wait_for_something_newer_than_was_seen(self, site: Any) -> None:
        first = next(site.stub.WatchRounds(device_pb2.WatchRoundsRequest(), timeout=5))
        request = device_pb2.WatchRoundsRequest(after_sequence=first.sequence)
        code, _ = refusal(lambda: next(site.stub.WatchRounds(request, timeout=0.3)))
        assert code is Code.DEADLINE_EXCEEDED

    def test_leave_room_for_devices_with_something_to_say(self, site: Any) -> None:
        device = site.device()
        request = device_pb2.WatchRoundsRequest()
        listeners = [site.stub.WatchRounds(request, timeout=20) for _ in range(20)]
        codes = [code_of_first(one) for one in listeners]
        assert codes.count(Code.RESOURCE_EXHAUSTED) == 16  # 8 threads: 4 may listen
        assert site.check_in(device).idle_reason == "no round is open"
        for one in listeners:
            one.cancel()
        again = device_pb2.WatchRoundsRequest()
        site.until(lambda: code_of_first(site.stub.WatchRounds(again, timeout=5)) is Code.OK)

    def test_end_when_the_gateway_stops(self, site: Any) -> None:
        listening = site.stub.WatchRounds(device_pb2.WatchRoundsRequest(), timeout=20)
        next(listening)
        site.server.gateway.stop()
        assert list(listening) == []


class TestBlobs:
    def test_the_context_of_the_round_and_nothing_unknown(self, misfit: Misfit) -> None:
        stub = misfit.site.stub
        request = device_pb2.FetchBlobRequest(sha256=hashlib.sha256(misfit.site.context).digest())
        assert b"".join(c.content for c in stub.FetchBlob(request)) == misfit.site.context
        unknown = device_pb2.FetchBlobRequest(sha256=b"\0" * 32)
        assert refusal(lambda: list(stub.FetchBlob(unknown)))[0] is Code.NOT_FOUND
        misfit.finish()


class TestStarting:
    def test_the_bridge_belongs_to_this_user_alone(self, site: Any) -> None:
        mode = Path(site.config.bridge_socket).stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600

    def test_on_a_port_in_use_says_so_in_one_line(self, site: Any, tmp_path: Path) -> None:
        taken = dataclasses.replace(
            site.config, address=site.server.address, bridge_socket=str(tmp_path / "b")
        )
        with pytest.raises(AddressInUse) as raised:
            GatewayServer(taken)
        assert site.server.address in str(raised.value)
        assert "\n" not in str(raised.value)

    def test_on_an_impossible_socket_says_so_in_one_line(self, site: Any, tmp_path: Path) -> None:
        with pytest.raises(AddressInUse, match="socket"):
            GatewayServer(
                dataclasses.replace(site.config, bridge_socket=str(tmp_path / ("b" * 150)))
            )

    @pytest.mark.parametrize("field", ["tls_key", "tls_certificate", "signing_key", "ledger_ca"])
    def test_without_a_file_says_so_in_one_line(self, site: Any, field: str) -> None:
        changes: dict[str, Any] = {field: "missing.file"}
        with pytest.raises(BadConfig, match=r"missing\.file"):
            GatewayServer(dataclasses.replace(site.config, **changes))

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("quiet_s", -1.0),
            ("round_timeout_s", float("nan")),
            ("max_workers", 1),
            ("max_workers", 2.5),
            ("quiet_s", "3"),
            ("coordinator_key", "ab"),
            ("population", 3),
        ],
    )
    def test_with_a_figure_out_of_range_says_which(self, site: Any, field: str, value: Any) -> None:
        changes: dict[str, Any] = {field: value}
        with pytest.raises(BadConfig, match=field):
            dataclasses.replace(site.config, **changes)

    def test_with_a_configuration_that_is_none(self, tmp_path: Path) -> None:
        path = tmp_path / "gateway.json"
        with pytest.raises(BadConfig):
            GatewayConfig.load(path)
        for text, line in (
            ("[]", "JSON object"),
            ('{"colour": "red"}', "unknown key 'colour'"),
            ("{}", "missing"),
        ):
            path.write_text(text)
            with pytest.raises(BadConfig, match=line):
                GatewayConfig.load(path)

    def test_as_a_process_on_a_port_in_use_ends_with_one_line(
        self, site: Any, tmp_path: Path
    ) -> None:
        config = dataclasses.replace(
            site.config, address=site.server.address, bridge_socket=str(tmp_path / "b")
        )
        path = tmp_path / "gateway.json"
        path.write_text(json.dumps(dataclasses.asdict(config)))
        command = [sys.executable, "-m", "tacit.server.gateway", "--config", str(path)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 1
        assert ended.stdout == ""
        lines = [line for line in ended.stderr.splitlines() if line.startswith("tacit gateway:")]
        assert len(lines) == 1
        assert "cannot listen on" in lines[0]
        assert "Traceback" not in ended.stderr
