"""The socket: private, one server, stale ones taken away; and no connection but by `Sync`."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from tacit.client import StoreUnavailable
from tacit.client.service import PersonalizerServer, SocketRefused, Unauthenticated
from tacit.client.service.peers import Peers
from tacit.client.service.socket_file import SocketFile
from tacit.v1 import personalizer_pb2 as pb


def test_only_the_owner_can_open_the_socket_and_closing_takes_it_away(served: Any) -> None:
    server = served.serve()
    assert stat.S_IMODE(served.socket.lstat().st_mode) == 0o600
    assert stat.S_IMODE(served.socket.parent.stat().st_mode) == 0o700
    assert served.socket.lstat().st_uid == os.geteuid()
    server.close()
    assert not served.socket.exists()
    served.open().close()  # and the profile is free again


def test_the_umask_of_the_host_does_not_matter(served: Any) -> None:
    before = os.umask(0)
    try:
        served.serve()
        assert os.umask(0) == 0, "and is left as it was"
    finally:
        os.umask(before)
    assert stat.S_IMODE(served.socket.lstat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o702])
def test_a_directory_that_others_can_write_is_refused(served: Any, mode: int) -> None:
    served.socket.parent.mkdir()
    served.socket.parent.chmod(mode)
    with pytest.raises(SocketRefused, match="only its owner can write"):
        served.serve()
    assert not served.socket.exists()
    served.open().close()


def test_a_directory_that_others_can_replace_from_above_is_refused(served: Any) -> None:
    above = served.folder / "open"
    above.mkdir()
    above.chmod(0o777)
    served.socket = above / "run" / "tacit.sock"
    with pytest.raises(SocketRefused, match="only its owner can write"):
        served.serve()


def test_a_socket_that_a_killed_server_left_is_taken_away(served: Any) -> None:
    served.socket.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(served.socket))
    assert served.socket.exists()
    served.serve()
    assert served.app().State(pb.StateRequest()).device_id


def test_what_is_no_socket_is_left_alone(served: Any) -> None:
    served.socket.parent.mkdir(mode=0o700)
    served.socket.write_text("mine")
    with pytest.raises(SocketRefused, match="expected a socket or nothing"):
        served.serve()
    assert served.socket.read_text() == "mine"


def test_two_servers_share_neither_a_socket_nor_a_store(served: Any) -> None:
    served.serve()
    with pytest.raises(SocketRefused, match="another process serves this socket"):
        SocketFile(served.socket)
    other = served.folder / "run" / "other.sock"
    with pytest.raises(StoreUnavailable, match="another process has it open"):
        PersonalizerServer(other, served.open, served.keys)
    assert not other.exists()
    assert served.app().State(pb.StateRequest()).device_id


def test_a_path_too_long_for_a_socket_is_one_line(served: Any) -> None:
    with pytest.raises(SocketRefused, match="at most 100 bytes"):
        SocketFile(served.folder / ("x" * 100))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="connections cannot be listed here")
def test_a_connection_of_another_user_is_shut_down(tmp_path_factory: Any, served: Any) -> None:
    served.socket.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(served.socket))
        listening.listen()
        with socket.socket(socket.AF_UNIX) as calling:
            calling.connect(str(served.socket))
            accepted, _ = listening.accept()
            with accepted:
                Peers(served.socket).check()
                calling.sendall(b"x")
                assert accepted.recv(1) == b"x", "one of the same user stays"
                with pytest.raises(Unauthenticated, match="another user"):
                    Peers(served.socket, uid=os.geteuid() + 1).check()
                assert calling.recv(1) == b"", "the other's is shut down"
        listening.settimeout(0.01)
        with pytest.raises(TimeoutError):
            listening.accept()  # and the listening socket stays


def test_every_call_looks_at_the_connections(served: Any) -> None:
    served.serve()
    app = served.app()
    assert app.State(pb.StateRequest()).device_id
    peers = served.server.service._peers
    peers._uid += 1
    peers._known = set()
    with pytest.raises(grpc.RpcError) as caught:
        app.State(pb.StateRequest())
    error: Any = caught.value
    assert error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE)


# --- a kernel filter that kills the process at its first connect(2)

_SPIED = """
    import ctypes, pathlib, struct, sys
    from tacit.client import Catalogue, Endpoints, FileKeyProvider, Personalizer, TrustRoots
    from tacit.client.service import PersonalizerServer, Syncing

    folder = pathlib.Path(sys.argv[1])
    keys = FileKeyProvider(folder / "p.key")
    catalogue = Catalogue.build([("a", "A", ["x"]), ("b", "B", ["x"])])
    authority = (folder / "ca.pem").read_bytes()
    nowhere = Endpoints("127.0.0.1:1", "127.0.0.1:1", authority)
    syncing = Syncing(nowhere, TrustRoots("g", "c", bytes(32), bytes(32)))

    CONNECT = {"x86_64": 42, "aarch64": 203}[sys.argv[2]]
    LOAD, EQUAL, RETURN, ALLOW, KILL = 0x20, 0x15, 0x06, 0x7FFF0000, 0x80000000
    program = b"".join(struct.pack("HBBI", *step) for step in [
        (LOAD, 0, 0, 0), (EQUAL, 0, 1, CONNECT), (RETURN, 0, 0, KILL), (RETURN, 0, 0, ALLOW)])
    code = ctypes.create_string_buffer(program)
    filter_ = struct.pack("HP", 4, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, filter_, 0, 0):
        raise SystemExit(77)

    opener = lambda: Personalizer.open(folder / "p.db", keys, catalogue)
    with PersonalizerServer(folder / "run" / "s", opener, keys, syncing) as server:
        print(server.tokens.issue("app", %r, ["*"], 0), flush=True)
        sys.stdin.read()
"""


def test_no_verb_but_sync_makes_a_connection(served: Any, authority: bytes) -> None:
    from tacit.client.service import VERBS

    machine = os.uname().machine
    if sys.platform != "linux" or machine not in ("x86_64", "aarch64"):
        pytest.skip("the filter is written for Linux on x86_64 and aarch64")
    (served.folder / "ca.pem").write_bytes(authority)
    served.socket = served.folder / "run" / "s"
    spied = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_SPIED) % (VERBS,), str(served.folder), machine],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert spied.stdin is not None
        assert spied.stdout is not None
        token = spied.stdout.readline().strip()
        if not token and spied.wait() == 77:
            pytest.skip("this system does not let a process filter its own calls")
        app = served.app_with(token)
        called = set(_call_everything(app))
        assert called == set(VERBS) - {"sync"}
        assert spied.poll() is None
        with pytest.raises(grpc.RpcError):
            app.Sync(pb.SyncRequest(enrolment_token="t"))
        assert spied.wait(timeout=20) == -signal.SIGSYS, "the filter sees a connection"
    finally:
        spied.kill()
        spied.communicate()


def _call_everything(app: Any) -> Any:
    def call(verb: str, work: Callable[[], Any]) -> str:
        work()
        return verb

    seen = pb.TrackRequest(event="Product Viewed", properties_json='{"product_id": "a"}')
    yield call("track", lambda: app.Track(seen))
    yield call("page", lambda: app.Page(pb.PageRequest(name="Home")))
    yield call("rate", lambda: app.Rate(pb.RateRequest(item="a", value=1)))
    yield call("prefer", lambda: app.Prefer(pb.PreferRequest(kind="item", value="a", weight=1)))
    yield call("context", lambda: app.Context(pb.ContextRequest(time_zone="UTC")))
    yield call(
        "identify", lambda: app.Identify(pb.IdentifyRequest(traits_json='{"time_zone": "UTC"}'))
    )
    yield call("consent", lambda: app.Consent(pb.ConsentRequest(purpose="learn", granted=True)))
    decision = app.Recommend(pb.RecommendRequest(k=1))
    item = decision.items[0].item_id
    yield "recommend"
    yield call("rank", lambda: app.Rank(pb.RankRequest(items=["a", "b"])))
    offer = pb.Action(name="o", kind="offer")
    yield call("next_action", lambda: app.NextAction(pb.NextActionRequest(actions=[offer])))
    yield call("next_question", lambda: app.NextQuestion(pb.NextQuestionRequest()))
    yield call("why_asked", lambda: app.WhyAsked(pb.WhyAskedRequest(category="x")))
    headline = pb.ComposeRequest.Component(name="h", part="headline", template="x")
    yield call(
        "compose",
        lambda: app.Compose(pb.ComposeRequest(channel="web", components=[headline])),
    )
    yield call("shown", lambda: app.Shown(pb.ShownRequest(decision_id=decision.id)))
    outcome = pb.OutcomeRequest(decision_id=decision.id, item=item, event="Product Viewed")
    yield call("outcome", lambda: app.Outcome(outcome))
    yield call(
        "explain", lambda: app.Explain(pb.ExplainRequest(decision_id=decision.id, item=item))
    )
    yield call("variant", lambda: app.Variant(pb.VariantRequest(flag="f", default_json="1")))
    yield call("state", lambda: app.State(pb.StateRequest()))
    yield call("export", lambda: list(app.Export(pb.ExportRequest(passphrase="a long passphrase"))))
    yield call("rotate_keys", lambda: app.RotateKeys(pb.RotateKeysRequest()))
    yield call("forget", lambda: app.Forget(pb.ForgetRequest(all=True)))
    time.sleep(0.2)  # what would be done later, in another thread, is seen too
