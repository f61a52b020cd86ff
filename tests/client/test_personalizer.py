"""The facade: what an app sees, offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tacit.client import (
    BadCatalogue,
    BadEvent,
    Catalogue,
    FileKeyProvider,
    Personalizer,
    Recency,
    StoreClosed,
    StoreDamaged,
    UnknownDecision,
    UnknownEvent,
)
from tacit.client.installed import InstalledRelease
from tacit.client.store import ERASING, Store
from tacit.privacy.arrays import pack_arrays
from tacit.privacy.release import ReleaseManifest

TITLES = ["Copper kettle", "Tea tin", "Oak chair", "Desk lamp", "Garden hose", "Rake", "Teapot"]
KINDS = ["kitchen", "kitchen", "room", "room", "garden", "garden", "kitchen"]
DAY_MS = 86_400_000


class Clock:
    def __init__(self) -> None:
        self.now_ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now_ms


def _catalogue() -> Catalogue:
    rows = zip(TITLES, KINDS, strict=True)
    return Catalogue.build((f"p{n}", title, [kind]) for n, (title, kind) in enumerate(rows))


def _open(folder: Path, **options: Any) -> Personalizer:
    options.setdefault("catalogue", _catalogue())
    options.setdefault("exploration", None)
    return Personalizer.open(folder / "p.db", FileKeyProvider(folder / "p.key"), **options)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pz(tmp_path: Path, clock: Clock) -> Iterator[Personalizer]:
    with _open(tmp_path, clock_ms=clock) as opened:
        yield opened


def _install(pz: Personalizer, version: int = 1, catalogue: Catalogue | None = None) -> None:
    """Install a model in which kitchen things and the rest pull in opposite directions."""
    loadings = np.array([[0.05], [0.06], [-0.05], [-0.05], [-0.05], [-0.03], [0.07]])
    popularity = np.array([0.1, 0.1, 0.2, 0.2, 0.2, 0.1, 0.1])
    blob = pack_arrays(
        {
            "popularity": popularity,
            "loadings": loadings,
            "prior_variance": np.ones(1),
            "item_variance": popularity,
        }
    )
    manifest = ReleaseManifest(
        population="p",
        version=version,
        task_sha256="0" * 64,
        model_sha256="0" * 64,
        model_bytes=len(blob),
        catalogue_sha256=(catalogue or _catalogue()).digest.hex(),
        reservations=("r",),
        epsilon=1.0,
        target_delta=1e-3,
        created_at_ms=0,
    )
    pz.releases.put(InstalledRelease(manifest, blob))
    pz.reload()


# --- track


def test_track_is_idempotent_by_event_id(pz: Personalizer) -> None:
    first = pz.track("Product Viewed", {"product_id": "p1"}, event_id="e")
    again = pz.track("Product Viewed", {"product_id": "p1"}, event_id="e")
    assert (first.recorded, first.duplicate, first.sequence) == (True, False, 1)
    assert (again.recorded, again.duplicate, again.sequence) == (True, True, 1)
    assert pz.track("Product Viewed", {"product_id": "p1"}).sequence == 2
    assert pz.state().events == 2


def test_an_order_names_all_its_products(pz: Personalizer) -> None:
    products = [{"product_id": "p0", "quantity": 2}, {"product_id": "p3"}]
    pz.track("Order Completed", {"products": products, "total": 12.5}, ts=5)
    (logged,) = pz.events.read(["purchase"])
    assert logged.event.items == ("p0", "p3")
    assert logged.event.recorded_at_ms == 5
    assert logged.event.properties == {"products": products, "total": 12.5}


def test_a_rating_keeps_its_value(pz: Personalizer) -> None:
    pz.rate("p2", 4.5)
    (logged,) = pz.events.read(["rating"])
    assert (logged.event.items, logged.event.value) == (("p2",), 4.5)


def test_an_unknown_event_is_refused_without_repeating_it(pz: Personalizer) -> None:
    with pytest.raises(UnknownEvent, match="Order Completed") as caught:
        pz.track("Blood Pressure Taken", {})
    assert "Blood" not in str(caught.value)
    assert pz.state().events == 0


BAD_EVENTS: list[tuple[str, dict[str, object]]] = [
    ("Product Viewed", {"product_id": 7}),
    ("Product Viewed", {"product_id": ""}),
    ("Product Rated", {"product_id": "p1", "value": "five"}),
    ("Product Rated", {"product_id": "p1", "value": True}),
    ("Product Rated", {"product_id": "p1", "value": float("nan")}),
    ("Page Viewed", {"seconds": float("inf")}),
    ("Page Viewed", {"object": object()}),
    ("Page Viewed", {"text": "x" * 20_000}),
    ("Order Completed", {"products": "p1"}),
    ("Order Completed", {"products": [3]}),
    ("Order Completed", {"products": [{}]}),
    ("health", {}),
]


@pytest.mark.parametrize(("name", "properties"), BAD_EVENTS)
def test_unusable_events_are_refused(
    pz: Personalizer, name: str, properties: dict[str, object]
) -> None:
    with pytest.raises(BadEvent):
        pz.track(name, properties)
    assert pz.state().events == 0


def test_a_batch_with_a_bad_event_records_none(pz: Personalizer) -> None:
    with pytest.raises(BadEvent):
        pz.track_all([("Page Viewed", {}, None, None), ("Page Viewed", {}, None, -1)])
    assert pz.state().events == 0


def test_signals_that_no_consent_covers_are_not_recorded(pz: Personalizer) -> None:
    assert not pz.track("coarse_location", {"value": 7}).recorded
    pz.consent("measure", ["coarse_location"], True)
    assert pz.track("coarse_location", {"value": 7}).recorded
    pz.consent("decide", None, False)
    assert not pz.track("Product Viewed", {"product_id": "p1"}).recorded
    assert pz.state().events == 1


# --- consent


def test_nothing_is_granted_to_start_with_but_deciding_on_basic_signals(pz: Personalizer) -> None:
    consents = pz.state().consents
    assert consents["learn"] == consents["measure"] == frozenset()
    assert "product_view" in consents["decide"]
    assert "coarse_location" not in consents["decide"]


def test_grants_add_and_refusals_take_away(pz: Personalizer) -> None:
    pz.consent("learn", ["rating", "purchase"], True)
    pz.consent("learn", ["product_view"], True)
    pz.consent("learn", ["purchase"], False)
    assert pz.state().consents["learn"] == {"rating", "product_view"}
    pz.consent("learn", None, False)
    assert pz.state().consents["learn"] == frozenset()
    assert pz.state().pending_consents == 4


def test_consent_survives_reopening_and_lapses(tmp_path: Path, clock: Clock) -> None:
    with _open(tmp_path, clock_ms=clock) as pz:
        pz.consent("learn", ["rating"], True)
    with _open(tmp_path, clock_ms=clock) as pz:
        assert pz.state().consents["learn"] == {"rating"}
        clock.now_ms += 365 * DAY_MS
        assert pz.state().consents["learn"] == frozenset()


def test_a_privacy_control_signal_turns_a_grant_into_a_refusal(pz: Personalizer) -> None:
    pz.consent("learn", ["rating"], True, gpc=True)
    assert pz.state().consents["learn"] == frozenset()
    pz.consent("learn", ["rating"], True)
    assert pz.state().consents["learn"] == {"rating"}


@pytest.mark.parametrize(
    ("purpose", "signals"),
    [("sell", ["rating"]), ("learn", ["shoe size"]), ("learn", []), ("learn", ["health"])],
)
def test_consent_that_cannot_be_given_is_refused(
    pz: Personalizer, purpose: str, signals: list[str]
) -> None:
    with pytest.raises(BadEvent):
        pz.consent(purpose, signals, True)
    assert pz.state().pending_consents == 0


def test_a_consent_removed_from_the_chain_is_noticed(tmp_path: Path) -> None:
    with _open(tmp_path) as pz:
        pz.consent("learn", ["rating"], True)
        pz.consent("learn", None, False)
        pz.consent("measure", ["rating"], True)
        with pz.store.power_safe() as connection:
            connection.execute("DELETE FROM consents WHERE sequence = 2")
    with _open(tmp_path) as pz, pytest.raises(StoreDamaged, match="chain"):
        pz.state()


# --- recommend and explain


def test_without_a_model_categories_decide(pz: Personalizer) -> None:
    blank = pz.recommend(k=3, diversity=0.0)
    assert [item.item_id for item in blank.items] == ["p0", "p1", "p2"]
    assert {item.source for item in blank.items} == {"fallback"}
    assert blank.model_version == 0
    pz.track("Product Viewed", {"product_id": "p4"})
    first = pz.recommend(k=3).items[0]
    assert (first.item_id, first.reasons) == ("p5", ("more garden",))


def test_with_a_model_and_no_history_popularity_decides(pz: Personalizer) -> None:
    _install(pz)
    decision = pz.recommend(k=7, diversity=0.0)
    assert [item.item_id for item in decision.items[:3]] == ["p2", "p3", "p4"]
    assert {item.source for item in decision.items} == {"popular"}
    assert decision.model_version == 1
    assert "Nothing of yours" in pz.explain(decision.id, "p2").text


def test_with_a_model_the_history_decides(pz: Personalizer) -> None:
    _install(pz)
    pz.track("Product Viewed", {"product_id": "p0"})
    pz.track("Product Added", {"product_id": "p1"})
    decision = pz.recommend(k=2)
    assert decision.items[0].item_id == "p6"
    assert decision.items[0].source == "model"
    assert "put Tea tin in your cart" in decision.items[0].reasons[0]


def test_what_the_user_met_is_masked_and_excluded_items_never_shown(pz: Personalizer) -> None:
    _install(pz)
    pz.track("Product Viewed", {"product_id": "p2"})
    shown = {item.item_id for item in pz.recommend(k=7, exclude=["p3", "unheard of"]).items}
    assert shown == {"p0", "p1", "p4", "p5", "p6"}


def test_the_screen_stays_filled_until_everything_is_owned(pz: Personalizer) -> None:
    for n in range(7):
        pz.track("Product Viewed", {"product_id": f"p{n}"})
    assert len(pz.recommend(k=7).items) == 7
    pz.track("Order Completed", {"products": [{"product_id": f"p{n}"} for n in range(6)]})
    assert [item.item_id for item in pz.recommend(k=7).items] == ["p6"]


def test_refusing_to_decide_hides_the_history_from_decisions(pz: Personalizer) -> None:
    _install(pz)
    pz.track("Product Viewed", {"product_id": "p0"})
    assert pz.recommend().items[0].source == "model"
    pz.consent("decide", None, False)
    decision = pz.recommend(k=7)
    assert {item.source for item in decision.items} == {"popular"}
    assert "p0" in {item.item_id for item in decision.items}


def test_an_explanation_adds_up_and_cites_what_matters(pz: Personalizer) -> None:
    _install(pz)
    pz.track("Product Viewed", {"product_id": "p0"})
    pz.track("Order Completed", {"products": [{"product_id": "p1"}]})
    pz.track("Product Viewed", {"product_id": "p4"})
    decision = pz.recommend(k=1)
    assert decision.items[0].item_id == "p6"
    told = pz.explain(decision.id, "p6")
    assert told.base + told.history == pytest.approx(told.score, rel=1e-12)
    assert told.score == decision.items[0].score
    assert {event.item_id for event in told.cited} == {"p0", "p1"}
    assert sum(event.percent for event in told.cited) == pytest.approx(100)
    assert all(event.deletion_delta > 0 for event in told.cited)
    assert told.text.startswith("Because you bought Tea tin (")
    assert "viewed Copper kettle (" in told.text
    assert "Garden hose" not in told.text


def test_a_cited_event_lowers_the_score_when_it_never_happened(
    tmp_path: Path, pz: Personalizer
) -> None:
    viewed = ["p0", "p1", "p4"]
    _install(pz)
    for item in viewed:
        pz.track("Product Viewed", {"product_id": item})
    decision = pz.recommend(k=7)
    told = pz.explain(decision.id, "p6")
    for event in told.cited:
        with _open(tmp_path / event.item_id) as without:
            _install(without)
            for item in viewed:
                if item != event.item_id:
                    without.track("Product Viewed", {"product_id": item})
            scores = {item.item_id: item.score for item in without.recommend(k=7).items}
        assert told.score - scores["p6"] == pytest.approx(event.deletion_delta)


def test_recency_lets_the_newest_weigh_most(tmp_path: Path) -> None:
    shares: dict[bool, dict[str, float]] = {}
    for recent in (False, True):
        with _open(tmp_path / str(recent), recency=Recency(0.1, 1.0) if recent else None) as pz:
            _install(pz)
            for item in ("p0", "p5", "p1"):
                pz.track("Product Viewed", {"product_id": item})
            decision = pz.recommend(k=7)
            cited = pz.explain(decision.id, "p6").cited
            shares[recent] = {event.item_id: event.percent for event in cited}
    assert shares[True]["p1"] > shares[False]["p1"]
    assert shares[True]["p0"] < shares[False]["p0"]
    with pytest.raises(BadEvent):
        Recency(-0.1, 1.0)


def test_only_what_was_shown_is_explained(pz: Personalizer) -> None:
    decision = pz.recommend(k=1)
    for decision_id, item in (("other", "p0"), (decision.id, "p5"), (decision.id, "nothing")):
        with pytest.raises(UnknownDecision):
            pz.explain(decision_id, item)


def test_a_model_of_another_catalogue_is_not_used(pz: Personalizer) -> None:
    _install(pz, catalogue=Catalogue.build([("x", "X", [])]))
    assert pz.recommend().model_version == 0
    assert pz.recommend().items[0].source == "fallback"


def test_an_installed_model_that_this_client_cannot_read_is_not_used(pz: Personalizer) -> None:
    _install(pz)
    release = pz.releases.get()
    assert release is not None
    pz.releases.put(InstalledRelease(release.manifest, pack_arrays({"popularity": np.ones(7)})))
    pz.reload()
    assert pz.recommend().items[0].source == "fallback"


def test_without_a_catalogue_events_are_kept_and_nothing_is_recommended(tmp_path: Path) -> None:
    with _open(tmp_path, catalogue=None) as pz:
        assert pz.track("Product Viewed", {"product_id": "p1"}).recorded
        with pytest.raises(BadCatalogue):
            pz.recommend()
    with _open(tmp_path) as pz, pytest.raises(BadEvent):
        pz.recommend(k=0)


# --- forget


def test_forgetting_leaves_nothing_and_the_next_opening_is_a_new_device(tmp_path: Path) -> None:
    pz = _open(tmp_path)
    pz.track("Product Viewed", {"product_id": "p1"})
    pz.consent("learn", ["rating"], True)
    before = pz.state()
    with pz.store.reading() as connection:
        (wrapped,) = connection.execute("SELECT wrapped FROM data_keys").fetchone()
        (sealed,) = connection.execute("SELECT sealed FROM events").fetchone()
    written = b"".join(p.read_bytes() for p in tmp_path.glob("p.db*"))
    assert wrapped in written
    assert sealed in written
    forgotten = pz.forget(all=True)
    assert forgotten.rows_erased >= 4
    assert forgotten.bytes_scanned > 0
    left = b"".join(p.read_bytes() for p in tmp_path.glob("p.db*"))
    assert wrapped not in left
    assert sealed not in left
    with pytest.raises(StoreClosed):
        pz.track("Page Viewed")
    with _open(tmp_path) as fresh:
        assert fresh.device_id != before.device_id
        assert (fresh.state().events, fresh.state().pending_consents) == (0, 0)


def test_a_kill_during_erasure_is_finished_on_opening(tmp_path: Path) -> None:
    pz = _open(tmp_path)
    pz.track("Product Viewed", {"product_id": "p1"})
    with pz.store.reading() as connection:
        (wrapped,) = connection.execute("SELECT wrapped FROM data_keys").fetchone()
    # The erasing transaction committed, then the process died: the log was never cut.
    with pz.store.power_safe() as connection:
        for table in ("data_keys", "facts", "events", "consents", "participation", "decisions"):
            connection.execute(f"DELETE FROM {table}")
        pz.store.set_meta(connection, ERASING, 1)
    copied = tmp_path / "after-kill"
    copied.mkdir()
    for path in [*tmp_path.glob("p.db*"), tmp_path / "p.key"]:
        (copied / path.name).write_bytes(path.read_bytes())
        (copied / path.name).chmod(0o600)
    pz.close()
    assert any(wrapped in path.read_bytes() for path in copied.glob("p.db*"))
    with Store.open(copied / "p.db", FileKeyProvider(copied / "p.key")) as store:
        assert store.meta(ERASING) == 0
        assert not any(wrapped in path.read_bytes() for path in copied.glob("p.db*"))
