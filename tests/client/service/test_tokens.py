"""App tokens: stored hashed, bound to the store's key, taken back at once; grants hold."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from tacit.client import FileKeyProvider, KeyUnavailable, PassphraseKeyProvider
from tacit.client.service import AppTokens, BadGrant, TokensDamaged, Unauthenticated
from tacit.client.service.grants import EVERYDAY_VERBS, Grant
from tacit.v1 import personalizer_pb2 as pb

Code = grpc.StatusCode


def status(call: Callable[[], Any]) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    code: grpc.StatusCode = error.code()
    return code


def tokens_of(folder: Path, key: str = "k") -> AppTokens:
    return AppTokens(folder / "p.db", FileKeyProvider(folder / key))


def test_a_token_gets_its_own_app_in_and_is_nowhere_on_the_disk(tmp_path: Path) -> None:
    tokens = tokens_of(tmp_path)
    token = tokens.issue("shop", ["track"], ["home"], 7)
    tokens.issue("kiosk", ["rank"], ["*"], 8)
    reopened = tokens_of(tmp_path)
    assert reopened.admit(token) == Grant("shop", ("track",), ("home",), 7)
    assert [grant.app for grant in reopened.grants()] == ["kiosk", "shop"]
    secret = token.partition(":")[2]
    for path in tmp_path.iterdir():
        assert secret.encode() not in path.read_bytes()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_anything_but_the_token_stays_out(tmp_path: Path) -> None:
    tokens = tokens_of(tmp_path)
    token = tokens.issue("shop", ["track"], ["home"], 0)
    tokens.issue("kiosk", ["track"], ["home"], 0)
    assert tokens.admit(token)
    secret = token.partition(":")[2]
    other_end = "AA" if token[-2:] != "AA" else "BB"
    for altered in (
        *("", "shop:", "shop", secret, f"kiosk:{secret}", f"nobody:{secret}"),
        *(token[:-2] + other_end, token[:-1], token + "A", token + "é"),
    ):
        with pytest.raises(Unauthenticated, match="issued and not revoked"):
            tokens.admit(altered)


def test_nobody_gets_in_before_a_token_was_issued(tmp_path: Path) -> None:
    with pytest.raises(Unauthenticated):
        tokens_of(tmp_path).admit(":")
    assert not list(tmp_path.iterdir()), "and asking makes no file"


def test_a_revoked_token_is_out_also_in_a_process_that_read_it_before(tmp_path: Path) -> None:
    serving = tokens_of(tmp_path)
    token = serving.issue("shop", ["track"], ["home"], 0)
    assert serving.admit(token)
    tokens_of(tmp_path).revoke("shop")
    with pytest.raises(Unauthenticated):
        serving.admit(token)
    anew = tokens_of(tmp_path).issue("shop", ["track"], ["home"], 0)
    assert anew != token
    with pytest.raises(Unauthenticated):
        serving.admit(token)
    assert serving.admit(anew)


def test_nobody_without_the_key_can_add_an_app_or_give_one_more(tmp_path: Path) -> None:
    tokens = tokens_of(tmp_path)
    token = tokens.issue("shop", ["track"], ["home"], 0)
    content: dict[str, Any] = json.loads(tokens.path.read_bytes())
    app = content["apps"][0]
    for changed in (
        {**content, "apps": [{**app, "verbs": ["forget", "track"]}]},
        {**content, "apps": [app, {**app, "app": "evil"}]},
        {**content, "mac": ""},
        {name: value for name, value in content.items() if name != "mac"},
        {**content, "extra": 1},
    ):
        text = json.dumps(changed, sort_keys=True, separators=(",", ":"))
        tokens.path.write_text(text)
        with pytest.raises(TokensDamaged, match="app tokens"):
            tokens_of(tmp_path).admit(token)
    tokens.path.write_bytes(b"\xff not json")
    with pytest.raises(TokensDamaged):
        tokens_of(tmp_path).grants()


def test_the_file_of_another_store_and_one_that_others_can_read_are_refused(
    tmp_path: Path,
) -> None:
    tokens = tokens_of(tmp_path)
    token = tokens.issue("shop", ["track"], ["home"], 0)
    FileKeyProvider(tmp_path / "other").wrap(bytes(32), b"")
    with pytest.raises(TokensDamaged, match="another store"):
        tokens_of(tmp_path, "other").admit(token)
    tokens.path.chmod(0o644)
    with pytest.raises(TokensDamaged, match="0600"):
        tokens_of(tmp_path).admit(token)


def test_a_passphrase_vouches_for_tokens_too(tmp_path: Path) -> None:
    tokens = AppTokens(tmp_path / "p.db", PassphraseKeyProvider("correct horse"))
    token = tokens.issue("shop", ["track"], ["home"], 0)
    assert AppTokens(tmp_path / "p.db", PassphraseKeyProvider("correct horse")).admit(token)
    with pytest.raises((TokensDamaged, KeyUnavailable)):
        AppTokens(tmp_path / "p.db", PassphraseKeyProvider("wrong")).admit(token)


@pytest.mark.parametrize(
    ("app", "verbs", "surfaces", "line"),
    [
        ("", ["track"], ["home"], "app: expected"),
        ("a:b", ["track"], ["home"], "app: expected"),
        ("A", ["track"], ["home"], "app: expected"),
        ("shop", [], ["home"], "verbs: expected"),
        ("shop", ["sell"], ["home"], "verbs: expected"),
        ("shop", ["track"], [], "surfaces: expected"),
        ("shop", ["track"], ["a\nb"], "surfaces: expected"),
    ],
)
def test_what_cannot_be_granted_is_not(
    tmp_path: Path, app: str, verbs: list[str], surfaces: list[str], line: str
) -> None:
    tokens = tokens_of(tmp_path)
    with pytest.raises(BadGrant, match=line):
        tokens.issue(app, verbs, surfaces, 0)
    tokens.issue("once", ["track"], ["home"], 0)
    with pytest.raises(BadGrant, match="revoke it first"):
        tokens.issue("once", ["track"], ["home"], 0)
    with pytest.raises(BadGrant, match="no app of this name"):
        tokens.revoke("nobody")


def test_calls_without_a_token_in_force_are_not_answered(served: Any) -> None:
    served.serve()
    app = served.app()
    assert app.State(pb.StateRequest())
    served.server.tokens.revoke("shop")
    assert status(lambda: app.State(pb.StateRequest())) is Code.UNAUTHENTICATED
    app.metadata = ()
    assert status(lambda: app.State(pb.StateRequest())) is Code.UNAUTHENTICATED
    app.metadata = (("authorization", "Basic c2hvcDo="),)
    assert status(lambda: app.State(pb.StateRequest())) is Code.UNAUTHENTICATED


def test_an_app_stays_within_its_verbs_surfaces_and_channels(served: Any) -> None:
    served.serve()
    every = served.app("every")
    app = served.app("home", EVERYDAY_VERBS, ("home", "email"))
    for call in (
        lambda: app.State(pb.StateRequest()),
        lambda: app.Forget(pb.ForgetRequest(all=True)),
        lambda: list(app.Export(pb.ExportRequest(passphrase="a long passphrase"))),
        lambda: app.Sync(pb.SyncRequest()),
        lambda: app.Recommend(pb.RecommendRequest(surface="push")),
        lambda: app.Recommend(pb.RecommendRequest(surface="homepage")),
        lambda: app.Rank(pb.RankRequest(surface="cart", items=["i1"])),
        lambda: app.NextAction(pb.NextActionRequest(surface="cart")),
        lambda: app.NextAction(
            pb.NextActionRequest(
                surface="home", actions=[pb.Action(name="a", kind="message", channel="push")]
            )
        ),
        lambda: app.Compose(pb.ComposeRequest(channel="sms")),
    ):
        assert status(call) is Code.PERMISSION_DENIED
    assert app.Recommend(pb.RecommendRequest(surface="home/top", k=1)).items
    mail = pb.Action(name="a", kind="message", channel="email")
    assert app.NextAction(pb.NextActionRequest(surface="home", actions=[mail])).id

    foreign = every.Recommend(pb.RecommendRequest(surface="cart", k=1))
    item = foreign.items[0].item_id
    absent = status(lambda: app.Explain(pb.ExplainRequest(decision_id="none", item=item)))
    for call in (
        lambda: app.Explain(pb.ExplainRequest(decision_id=foreign.id, item=item)),
        lambda: app.Shown(pb.ShownRequest(decision_id=foreign.id)),
        lambda: app.Outcome(
            pb.OutcomeRequest(decision_id=foreign.id, item=item, event="Product Added")
        ),
    ):
        assert status(call) is absent is Code.NOT_FOUND, "not even that it was made"
    assert every.Explain(pb.ExplainRequest(decision_id=foreign.id, item=item)).text
