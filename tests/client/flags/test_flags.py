"""Variants: signed data, one device one variant, consent and opt-out first, exposure on record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.client import BadFlags, Personalizer, RollbackRefused
from tacit.client.flags import FlagSet, read_source, sign_flags
from tacit.client.flags.assignment import Assigner
from tacit.client.flags.document import Flag, Variant
from tacit.client.keys import FileKeyProvider
from tacit.privacy.signatures import SigningKey

KEY = SigningKey(bytes(range(32)))


def source(version: int = 1, **flag: Any) -> dict[str, Any]:
    fields = {
        "flag": "home",
        "variants": [
            {"variant": "old", "weight": 1, "value": False},
            {"variant": "new", "weight": 1, "value": True},
        ],
    }
    return {
        "type": "tacit.flags/1",
        "app": "shop.example",
        "version": version,
        "issued_at_ms": 0,
        "flags": [{**fields, **flag}],
    }


def flags_of(version: int = 1, **flag: Any) -> FlagSet:
    return read_source(json.dumps(source(version, **flag)).encode())


def install(pz: Personalizer, version: int = 1, **flag: Any) -> None:
    pz.install_flags(sign_flags(flags_of(version, **flag), KEY), KEY.public_key)


class Facts:
    """A device's secret, without a device."""

    def __init__(self, number: int) -> None:
        self._number = number

    def device_secret(self) -> bytes:
        return self._number.to_bytes(32, "big")


def assigned(flag: Flag, devices: int = 20_000) -> dict[str, int]:
    counts = {variant.name: 0 for variant in flag.variants}
    for number in range(devices):
        facts: Any = Facts(number)
        counts[Assigner(facts).assign("shop.example", flag).name] += 1
    return counts


def test_a_device_gets_one_variant_and_keeps_it(shop: Any) -> None:
    with shop.open() as pz:
        install(pz)
        first = pz.variant("home", False)
        assert (first.reason, first.variant in ("old", "new"), first.version) == ("SPLIT", True, 1)
        assert first.value is (first.variant == "new")
        assert pz.variant("home", True) == first
    with shop.open() as pz:
        assert pz.variant("home", False) == first
        install(pz, 2)
        assert pz.variant("home", False).variant == first.variant, "another version, same weights"


def test_devices_are_spread_by_weight_and_flags_are_independent() -> None:
    variants = (Variant("a", 1, "A"), Variant("b", 3, "B"), Variant("none", 0, "N"))
    counts = assigned(Flag("f", True, None, 0, variants))
    assert counts["none"] == 0
    # 6 standard deviations of a binomial of 20,000 at 1/4: false failures once in 10^8.
    assert abs(counts["a"] - 5_000) < 6 * (20_000 * 3 / 16) ** 0.5
    both = 0
    for number in range(4_000):
        facts: Any = Facts(number)
        halves = (Variant("a", 1, 1), Variant("b", 1, 2))
        chosen = {
            Assigner(facts).assign("shop.example", Flag(name, True, None, shuffle, halves)).name
            for name, shuffle in (("f", 0), ("f", 1))
        }
        both += len(chosen) == 1
    assert abs(both - 2_000) < 6 * 1_000**0.5


def test_consent_opt_out_and_the_switch_come_first(shop: Any) -> None:
    with shop.open() as pz:
        install(pz, purpose="measure")
        refused = pz.variant("home", True)
        assert (refused.reason, refused.value, refused.variant) == ("DISABLED", True, None)
        assert exposures(pz) == [], "who is not in it was not exposed"
        pz.consent("measure", None, True)
        assert pz.variant("home", True).reason == "SPLIT"
        for flag in ("home", "*"):
            pz.opt_out_of_flags(flag)
            assert pz.variant("home", True).reason == "DISABLED"
            pz.opt_out_of_flags(flag, False)
            assert pz.variant("home", True).reason == "SPLIT"
        pz.observe_gpc(True)
        assert pz.variant("home", True).reason == "DISABLED"
        install(pz, 2, enabled=False)
        assert pz.variant("home", False).reason == "DISABLED"


def exposures(pz: Personalizer) -> list[tuple[str, str, int]]:
    rows = [row for row in pz.journal.rows() if row["row"] == "exposure"]
    return [(row["flag"], row["variant"], row["version"]) for row in rows]


def test_each_variant_met_is_on_record_once(shop: Any) -> None:
    with shop.open() as pz:
        install(pz)
        name = pz.variant("home", False).variant
        pz.variant("home", False)
        pz.variant("absent", False)
        assert exposures(pz) == [("home", name, 1)]
    with shop.open() as pz:
        pz.variant("home", False)
        assert exposures(pz) == [("home", name, 1)]
        install(pz, 2)
        pz.variant("home", False)
        assert exposures(pz) == [("home", name, 1), ("home", name, 2)]
        shown = pz.rights.access().document["shown"]
        assert "exposure" in json.dumps(shown)


def test_what_cannot_be_answered_is_the_default_with_the_reason(shop: Any) -> None:
    with shop.open() as pz:
        missing = pz.variant("home", "x")
        assert (missing.value, missing.reason, missing.error_code, missing.version) == (
            "x",
            "ERROR",
            "FLAG_NOT_FOUND",
            0,
        )
        install(pz)
        for default in ("x", 1, 1.5, {"a": 1}, None):
            told = pz.variant("home", default)
            assert (told.value, told.error_code) == (default, "TYPE_MISMATCH")
        assert exposures(pz) == []


@pytest.mark.parametrize(
    ("value", "kind"),
    [(True, "boolean"), (7, "integer"), (0.25, "float"), ("a {b}", "string"),
     ({"columns": 2, "ratio": 0.5, "deep": [1, {"a": None}]}, "object"), ([1, 2], "object")],
)  # fmt: skip
def test_a_value_of_any_kind_arrives_as_it_was_written(shop: Any, value: Any, kind: str) -> None:
    with shop.open() as pz:
        install(pz, variants=[{"variant": "only", "weight": 1, "value": value}])
        held = pz.flags.get()
        assert held is not None
        assert held.flags[0].kind == kind
        told = pz.variant("home", value)
        assert (told.value, told.reason, type(told.value)) == (value, "STATIC", type(value))


@given(st.integers(1, 1000), st.text(max_size=20), st.floats(allow_nan=False, allow_infinity=False))
def test_a_set_survives_its_own_bytes(version: int, text: str, number: float) -> None:
    variants = [{"variant": "a", "weight": 2, "value": {"text": text, "number": number}}]
    made = flags_of(version, variants=variants)
    assert FlagSet.from_bytes(made.to_bytes()) == made


def test_only_the_pinned_key_installs_and_old_flags_do_not_come_back(shop: Any) -> None:
    with shop.open() as pz:
        other = SigningKey(bytes(32))
        signed = sign_flags(flags_of(2), KEY)
        for data in (
            sign_flags(flags_of(2), other),
            signed.replace(b'"weight":1', b'"weight":9', 1),
            b"{}",
            b"\xff",
            json.dumps(source(2)).encode(),
        ):
            with pytest.raises(BadFlags):
                pz.install_flags(data, KEY.public_key)
        assert pz.flags.get() is None
        pz.install_flags(signed, KEY.public_key)
        with pytest.raises(RollbackRefused, match="above 2"):
            install(pz, 1)
        with pytest.raises(RollbackRefused, match="two different sets"):
            install(pz, 2, enabled=False)
        foreign = read_source(json.dumps({**source(3), "app": "other"}).encode())
        with pytest.raises(BadFlags, match="of the app"):
            pz.install_flags(sign_flags(foreign, KEY), KEY.public_key)


def bad(change: Callable[[dict[str, Any]], object]) -> bytes:
    document = source()
    change(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"[]", "expected flags"),
        (b"{", "JSON object"),
        (bad(lambda d: d.update(type="x")), "type: expected"),
        (bad(lambda d: d.update(extra=1)), "unknown field 'extra'"),
        (bad(lambda d: d.update(version=0)), "version"),
        (bad(lambda d: d.update(app="")), "app: expected"),
        (bad(lambda d: d.update(flags=[])), "1 to 256 flags"),
        (bad(lambda d: d["flags"].append(d["flags"][0])), "distinct names"),
        (bad(lambda d: d["flags"][0].update(flag="a b")), "letters, digits"),
        (bad(lambda d: d["flags"][0].update(purpose="sell")), "purpose: expected"),
        (bad(lambda d: d["flags"][0].update(variants=[])), "1 to 64 variants"),
        (bad(lambda d: d["flags"][0]["variants"][0].update(weight=-1)), "weight"),
        (bad(lambda d: d["flags"][0]["variants"][0].update(weight=0.5)), "weight"),
        (bad(lambda d: [v.update(weight=0) for v in d["flags"][0]["variants"]]), "above 0"),
        (bad(lambda d: d["flags"][0]["variants"][0].update(value="x")), "one kind"),
        (bad(lambda d: d["flags"][0]["variants"][0].update(value=None)), "value: expected"),
        (bad(lambda d: d["flags"][0]["variants"][0].update(value=float("nan"))), "finite"),
        (bad(lambda d: d["flags"][0]["variants"][0].update(value="x" * 9000)), "at most 8192"),
    ],
)  # fmt: skip
def test_a_malformed_set_is_one_line(data: bytes, line: str) -> None:
    with pytest.raises(BadFlags, match=line):
        read_source(data)


def test_two_devices_have_keys_of_their_own(shop: Any, tmp_path: Path) -> None:
    seen: set[tuple[str | None, ...]] = set()
    variants = [{"variant": f"v{n}", "weight": 1, "value": n} for n in range(64)]
    for number in range(8):
        keys = FileKeyProvider(tmp_path / f"{number}.key")
        with Personalizer.open(tmp_path / f"{number}.db", keys) as pz:
            install(pz, variants=variants)
            seen.add((pz.variant("home", 0).variant,))
    assert len(seen) > 1  # all eight alike: once in 64^7
