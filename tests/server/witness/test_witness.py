"""A witness over real HTTP: every status of the protocol, races, kills, TLS."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from tacit.privacy.add_checkpoint import AddCheckpoint
from tacit.privacy.checkpoint import Checkpoint, sign
from tacit.privacy.cosignature import Witness, verify_cosignature, witnesses_of
from tacit.privacy.merkle import MerkleTree, leaf_hash
from tacit.privacy.signatures import SigningKey
from tacit.privacy.signed_note import read_signature_lines, split_note, verifier_key
from tacit.server import tls
from tacit.server.errors import AddressInUse, BadConfig, StateCorrupt
from tacit.server.witness import WitnessConfig, WitnessServer

LOG, ORIGIN = SigningKey(b"\1" * 32), "log.example/governance"
TREE = MerkleTree(leaf_hash(str(i).encode()) for i in range(64))
FORK = MerkleTree(leaf_hash(b"fork %d" % i) for i in range(64))


def config_in(folder: pathlib.Path, **changes: object) -> WitnessConfig:
    key = folder / "witness.key"
    if not key.exists():
        key.write_text("ab" * 32, encoding="ascii")
    values: dict[str, object] = {
        "name": "witness.example/w1",
        "address": "127.0.0.1:0",
        "state_file": str(folder / "state" / "witness.sqlite"),
        "signing_key": str(key),
        "logs": [verifier_key(ORIGIN, LOG.public_key)],
    }
    return WitnessConfig(**cast("dict[str, Any]", values | changes))


@pytest.fixture
def server(tmp_path: pathlib.Path) -> Iterator[WitnessServer]:
    running = WitnessServer(config_in(tmp_path))
    running.start()
    yield running
    running.stop()


def note(tree: MerkleTree, size: int, key: SigningKey = LOG, origin: str = ORIGIN) -> bytes:
    return sign(Checkpoint(origin, size, tree.root(size)), key, origin)


def grow(old: int, new: int, tree: MerkleTree = TREE) -> bytes:
    proof = tuple(tree.consistency_proof(old, new)) if 0 < old <= new else ()
    return AddCheckpoint(old, proof, note(tree, new)).to_bytes()


def post(url: str, body: bytes, path: str = "/add-checkpoint") -> tuple[int, str, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request("POST", path, body)
        reply = connection.getresponse()
        return reply.status, reply.headers["Content-Type"], reply.read()
    finally:
        connection.close()


def check_cosigned(witness: Witness, size: int, answer: bytes) -> None:
    text, _ = split_note(note(TREE, size))
    (line,) = read_signature_lines(answer.decode())
    assert verify_cosignature(text, line, witness) > 1_700_000_000
    assert witness.name in witnesses_of(note(TREE, size) + answer, [witness])


def test_an_honest_log_is_cosigned_as_it_grows(server: WitnessServer) -> None:
    old = 0
    for new in (1, 2, 5, 5, 64):
        status, kind, content = post(server.url, grow(old, new))
        assert (status, kind) == (200, "text/plain; charset=utf-8")
        check_cosigned(server.node.witness, new, content)
        old = new


def test_every_refusal_has_the_status_the_protocol_gives_it(server: WitnessServer) -> None:
    url = server.url
    assert post(url, grow(0, 10))[0] == 200
    stranger = SigningKey(b"\3" * 32)
    strange_origin = sign(
        Checkpoint("other.example/log", 1, TREE.root(1)), LOG, "other.example/log"
    )
    forged = note(TREE, 20, key=stranger)
    cases = {
        400: [b"", b"old x\n\n" + note(TREE, 20), grow(30, 20), b"old 10\n\nno checkpoint"],
        403: [AddCheckpoint(10, tuple(TREE.consistency_proof(10, 20)), forged).to_bytes()],
        404: [AddCheckpoint(0, (), strange_origin).to_bytes()],
        409: [grow(0, 20), grow(9, 20), grow(10, 10, FORK)],
        422: [grow(10, 20, FORK), AddCheckpoint(10, (), note(TREE, 20)).to_bytes()],
    }
    for expected, bodies in cases.items():
        for body in bodies:
            status, kind, content = post(url, body)
            assert status == expected, body
            if status == 409:
                assert (kind, content) == ("text/x.tlog.size", b"10\n")
    assert post(url, grow(10, 20), "/other")[0] == 404
    assert post(url, b"x" * 100_000)[0] == 413
    # None of it moved what is remembered.
    assert post(url, grow(10, 20))[0] == 200


def test_a_thousand_edits_of_a_good_request_move_nothing(server: WitnessServer) -> None:
    assert post(server.url, grow(0, 10))[0] == 200
    good = grow(10, 20)
    for position in range(len(good)):
        changed = bytearray(good)
        changed[position] ^= 1 << position % 7
        answer = server.node.add_checkpoint(bytes(changed))
        assert answer.status != 200, position
    assert post(server.url, good)[0] == 200


def test_two_histories_at_once_give_one_cosigned_history(server: WitnessServer) -> None:
    """Both trees are signed by the log: only one of them may ever be cosigned."""
    barrier = threading.Barrier(16)

    def ask(number: int) -> int:
        barrier.wait()
        return server.node.add_checkpoint(grow(0, 16, FORK if number % 2 else TREE)).status

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(ask, range(16)))
    assert statuses.count(200) == 1
    winner = TREE if statuses.index(200) % 2 == 0 else FORK
    loser = FORK if winner is TREE else TREE
    assert server.node.add_checkpoint(grow(16, 32, loser)).status == 422
    assert server.node.add_checkpoint(grow(16, 32, winner)).status == 200


def test_a_killed_witness_still_remembers(tmp_path: pathlib.Path) -> None:
    config = config_in(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({key: getattr(config, key) for key in config.__dataclass_fields__}))
    for old, new, fork in ((0, 10, 9), (10, 20, 15), (20, 40, 30)):
        process = subprocess.Popen(
            [sys.executable, "-m", "tacit.server.witness", "--config", str(path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            ready, url, key = process.stdout.readline().split()
            assert ready == "ready"
            status, _, content = post(url, grow(old, new))
            assert status == 200
            check_cosigned(Witness.parse(key), new, content)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        with_fork = WitnessServer(config)
        with_fork.start()
        try:
            assert post(with_fork.url, grow(0, fork, FORK))[::2] == (409, b"%d\n" % new)
            assert post(with_fork.url, grow(new, new + 1, FORK))[0] == 422
        finally:
            with_fork.stop()


def test_it_can_speak_tls(tmp_path: pathlib.Path) -> None:
    authority = tls.make_authority()
    certificate, key = tmp_path / "tls.pem", tmp_path / "tls.key"
    tls.issue(authority, ["127.0.0.1"]).write(certificate, key)
    running = WitnessServer(config_in(tmp_path, tls_certificate=str(certificate), tls_key=str(key)))
    running.start()
    try:
        assert running.url.startswith("https://")
        context = ssl.create_default_context(cadata=authority.certificate_pem.decode())
        port = urlsplit(running.url).port
        # Somebody who connects and never speaks keeps nobody waiting.
        silent = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        silent.connect()
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
        connection.request("POST", "/add-checkpoint", grow(0, 3))
        reply = connection.getresponse()
        assert reply.status == 200
        check_cosigned(running.node.witness, 3, reply.read())
        connection.close()
        silent.close()
    finally:
        running.stop()


def test_configurations_that_cannot_work_are_refused(
    tmp_path: pathlib.Path, server: WitnessServer
) -> None:
    log = verifier_key(ORIGIN, LOG.public_key)
    (tmp_path / "bad.key").write_text("xyz", encoding="ascii")
    (tmp_path / "not-a-database").write_text("x" * 4096, encoding="ascii")
    cases: list[tuple[dict[str, object], type[Exception]]] = [
        ({"name": ""}, BadConfig),
        ({"name": "a b"}, BadConfig),
        ({"logs": []}, BadConfig),
        ({"logs": log}, BadConfig),
        ({"logs": [log, log]}, BadConfig),
        ({"logs": [7]}, BadConfig),
        ({"logs": [log[:-5]]}, BadConfig),
        ({"signing_key": str(tmp_path / "bad.key")}, BadConfig),
        ({"signing_key": str(tmp_path / "none.key")}, BadConfig),
        ({"tls_certificate": "x"}, BadConfig),
        ({"tls_certificate": "x", "tls_key": "y"}, BadConfig),
        ({"state_file": str(tmp_path / "not-a-database")}, StateCorrupt),
        ({"address": "127.0.0.1:99999"}, AddressInUse),
        ({"address": "127.0.0.1"}, AddressInUse),
        ({"address": server.url.removeprefix("http://")}, AddressInUse),
    ]
    for changes, error in cases:
        with pytest.raises(error):
            WitnessServer(config_in(tmp_path, **changes))
