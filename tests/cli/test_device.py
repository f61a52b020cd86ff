"""Every verb of the facade as a command: it does what it says, as text and as JSON."""

from __future__ import annotations

import inspect
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tacit.cli.device import device as group
from tacit.cli.main import main
from tacit.client import Catalogue, FileKeyProvider, Personalizer
from tacit.client.flags import read_source, sign_flags
from tacit.client.guardrails import DEFAULT_GUARDRAILS, sign_policy
from tacit.client.installed import InstalledRelease
from tacit.client.participation import Participation
from tacit.privacy.arrays import pack_arrays
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.signatures import SigningKey

ITEMS = [(f"i{n}", f"Item {n}", ["Kitchen", "Garden"][n % 2 : n % 2 + 1]) for n in range(8)]
KEY = SigningKey(bytes(range(32)))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A device with a catalogue beside its store, and no model."""
    home = tmp_path / "devices" / "00003"
    (tmp_path / "keys").mkdir()
    Personalizer.open(home / "profile.db", keys(home)).close()
    listed = [{"id": i, "title": t, "categories": c} for i, t, c in ITEMS]
    (home / "catalogue.json").write_text(json.dumps({"items": listed}, indent=1))
    return home


def keys(home: Path) -> FileKeyProvider:
    return FileKeyProvider(home.parent.parent / "keys" / f"{home.name}.key")


def run(*arguments: Any, **options: Any) -> Result:
    return CliRunner().invoke(main, ["device", *map(str, arguments)], **options)


def text(*arguments: Any, **options: Any) -> str:
    result = run(*arguments, **options)
    assert result.exit_code == 0, result.output
    return result.stdout


def read(*arguments: Any, **options: Any) -> Any:
    return json.loads(text(*arguments, "--json", **options))


def install_model(home: Path) -> None:
    catalogue = Catalogue.build(ITEMS)
    arrays = {
        "popularity": [1 / 8] * 8,
        "loadings": [[0.1 if n % 2 else -0.1] for n in range(8)],
        "prior_variance": [1.0],
        "item_variance": [1 / 8] * 8,
    }
    import numpy as np

    blob = pack_arrays({name: np.array(value) for name, value in arrays.items()})
    zero, digest = "0" * 64, catalogue.digest.hex()
    manifest = ReleaseManifest("p", 3, zero, zero, len(blob), digest, ("r",), 1.0, 1e-4, 0)
    with Personalizer.open(home / "profile.db", keys(home)) as pz:
        pz.releases.put(InstalledRelease(manifest, blob))


VERBS: dict[str, str] = {
    "consent": "consent",
    "decide": "consent",
    "context": "recommend",  # --out-of-stock, --time-zone: it holds while the device is open
    "explain": "why",
    "exposure": "privacy",
    "forget_item": "forget",
    "install_flags": "flags",
    "install_guardrails": "guardrails",
    "link_card": "card",
    "opt_out_of_flags": "flags",
    "state": "status",
    "track_all": "track",
    "why_asked": "next-question",
}
"""Verb → command, where they do not have the same name."""

INNER = {"close", "enrolled", "open", "recall", "reload", "reread", "start_over", "traits"}
"""What drives a profile and is no verb of a person or an app."""


def test_there_is_a_command_for_every_verb() -> None:
    commands = set(group.list_commands(None))  # type: ignore[arg-type]  # pyright: ignore
    missing: list[str] = []
    for name, _ in inspect.getmembers(Personalizer, callable):
        if name.startswith("_") or name in INNER or name == "observe_gpc":
            continue
        if VERBS.get(name, name.replace("_", "-")) not in commands:
            missing.append(name)
    assert missing == []


def test_every_command_says_what_it_does() -> None:
    for name in group.list_commands(None):  # type: ignore[arg-type]  # pyright: ignore
        told = text(name, "--help")
        assert re.search(r"^  \w.*\.$", told, re.MULTILINE), name
        assert name in text("--help")


def test_from_an_event_to_its_reason(home: Path) -> None:
    viewed = json.dumps({"product_id": "i0"})
    ack = read("track", home, "Product Added", "--properties", viewed, "--id", "e1")
    assert (ack["recorded"], ack["duplicate"]) == (True, False)
    assert "recorded before" in text(
        "track", home, "Product Added", "--properties", viewed, "--id", "e1"
    )
    assert read("rate", home, "i2", "5")["recorded"]
    assert read("page", home, "Home", "--dwell-ms", "900")["recorded"]
    assert read("prefer", home, "item", "i4", "-1")["event_id"]
    decision = read("recommend", home, "-k", "3", "--out-of-stock", "i6", "--diversity", "0")
    shown = [item["item_id"] for item in decision["items"]]
    assert shown
    assert not {"i0", "i2", "i4", "i6"} & set(shown)
    assert decision["removed"]["stock"] == 1
    ranked = read("rank", home, "i1", "i3")
    assert {item["item_id"] for item in ranked["items"]} == {"i1", "i3"}
    why = read("why", home, decision["id"], "i6")
    assert why["rules"] == ["stock"]
    assert "removed by stock" in text("why", home, decision["id"], "i6")
    assert "recorded" in text("shown", home, decision["id"], shown[0])
    assert read("outcome", home, decision["id"], shown[0], "Product Viewed")["recorded"]
    told = text("recommend", home, "--category", "Kitchen", "-k", "8")
    assert re.search(r"i6  Item 6  \((rule|explore), propensity \d+%\)", told)
    assert "Garden" not in told


def test_acting_asking_and_composing(home: Path, tmp_path: Path) -> None:
    offer = json.dumps({"name": "offer", "kind": "offer", "item": "i1"})
    decision = read("next-action", home, "--action", offer)
    assert sum(decision["propensities"].values()) == pytest.approx(1.0)
    question = read("next-question", home)
    assert question["text"] in text("next-question", home)
    assert text("next-question", home, "--why", question["category"]).strip()
    parts = tmp_path / "parts.json"
    parts.write_text(json.dumps([{"name": "h", "part": "headline", "template": "Now: {title}"}]))
    assert text("compose", home, "web", parts, "--item", "i1") == "headline: Now: Item 1\n"


def test_what_the_person_says_holds(home: Path) -> None:
    read("identify", home, "--time-zone", "Europe/Berlin", "--interest", "Kitchen")
    assert "sms" in text("opt-out", home, "sms")
    assert read("opt-out", home, "sms", "--in")["opted_out"] == []
    read("infer", home, "stage", "--no")
    status = read("status", home)
    assert status["traits"] == {"time_zone": "Europe/Berlin"}
    assert status["events"] == 1
    assert status["features"]["stage"] is None
    assert "events      1 held" in text("status", home)
    assert "no round: nothing about the person left this device" in text("privacy", home)
    assert read("privacy", home)["traffic"]["sent_bytes"] == 0


def test_every_figure_of_the_account_stands_with_what_it_rests_on(home: Path) -> None:
    zero, one = "0" * 64, "1" * 64
    joined = Participation(zero, 4, one, 2.0, ("rating",), 1, 1, "central", 0, "learn", "t")
    with Personalizer.open(home / "profile.db", keys(home)) as pz:
        pz.participation.enter(joined)
        epsilon = pz.state().epsilon
    told = text("privacy", home)
    assert "joined      t round 4, 1970-01-01 00:00 UTC, central: rating" in told
    assert epsilon is not None
    assert f"ε = {epsilon:.6g} at" in told
    for beside in ("δ = 0.01", "trust level central", "add_remove", "sampling", "tacit-gaussian"):
        assert beside in told
    for document in (read("privacy", home), read("status", home)):
        together = document["exposure"]["together"]
        assert together["rounds"] == 1
        assert {"trust_level", "claim", "unit", "target_delta", "exclusions"} <= set(together)
        flat = json.dumps({k: v for k, v in document.items() if k != "exposure"})
        assert "epsilon" not in flat, "no figure stands outside"
    assert read("privacy", home)["rounds"][0]["task_id"] == "t"


def test_rules_and_variants_are_signed(home: Path, tmp_path: Path) -> None:
    policy, flags = tmp_path / "policy.json", tmp_path / "flags.json"
    policy.write_bytes(sign_policy(DEFAULT_GUARDRAILS, KEY))
    source = {
        "type": "tacit.flags/1", "app": "a", "version": 2, "issued_at_ms": 0,
        "flags": [{"flag": "f", "variants": [{"variant": "v", "weight": 1, "value": 7}]}],
    }  # fmt: skip
    flags.write_bytes(sign_flags(read_source(json.dumps(source).encode()), KEY))
    public = KEY.public_key.hex()
    assert "in force" in text("guardrails", "install", home, policy, "--policy-key", public)
    assert "tired: shown_too_often" in text("guardrails", "show", home)
    assert "version 2" in text("flags", "install", home, flags, "--policy-key", public)
    assert text("variant", home, "f", "0") == "7  (v, STATIC)\n"
    read("flags", "opt-out", home)
    assert read("variant", home, "f", "0")["reason"] == "DISABLED"
    refused = run("flags", "install", home, flags, "--policy-key", "00" * 32)
    assert (refused.exit_code, "not signed by the pinned key" in refused.stderr) == (1, True)

    written = tmp_path / "source.json"
    written.write_text(json.dumps(source))
    made = CliRunner().invoke(
        main,
        ["flags", "sign", str(written), "--key-file", str(tmp_path / "k"), "--out", str(flags)],
    )
    assert made.exit_code == 0
    key = made.stdout.split()[-1]
    refused = run("flags", "install", home, flags, "--policy-key", public)
    assert refused.exit_code == 1
    assert run("flags", "install", home, flags, "--policy-key", key).exit_code == 0
    checked = CliRunner().invoke(main, ["flags", "check", str(written)])
    assert checked.stdout == "f (integer): v 100.0%\n"


def test_keeping_linking_and_forgetting(home: Path, tmp_path: Path) -> None:
    for n in range(3):
        read("track", home, "Product Viewed", "--properties", f'{{"product_id": "i{n}"}}')
    copy = tmp_path / "copy"
    secret = "a long passphrase\n"
    assert read("export", home, "--out", copy, input=secret * 2)["bytes"] == len(copy.read_bytes())
    other = tmp_path / "devices" / "00004"
    Personalizer.open(other / "profile.db", keys(other)).close()
    assert "3 of 3 events are new" in text("link", other, copy, input=secret)
    card = tmp_path / "card"
    read("card", other, "--out", card)
    read("card", home, "--out", tmp_path / "own")
    read("export", home, "--out", copy, "--for", card)
    assert read("link", other, copy, "--from", tmp_path / "own")["known"] == 3
    assert "sealed anew" in text("rotate-keys", home)
    assert read("forget", home, "--item", "i0", "--yes")["rows_erased"] == 1
    assert read("forget", home, "--since", "0", "--yes")["rows_erased"] == 2
    assert "for good?" in run("forget", home, "--all", input="n\n").stderr
    assert read("forget", home, "--all", "--yes")["bytes_scanned"] > 0
    assert "nothing is damaged" in text("recover", home)


def test_a_file_that_is_no_store_is_moved_aside_only_when_it_is_meant(home: Path) -> None:
    other = home / "letter.txt"
    other.write_text("Dear all")
    refused = run("recover", other, "--key", home.parent.parent / "keys" / "00003.key", input="n\n")
    assert (refused.exit_code, "does not look like" in refused.stderr) == (1, True)
    assert other.read_text() == "Dear all"
    store = home / "profile.db"
    store.write_bytes(b"\0" * 4096)
    assert "everything refused" in text("recover", home, "--yes")
    assert (home / "profile.db.damaged-1").read_bytes() == b"\0" * 4096


def test_the_scorer_is_written_for_a_runtime(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="needs the onnx extra")
    out = tmp_path / "scorer.onnx"
    refused = run("export-onnx", home, "--out", out)
    assert (refused.exit_code, "sync first" in refused.stderr) == (1, True)
    install_model(home)
    assert read("export-onnx", home, "--out", out)["version"] == 3
    assert out.stat().st_size > 500


@pytest.mark.parametrize(
    "item", ["x", 5, {"id": "a"}, {"id": "a", "title": "A", "categories": "K"}]
)
def test_a_catalogue_that_is_none_is_one_line(home: Path, item: object) -> None:
    file = home / "catalogue.json"
    file.write_text(json.dumps({"items": [item]}))
    result = run("recommend", home)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert 'expected each item as {"id": "kettle", "title": ' in result.stderr
    file.unlink()
    assert "pass --catalogue FILE" in run("recommend", home).stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("track", "{home}", "My Event"), "expected one of"),
        (("track", "{home}", "Product Viewed", "--properties", "[1]"), "JSON object"),
        (("track", "{home}", "Product Viewed", "--properties", "{{"), "expected JSON"),
        (("rate", "{home}", "i1", "nan"), "finite"),
        (("prefer", "{home}", "item", "i1", "2"), "weight in [-1, 1]"),
        (("identify", "{home}"), "expected traits among"),
        (("infer", "{home}", "shoe-size"), "expected"),
        (("why", "{home}", "none", "i1"), "expected a recorded decision"),
        (("next-action", "{home}", "--action", '{{"name": "a", "kind": "x"}}'), "expected a kind"),
        (("next-action", "{home}", "--action", '{{"title": "a"}}'), "expected objects with"),
        (("compose", "{home}", "web", "{text}"), "expected JSON"),
        (("recommend", "{home}", "--catalogue", "{text}"), "expected a catalogue"),
        (("forget", "{home}", "--yes"), "exactly one of --item, --since and --all"),
        (("flags", "install", "{home}", "{text}", "--policy-key", "zz"), "64 hexadecimal"),
        (("sync", "{home}", "--servers", "{text}"), "expected a JSON object with gateway"),
        (("token", "issue", "{home}", "A B", "--surface", "home"), "app: expected"),
        (("token", "revoke", "{home}", "nobody"), "no app of this name"),
        (("serve", "{home}", "--socket", "/tmp/tacit.sock"), "only its owner can write"),
        (("export", "{home}", "--out", "{home}/no/where"), "expected a file in an existing"),
    ],
)
def test_bad_input_is_one_line(home: Path, arguments: tuple[str, ...], line: str) -> None:
    broken = home / "text"
    broken.write_text("no JSON")
    result = run(*(one.format(home=home, text=broken) for one in arguments))
    assert result.exit_code in (1, 2)
    assert line in result.stderr
    assert "Traceback" not in result.output
    assert read("status", home)["events"] == 0


def test_serving_goes_on_beside_tokens_and_ends_on_a_signal(
    home: Path, served_app: Callable[..., Any]
) -> None:
    from tacit.v1 import personalizer_pb2 as pb

    socket = home / "run" / "s"
    serving = subprocess.Popen(
        [
            *(str(Path(sys.executable).with_name("tacit")), "device", "serve", str(home)),
            *("--socket", str(socket)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert serving.stdout is not None
        assert serving.stdout.readline() == f"serving on unix:{socket}\n"
        issued = read("token", "issue", home, "shop", "--surface", "home", "--also", "state")
        listed = read("token", "list", home)
        assert [(one["app"], one["surfaces"]) for one in listed] == [("shop", ["home"])]
        with served_app(socket, issued["token"]) as app:
            seen = pb.TrackRequest(event="Product Viewed", properties_json='{"product_id": "i0"}')
            assert app.Track(seen).recorded
            assert app.Recommend(pb.RecommendRequest(surface="home", k=2)).items
            assert app.State(pb.StateRequest()).events == 1
            refused = run("status", home)
            assert refused.exit_code == 1
            assert "another process has it open" in refused.stderr
            assert "ask through its socket or stop it first" in refused.stderr
            text("token", "revoke", home, "shop")
            with pytest.raises(Exception, match="issued and not revoked"):
                app.Track(seen)
        os.kill(serving.pid, signal.SIGTERM)
        _, errors = serving.communicate(timeout=20)
        assert (serving.returncode, errors) == (0, "")
        assert not socket.exists()
        assert read("status", home)["events"] == 1
    finally:
        serving.kill()
        serving.communicate()
