"""Egress: every verb but `sync` works without a socket and without what could open one.

One process runs all the verbs there are under three spies: Python's audit hook sees each socket
that Python makes, the process's own descriptors show one that native code made, and the list of
imported modules shows a library that could. The tests below break each and see that it is noticed.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

_OFFLINE = """
    import os, sys
    from pathlib import Path

    def refuse(event, arguments):
        if event.startswith("socket."):
            raise SystemExit(f"opened a socket: {event}")

    broken, folder = sys.argv[2], Path(sys.argv[1])
    sys.addaudithook(refuse)
    from tacit.client import (
        Action, Catalogue, Component, FileKeyProvider, Personalizer,
    )
    from tacit.client.flags import Flag, FlagSet, Variant, sign_flags
    from tacit.client.guardrails import DEFAULT_GUARDRAILS, sign_policy
    from tacit.privacy.signatures import SigningKey

    called = set()

    def counted(name):
        verb = getattr(Personalizer, name)

        def call(*arguments, **named):
            called.add(name)
            return verb(*arguments, **named)

        return call

    verbs = {
        name
        for name in dir(Personalizer)
        if not name.startswith("_") and callable(getattr(Personalizer, name))
    }
    elsewhere = {"sync", "open", "recover"}
    # What drives a device from outside, and opens nothing of its own.
    parts = {"close", "enrolled", "reload", "reread", "start_over", "decide"}
    for name in verbs - elsewhere - parts:
        setattr(Personalizer, name, counted(name))

    catalogue = Catalogue.build([("a", "A", ["x"]), ("b", "B", ["x"]), ("c", "C", ["y"])])

    def opened(name):
        return Personalizer.open(folder / name, FileKeyProvider(folder / f"{name}.key"), catalogue)

    with opened("p.db") as pz, opened("q.db") as other:
        pz.consent("learn", None, True)
        pz.observe_gpc(True)
        pz.infer("churn", False)
        pz.track("Product Viewed", {"product_id": "a"}, event_id="v")
        pz.track_all([("Product Viewed", {"product_id": "b"}, None, None)])
        pz.rate("a", 4)
        pz.page("home", dwell_ms=1000)
        pz.prefer("category", "y", 1.0)
        pz.opt_out("sms")
        pz.context(time_zone="Europe/Paris")
        key = SigningKey(bytes(32))
        pz.install_guardrails(sign_policy(DEFAULT_GUARDRAILS, key), key.public_key)
        pz.identify({"time_zone": "Europe/Paris"})
        one = Flag("f", True, None, 0, (Variant("v", 1, True),))
        pz.install_flags(sign_flags(FlagSet("app", 1, 0, (one,)), key), key.public_key)
        pz.variant("f", False)
        pz.opt_out_of_flags("f")
        decision = pz.recommend()
        pz.rank("home", ["a", "b"])
        pz.next_action("home", [Action("offer", "offer")])
        pz.compose("push", [Component("h", "headline", "Hello")])
        pz.next_question()
        pz.why_asked("x")
        pz.shown(decision.id)
        pz.outcome(decision.id, decision.items[0].item_id, "Product Clicked")
        pz.explain(decision.id, decision.items[0].item_id)
        pz.state()
        pz.exposure()
        pz.rights.access()
        pz.rights.export()
        other.link(pz.export(recipient=other.link_card()), sender=pz.link_card())
        pz.rotate_keys()
        pz.forget_item("a")
        pz.forget(since=0)
        if broken == "python":
            import socket
            socket.socket()
        if broken == "native":
            import ctypes
            ctypes.CDLL(None).socket(2, 1, 0)
        if broken == "import":
            import grpc
        pz.forget(all=True)
    Personalizer.recover(folder / "q.db", FileKeyProvider(folder / "q.db.key"))
    targets = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            targets.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except OSError:
            continue
    if any(target.startswith("socket:") for target in targets):
        raise SystemExit("holds a socket")
    if missed := verbs - elsewhere - parts - called:
        raise SystemExit(f"not tried: {sorted(missed)}")
    heavy = {"grpc", "google", "tacit.v1", "torch", "flwr", "opacus", "scipy", "sqlalchemy"}
    raise SystemExit(", ".join(sorted(heavy & set(sys.modules))) or 0)
"""


def _run(folder: Path, broken: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_OFFLINE), str(folder), broken],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr.strip()


def test_no_verb_but_sync_opens_a_socket_or_imports_what_could(tmp_path: Path) -> None:
    assert _run(tmp_path, "") == (0, "")


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("python", "opened a socket: socket.__new__"),
        ("native", "holds a socket"),
        ("import", "grpc"),
    ],
)
def test_each_spy_notices_what_it_is_for(tmp_path: Path, broken: str, says: str) -> None:
    code, said = _run(tmp_path, broken)
    assert code == 1
    assert says in said


_SYNC = """
    import sys
    from pathlib import Path
    from tacit.client import Endpoints, FileKeyProvider, Personalizer, TransportError, TrustRoots
    folder = Path(sys.argv[1])
    with Personalizer.open(folder / "p.db", FileKeyProvider(folder / "p.key")) as pz:
        before = "grpc" in sys.modules
        try:
            pz.sync(
                Endpoints("127.0.0.1:9", "127.0.0.1:9", b"no certificate"),
                TrustRoots("g", "c", bytes(32), bytes(32)),
                token="t",
            )
        except TransportError as error:
            print(before, "grpc" in sys.modules, "\\n" in str(error))
"""


def test_sync_is_the_verb_that_brings_the_network_in(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_SYNC), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "False True False", done.stderr
