"""The OpenFeature provider, through the SDK's own client."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("openfeature", reason="needs the openfeature extra")

from openfeature import api
from openfeature.evaluation_context import (  # pyright: ignore[reportMissingTypeStubs]
    EvaluationContext,
)
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason
from openfeature.track import TrackingEventDetails  # pyright: ignore[reportMissingTypeStubs]

from tacit.client.flags import read_source, sign_flags
from tacit.client.openfeature import TacitProvider
from tacit.privacy.signatures import SigningKey

KEY = SigningKey(bytes(range(32)))
VALUES: dict[str, Any] = {
    "boolean": True,
    "string": "list",
    "integer": 3,
    "float": 0.25,
    "object": {"columns": [1, 2]},
}


def one(name: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"flag": name, "variants": [{"variant": "only", "weight": 1, "value": value}], **more}


@pytest.fixture
def client(device: Any) -> Iterator[Any]:
    flags = [one(name, value) for name, value in VALUES.items()]
    flags += [one("off", True, enabled=False), one("measured", True, purpose="measure")]
    flags.append(
        {
            "flag": "split",
            "variants": [
                {"variant": "a", "weight": 1, "value": 1},
                {"variant": "b", "weight": 1, "value": 2},
            ],
        }
    )
    document = {"type": "tacit.flags/1", "app": "a", "version": 4, "issued_at_ms": 0}
    signed = sign_flags(read_source(json.dumps({**document, "flags": flags}).encode()), KEY)
    device.install_flags(signed, KEY.public_key)
    api.set_provider(TacitProvider(device))
    yield api.get_client()
    api.shutdown()


@pytest.mark.parametrize("kind", VALUES)
def test_each_kind_resolves(client: Any, kind: str) -> None:
    defaults: dict[str, Any] = {
        "boolean": False,
        "string": "",
        "integer": 0,
        "float": 0.0,
        "object": {},
    }
    details = getattr(client, f"get_{kind}_details")(kind, defaults[kind])
    assert details.value == VALUES[kind]
    assert type(details.value) is type(VALUES[kind])
    assert (details.variant, details.reason, details.error_code) == ("only", Reason.STATIC, None)
    assert details.flag_metadata == {"version": 4}


def test_reasons_and_error_codes_are_those_of_the_specification(client: Any, device: Any) -> None:
    split = client.get_integer_details("split", 0)
    assert (split.reason, split.variant) == (Reason.SPLIT, "ab"[split.value - 1])
    assert client.get_float_value("integer", 0.0) == 3.0
    missing = client.get_boolean_details("absent", True)
    assert (missing.value, missing.reason) == (True, Reason.ERROR)
    assert missing.error_code is ErrorCode.FLAG_NOT_FOUND
    mismatch = client.get_string_details("boolean", "mine")
    assert (mismatch.value, mismatch.error_code) == ("mine", ErrorCode.TYPE_MISMATCH)
    off = client.get_boolean_details("off", False)
    assert (off.value, off.reason, off.variant, off.error_code) == (
        False,
        Reason.DISABLED,
        None,
        None,
    )
    assert client.get_boolean_details("measured", False).reason == Reason.DISABLED
    device.consent("measure", None, True)
    assert client.get_boolean_details("measured", False).value is True


def test_a_targeting_key_changes_nothing_and_is_kept_nowhere(client: Any, device: Any) -> None:
    someone = EvaluationContext("someone@example.com", {"plan": "gold"})
    assert client.get_integer_value("split", 0, someone) == client.get_integer_value("split", 0)
    assert "someone" not in json.dumps(device.rights.access().document)


def test_tracking_is_an_event_of_the_device(client: Any, device: Any) -> None:
    details = TrackingEventDetails(value=4.0, attributes={"product_id": "i1"})
    client.track("Product Rated", tracking_event_details=details)
    (entry,) = device.events.read({"rating"})
    assert (entry.event.items, entry.event.value) == (("i1",), 4.0)


def test_the_core_does_not_import_it() -> None:
    code = "import sys, tacit.client; raise SystemExit('openfeature' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
