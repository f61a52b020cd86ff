"""Two people change a budget through the console; the ledger, not the console, decides."""

from __future__ import annotations

import re
from typing import Any

import pytest

PASSWORD = "correct horse battery staple"


def propose(world: Any, name: str = "olga", **fields: str) -> Any:
    browser = world.console.session_of(name)
    form = {"what": "terms", "reason": "spring campaign", "password": PASSWORD, **fields}
    page = "/budget/main/propose"
    return browser.post(page, token_page=page, **form)


def digest_of(answer: Any) -> str:
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"].removeprefix("/changes/"))


def decide(world: Any, name: str, digest: str, verb: str, **fields: str) -> Any:
    browser = world.console.session_of(name)
    form = {"password": PASSWORD, **fields}
    return browser.post(f"/changes/{digest}/{verb}", token_page="/account", **form)


def proposed(world: Any) -> int:
    entries = world.deployment.client("operator").entries()
    return sum(b'"kind":"account.change"' in one for one in entries)


def test_a_raise_takes_two_people(world: Any) -> None:
    ledger = world.deployment.client("operator")
    before = float(ledger.show_budget("main").cap_epsilon)
    after = before + 2
    digest = digest_of(propose(world, cap=str(after), reason="<b>spring</b>"))
    page = world.console.session_of("anna").get(f"/changes/{digest}").text
    assert f"cap ε {before:g} to {after:g}" in page
    assert "&lt;b&gt;spring&lt;/b&gt;" in page
    assert "Sign the approval" in page
    assert (
        "Sign the approval" not in world.console.session_of("olga").get(f"/changes/{digest}").text
    )
    assert float(ledger.show_budget("main").cap_epsilon) == before
    assert decide(world, "olga", digest, "approve").status_code == 403
    assert decide(world, "anna", digest, "approve", password="wrong password!").status_code == 403
    assert float(ledger.show_budget("main").cap_epsilon) == before
    assert decide(world, "anna", digest, "approve").status_code == 303
    assert float(ledger.show_budget("main").cap_epsilon) == after
    change = world.console.session_of("vic").get(f"/api/v1/changes/{digest}").json()
    assert (change["status"], change["proposed_by"], change["decided_by"]) == (
        "approved",
        "alice",
        "bob",
    )
    again = decide(world, "anna", digest, "approve")
    assert (again.status_code, "this one is approved" in again.text) == (422, True)


def test_nobody_approves_their_own_request(world: Any) -> None:
    digest = digest_of(propose(world, "anna", cap="11"))
    refused = decide(world, "anna", digest, "approve")
    assert refused.status_code == 422
    assert "nobody approves their own request" in refused.text
    assert decide(world, "olga", digest, "reject", reason="not now").status_code == 303
    change = world.console.session_of("vic").get(f"/api/v1/changes/{digest}").json()
    assert (change["status"], change["decided_by"]) == ("rejected", "alice")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"cap": "-1"}, "cap_epsilon"),
        ({"cap": "nan"}, "cap_epsilon"),
        ({"cap": "many"}, "cap: expected a number"),
        ({}, "expected something to change"),
        ({"cap": "9", "reason": ""}, "reason"),
        ({"cap": "9", "expires_hours": "0"}, "expires_hours"),
        ({"delta": "0.5"}, "target_delta"),
        ({"what": "refresh"}, ""),
    ],
)
def test_a_bad_change_is_refused_in_one_line(world: Any, fields: dict[str, str], told: str) -> None:
    size = proposed(world)
    answer = propose(world, **fields)
    if fields.get("what") == "refresh":
        digest = digest_of(answer)
        refused = decide(world, "anna", digest, "approve")
        assert (refused.status_code, "to have lasted 1 days" in refused.text) == (422, True)
        assert decide(world, "anna", digest, "reject", reason="too early").status_code == 303
        return
    assert answer.status_code == 422
    (line,) = re.findall(r'role="alert">\s*<p>([^<]*)</p>', answer.text)
    assert told in line
    assert proposed(world) == size


def test_who_makes_links_cannot_sign(world: Any) -> None:
    operator = world.console.session_of("operator")
    answer = operator.post("/people", token_page="/people", name="takeover", role="approver")
    link = re.findall(r"https://\S+/first-use/[\w-]+", answer.text)[0]
    person = world.console.first_use(link)
    key = world.deployment.officers["bob"].private_bytes().hex()
    kept = person.post("/account/key", token_page="/account", key=key, password=PASSWORD)
    assert kept.status_code == 303
    stolen = operator.post("/people", token_page="/people", name="takeover", role="approver")
    thief = world.console.first_use(re.findall(r"https://\S+/first-use/[\w-]+", stolen.text)[0])
    assert person.get("/account").status_code == 303
    page = "/budget/main/propose"
    form = {"what": "terms", "reason": "mine", "password": PASSWORD, "cap": "12"}
    refused = thief.post(page, token_page=page, **form)
    assert (refused.status_code, "expected a key to sign with" in refused.text) == (422, True)
    assert operator.post("/people/takeover/disable", token_page="/people").status_code == 303
    assert thief.get("/account").status_code == 303


def test_every_change_is_in_the_access_log_before_and_after(world: Any) -> None:
    digest = digest_of(propose(world, cap="9.5"))
    assert decide(world, "olga", digest, "reject", reason="mistake").status_code == 303
    entries = world.console.session_of("olga").get("/api/v1/access-log").json()["entries"]
    mine = [one for one in entries if one["target"] == f"/changes/{digest}/reject"]
    assert [(one["name"], one["outcome"]) for one in mine] == [("olga", "303"), ("olga", "asked")]
    assert mine[0]["detail"] == f"rejected {digest}"
    assert "The chain holds." in world.console.session_of("olga").get("/access-log").text
