"""A real ledger with a governed account, and a real console process over it, spoken to by HTTPS."""

from __future__ import annotations

import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tacit.privacy.accounting import GaussianEvent, epsilon_bound
from tacit.server.tls import Authority

PASSWORD = "correct horse battery staple"
_RUN = "from tacit.cli.main import main; main()"


class Browser:
    """One cookie jar, as one browser has, and the forms of the console's pages."""

    def __init__(self, origin: str, authority: Path, **options: Any) -> None:
        self.origin = origin
        self.client = httpx.Client(
            base_url=origin,
            verify=ssl.create_default_context(cafile=str(authority)),
            timeout=60,
            trust_env=False,
            **options,
        )

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def token(self, page: str = "/sign-in") -> str:
        """Return the token that forms shown to this browser carry."""
        text = self.client.get(page, follow_redirects=True).text
        found = re.search(r'name="form_token" value="([0-9a-f]{64})"', text)
        assert found is not None, text
        return found[1]

    def post(self, path: str, token_page: str = "/sign-in", **fields: str) -> httpx.Response:
        form = {"form_token": self.token(token_page), **fields}
        return self.client.post(path, data=form, headers={"Origin": self.origin})

    def sign_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        return self.post("/sign-in", name=name, password=password)

    def close(self) -> None:
        self.client.close()


@dataclass
class RunningConsole:
    """The process, and who has an account in it."""

    process: subprocess.Popen[str]
    origin: str
    first_link: str
    directory: Path
    state: Path
    browsers: list[Browser] = field(default_factory=list[Browser])
    known: dict[str, Browser] = field(default_factory=dict[str, Browser])

    def browser(self, **options: Any) -> Browser:
        self.browsers.append(Browser(self.origin, self.directory / "authority.pem", **options))
        return self.browsers[-1]

    def signed_in(self, name: str) -> Browser:
        browser = self.browser()
        assert browser.sign_in(name).status_code == 303
        return browser

    def session_of(self, name: str) -> Browser:
        """Return a browser in which this person is signed in, the same one every time."""
        if name not in self.known:
            self.known[name] = self.signed_in(name)
        return self.known[name]

    def first_use(self, link: str, password: str = PASSWORD) -> Browser:
        browser = self.browser()
        path = link.removeprefix(self.origin)
        answer = browser.post(path, token_page=path, password=password, again=password)
        assert answer.status_code == 303, answer.text
        return browser

    def stop(self) -> None:
        for browser in self.browsers:
            browser.close()
        self.process.terminate()
        self.process.wait(20)
        if self.process.stdout is not None:
            self.process.stdout.close()


def link_in(text: str) -> str:
    found = re.search(r"https://127\.0\.0\.1:\d+/first-use/[\w-]+", text)
    assert found is not None, text
    return found[0]


def start_console(state: Path, directory: Path, *options: str) -> RunningConsole:
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", _RUN, "console", str(state), "--port", "0"),
            *("--directory", str(directory), *options),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    assert lines[0].startswith("ready "), f"the console did not start: {lines}"
    lines += [process.stdout.readline() for _ in range(2)]
    origin, link = lines[0].split()[1], ""
    if not (directory / "used").exists():
        link = link_in(process.stdout.readline())
        (directory / "used").touch()
    return RunningConsole(process, origin, link, directory, state)


@pytest.fixture
def new_console() -> Iterator[Callable[..., RunningConsole]]:
    made: list[RunningConsole] = []

    def make(state: Path, directory: Path, *options: str) -> RunningConsole:
        made.append(start_console(state, directory, *options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def governed_ledger(deployment: Any) -> None:
    """Write a released task on an account that alice and bob govern."""
    document = deployment.governed_account().to_json()
    deployment.client("operator").append_governance("account", document)
    stub = deployment.stub()
    for _ in range(3):
        device = deployment.device(stub)
        device.append(device.event())
    task = deployment.task()
    coordinator = deployment.client("coordinator")
    coordinator.append_governance("task", task.to_json())
    for plan in task.rounds:
        coordinator.reserve(deployment.reserve(task, plan.round_id))
        coordinator.commit("main", f"{task.task_id}/{plan.round_id}", "cd" * 32)
    model = b"model"
    coordinator.put_blob(model)
    spent = epsilon_bound([GaussianEvent(8.0, 3)], deployment.delta)
    release = deployment.release(task, model, epsilon=spent)
    coordinator.append_governance("release", release.to_json())


def settle(console: RunningConsole, deployment: Any) -> None:
    """Have the operator invite one person of every role; the officers keep alice's, bob's key."""
    operator = console.first_use(console.first_link)
    for name, role in (("vic", "viewer"), ("olga", "officer"), ("anna", "approver")):
        answer = operator.post("/people", token_page="/people", name=name, role=role)
        person = console.first_use(link_in(answer.text))
        if name != "vic":
            key = deployment.officers["alice" if name == "olga" else "bob"]
            answer = person.post(
                "/account/key",
                token_page="/account",
                key=key.private_bytes().hex(),
                password=PASSWORD,
            )
            assert answer.status_code == 303, answer.text


@dataclass
class World:
    """A running ledger and a settled console over it."""

    deployment: Any
    console: RunningConsole


@pytest.fixture(scope="session")
def world(
    tmp_path_factory: pytest.TempPathFactory, deployment_type: Any, authority: Authority
) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("world")
    deployment = deployment_type(directory / "node", authority)
    governed_ledger(deployment)
    (directory / "authority.pem").write_bytes(authority.certificate_pem)
    console = start_console(
        deployment.state_dir,
        directory / "console",
        *("--ledger", deployment.server.address, "--ca", str(directory / "authority.pem")),
    )
    try:
        settle(console, deployment)
        yield World(deployment, console)
    finally:
        console.stop()
        deployment.stop()
