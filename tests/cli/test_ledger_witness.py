"""`tacit ledger witness` as a process, and `verify --witness` on what it cosigned."""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from tacit.cli.ledger import ledger
from tacit.privacy.checkpoint import Checkpoint, sign
from tacit.privacy.cosignature import Witness
from tacit.privacy.merkle import MerkleTree, leaf_hash
from tacit.privacy.signatures import SigningKey
from tacit.privacy.signed_note import verifier_key
from tacit.server.errors import LogRolledBack
from tacit.server.witness.client import WitnessAddress, WitnessClient

LOG, ORIGIN = SigningKey(b"\1" * 32), "log.example/governance"
TREE = MerkleTree(leaf_hash(str(i).encode()) for i in range(64))
KEY = verifier_key(ORIGIN, LOG.public_key)


@contextmanager
def witness(directory: pathlib.Path) -> Generator[dict[str, Any]]:
    command = [sys.executable, "-c", "from tacit.cli.main import main; main()", "ledger", "witness"]
    process = subprocess.Popen(
        [*command, str(directory), "--name", "witness.example/w1", "--log", KEY, "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        process.stdout.close()


def cosign(document: dict[str, Any], size: int) -> str:
    client = WitnessClient(WitnessAddress(Witness.parse(document["key"]), document["url"]))
    note = sign(Checkpoint(ORIGIN, size, TREE.root(size)), LOG, ORIGIN)
    try:
        line = client.cosignature(note, size, lambda old: TREE.consistency_proof(old, size))
    finally:
        client.close()
    return line.name


def test_it_keeps_its_key_and_its_memory(tmp_path: pathlib.Path) -> None:
    home = tmp_path / "witness"
    with witness(home) as first:
        assert first["logs"] == [ORIGIN]
        assert urlsplit(str(first["url"])).hostname == "127.0.0.1"
        # A log that does not know how far the witness has come learns it, and goes on.
        assert [cosign(first, size) for size in (10, 20)] == ["witness.example/w1"] * 2
    assert (home / "witness.key").stat().st_mode & 0o777 == 0o600
    with witness(home) as second:
        assert second["key"] == first["key"]
        with pytest.raises(LogRolledBack, match="cosigned 20 entries"):
            cosign(second, 15)
        assert cosign(second, 40) == "witness.example/w1"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--name", "a b", "--log", KEY], "name"),
        (["--name", "w", "--log", KEY[:-4]], "verifier key"),
        (["--name", "w", "--log", KEY, "--log", KEY], "once"),
        (["--name", "w", "--log", KEY, "--tls-key", "x"], "tls_certificate"),
        (["--name", "w", "--log", KEY, "--address", "127.0.0.1:http"], "cannot be bound"),
    ],
)
def test_what_it_cannot_use_is_one_line(
    tmp_path: pathlib.Path, options: list[str], said: str
) -> None:
    result = CliRunner().invoke(ledger, ["witness", str(tmp_path / "w"), *options])
    assert result.exit_code == 1
    assert said in result.output
    assert len(result.output.splitlines()) == 1


def test_a_quorum_that_cannot_be_is_refused(tmp_path: pathlib.Path) -> None:
    key = Witness("w", LOG.public_key).verifier_key
    for options in (["--witness", key, "--quorum", "2"], ["--witness", "w"], ["--quorum", "1"]):
        result = CliRunner().invoke(ledger, ["verify", str(tmp_path), *options])
        assert result.exit_code == 2
        assert "--quorum" in result.output


def test_a_refused_witness_leaves_no_key_behind(tmp_path: pathlib.Path) -> None:
    home = tmp_path / "witness"
    named = ["witness", str(home), "--name", "witness.example/w1"]
    for bad in (["--log", "no key"], ["--log", KEY, "--address", "nowhere"]):
        result = CliRunner().invoke(ledger, [*named, *bad])
        assert result.exit_code == 1, result.output
        assert len(result.output.splitlines()) == 1
        assert not (home / "witness.key").exists()
