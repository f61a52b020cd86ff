"""schemathesis against the API's own description, over a real process: no server error."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from tacit.server.console.gate import SESSION_COOKIE

pytestmark = pytest.mark.long


def test_the_api_is_what_its_description_says(world: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schemathesis: Any = pytest.importorskip("schemathesis")
        hypothesis: Any = pytest.importorskip("hypothesis")
    browser = world.console.session_of("olga")
    schema = schemathesis.openapi.from_dict(browser.get("/api/openapi.json").json())
    cookies = {SESSION_COOKIE: browser.client.cookies[SESSION_COOKIE]}
    authority = str(world.console.directory / "authority.pem")
    asked = 0
    for operation in schema.get_all_operations():
        found = operation.ok()

        def ask(case: Any) -> None:
            nonlocal asked
            asked += 1
            answer = case.call(
                base_url=world.console.origin, cookies=cookies, verify=authority, timeout=60
            )
            assert answer.status_code < 500
            case.validate_response(answer, checks=[schemathesis.checks.not_a_server_error])

        settings = hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
        run: Any = settings(hypothesis.given(case=found.as_strategy())(ask))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run()
    assert asked > 100
