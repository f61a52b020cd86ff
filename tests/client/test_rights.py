"""The verbs of a data subject, offline; `test_servers.py` takes them to a real ledger."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tacit.client import BadEvent, Catalogue, FileKeyProvider, Personalizer, UnknownEvent
from tacit.client.consent_record import verify_record
from tacit.client.participation import Participation
from tacit.client.rights_log import VERBS
from tacit.privacy.canonical import canonical_json
from tacit.privacy.errors import BadDocument
from tacit.privacy.signals import PURPOSES

NOW_MS = 1_800_000_000_000
ITEM = "i3-that-nobody-else-looked-at"


def _open(folder: Path) -> Personalizer:
    catalogue = Catalogue.build([(ITEM, "Item three", []), ("i4", "Item four", [])])
    return Personalizer.open(
        folder / "p.db", FileKeyProvider(folder / "p.key"), catalogue, clock_ms=lambda: NOW_MS
    )


@pytest.fixture
def pz(tmp_path: Path) -> Iterator[Personalizer]:
    with _open(tmp_path) as opened:
        opened.track("Product Viewed", {"product_id": ITEM, "from": "mail"}, event_id="v1")
        opened.track("Product Rated", {"product_id": "i4", "value": 4.5}, event_id="r1")
        opened.consent("learn", ["product_view", "rating"], True)
        yield opened


def _entry(round_id: int) -> Participation:
    return Participation("ab" * 32, round_id, "cd" * 32, 2.0, ("rating",), 2, NOW_MS)


def test_access_shows_everything_whatever_it_may_be_used_for(pz: Personalizer) -> None:
    pz.participation.enter(_entry(1))
    pz.consent("decide", None, False)  # nothing may be read for a decision any more
    document: Any = pz.rights.access().document
    assert [one["items"] for one in document["events"]] == [[ITEM], ["i4"]]
    assert json.loads(document["events"][0]["properties"]) == {"from": "mail"}
    assert float(document["events"][1]["value"]) == 4.5
    assert document["permitted"] == {
        "decide": [],
        "learn": ["product_view", "rating"],
        "measure": [],
    }
    assert [one["state"] for one in document["decisions"]] == ["given", "withdrawn"]
    assert document["contributions"][0]["round_id"] == 1


def test_access_shows_what_was_shown_and_what_is_not_wanted(pz: Personalizer) -> None:
    """Records of decisions hold scores and propensities, which canonical JSON has no floats for."""
    decision = pz.recommend("home", 1)
    pz.shown(decision.id, [item.item_id for item in decision.items])
    pz.opt_out("email")
    document: Any = pz.rights.access().document
    assert [row["row"] for row in document["shown"]] == ["decision", "shown"]
    assert document["shown"][0]["id"] == decision.id
    assert document["suppressed"]["channels"] == ["email"]
    assert canonical_json(document)


def test_what_is_handed_out_is_named_by_its_digest(pz: Personalizer) -> None:
    for handed in (pz.rights.access(), pz.rights.export()):
        digest = hashlib.sha256(canonical_json(handed.document)).hexdigest()
        assert handed.receipt.sha256 == digest
        assert not handed.receipt.pending


def test_rectify_corrects_or_deletes_one_event(pz: Personalizer) -> None:
    before = pz.events.read({"product_view", "rating"})
    pz.rights.rectify("r1", "Product Rated", {"product_id": "i4", "value": 1.0})
    corrected = pz.events.read({"rating"})
    assert [(one.sequence, one.event.value) for one in corrected] == [(2, 1.0)]
    assert corrected[0].event.recorded_at_ms == before[1].event.recorded_at_ms
    pz.rights.rectify("r1", "Product Viewed", {"product_id": "i4"})
    assert pz.events.read({"rating"}) == []
    assert len(pz.events.read({"product_view"})) == 2
    receipt = pz.rights.rectify("v1")
    assert [one.event.items for one in pz.events.read({"product_view"})] == [("i4",)]
    assert "deleted" in receipt.summary
    with pytest.raises(BadEvent, match="id of a recorded event"):
        pz.rights.rectify("v1")
    with pytest.raises(UnknownEvent):
        pz.rights.rectify("r1", "Shoe Size Measured")
    with pytest.raises(BadEvent, match="no consent covers"):
        pz.rights.rectify("r1", "coarse_location")


def test_withdrawing_is_as_easy_as_agreeing(pz: Personalizer) -> None:
    pz.consent("measure", ["rating"], True)
    receipt = pz.rights.withdraw("learn", ["rating"])
    assert pz.state().consents["learn"] == {"product_view"}
    assert (receipt.consents, receipt.pending) == ((3,), True)
    pz.rights.withdraw()  # one call, no reason asked, everything
    assert not any(pz.state().consents.values())
    assert [one.purpose for one in _decisions(pz)[3:]] == list(PURPOSES)
    assert pz.rights.withdraw().consents == ()  # nothing was left
    with pytest.raises(BadEvent):
        pz.rights.withdraw("sell")


def test_an_objection_goes_on_record_even_where_nothing_was_granted(pz: Personalizer) -> None:
    pz.rights.object("measure")
    pz.rights.object("decide")  # implied, never asked
    assert [(one.purpose, one.state) for one in _decisions(pz)[1:]] == [
        ("measure", "refused"),
        ("decide", "withdrawn"),
    ]
    assert pz.state().consents["decide"] == frozenset()
    assert not pz.track("Product Viewed", {"product_id": "i4"}).recorded or (
        "product_view" in pz.state().consents["learn"]
    )
    with pytest.raises(BadEvent):
        pz.rights.object("sell")


def test_receipts_are_kept_and_numbered(tmp_path: Path, pz: Personalizer) -> None:
    pz.rights.access()
    pz.rights.export()
    pz.rights.rectify("v1")
    pz.rights.withdraw("learn")
    pz.rights.object("measure")
    made = pz.rights.receipts()
    pz.close()
    with _open(tmp_path) as again:
        assert again.rights.receipts() == made
        assert [one.number for one in made] == [1, 2, 3, 4, 5]
        assert {one.verb for one in made} == set(VERBS) - {"erase"}


def test_before_enrolment_erasure_is_done_at_once(tmp_path: Path, pz: Personalizer) -> None:
    pz.participation.enter(_entry(1))
    pz.rights.access()
    identity, secret = pz.device_id, pz.facts.device_secret()
    receipt = pz.rights.erase()
    assert not receipt.pending
    assert pz.device_id != identity
    assert pz.facts.device_secret() != secret
    state = pz.state()
    assert (state.events, state.rounds, state.pending_consents) == (0, 0, 0)
    assert [one.verb for one in pz.rights.receipts()] == ["access", "erase"]
    pz.track("Product Viewed", {"product_id": "i4"})
    pz.consent("learn", ["product_view"], True)
    pz.close()
    with _open(tmp_path) as again:
        assert (again.state().events, again.state().pending_consents) == (1, 1)
        assert [one.verb for one in again.rights.receipts()] == ["access", "erase"]


def test_enrolled_the_device_forgets_at_once_and_the_ledger_at_the_next_sync(
    tmp_path: Path, pz: Personalizer
) -> None:
    pz.enrolled("people")
    identity = pz.device_id
    receipt = pz.rights.erase()
    assert receipt.pending
    assert pz.rights.erase() == receipt  # asked once, pending once
    state = pz.state()
    assert (state.events, state.releases) == (0, {})
    assert not any(state.consents.values())
    assert pz.device_id == identity  # it must still sign
    assert not pz.track("Product Viewed", {"product_id": "i4"}).recorded
    pz.close()
    with _open(tmp_path) as again:
        assert again.rights.erasure_pending
        assert again.device_id == identity


def test_erasure_leaves_no_old_key_and_no_old_row(tmp_path: Path, pz: Personalizer) -> None:
    with pz.store.reading() as connection:
        held = [row[0] for row in connection.execute("SELECT sealed FROM events")]
        held += [row[0] for row in connection.execute("SELECT sealed FROM consents")]
        held += [row[0] for row in connection.execute("SELECT wrapped FROM data_keys")]
    files = [path for path in tmp_path.iterdir() if path.name.startswith("p.db")]
    before = b"".join(path.read_bytes() for path in files)
    assert all(one in before for one in held)
    pz.rights.erase()
    for path in files:
        content = path.read_bytes()
        assert not [one for one in held if one in content], path


def test_an_erasure_that_waits_for_the_ledger_leaves_no_old_row_and_no_copy(
    tmp_path: Path, pz: Personalizer
) -> None:
    pz.enrolled("people")
    pz.recommend()
    pz.store.checkpoint()
    copy = tmp_path / "p.db.damaged-1"
    copy.write_bytes((tmp_path / "p.db").read_bytes())
    with pz.store.reading() as connection:
        held = [row[0] for row in connection.execute("SELECT sealed FROM events")]
        held += [row[0] for row in connection.execute("SELECT sealed FROM decisions")]
    assert all(one in copy.read_bytes() for one in held)
    assert pz.rights.erase().pending
    assert not copy.exists()
    for path in (one for one in tmp_path.iterdir() if one.name.startswith("p.db")):
        content = path.read_bytes()
        assert not [one for one in held if one in content], path


def test_no_kill_leaves_a_receipt_of_an_erasure_that_nobody_asks_the_ledger_for(
    pz: Personalizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pz.enrolled("people")
    put, written = pz.facts.put, list[str]()

    def killed_later(name: str, content: bytes) -> None:
        put(name, content)
        written.append(name)
        if pz.rights.receipts():  # from here on the person reads that they were erased
            raise KeyboardInterrupt

    monkeypatch.setattr(pz.facts, "put", killed_later)
    with pytest.raises(KeyboardInterrupt):
        pz.rights.erase()
    assert pz.rights.erasure_pending


def test_an_export_is_an_iso_27560_record_in_dpv_terms(pz: Personalizer) -> None:
    pz.rights.withdraw("learn")
    pz.consent("measure", ["rating"], True, gpc=True)
    document: Any = pz.rights.export().document
    json.dumps(document)
    given, withdrawn, conflict = document["records"]
    assert set(given) == {
        "@context",
        "schema_version",
        "record_id",
        "pii_principal_id",
        "pii_processing",
        "events",
        "party_identification",
        "proof",
    }
    (purpose,) = given["pii_processing"]["purposes"]
    assert purpose["purpose_type"] == PURPOSES["learn"]
    assert purpose["lawful_basis"] == "dpv:Consent"
    assert [one["pii_attribute_id"] for one in purpose["pii_information"]] == [
        "product_view",
        "rating",
    ]
    assert purpose["withdrawal_method"]
    states = [one["events"][0]["event_state"] for one in (given, withdrawn, conflict)]
    assert states == ["dpv:ConsentGiven", "dpv:ConsentWithdrawn", "dpv:ConsentRefused"]
    assert given["events"][0]["event_time"] == "2027-01-15T08:00:00.000Z"
    assert conflict["events"][0]["gpc"] == {"present": True, "conflict": True}
    # Nobody can link the records of two purposes by the name they give the person.
    assert given["pii_principal_id"] == withdrawn["pii_principal_id"]
    assert given["pii_principal_id"] != conflict["pii_principal_id"]
    assert given["proof"]["receipt"] is None
    with pytest.raises(BadDocument, match="receipt"):
        verify_record(given, "t.example/consent", bytes(32))


class TestGlobalPrivacyControl:
    def test_it_contradicts_a_stored_opt_in_which_then_counts_as_refused(
        self, pz: Personalizer
    ) -> None:
        pz.observe_gpc(True)
        conflict = _decisions(pz)[-1]
        assert (conflict.purpose, conflict.state) == ("learn", "given")
        assert (conflict.gpc_present, conflict.gpc_conflict) == (True, True)
        assert conflict.signals == ("product_view", "rating")
        assert pz.state().consents["learn"] == frozenset()
        pz.observe_gpc(True)
        assert len(_decisions(pz)) == 2  # recorded once

    def test_a_grant_under_it_is_a_conflict_too_until_it_is_gone(
        self, tmp_path: Path, pz: Personalizer
    ) -> None:
        pz.observe_gpc(True)
        pz.close()
        with _open(tmp_path) as again:
            assert again.gpc_present
            again.consent("learn", ["rating"], True)
            assert again.state().consents["learn"] == frozenset()
            again.observe_gpc(False)
            assert again.state().consents["learn"] == frozenset()  # nothing comes back by itself
            again.consent("learn", ["rating"], True)
            assert again.state().consents["learn"] == {"rating"}

    def test_it_leaves_decisions_on_the_device_alone(self, pz: Personalizer) -> None:
        pz.observe_gpc(True)
        assert "rating" in pz.state().consents["decide"]
        pz.consent("decide", ["rating"], False)
        pz.consent("decide", ["rating"], True)
        assert "rating" in pz.state().consents["decide"]


class TestImpliedAndExpired:
    def test_only_decide_on_basic_signals_is_implied(self, tmp_path: Path) -> None:
        with _open(tmp_path) as fresh:
            state = fresh.state().consents
            assert "product_view" in state["decide"]
            assert "coarse_location" not in state["decide"]
            assert (state["learn"], state["measure"]) == (frozenset(), frozenset())
            assert _decisions(fresh) == []  # and no event pretends that somebody said so

    def test_an_expired_grant_permits_nothing_and_a_new_one_is_needed(
        self, pz: Personalizer
    ) -> None:
        valid_until_ms = _decisions(pz)[0].valid_until_ms
        pz.clock_ms = lambda: valid_until_ms - 1
        assert pz.state().consents["learn"]
        pz.clock_ms = lambda: valid_until_ms
        assert pz.state().consents["learn"] == frozenset()
        pz.consent("learn", ["rating"], True)
        assert pz.state().consents["learn"] == {"rating"}  # what had lapsed is not revived


def _decisions(pz: Personalizer) -> list[Any]:
    return [event for _, event in pz.consents.signed()]


def test_receipts_read_back(pz: Personalizer) -> None:
    receipt = pz.rights.withdraw("learn")
    changed = dataclasses.replace(receipt, pending=False, statement="ab", summary="x")
    assert type(receipt).from_bytes(changed.to_bytes()) == changed
