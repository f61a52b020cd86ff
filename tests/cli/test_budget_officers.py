"""`tacit budget key | propose | approve | reject` against a running ledger, and what is shown."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tacit.cli.main import main
from tacit.privacy.accounting import GaussianEvent, epsilon_bound, round_up
from tacit.privacy.signatures import SigningKey
from tacit.server.tls import make_authority

_DEPLOYMENT = Path(__file__).resolve().parent.parent / "server" / "conftest.py"
DELTA = 1e-6


class Running:
    """A ledger that runs, with a governed account, a task and two officers' key files."""

    def __init__(self, directory: Path) -> None:
        spec = importlib.util.spec_from_file_location("tests_server_officers", _DEPLOYMENT)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        self.deployment: Any = module.Deployment(directory / "node", make_authority())
        self.cap = round_up(epsilon_bound([GaussianEvent(8.0, 2)], DELTA))
        account = self.deployment.governed_account(self.cap, alert_thresholds=(0.5, 1.0))
        self.deployment.client("operator").append_governance("account", account.to_json())
        self.task = self.deployment.task(rounds=3, epsilon=50.0)
        self.coordinator = self.deployment.client("coordinator")
        self.coordinator.append_governance("task", self.task.to_json())
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(self.deployment.authority.certificate_pem)
        self.keys = {name: directory / f"{name}.key" for name in self.deployment.officers}
        for name, path in self.keys.items():
            path.write_text(self.deployment.officers[name].private_bytes().hex())

    @property
    def state(self) -> Path:
        path: Path = self.deployment.state_dir
        return path

    def run(self, verb: str, officer: str, *arguments: object) -> Result:
        where = ("--ledger", self.deployment.server.address, "--ca", self.ca)
        return run(verb, *arguments, *where, "--key", self.keys[officer])

    def read(self, verb: str, officer: str, *arguments: object) -> Any:
        result = self.run(verb, officer, *arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def reserve(self, round_id: int) -> Any:
        return self.coordinator.reserve(self.deployment.reserve(self.task, round_id))

    def size(self) -> int:
        return len(self.coordinator.entries())


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    running.deployment.stop()


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A ledger of which every request is refused, so that one serves many."""
    running = Running(tmp_path_factory.mktemp("untouched"))
    yield running
    running.deployment.stop()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["budget", *(str(one) for one in arguments)])


def show(verb: str, state: Path) -> tuple[str, Any]:
    """Return what a verb prints, on one line, and its JSON."""
    text, document = run(verb, state), run(verb, state, "--json")
    assert text.exit_code == document.exit_code == 0, text.output + document.output
    return " ".join(text.stdout.split()), json.loads(document.stdout)


def refused(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    lines = [line for line in result.output.splitlines() if line.startswith("Error:")]
    assert len(lines) == 1, result.output
    assert all(word in lines[0] for word in words), lines


def test_a_raise_from_request_to_explanation(ledger: Running) -> None:
    first = ledger.reserve(1)
    assert [float(one.threshold) for one in first.alerts] == [0.5]
    ledger.reserve(2)
    asked = ledger.read("propose", "alice", "--cap", 2, "--quota", "learn=2", "--reason", "season")
    assert asked["status"] == "pending"
    assert f"cap ε {ledger.cap!r} to 2, quota of learn {ledger.cap!r} to 2" == asked["what"]
    text, document = show("show", ledger.state)
    assert "pending" in text
    assert "Alert: window 1 has reached 1 of its cap." in text
    (account,) = document["accounts"]
    assert account["reached"] == [0.5, 1.0]
    assert account["changes"][0]["status"] == "pending"
    assert account["cap_epsilon"] == ledger.cap
    prefix = asked["change_sha256"][:12]
    refused(ledger.run("approve", "alice", prefix, "--yes"), 1, "nobody approves their own request")
    done = ledger.read("approve", "bob", prefix, "--yes")
    assert (done["status"], done["cap_epsilon"], done["window"]) == ("approved", 2.0, 1)
    ledger.reserve(3)
    text, document = show("history", ledger.state)
    assert "proposed by alice, approved by bob" in text
    assert document["accounts"][0]["steps"][-2]["officers"] == ["alice", "bob"]
    text, _ = show("explain", ledger.state)
    assert "alice proposed it, bob approved it (“season”)" in text
    assert (
        f"Who was promised at most ε {ledger.cap!r} may from here on be exposed to up to 2.0"
        in text
    )


def test_a_refresh_shows_lifetime_beside_window(
    ledger: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.reserve(1)
    ledger.coordinator.commit("main", "task-1/1", "ab" * 32)
    ledger.reserve(2)  # stays open: it counts in both windows
    young = ledger.read("propose", "alice", "--refresh", "--reason", "too early")
    approved = ledger.run("approve", "bob", young["change_sha256"], "--yes")
    refused(approved, 1, "to have lasted 1 days", "got 0.0")
    no_wait = ("--window-days", 2, "--cap", 3, "--reason", "longer")
    longer = ledger.read("propose", "bob", *no_wait)
    ledger.read("approve", "alice", longer["change_sha256"], "--yes")
    text, document = show("show", ledger.state)
    assert "superseded" in text
    one, two = (round_up(epsilon_bound([GaussianEvent(8.0, n)], DELTA)) for n in (1, 2))
    # Two days later: the ledger's clock and the officers' stand there.
    import time

    later_ns = time.time_ns() + 49 * 3_600_000 * 1_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later_ns)
    asked = ledger.read("propose", "alice", "--refresh", "--reason", "quarter")
    done = ledger.read("approve", "bob", asked["change_sha256"], "--yes")
    assert done["window"] == 2
    assert done["window_epsilon"] == one  # the open one alone
    assert done["lifetime_epsilon"] == two
    text, document = show("show", ledger.state)
    (account,) = document["accounts"]
    assert account["window_spent"]["epsilon"] == repr(one)
    assert account["spent"]["epsilon"] == repr(two)
    assert account["window"]["number"] == 2
    assert account["window"]["carried"] == ["task-1/2"]
    assert [one["in_window"] for one in account["reservations"]] == [False, True]
    assert "lifetime" in text
    assert repr(two) in text
    text, _ = show("explain", ledger.state)
    assert f"the ε {two!r} spent by then stays in lifetime ε for good" in text
    assert "Reservations that were open when it began count in it as well: 1." in text
    what_if = run("what-if", ledger.state, "--epsilon", 1, "--rounds", 1, "--json")
    after = json.loads(what_if.stdout)["account"]
    assert (after["spent_before"], after["lifetime_before"]) == (one, two)
    verified = CliRunner().invoke(main, ["ledger", "verify", str(ledger.state), "--json"])
    (report,) = json.loads(verified.stdout)["accounts"]
    assert (report["window"], report["changes"]) == (2, 2)
    assert (report["window_epsilon"], report["spent_epsilon"]) == (one, two)


def test_reject_and_withdraw(ledger: Running) -> None:
    first = ledger.read("propose", "alice", "--cap", 2, "--reason", "a")
    done = ledger.read("reject", "bob", first["change_sha256"], "--reason", "no need")
    assert done["status"] == "rejected"
    second = ledger.run("propose", "alice", "--cap", 3, "--reason", "b")
    assert "Nothing changes until another approver runs: tacit budget approve" in second.stdout
    digest = second.stdout.split("change")[1].split()[0]
    assert ledger.run("reject", "alice", digest, "--reason", "my mistake").exit_code == 0
    refused(ledger.run("approve", "bob", digest, "--yes"), 1, "was rejected before")
    text, _ = show("history", ledger.state)
    assert "ended by bob (“no need”)" in text
    assert "ended by alice" in text


def test_an_approver_sees_the_change_before_signing(ledger: Running) -> None:
    asked = ledger.read("propose", "alice", "--cap", 2, "--reason", "season")
    before = ledger.size()
    declined = ledger.run("approve", "bob", asked["change_sha256"])  # nobody answers
    assert declined.exit_code == 1
    for word in ("what", "cap ε", "season", ledger.deployment.officers["alice"].key_id):
        assert word in declined.output
    assert ledger.size() == before


GOOD = ("--reason", "r")


@pytest.mark.parametrize("bad", ["0", "-1", "nan", "inf", "true", "lots"])
@pytest.mark.parametrize(
    "option", ["--cap", "--delta", "--alert", "--population-size", "--window-days", "--quota"]
)
def test_bad_terms_are_one_line(untouched: Running, option: str, bad: str) -> None:
    ledger = untouched
    if (option, bad) in (("--window-days", "0"), ("--quota", "0")):
        pytest.skip("0 takes it away")
    before = ledger.size()
    value = f"learn={bad}" if option == "--quota" else bad
    refused(ledger.run("propose", "alice", option, value, *GOOD), 2)
    assert ledger.size() == before


def test_what_cannot_be_proposed(ledger: Running, tmp_path: Path) -> None:
    before = ledger.size()
    refused(ledger.run("propose", "alice", *GOOD), 2, "something to change")
    refused(ledger.run("propose", "alice", "--refresh", "--cap", 2, *GOOD), 2, "--refresh alone")
    refused(ledger.run("propose", "alice", "--cap", ledger.cap, *GOOD), 1, "differ from those")
    refused(ledger.run("propose", "alice", "--unit", "event", *GOOD), 2, "do not compose")
    refused(ledger.run("propose", "alice", "--delta", 0.001, *GOOD), 2, "below 1/1000")
    refused(ledger.run("propose", "alice", "--quota", "learn", *GOOD), 2, "PURPOSE=ε")
    refused(ledger.run("propose", "alice", "--account", "other", "--cap", 2, *GOOD), 1, "main")
    refused(ledger.run("approve", "bob", "abcdef", "--yes"), 1, "which 0 have")
    refused(ledger.run("approve", "bob", "abcdef", "--json"), 2, "--yes")
    stranger = tmp_path / "stranger.key"
    assert run("key", stranger, "--name", "mallory").exit_code == 0
    ledger.keys["mallory"] = stranger
    refused(ledger.run("propose", "mallory", "--cap", 2, *GOOD), 1, "does not know")
    ledger.keys["mallory"].write_text("not a key")
    refused(ledger.run("propose", "mallory", "--cap", 2, *GOOD), 2, "64 hexadecimal digits")
    nowhere = run("propose", "--cap", 2, *GOOD, "--key", ledger.keys["alice"])
    refused(nowhere, 2, "--ledger HOST:PORT")
    refused(run("propose", tmp_path, "--cap", 2, *GOOD, "--key", ledger.keys["alice"]), 2, "demo")
    assert ledger.size() == before


def test_alerts_can_be_replaced_and_taken_away(ledger: Running) -> None:
    both = ledger.run("propose", "alice", "--alert", 0.9, "--no-alerts", *GOOD)
    refused(both, 2, "--alert or --no-alerts")
    for options, left in ((("--alert", 0.7, "--alert", 0.9), [0.7, 0.9]), (("--no-alerts",), [])):
        asked = ledger.read("propose", "alice", *options, *GOOD)
        ledger.read("approve", "bob", asked["change_sha256"], "--yes")
        _, document = show("show", ledger.state)
        assert document["accounts"][0]["alert_thresholds"] == left


def test_a_ledger_that_does_not_run_is_one_line(ledger: Running) -> None:
    address = ledger.deployment.server.address
    ledger.deployment.stop()
    where = ("--ledger", address, "--ca", ledger.ca, "--key", ledger.keys["alice"])
    asked = run("propose", "--cap", 2, *GOOD, *where)
    refused(asked, 1, "did not answer", f"at {address}", "--ledger HOST:PORT")
    # What is wrong in itself is said before any ledger is waited for.
    refused(run("propose", "--refresh", "--cap", 2, *GOOD, *where), 2, "--refresh alone")
    refused(run("propose", "--quota", "learn", *GOOD, *where), 2, "PURPOSE=ε")
    refused(run("propose", "--cap", "nan", *GOOD, *where), 2, "cap_epsilon")
    refused(run("propose", "--levels", "secret", *GOOD, *where), 2, "allowed_levels")
    refused(run("propose", *GOOD, *where), 2, "something to change")


def test_the_authority_of_another_ledger_is_one_line(ledger: Running, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(make_authority().certificate_pem)
    address = ledger.deployment.server.address
    where = ["--ledger", address, "--ca", other, "--key", ledger.keys["alice"]]
    command = [sys.executable, "-c", "from tacit.cli.main import main; main()", "budget", "propose"]
    done = subprocess.run(
        [*command, "--cap", "2", *GOOD, *map(str, where)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"{other} is not the authority behind its certificate" in line


def test_a_refused_key_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "nobody.key"
    for named in (("--name", " "), ("--name", "alice", "--person", "")):
        refused(run("key", path, *named), 2, "--name")
        assert not path.exists()


def test_keys_are_made_once_and_for_their_owner(tmp_path: Path) -> None:
    path = tmp_path / "alice.key"
    result = run("key", path, "--name", "alice", "--person", "alice smith", "--json")
    document = json.loads(result.stdout)
    assert path.stat().st_mode & 0o777 == 0o600
    made = SigningKey(bytes.fromhex(path.read_text()))
    assert document["key_id"] == made.key_id
    assert document["principal"] == {
        "name": "alice",
        "role": "officer",
        "public_key": made.public_key.hex(),
        "person": "alice smith",
    }
    refused(run("key", path, "--name", "alice"), 1, "expected a new file")
    assert path.read_text() == made.private_bytes().hex()


def test_a_demos_state_directory_says_where_its_ledger_is(ledger: Running, tmp_path: Path) -> None:
    demo = tmp_path / "demo"
    (demo / "ledger").mkdir(parents=True)
    (demo / "tls").mkdir()
    ledger.deployment.write_config(ledger.deployment.server.address)
    (demo / "ledger" / "config.json").write_text(ledger.deployment.config_path.read_text())
    (demo / "tls" / "authority.pem").write_bytes(ledger.ca.read_bytes())
    done = run("propose", demo, "--cap", 2, *GOOD, "--key", ledger.keys["alice"])
    assert done.exit_code == 0, done.output


def test_levels_are_proposed_and_shown_with_what_they_mean(ledger: Running) -> None:
    before = ledger.size()
    for bad in ("", "central,central", "central,secure"):
        refused(ledger.run("propose", "alice", "--levels", bad, *GOOD), 2, "allowed_levels")
    assert ledger.size() == before
    levels = "central,local,consent-only"
    asked = ledger.read("propose", "alice", "--levels", levels, *GOOD)
    assert "the cap no longer bounds everything that leaves devices" in asked["what"]
    seen = ledger.run("approve", "bob", asked["change_sha256"]).output
    assert "trust levels central local to consent-only central local" in seen
    assert "the cap no longer bounds everything that leaves devices" in seen
    assert f"test.example/governance, key {ledger.deployment.node_key.public_key.hex()}" in seen


@pytest.mark.parametrize(
    ("levels", "shown", "claimed"),
    [
        (("local",), "per user, replace, at trust level local", "replace"),
        (("local", "central"), "per user, zero-out, at trust level central", "zero_out"),
        (("central",), "per user, add/remove, at trust level central", "add_remove"),
    ],
)
def test_a_decision_names_the_neighbours_of_its_claim(
    ledger: Running, levels: tuple[str, ...], shown: str, claimed: str
) -> None:
    for level in levels:
        task = ledger.task
        if level == "local":
            task = ledger.deployment.task(
                rounds=1,
                epsilon=50.0,
                task_id="task-local",
                trust_level="local",
                neighboring_relation="replace",
                participation_bound=1,
            )
            ledger.coordinator.append_governance("task", task.to_json())
        event = task.event(task.rounds[0])
        ledger.coordinator.reserve(ledger.deployment.reserve(task, 1, event=event))
    first = ledger.read("propose", "alice", "--cap", 60, *GOOD)
    assert shown in ledger.run("approve", "bob", first["change_sha256"], "--yes").stdout
    second = ledger.read("propose", "alice", "--cap", 70, *GOOD)
    ended = ledger.read("reject", "bob", second["change_sha256"], "--reason", "no")
    assert (ended["unit"], ended["neighboring_relation"]) == ("user", claimed)
