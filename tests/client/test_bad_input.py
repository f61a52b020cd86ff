"""Bad input: one clear line, nothing lost, nothing half-written."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from tacit.client import (
    BadEvent,
    BadGuardrails,
    Catalogue,
    FileKeyProvider,
    KeyUnavailable,
    PassphraseKeyProvider,
    Personalizer,
    StoreUnavailable,
    UnknownDecision,
    UnknownEvent,
)
from tacit.client.decide import BadModel
from tacit.client.decide.released import read_model
from tacit.client.guardrails import GuardrailPolicy, Rule, sign_policy
from tacit.client.ingest import END_OF_TIME_MS
from tacit.privacy.signals import SIGNALS
from tacit.privacy.signatures import SigningKey

NAN, INFINITY = float("nan"), float("inf")
SECRET = "zanzibar"
KEY = SigningKey(bytes(range(32)))


def _refused(expected: type[Exception], match: str, act: Callable[[], object]) -> None:
    """Expect one line that says what was expected, and nothing of the person's own in it."""
    with pytest.raises(expected, match=match) as raised:
        act()
    assert "\n" not in str(raised.value)
    assert SECRET not in str(raised.value)


def _all(pz: Personalizer) -> list[str]:
    return [e.event.event_id for e in pz.events.read(SIGNALS, linked=True)]


def test_an_unknown_event_type_records_nothing_of_its_batch(device: Personalizer) -> None:
    device.track("Page Viewed", {"name": "home"}, event_id="before")
    rows: list[tuple[str, dict[str, object], str | None, int | None]] = [
        ("Product Viewed", {"product_id": "i0"}, "good", None),
        (f"{SECRET} Opened", {"q": SECRET}, "bad", None),
    ]
    _refused(UnknownEvent, "expected one of Page Viewed, ", lambda: device.track_all(rows))
    _refused(BadEvent, "'health' is prohibited", lambda: device.track("health", {"q": SECRET}))
    assert _all(device) == ["before"]


@pytest.mark.parametrize(
    "properties",
    [
        {"note": SECRET * 1_250_000},
        {"notes": [SECRET] * 1_000_000},
        {"product_id": SECRET * 1_250_000},
    ],
    ids=["10 MB of text", "10 MB of list", "10 MB of id"],
)
def test_ten_megabytes_of_properties_are_refused(
    device: Personalizer, properties: dict[str, object]
) -> None:
    said = r"expected an event of at most 16384 bytes, got 1\d{7}"
    _refused(BadEvent, said, lambda: device.track("Product Viewed", properties))
    assert device.state().events == 0
    assert device.store.path.stat().st_size < 1 << 20


def test_a_clock_that_goes_backwards_loses_and_repeats_nothing(shop: Any) -> None:
    """Order is that of the log, whatever the clock says; nothing expires, nothing is shown more."""
    with shop.open() as pz:
        pz.track("Product Viewed", {"product_id": "i0"}, event_id="first")
        pz.consent("learn", ["product_view"], True)
        shown = pz.rank("home", ["i9"])
        for _ in range(3):
            pz.shown(shown.id)
        shop.clock.now_ms -= 10 * 365 * 86_400_000
        pz.track("Product Viewed", {"product_id": "i1"}, event_id="second")
        assert _all(pz) == ["first", "second"]
        assert pz.state().features.engagement is not None
        # What was shown three times is not shown a fourth time.
        assert not pz.rank("home", ["i9"]).items
        pz.consent("learn", ["search"], True)
        assert pz.consents.permitted("learn", shop.clock.now_ms) >= {"search"}
    with shop.open() as pz:
        assert _all(pz) == ["first", "second"]
        assert pz.recommend().items
    _refused(BadEvent, "expected Unix milliseconds, got a negative", lambda: _track_at(shop, -1))


def _track_at(shop: Any, ts: int) -> None:
    with shop.open() as pz:
        pz.track("Page Viewed", {"name": "home"}, ts=ts)


@pytest.mark.parametrize("unit", [10**3, 10**6], ids=["microseconds", "nanoseconds"])
def test_a_time_in_another_unit_is_refused_before_it_spoils_the_profile(
    shop: Any, device: Personalizer, unit: int
) -> None:
    """Such a time has no date, so every later look at features and at the export would fail."""
    said = "expected Unix milliseconds, got a time after year 9998"
    late = shop.clock.now_ms * unit
    _refused(BadEvent, said, lambda: device.track("Product Viewed", {"product_id": "i0"}, ts=late))
    _refused(BadEvent, "an integer", lambda: device.track("Product Viewed", ts=cast(Any, 1.5)))
    assert device.state().events == 0
    device.identify({"time_zone": "Pacific/Kiritimati"})
    device.track("Product Viewed", {"product_id": "i0"}, ts=END_OF_TIME_MS - 1)
    assert device.state().events == 1
    device.rights.access()


def test_text_that_is_no_unicode_is_refused(device: Personalizer) -> None:
    viewed = partial(device.track, "Product Viewed")
    _refused(BadEvent, "well-formed Unicode", lambda: viewed({"product_id": "\ud800"}))
    _refused(BadEvent, "Unicode", lambda: viewed({"product_id": "i0"}, event_id="\ud800"))
    assert device.state().events == 0


def test_nan_weights_are_refused_wherever_a_number_comes_in(
    shop: Any, device: Personalizer
) -> None:
    for bad in (NAN, INFINITY, -INFINITY):
        _refused(BadEvent, "expected a finite number", partial(device.rate, "i0", bad))
        _refused(BadEvent, r"weight in \[-1, 1\]", partial(device.prefer, "item", "i0", bad))
        _refused(BadEvent, r"in \[0, 1\]", partial(device.recommend, diversity=bad))
        _refused(
            BadEvent,
            "finite numbers",
            partial(device.track, "Page Viewed", {"size": bad}),
        )
        for name in shop.model():
            model = shop.model()
            model[name] = np.array(model[name])
            model[name].flat[3] = bad
            _refused(BadModel, "finite", partial(read_model, model))
    assert device.state().events == 0
    assert device.suppressions.get().items == frozenset()


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (
            (
                Rule("only", "only_categories", categories=("Garden",)),
                Rule("never", "exclude", categories=("Garden", "Music")),
            ),
            "only: allows only what 'never' removes, so nothing can be shown",
        ),
        (
            (Rule("n", "quiet_hours", from_minute=60, to_minute=60, time_zone="person"),),
            "Say which",
        ),
        (
            (
                Rule("a", "only_categories", categories=("Garden",)),
                Rule("b", "only_categories", categories=("Music",)),
            ),
            "a: shares no category with 'b'",
        ),
    ],
)
def test_a_policy_with_contradictory_rules_does_not_replace_the_one_that_holds(
    shop: Any, device: Personalizer, rules: tuple[Rule, ...], says: str
) -> None:
    good = GuardrailPolicy("shop", 1, 0, (Rule("no", "exclude", items=("i0",)),))
    device.install_guardrails(sign_policy(good, KEY), KEY.public_key)
    bad = sign_policy(GuardrailPolicy("shop", 2, 0, rules), KEY)
    _refused(BadGuardrails, says, lambda: device.install_guardrails(bad, KEY.public_key))
    assert device.guardrails == good
    device.close()
    with shop.open() as pz:
        assert pz.guardrails == good


def test_a_catalogue_that_lost_items_keeps_their_events_and_explains_nothing_wrongly(
    shop: Any,
) -> None:
    with shop.open() as pz:
        shop.install(pz, shop.model())
        for item in ("i0", "i23", "i4"):
            pz.track("Product Viewed", {"product_id": item}, event_id=item)
        before = pz.recommend(k=5)
        pz.prefer("item", "i22", -1.0)
    full = shop.catalogue
    shop.catalogue = Catalogue.build(
        (item.item_id, item.title, list(item.categories)) for item in full.items[:20]
    )
    with shop.open() as pz:
        decision = pz.recommend(k=24)
        assert {i.item_id for i in decision.items} <= {f"i{n}" for n in range(20)}
        assert decision.basis == "rule", "the model is for the catalogue before"
        assert pz.explain(decision.id, decision.items[0].item_id).text
        _refused(
            UnknownDecision, "replaced", lambda: pz.explain(before.id, before.items[0].item_id)
        )
        assert [i for i in _all(pz) if i.startswith("i")] == ["i0", "i23", "i4"]
    shop.catalogue = full
    with shop.open() as pz:
        assert pz.recommend().basis == "model"
        assert pz.explain(before.id, before.items[0].item_id).text
        assert "i22" in pz.suppressions.get().items


def test_a_model_for_another_catalogue_ranks_nothing(shop: Any, device: Personalizer) -> None:
    full, smaller = shop.catalogue, Catalogue.build([("x", "X", ["Kitchen"])])
    shop.catalogue = smaller
    shop.install(device, shop.model())
    shop.catalogue = full
    device.track("Product Viewed", {"product_id": "i0"})
    decision = device.recommend(k=3)
    assert (decision.basis, decision.model_version) == ("rule", 0)
    shop.install(device, shop.model(), version=2)
    assert device.recommend(k=3).model_version == 2


def test_a_wrong_key_opens_nothing_and_spoils_nothing(shop: Any, tmp_path: Path) -> None:
    with shop.open() as pz:
        pz.track("Product Viewed", {"product_id": "i0"}, event_id="kept")
    before = _content(shop)
    wrong = tmp_path / "wrong.key"
    wrong.write_bytes(bytes(32))
    wrong.chmod(0o600)
    for keys in (
        FileKeyProvider(wrong),
        FileKeyProvider(tmp_path / "missing.key"),
        PassphraseKeyProvider("words of another store"),
    ):
        _refused(
            KeyUnavailable,
            "wrong key or passphrase|cannot read the key file",
            partial(Personalizer.open, shop.folder / "p.db", keys),
        )
    assert _content(shop) == before
    assert not (tmp_path / "missing.key").exists()
    with shop.open() as pz:
        assert _all(pz) == ["kept"]


def _content(shop: Any) -> list[Any]:
    with sqlite3.connect(shop.folder / "p.db") as connection:
        rows = list(connection.iterdump())
    connection.close()
    return rows


_FULL = """
    import json, resource, sys
    from pathlib import Path
    from tacit.client import Catalogue, FileKeyProvider, Personalizer, StoreUnavailable
    from tacit.privacy.signals import SIGNALS

    way, folder = sys.argv[1], Path(sys.argv[2])
    catalogue = Catalogue.build((f"i{n}", f"Item {n}", ["Kitchen"]) for n in range(5))
    ballast = folder / "ballast"
    if way == "tmpfs":
        ballast.write_bytes(bytes(600_000))

    def fill():
        if way == "rlimit":
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))

    def free():
        if way == "rlimit":
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        else:
            ballast.unlink()

    def opened():
        return Personalizer.open(folder / "p.db", FileKeyProvider(folder / "p.key"), catalogue)

    said = {}

    def refused(name, act):
        try:
            act()
        except StoreUnavailable as error:
            said[name] = str(error)

    def ids(pz):
        return [e.event.event_id for e in pz.events.read(SIGNALS)]

    pz = opened()
    fill()
    acknowledged = []
    def track_until_full():
        for n in range(10_000):
            pz.track("Page Viewed", {"name": "x" * 8_000}, event_id=f"visit-{n}")
            acknowledged.append(f"visit-{n}")
    refused("track", track_until_full)
    consents = pz.consents.state(pz.clock_ms())
    batch = [("Page Viewed", {"name": "x" * 8_000}, f"batch-{n}", None) for n in range(100)]
    refused("track_all", lambda: pz.track_all(batch))
    refused("rotate_keys", pz.rotate_keys)
    kept = ids(pz) == acknowledged and pz.consents.state(pz.clock_ms()) == consents
    pz.close()
    free()
    with opened() as pz:
        kept = kept and ids(pz) == acknowledged
        pz.track("Page Viewed", {"name": "after"}, event_id="after")
        pz.rotate_keys()
        kept = kept and ids(pz) == [*acknowledged, "after"]
    print(json.dumps({"acknowledged": len(acknowledged), "kept": kept, "said": said}))
"""


@pytest.mark.parametrize("way", ["tmpfs", "rlimit"])
def test_a_full_disk_keeps_what_was_acknowledged_and_says_so(tmp_path: Path, way: str) -> None:
    """On a tmpfs of 1 MB in a mount namespace of its own, and under a limit on file sizes."""
    script = tmp_path / "full.py"
    script.write_text(textwrap.dedent(_FULL), encoding="utf-8")
    folder = tmp_path / "store"
    folder.mkdir()
    command = [sys.executable, str(script), way, str(folder)]
    if way == "tmpfs":
        unshare = shutil.which("unshare")
        inside = 'mount -t tmpfs -o size=1m tmpfs "$1" && shift && exec "$@"'
        command = ["unshare", "-rm", "sh", "-c", inside, "sh", str(folder), *command]
        probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", str(folder)]
        if unshare is None or subprocess.run(probe, capture_output=True, check=False).returncode:
            pytest.skip("this machine lets nobody mount a tmpfs in a namespace of their own")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["acknowledged"] >= 10
    assert told["kept"]
    assert set(told["said"]) == {"track", "track_all", "rotate_keys"}
    for line in told["said"].values():
        assert "nothing of this was kept, free space on the disk and try again" in line
        assert "\n" not in line


_HOLDS = """
    import sys
    from pathlib import Path
    from tacit.client import FileKeyProvider, Personalizer
    folder = Path(sys.argv[1])
    with Personalizer.open(folder / "p.db", FileKeyProvider(folder / "p.key")) as pz:
        pz.track("Page Viewed", {"name": "home"}, event_id="theirs")
        print("open", flush=True)
        sys.stdin.readline()
        pz.track("Page Viewed", {"name": "home"}, event_id="theirs too")
"""


def test_a_second_process_is_told_so_and_harms_nothing(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tacit.client.store._LOCK_WAIT_S", 0.05)
    with shop.open() as pz:
        pz.track("Page Viewed", {"name": "home"}, event_id="ours")
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_HOLDS), str(shop.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    with other.stdin, other.stdout:
        assert other.stdout.readline() == "open\n"
        _refused(StoreUnavailable, "another process has it open", shop.open)
        _refused(
            StoreUnavailable,
            "another process has it open",
            lambda: Personalizer.recover(
                shop.folder / "p.db", FileKeyProvider(shop.folder / "p.key")
            ),
        )
        other.stdin.write("go on\n")
        other.stdin.flush()
        assert other.wait() == 0
    with shop.open() as pz:
        assert _all(pz) == ["ours", "theirs", "theirs too"]
