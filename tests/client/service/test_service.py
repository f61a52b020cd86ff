"""The verbs over the socket answer what the facade answers, and refuse in one clear line."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from tacit.client import Endpoints, Personalizer, TrustRoots
from tacit.client.service import VERBS, Busy, Syncing
from tacit.client.service.statuses import status_of
from tacit.v1 import personalizer_pb2 as pb

Code = grpc.StatusCode


def refused(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        list(found) if hasattr(found := call(), "__next__") else found
    error: Any = caught.value
    return error.code(), error.details()


def viewed(item: str) -> pb.TrackRequest:
    return pb.TrackRequest(event="Product Viewed", properties_json=json.dumps({"product_id": item}))


def test_every_verb_is_a_call_and_every_call_a_verb_that_can_be_granted() -> None:
    calls = pb.DESCRIPTOR.services_by_name["PersonalizerService"].methods
    as_verbs = {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", call.name).lower() for call in calls}
    assert as_verbs == set(VERBS)
    assert all(hasattr(Personalizer, verb) for verb in VERBS)


def test_an_app_tells_asks_shows_and_has_it_explained(served: Any) -> None:
    served.serve()
    app = served.app()
    first = app.Track(
        pb.TrackRequest(
            event="Product Added", properties_json='{"product_id": "i0"}', event_id="e1", ts_ms=5
        )
    )
    assert (first.event_id, first.recorded, first.duplicate) == ("e1", True, False)
    again = app.Track(
        pb.TrackRequest(
            event="Product Added", properties_json='{"product_id": "i0"}', event_id="e1"
        )
    )
    assert again.duplicate
    assert again.sequence == first.sequence
    assert app.Page(pb.PageRequest(name="Home", dwell_ms=1200, scroll=0.5)).recorded
    assert app.Rate(pb.RateRequest(item="i4", value=5.0)).recorded
    assert app.Prefer(pb.PreferRequest(kind="category", value="Kitchen", weight=1.0)).ack.recorded
    assert not app.Prefer(pb.PreferRequest(kind="channel", value="sms", weight=-1)).HasField("ack")
    app.Context(
        pb.ContextRequest(
            out_of_stock=pb.ContextRequest.OutOfStock(items=["i8"]), time_zone="Europe/Berlin"
        )
    )

    decision = app.Recommend(pb.RecommendRequest(surface="home/top", k=5))
    shown = [item.item_id for item in decision.items]
    assert shown
    assert all(int(item[1:]) % 4 == 0 for item in shown[:3]), "what is liked comes first"
    assert "i8" not in shown
    assert decision.removed["stock"] == 1
    why = app.Explain(pb.ExplainRequest(decision_id=decision.id, item=shown[0]))
    assert why.text.startswith("Because you")
    assert why.cited[0].deletion_delta > 0
    assert json.loads(why.cited[0].controls[0].arguments_json)
    assert app.Explain(pb.ExplainRequest(decision_id=decision.id, item="i8")).rules == ["stock"]
    app.Shown(pb.ShownRequest(decision_id=decision.id, items=shown[:1]))
    outcome = pb.OutcomeRequest(decision_id=decision.id, item=shown[0], event="Product Added")
    assert app.Outcome(outcome).recorded
    ranked = app.Rank(pb.RankRequest(surface="home", items=["i1", shown[1]]))
    assert [item.item_id for item in ranked.items] == [shown[1], "i1"]

    offer = pb.Action(name="offer", kind="offer", item="i1")
    chosen = app.NextAction(pb.NextActionRequest(surface="home", actions=[offer]))
    assert sum(chosen.propensities.values()) == pytest.approx(1.0)
    question = app.NextQuestion(pb.NextQuestionRequest()).question
    assert question.text.startswith("Do you like")
    assert app.WhyAsked(pb.WhyAskedRequest(category=question.category)).why
    headline = pb.ComposeRequest.Component(name="h", part="headline", template="See {title}")
    composed = app.Compose(pb.ComposeRequest(channel="web", components=[headline], item="i1"))
    assert composed.parts["headline"] == "See Item 1"


def test_an_app_acts_for_the_person(served: Any) -> None:
    served.serve()
    app = served.app()
    app.Track(viewed("i0"))
    app.Identify(pb.IdentifyRequest(traits_json='{"interests": ["Garden"]}'))
    granted = app.Consent(
        pb.ConsentRequest(purpose="learn", signals=["product_view"], granted=True)
    )
    assert granted.permitted == ["product_view"]
    state = app.State(pb.StateRequest())
    assert (state.events, list(state.consents["learn"].signals)) == (2, ["product_view"])
    assert (state.sent_bytes, json.loads(state.exposure_json)) == (
        0,
        {"by_level": {}, "by_purpose": {}, "by_task": {}},
    )
    assert json.loads(state.features_json)["affinities"]
    assert app.RotateKeys(pb.RotateKeysRequest()).epoch == 2
    exported = app.Export(pb.ExportRequest(passphrase="a long passphrase"))
    assert len(b"".join(chunk.data for chunk in exported)) > 100
    assert app.Forget(pb.ForgetRequest(item="i0")).rows_erased == 1
    assert app.Forget(pb.ForgetRequest(since_ms=0)).rows_erased == 1
    assert app.State(pb.StateRequest()).events == 0


def test_after_everything_was_forgotten_a_new_device_goes_on(served: Any) -> None:
    served.serve()
    app = served.app()
    app.Track(viewed("i0"))
    before = app.State(pb.StateRequest()).device_id
    assert app.Forget(pb.ForgetRequest(all=True)).bytes_scanned > 0
    after = app.State(pb.StateRequest())
    assert after.device_id != before
    assert after.events == 0
    assert app.Track(viewed("i0")).recorded


MARK = "my-private-value"


@pytest.mark.parametrize(
    ("verb", "request_", "code", "line"),
    [
        ("Track", pb.TrackRequest(event=MARK), Code.INVALID_ARGUMENT, "expected one of"),
        (
            "Track",
            pb.TrackRequest(event="Product Viewed", properties_json=f'{{"a": {MARK}'),
            Code.INVALID_ARGUMENT,
            "properties_json: expected JSON",
        ),
        (
            "Track",
            pb.TrackRequest(event="Product Viewed", properties_json="[" * 100_000),
            Code.INVALID_ARGUMENT,
            "properties_json: expected JSON",
        ),
        (
            "Track",
            pb.TrackRequest(event="Product Rated", properties_json='{"value": NaN}'),
            Code.INVALID_ARGUMENT,
            "finite",
        ),
        (
            "Track",
            pb.TrackRequest(event="Product Viewed", properties_json="[1]"),
            Code.INVALID_ARGUMENT,
            "expected a JSON object",
        ),
        (
            "Track",
            pb.TrackRequest(event="Product Viewed", properties_json=json.dumps({"a": MARK * 2000})),
            Code.INVALID_ARGUMENT,
            "at most 16384 bytes",
        ),
        (
            "Track",
            pb.TrackRequest(event="Product Viewed", ts_ms=-1),
            Code.INVALID_ARGUMENT,
            "ts",
        ),
        (
            "Track",
            pb.TrackRequest(event="Product Viewed", properties_json=f'"{"x" * 300_000}"'),
            Code.RESOURCE_EXHAUSTED,
            "larger than max",
        ),
        (
            "Rate",
            pb.RateRequest(item="i1", value=float("inf")),
            Code.INVALID_ARGUMENT,
            "finite",
        ),
        (
            "Prefer",
            pb.PreferRequest(kind=MARK, value=MARK, weight=float("nan")),
            Code.INVALID_ARGUMENT,
            "prefer: expected",
        ),
        (
            "Identify",
            pb.IdentifyRequest(traits_json=json.dumps({"email": MARK})),
            Code.INVALID_ARGUMENT,
            "traits among time_zone",
        ),
        (
            "Consent",
            pb.ConsentRequest(purpose="sell", granted=True),
            Code.INVALID_ARGUMENT,
            "purpose",
        ),
        ("Recommend", pb.RecommendRequest(k=1001), Code.INVALID_ARGUMENT, "k: expected"),
        ("Rank", pb.RankRequest(surface="home"), Code.INVALID_ARGUMENT, "expected"),
        (
            "NextAction",
            pb.NextActionRequest(actions=[pb.Action(name="a", kind=MARK)]),
            Code.INVALID_ARGUMENT,
            "kind: expected one of offer",
        ),
        (
            "Compose",
            pb.ComposeRequest(
                channel="web", components=[pb.ComposeRequest.Component(name="a", part=MARK)]
            ),
            Code.INVALID_ARGUMENT,
            "part: expected one of headline",
        ),
        (
            "Explain",
            pb.ExplainRequest(decision_id=MARK, item=MARK),
            Code.NOT_FOUND,
            "expected a recorded decision",
        ),
        ("Variant", pb.VariantRequest(flag="f"), Code.INVALID_ARGUMENT, "default_json"),
        ("Forget", pb.ForgetRequest(), Code.INVALID_ARGUMENT, "exactly one of item"),
        (
            "Export",
            pb.ExportRequest(passphrase="short"),
            Code.INVALID_ARGUMENT,
            "at least 12 characters",
        ),
        ("Sync", pb.SyncRequest(), Code.UNIMPLEMENTED, "without servers"),
    ],
)
def test_bad_input_is_one_clear_line(
    served: Any, verb: str, request_: Any, code: grpc.StatusCode, line: str
) -> None:
    served.serve()
    app = served.app()
    found, told = refused(lambda: getattr(app, verb)(request_))
    assert (found, line in told) == (code, True), told
    assert "\n" not in told
    assert MARK not in told
    assert app.State(pb.StateRequest()).events == 0


def test_what_nobody_expected_says_nothing_of_itself() -> None:
    code, told = status_of(KeyError("my-private-value"))
    assert (code, "private" in told) == (Code.INTERNAL, False)


def test_a_call_whose_turn_does_not_come_does_nothing(served: Any) -> None:
    served.serve()
    app = served.app()
    runtime = served.server.service._runtime
    with runtime._turn:
        code, _ = refused(lambda: app.Track(viewed("i0"), timeout=0.2))
    assert code in (Code.DEADLINE_EXCEEDED, Code.UNAVAILABLE)
    assert app.State(pb.StateRequest()).events == 0


def test_a_turn_that_comes_after_the_deadline_is_not_taken(served: Any) -> None:
    served.serve()
    done: list[Personalizer] = []
    for verb in ("track", "consent"):
        with pytest.raises(Busy, match="nothing was done"):
            served.server.service._runtime.run(verb, -0.001, done.append)
    assert done == []


def test_decisions_go_on_while_a_sync_waits_and_a_withdrawal_ends_it(
    served: Any, authority: bytes
) -> None:
    # Nothing listens there, so the sync retries for some six seconds.
    nowhere = Endpoints("127.0.0.1:1", "127.0.0.1:1", ca_pem=authority)
    served.serve(syncing=Syncing(nowhere, TrustRoots("g", "c", bytes(32), bytes(32))))
    app = served.app()
    app.Consent(pb.ConsentRequest(purpose="learn", granted=True))
    ended: list[tuple[grpc.StatusCode, str]] = []
    syncing = threading.Thread(
        target=lambda: ended.append(refused(lambda: app.Sync(pb.SyncRequest(enrolment_token="t"))))
    )
    syncing.start()
    while served.server.service._runtime._syncing._connection is None:
        time.sleep(0.01)
    assert app.Recommend(pb.RecommendRequest(k=3)).items
    assert not ended, "the decision did not wait for the sync"
    assert not app.Consent(pb.ConsentRequest(purpose="learn", granted=False)).permitted
    syncing.join()
    assert ended[0][0] is Code.ABORTED
    assert "interrupted" in ended[0][1]
