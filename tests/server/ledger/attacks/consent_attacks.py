"""Attacks on a device's consents: each makes an event that must not come to stand as a grant.

The device withdrew after it had agreed. The attacker holds everything the device ever sent and, for
what a faulty or bribed app could do, the device's key; not the key for another's device.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from tacit.privacy.canonical import Json, canonical_json, parse_canonical
from tacit.privacy.consent import NO_PREDECESSOR
from tacit.privacy.signals import SIGNALS, Sensitivity
from tacit.privacy.signatures import SigningKey

# Letters that look like Latin ones, and invisible ones.
_LOOKALIKES = {"a": "а", "e": "е", "i": "і", "o": "о", "p": "р", "c": "с", "n": "ո", "g": "ɡ"}
_INVISIBLE = ("\u200b", "\u200d", "\ufeff", "\u00ad", "\u2060", "\u0301")


@dataclass(frozen=True, slots=True)
class World:
    """One device: what it sent, and the grant it would have to sign next to agree again.

    Attributes:
        chain: (event, signature) of the grant and of its withdrawal.
        fresh: a grant that would be taken, as a document; never signed by the device itself.
        now_ms: Unix milliseconds.
    """

    pick: random.Random
    key: SigningKey
    chain: tuple[tuple[bytes, bytes], ...]
    fresh: dict[str, Json]
    now_ms: int

    def signed(self, data: bytes) -> tuple[bytes, bytes]:
        """Sign with the device's key, as a faulty app would."""
        return data, self.key.sign("consent", data)

    def changed(self, **changes: Json) -> tuple[bytes, bytes]:
        """Sign the fresh grant with other fields."""
        return self.signed(canonical_json(self.fresh | changes))


Attack = Callable[[World], tuple[bytes, bytes]]


def _replay(world: World) -> Any:
    return world.chain[0]


def _replay_renumbered(world: World) -> Any:
    """The old grant and its signature with the number and predecessor that would fit now."""
    old = parse_canonical(world.chain[0][0])
    moved = {"seq": world.fresh["seq"], "prev_commitment": world.fresh["prev_commitment"]}
    return canonical_json(old | moved), world.chain[0][1]


def _before_withdrawal(world: World) -> Any:
    """Signed, but continuing the chain as it was before the withdrawal, or not at all."""
    first = parse_canonical(world.chain[1][0])
    return world.pick.choice(
        [
            world.changed(seq=2, prev_commitment=first["prev_commitment"]),
            world.changed(seq=1, prev_commitment=NO_PREDECESSOR),
            world.changed(seq=world.pick.randrange(4, 2**53)),
            world.changed(prev_commitment=world.pick.randbytes(32).hex()),
        ]
    )


def _clock_skew(world: World) -> Any:
    ahead_ms = world.pick.choice([301_000, 3_600_000, 10**11, 2**52])
    until_ms = min(2**53 - 1, world.now_ms + 2 * ahead_ms)
    return world.changed(event_time_ms=world.now_ms + ahead_ms + 60_000, valid_until_ms=until_ms)


def _expired(world: World) -> Any:
    """A grant that ended before it began."""
    said = cast(int, world.fresh["event_time_ms"])
    return world.changed(valid_until_ms=said - world.pick.randrange(10**9))


def _notice(world: World) -> Any:
    notice = dict(cast("dict[str, Json]", world.fresh["notice"]))
    field = world.pick.choice(["sha256", "language", "version", "id"])
    other: dict[str, Json] = {
        "sha256": world.pick.randbytes(32).hex(),
        "language": world.pick.choice(["de", "EN", "e", "en-GB"]),
        "version": str(world.pick.randrange(2, 99)),
        "id": "terms",
    }
    return world.changed(notice=notice | {field: other[field]})


def _superset(world: World) -> Any:
    """More than may be granted: prohibited signals beside the agreed ones."""
    bad = [one.name for one in SIGNALS.values() if one.sensitivity is Sensitivity.PROHIBITED]
    some = world.pick.sample(bad, world.pick.randrange(1, len(bad) + 1))
    agreed = cast("list[str]", world.fresh["signals"])
    return world.changed(signals=cast(Json, sorted({*agreed, *some})))


def _purpose_swap(world: World) -> Any:
    """What was said about one purpose, presented as about another."""
    data, signature = world.pick.choice(world.chain)
    other = world.pick.choice(["decide", "measure", "advertise"])
    return canonical_json(parse_canonical(data) | {"purpose": other}), signature


def _unknown_signal(world: World) -> Any:
    name = "".join(world.pick.choices("abcdefghijklmnopqrstuvwxyz_", k=world.pick.randrange(1, 20)))
    return world.changed(signals=[f"{name}x_"])


def _duplicate_keys(world: World) -> Any:
    data = canonical_json(world.fresh)
    name = world.pick.choice(sorted(world.fresh))
    extra = canonical_json({name: world.pick.choice([world.fresh[name], "given", 0, None])})
    if world.pick.random() < 0.5:
        return world.signed(b"{" + extra[1:-1] + b"," + data[1:])
    return world.signed(data[:-1] + b"," + extra[1:-1] + b"}")


def _numbers(world: World) -> Any:
    """NaN, infinities, 2^53 + 1 and other numbers that parsers read in two ways."""
    field = world.pick.choice(["seq", "event_time_ms", "valid_until_ms", "retention_days"])
    value = world.pick.choice(
        [b"NaN", b"Infinity", b"-Infinity", b"9007199254740993", b"1e3", b"3.0", b"-0", b"03",
         b"true", b"null", b'"3"', b"18446744073709551619", b"0x3"]
    )  # fmt: skip
    plain = canonical_json({field: world.fresh[field]})[1:-1]
    name = canonical_json({field: 0})[1:-2]
    return world.signed(canonical_json(world.fresh).replace(plain, name + value))


def _confusables(world: World) -> Any:
    """Words that look like others, in other letters or with invisible ones."""
    field = world.pick.choice(["purpose", "state", "lawful_basis", "method", "signals"])
    value = world.fresh[field]
    word = value if isinstance(value, str) else cast("list[str]", value)[0]
    usable = [n for n, letter in enumerate(word) if letter in _LOOKALIKES]
    match world.pick.randrange(3):
        case 0 if usable:
            at = world.pick.choice(usable)
            word = word[:at] + _LOOKALIKES[word[at]] + word[at + 1 :]
        case 1:
            word = unicodedata.normalize("NFKC", word).upper()
        case _:
            at = world.pick.randrange(len(word) + 1)
            word = word[:at] + world.pick.choice(_INVISIBLE) + word[at:]
    changes: dict[str, Json] = {field: [word] if field == "signals" else word}
    return world.changed(**changes)


def _another_spelling(world: World) -> Any:
    data = canonical_json(world.fresh)
    match world.pick.randrange(4):
        case 0:
            return world.signed(data.replace(b":", b": ", 1))
        case 1:
            return world.signed(data + world.pick.choice([b" ", b"\n", b"\0", b"{}"]))
        case 2:
            return world.signed(data.replace(b"learn", b"l\\u0065arn", 1))
        case _:
            return world.signed(b"\xef\xbb\xbf" + data)


def _stranger(world: World) -> Any:
    """The right document, signed by somebody else."""
    data = canonical_json(world.fresh)
    return data, SigningKey(world.pick.randbytes(32)).sign("consent", data)


def _other_context(world: World) -> Any:
    """The device's own signature, given for something else."""
    data = canonical_json(world.fresh)
    return data, world.key.sign(world.pick.choice(["enrol", "erasure", "request", "consen"]), data)


def _bit(world: World) -> Any:
    data, signature = world.signed(canonical_json(world.fresh))
    both = bytearray(data + signature)
    both[world.pick.randrange(len(both))] ^= 1 << world.pick.randrange(8)
    return bytes(both[: len(data)]), bytes(both[len(data) :])


CONSENT_ATTACKS: dict[str, Attack] = {
    "replayed grant after withdrawal": _replay,
    "replayed grant with another number": _replay_renumbered,
    "grant that ignores the withdrawal": _before_withdrawal,
    "clock skew": _clock_skew,
    "expired": _expired,
    "wrong notice hash or language": _notice,
    "signal superset": _superset,
    "purpose swap": _purpose_swap,
    "unknown signal": _unknown_signal,
    "duplicate JSON keys": _duplicate_keys,
    "NaN, 2^53+1": _numbers,
    "confusables": _confusables,
    "another spelling": _another_spelling,
    "signed by somebody else": _stranger,
    "signed for something else": _other_context,
    "one flipped bit": _bit,
}
