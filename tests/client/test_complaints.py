"""What users of other systems complain of, each answered by what this one does.

One test a complaint; the docstring names the issue where it was made.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tacit.client import Action, DevicePolicy, Exploration, FileKeyProvider, Personalizer
from tacit.client.guardrails import DEFAULT_GUARDRAILS, sign_policy
from tacit.client.guardrails.document import GuardrailPolicy, Limit, Rule
from tacit.privacy.signatures import SigningKey

HOUR_MS = 3_600_000


_WRITER = """
    import sys
    from pathlib import Path
    from tacit.client import FileKeyProvider, Personalizer
    folder = Path(sys.argv[1])
    pz = Personalizer.open(folder / "p.db", FileKeyProvider(folder / "p.key"))
    for n in range(100_000):
        pz.track("Product Viewed", {"product_id": f"i{n}"}, event_id=f"visit-{n}")
        print(n + 1, flush=True)
"""


def test_segment_rn_833_no_event_is_lost_at_a_kill_nor_after_a_thousand(tmp_path: Path) -> None:
    """Segment analytics-react-native 833, analytics-android 701: events lost on kill, after 1,000.

    A process that tracked more than 1,000 events is killed in the middle of another; each one it
    was told of is there, in order, once.
    """
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_WRITER), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    with writer.stdout:
        acknowledged = 0
        while acknowledged < 1_200:
            acknowledged = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        whole = [line for line in writer.stdout.read().splitlines(keepends=True) if "\n" in line]
        acknowledged = int(whole[-1]) if whole else acknowledged
    writer.wait()
    with Personalizer.open(tmp_path / "p.db", FileKeyProvider(tmp_path / "p.key")) as pz:
        held = [e.event.items[0] for e in pz.events.read(["product_view"])]
        assert len(held) >= acknowledged >= 1_200
        assert held == [f"i{n}" for n in range(len(held))]
        assert pz.track("Product Viewed", {"product_id": "i0"}, event_id="visit-0").duplicate


def test_amplify_swift_2401_offline_events_are_kept_and_count(shop: Any) -> None:
    """amplify-swift 2401: events recorded while offline are dropped.

    There is no network in this test. Events of three openings over ten days are all there, oldest
    first, and decide what is recommended.
    """
    for day in range(3):
        with shop.open() as pz:
            for n in range(50):
                pz.track("Product Viewed", {"product_id": f"i{4 * (n % 3)}"}, event_id=f"{day}/{n}")
        shop.clock.sleep(hours=80)
    with shop.open() as pz:
        logged = pz.events.read(["product_view"])
        assert [e.event.event_id for e in logged] == [
            f"{d}/{n}" for d in range(3) for n in range(50)
        ]
        decision = pz.recommend(k=3)
        assert decision.basis == "rule"
        assert all("Kitchen" in item.reasons[0] for item in decision.items)


def test_amplify_js_9644_every_decision_has_an_id_that_impressions_and_outcomes_name(
    shop: Any, device: Personalizer
) -> None:
    """amplify-js 9644: no recommendationId, and no impression, to tie an event to.

    What was decided, shown and came of it are told apart by the decision's id, across restarts.
    """
    first, second = device.recommend(k=3), device.recommend(k=3)
    assert first.id != second.id
    device.shown(first.id, [first.items[0].item_id])
    device.close()
    with shop.open() as pz:
        item = first.items[0].item_id
        pz.outcome(first.id, item, "Product Clicked")
        assert [(r["row"], r["id"], r["items"]) for r in pz.journal.rows()] == [
            ("decision", first.id, [i.item_id for i in first.items]),
            ("decision", second.id, [i.item_id for i in second.items]),
            ("shown", first.id, [item]),
            ("outcome", first.id, [item]),
        ]
        (event,) = pz.events.read(["product_view"])
        assert event.event.properties["decision_id"] == first.id


def test_recommendations_ai_12_a_purge_really_deletes(shop: Any) -> None:
    """python-recommendations-ai 12: purge reports success and deletes nothing.

    The rows are gone, their sealed bytes are in no file of the store, decisions no longer go by
    them, and an app that sends the same again does not bring them back.
    """
    with shop.open() as pz:
        for n in range(5):
            pz.track("Product Viewed", {"product_id": f"i{4 * n}"}, event_id=f"visit-{n}")
        with pz.store.reading() as connection:
            sealed = [row[0] for row in connection.execute("SELECT sealed FROM events")]
        assert pz.forget(since=0).rows_erased == 5
        files = b"".join(p.read_bytes() for p in shop.folder.glob("p.db*"))
        assert not any(one in files for one in sealed)
        assert pz.state().events == 0
        assert pz.recommend().basis == "fallback"
        assert pz.rights.access().document["events"] == []
        assert not pz.track("Product Viewed", {"product_id": "i0"}, event_id="visit-0").recorded
        pz.track("Product Viewed", {"product_id": "i0"})
        with pz.store.reading() as connection:
            (wrapped,) = connection.execute("SELECT wrapped FROM data_keys").fetchone()
        pz.forget(all=True)
    files = b"".join(p.read_bytes() for p in shop.folder.glob("p.db*"))
    assert wrapped not in files


def test_gorse_764_hidden_items_stay_hidden_everywhere(shop: Any) -> None:
    """Gorse 764: hidden items are recommended all the same.

    Items hidden by the app's policy are in no answer of any verb: not recommended, promoted,
    ranked, offered, explored, nor for lack of anything else.
    """
    hidden = {"i0", "i4", "i8"}
    key = SigningKey(bytes(range(32)))
    policy = GuardrailPolicy(
        "shop", 1, 0, (Rule("hidden", "exclude", items=tuple(sorted(hidden))),)
    )
    signed = sign_policy(policy, key)
    with shop.open(exploration=Exploration(0.9)) as pz:
        shop.install(pz, shop.model())
        pz.install_guardrails(signed, key.public_key)
        for n in range(8):
            pz.track("Product Viewed", {"product_id": f"i{n * 3 % 24}"})
        for _ in range(40):
            assert not hidden & {i.item_id for i in pz.recommend(k=24).items}
        promoted = pz.recommend(promote=sorted(hidden), seed_items=["i4"])
        ranked = pz.rank("home", ["i0", "i1", "i4"])
        assert not hidden & {i.item_id for i in promoted.items}
        assert [i.item_id for i in ranked.items] == ["i1"]
        chosen = pz.next_action("home", [Action("offer", "offer", item="i0")])
        assert chosen.action.name == "wait"
        for n in range(24):
            pz.track("Order Completed", {"products": [{"product_id": f"i{n}"}]})
        assert not hidden & {i.item_id for i in pz.recommend(k=24).items}
        assert pz.explain(ranked.id, "i0").rules == ("hidden",)


def test_gorse_742_people_of_different_tastes_do_not_see_the_same_popular_items(shop: Any) -> None:
    """Gorse 742: everyone gets the same popular items.

    Four people, each of one group of items: what they see differs pairwise, and is mostly theirs;
    the popularity order alone would show all of them the same.
    """
    seen: list[list[str]] = []
    for group in range(4):
        with shop.open(f"person-{group}") as pz:
            shop.install(pz, shop.model())
            strangers = [i.item_id for i in pz.recommend(k=6).items]
            for n in range(3):
                pz.track("Product Viewed", {"product_id": f"i{4 * n + group}"})
            decision = pz.recommend(k=6, diversity=0.0)
            assert decision.basis == "model"
            seen.append([i.item_id for i in decision.items])
            own = [item for item in seen[-1] if int(item[1:]) % 4 == group]
            assert len(own) == 3, "everything of the group that was not met yet"
            assert seen[-1][:3] == own
            assert seen[-1] != strangers
    for one, other in itertools.combinations(seen, 2):
        assert not set(one[:3]) & set(other[:3])


def test_gorse_784_what_was_looked_at_longer_weighs_more(shop: Any) -> None:
    """Gorse 784: a glance counts as much as minutes of reading.

    Two people looked at the same two items, one long at the first and one long at the second: the
    group of what was read comes first for each, and the share of it is the larger one.
    """
    tops: list[int] = []
    for name, (first, second) in {"a": (120_000, 400), "b": (400, 120_000)}.items():
        with shop.open(name) as pz:
            shop.install(pz, shop.model())
            pz.track("Product Viewed", {"product_id": "i0", "dwell_ms": first})
            pz.track("Product Viewed", {"product_id": "i1", "dwell_ms": second})
            decision = pz.recommend(k=4, diversity=0.0)
            tops.append(int(decision.items[0].item_id[1:]) % 4)
            told = pz.explain(decision.id, decision.items[0].item_id)
            assert int(told.cited[0].item_id[1:]) == tops[-1]
    assert tops == [0, 1]


def test_gorse_1234_exclude_lists_and_dislikes_hold(shop: Any, device: Personalizer) -> None:
    """Gorse 1234, 244: no exclude list for a request, no way to say that one dislikes an item.

    Both hold at once and together; a dislike holds for items and categories, across restarts and
    without any consent, and can be taken back.
    """
    every = {i.item_id for i in device.recommend(k=24).items}
    assert len(every) == 24
    assert {i.item_id for i in device.recommend(k=24, exclude=["i1", "i2"]).items} == every - {
        "i1", "i2",
    }  # fmt: skip
    device.prefer("item", "i3", -1.0)
    device.prefer("category", "Garden", -0.2)
    device.consent("decide", None, False)
    device.close()
    garden = {f"i{n}" for n in range(24) if n % 4 == 1}
    with shop.open() as pz:
        left = {i.item_id for i in pz.recommend(k=24, exclude=["i2"]).items}
        assert left == every - garden - {"i2", "i3"}
        pz.prefer("category", "Garden", 0.0)
        assert garden <= {i.item_id for i in pz.recommend(k=24).items}


def test_gorse_1217_metarank_1543_what_is_kept_does_not_grow_without_end(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gorse 1217, metarank 1543: memory grows until the process is killed.

    Under the same load day by day, rows and bytes of the store, and what is held in memory, stop
    growing once the times that signals and decisions are kept have been reached.
    """
    monkeypatch.setattr("tacit.client.journal.KEPT_DAYS", 30)
    policy = DevicePolicy(retention_days={"search": 18, "dwell": 18, "product_view": 36})
    sizes: list[tuple[int, int, int, int]] = []
    with shop.open(policy=policy) as pz:
        for day in range(120):
            pz.track("Products Searched", {"query": f"tea {day}"})
            pz.track("Product Viewed", {"product_id": f"i{day % 24}", "dwell_ms": 1_000})
            pz.recommend(k=3)
            if day % 40 == 39:
                rows = len(pz.journal.rows())
                held = len(pz._moments.events(pz.consents.permitted("decide", shop.clock.now_ms)))
                pz.store.checkpoint()
                size = (shop.folder / "p.db").stat().st_size
                sizes.append((pz.state().events, rows, held, size))
            shop.clock.sleep(hours=24)
    assert [size[0] for size in sizes] == [36 + 18 + 18] * 3
    assert [size[1] for size in sizes] == [sizes[0][1]] * 3
    assert [size[2] for size in sizes] == [36 + 18 + 18] * 3
    assert sizes[2][3] <= sizes[1][3] <= 1.1 * sizes[0][3]


def test_metarank_804_an_explicit_preference_counts_at_once(
    shop: Any, device: Personalizer
) -> None:
    """Metarank 804: no way to use what people say they like.

    A stated liking decides without any behaviour, is cited as what it is, outweighs a view, and is
    forgotten when taken back.
    """
    shop.install(device, shop.model())
    device.track("Product Viewed", {"product_id": "i1"})
    assert int(device.recommend(k=1, diversity=0.0).items[0].item_id[1:]) % 4 == 1
    device.prefer("category", "Study", 1.0)
    device.prefer("item", "i6", 1.0)
    decision = device.recommend(k=1, diversity=0.0)
    item = decision.items[0].item_id
    assert int(item[1:]) % 4 == 2
    assert device.explain(decision.id, item).cited[0].signal == "preference"
    device.prefer("category", "Study", 0.0)
    device.prefer("item", "i6", 0.0)
    assert int(device.recommend(k=1, diversity=0.0).items[0].item_id[1:]) % 4 == 1


@pytest.mark.parametrize(
    ("capped_when", "sent", "closed"),
    [
        ("any_reached", ["push"], True),
        ("any_reached", ["email", "email"], True),
        ("any_reached", ["email"], False),
        ("all_reached", ["push"], False),
        ("all_reached", ["email", "email"], False),
        ("all_reached", ["push", "email", "email"], True),
    ],
)
def test_adcp_1272_and_and_or_of_caps_are_stated(
    shop: Any, capped_when: str, sent: list[str], closed: bool
) -> None:
    """Adcp 1272: whether several frequency caps mean AND or OR is not defined.

    A policy states which, with no default: `any_reached` closes the channel when one limit is
    reached, `all_reached` when every one is.
    """
    cap = Rule(
        "caps",
        "channel_cap",
        channels=("push",),
        capped_when=capped_when,
        limits=(Limit(("push",), 1, 48), Limit(("email",), 2, 48)),
    )
    key = SigningKey(bytes(range(32)))
    with shop.open() as pz:
        pz.install_guardrails(
            sign_policy(GuardrailPolicy("shop", 1, 0, (cap,)), key), key.public_key
        )
        for channel in sent:
            assert pz.recommend(channel, k=1).items
            shop.clock.sleep(hours=5)
        decision = pz.recommend("push", k=1)
        assert decision.closed == (("caps",) if closed else ())
        assert bool(decision.items) is not closed
    unstated = {"id": "c", "rule": "channel_cap", "limits": [{"times": 1, "within_hours": 1}]}
    document = {**GuardrailPolicy("shop", 1, 0, ()).to_json(), "rules": [unstated]}
    with pytest.raises(Exception, match="capped_when"):
        GuardrailPolicy.from_json(document)


def test_the_default_policy_answers_without_being_asked() -> None:
    """An app that states nothing still has caps, and they say how they combine."""
    caps = [rule for rule in DEFAULT_GUARDRAILS.rules if rule.kind == "channel_cap"]
    assert [rule.capped_when for rule in caps] == ["any_reached"]
