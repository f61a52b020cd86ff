"""What attackers try, against a real process over TLS."""

from __future__ import annotations

import re
import socket
import sqlite3
import ssl
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tacit.server.console.answers import Route
from tacit.server.console.attempts import MAX_OF_A_NAME
from tacit.server.console.database import DATABASE_FILE
from tacit.server.console.gate import SESSION_COOKIE
from tacit.server.console.roles import Permission, Role, allows
from tacit.server.console.routes import routes

PASSWORD = "correct horse battery staple"
PEOPLE = {
    Role.VIEWER: "vic",
    Role.OFFICER: "olga",
    Role.APPROVER: "anna",
    Role.OPERATOR: "operator",
}


def path_of(route: Route) -> str:
    """An address of the route; about things that are there where that is easy."""
    values = {"account": "main", "population": "shop", "version": "1", "index": "0"}
    return re.sub(r"\{(\w+)\}", lambda part: values.get(part[1], "nothing"), route.path)


def named(route: Route) -> str:
    return f"{route.method} {route.path}"


GUARDED = [one for one in routes() if one.needs is not Permission.EVERYONE]


@pytest.fixture(scope="session")
def signed_in(world: Any) -> dict[Role, Any]:
    return {role: world.console.signed_in(name) for role, name in PEOPLE.items()}


def test_nobody_gets_in_without_a_session(world: Any) -> None:
    stranger = world.console.browser()
    for route in GUARDED:
        if route.method == "POST":
            answer = stranger.post(path_of(route))
        else:
            answer = stranger.get(path_of(route))
        if route.is_api or route.method == "POST":
            assert answer.status_code == 401, named(route)
        else:
            found = (answer.status_code, answer.headers["location"])
            assert found == (303, "/sign-in"), named(route)
        assert "shop" not in answer.text


@pytest.mark.parametrize("role", list(Role))
def test_a_role_reaches_what_it_needs_and_nothing_else(
    signed_in: dict[Role, Any], role: Role
) -> None:
    browser = signed_in[role]
    token = browser.token("/account")
    for route in GUARDED:
        if route.path == "/sign-out":
            continue
        if route.method == "GET":
            answer = browser.get(path_of(route))
        elif route.path == "/verification":
            continue  # everybody may; test_pages does
        else:
            answer = browser.client.post(
                path_of(route), data={"form_token": token}, headers={"Origin": browser.origin}
            )
        assert (answer.status_code == 403) is not allows(role, route.needs), named(route)
        assert answer.status_code < 500, named(route)


def test_a_form_sent_from_elsewhere_is_refused(world: Any, signed_in: dict[Role, Any]) -> None:
    browser = signed_in[Role.OPERATOR]
    form = {"form_token": browser.token("/people"), "name": "mallory", "role": "operator"}
    origins: tuple[dict[str, str], ...] = (
        {},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": browser.origin.replace("https", "http")},
        {"Origin": browser.origin + "0"},
    )
    for headers in origins:
        assert browser.client.post("/people", data=form, headers=headers).status_code == 403
    own = {"Origin": browser.origin}
    for token in ("", "0" * 64, world.console.browser().token()):
        changed = {**form, "form_token": token}
        assert browser.client.post("/people", data=changed, headers=own).status_code == 403
    as_json = browser.client.post("/people", json=form, headers=own)
    assert as_json.status_code == 403
    assert "mallory" not in browser.get("/people").text


def test_a_get_changes_nothing(signed_in: dict[Role, Any]) -> None:
    browser = signed_in[Role.OPERATOR]
    for path in ("/sign-out", "/people/vic/disable"):
        assert browser.get(path).status_code == 405
    assert browser.get("/account").status_code == 200


def test_no_page_can_be_framed_or_run_a_script(world: Any, signed_in: dict[Role, Any]) -> None:
    nonces = set[str]()
    for path in ("/", "/sign-in", "/nowhere", "/api/v1/ledger", "/console.css", "/budget/main"):
        answer = signed_in[Role.VIEWER].get(path)
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "script-src 'none'" in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        nonces.update(re.findall(r"'nonce-([^']+)'", policy))
        assert not re.search(r"<script|<style|\sstyle=|\son\w+=|https?://", answer.text)
    assert len(nonces) == 6
    assert world.console.browser().get("/").headers["x-frame-options"] == "DENY"


def test_a_login_link_works_once(signed_in: dict[Role, Any], world: Any) -> None:
    answer = signed_in[Role.OPERATOR].post(
        "/people", token_page="/people", name="once", role="viewer"
    )
    path = re.findall(r"/first-use/[\w-]+", answer.text)[0]
    stranger = world.console.browser()
    assert stranger.get(path).status_code == 200  # looking, as link scanners do, uses nothing up
    form = {"password": PASSWORD, "again": PASSWORD}
    assert stranger.post(path, token_page=path, **form).status_code == 303
    replay = world.console.browser()
    for answer in (replay.get(path), replay.post(path, **form)):
        assert answer.status_code == 404
    assert replay.get("/").status_code == 303
    # And it is in no log.
    token = path.rpartition("/")[2]
    assert token not in signed_in[Role.OPERATOR].get("/api/v1/access-log").text


def test_a_session_is_never_the_one_a_browser_brought(world: Any) -> None:
    browser = world.console.browser()
    fixed = "f" * 43
    browser.client.cookies.set(SESSION_COOKIE, fixed)
    assert browser.get("/").status_code == 303
    assert browser.sign_in("vic").status_code == 303
    tokens = [one.value for one in browser.client.cookies.jar if one.name == SESSION_COOKIE]
    assert fixed not in tokens[-1:]
    other = world.console.browser()
    other.client.cookies.set(SESSION_COOKIE, fixed)
    assert other.get("/").status_code == 303


def test_signing_in_again_and_out_ends_the_session_before(world: Any) -> None:
    browser = world.console.signed_in("vic")
    stolen = browser.client.cookies[SESSION_COOKIE]
    assert browser.post("/sign-out", token_page="/account").status_code == 303
    thief = world.console.browser()
    thief.client.cookies.set(SESSION_COOKIE, stolen)
    assert thief.get("/budget").status_code == 303


def test_cookies_are_of_this_host_alone(world: Any) -> None:
    answer = world.console.browser().sign_in("vic")
    (cookie,) = [
        one for one in answer.headers.get_list("set-cookie") if one.startswith(SESSION_COOKIE)
    ]
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"secure", "httponly", "samesite=strict", "path=/"} <= parts
    assert not [part for part in parts if part.startswith("domain")]


def test_another_name_for_loopback_is_refused(world: Any) -> None:
    port = world.console.origin.rpartition(":")[2]
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port}@x"):
        answer = world.console.browser().get("/sign-in", headers={"Host": host})
        assert answer.status_code == 403, host


def test_guessing_locks_a_name_out_whether_it_exists_or_not(world: Any) -> None:
    browser = world.console.browser()
    for name in ("nobody.here", "once.locked"):
        answers = [browser.sign_in(name, f"guess number {n}") for n in range(MAX_OF_A_NAME + 1)]
        assert [one.status_code for one in answers] == [403] * MAX_OF_A_NAME + [429]
    texts = {re.sub(r"[0-9a-f]{64}|nonce=\S+", "", one.text) for one in answers[:-1]}
    assert len(texts) == 1


def test_nobody_writes_through_a_key_of_another(world: Any, signed_in: dict[Role, Any]) -> None:
    key = world.deployment.keys["auditor"].private_bytes().hex()
    olga = signed_in[Role.OFFICER]
    before = signed_in[Role.OPERATOR].get("/api/v1/people").json()
    form = {"key": key, "password": PASSWORD, "name": "anna"}
    viewer = signed_in[Role.VIEWER].post("/account/key", token_page="/account", **form)
    assert viewer.status_code == 403
    wrong = olga.post("/account/key", token_page="/account", key=key, password="x" * 12)
    assert wrong.status_code == 403
    assert signed_in[Role.OPERATOR].get("/api/v1/people").json() == before


def test_a_flood_of_bytes_or_fields_is_refused(world: Any) -> None:
    browser = world.console.browser()
    head = {"Origin": browser.origin, "Content-Type": "application/x-www-form-urlencoded"}
    big = browser.client.post("/sign-in", content=b"a" * 70_000, headers=head)
    many = browser.client.post("/sign-in", content=b"a=1&" * 1000, headers=head)
    assert (big.status_code, many.status_code) == (413, 413)


def test_nothing_is_spoken_in_the_clear_or_beyond_loopback(world: Any) -> None:
    host, port = world.console.origin.removeprefix("https://").split(":")
    with pytest.raises(httpx.HTTPError), httpx.Client(trust_env=False) as client:
        client.get(f"http://{host}:{port}/sign-in")
    context = ssl.create_default_context(cafile=str(world.console.directory / "authority.pem"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with (
        closing(socket.create_connection((host, int(port)))) as plain,
        context.wrap_socket(plain, server_hostname=host) as sealed,
    ):
        assert sealed.version() == "TLSv1.2"


def test_what_is_kept_gives_nobody_away(world: Any) -> None:
    browser = world.console.signed_in("anna")
    directory: Path = world.console.directory
    kept = b"".join(one.read_bytes() for one in directory.glob(DATABASE_FILE + "*"))
    key = world.deployment.officers["bob"]
    for secret in (
        PASSWORD.encode(),
        browser.client.cookies[SESSION_COOKIE].encode(),
        key.private_bytes(),
        key.private_bytes().hex().encode(),
    ):
        assert secret not in kept
    assert b"$argon2id$" in kept
    assert (directory / DATABASE_FILE).stat().st_mode & 0o077 == 0
    assert directory.stat().st_mode & 0o077 == 0


def test_a_session_ends_when_nobody_uses_it_and_no_clock_brings_it_back(
    world: Any, new_console: Callable[..., Any], tmp_path: Path
) -> None:
    state, directory = world.deployment.state_dir, tmp_path / "console"
    console = new_console(state, directory, "--idle-minutes", "0.02")
    browser = console.first_use(console.first_link)
    cookie = browser.client.cookies[SESSION_COOKIE]
    assert browser.get("/account").status_code == 200
    # The whole record of an hour from now: as if the clock was then set back.
    with closing(sqlite3.connect(directory / DATABASE_FILE)) as database, database:
        database.execute("UPDATE access_log SET at_ms = at_ms + 3600000")
    console.stop()
    again = new_console(state, directory)
    thief = again.browser()
    thief.client.cookies.set(SESSION_COOKIE, cookie)
    assert thief.get("/account").status_code == 303
