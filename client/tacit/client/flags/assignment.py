"""Assignment: which variant of a flag a device gets; fixed, and unknown to everybody else.

HMAC-SHA256 under a key of the device is a pseudorandom function of (app, flag, shuffle): the same
device always gets the same variant, variants of two flags are independent, and without the key
nobody can tell who got which. No number of the device leaves it.
"""

from __future__ import annotations

import hmac

from tacit.client.facts import Facts
from tacit.client.flags.document import Flag, Variant
from tacit.client.keys import derive_key
from tacit.privacy.canonical import canonical_json

_BITS = 64


class Assigner:
    """Assign variants under a key of one device."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def assign(self, app: str, flag: Flag) -> Variant:
        """Return this device's variant, each with probability in proportion to its weight.

        A probability is off by less than 2^-64: 64 bits are scaled to the total, not reduced.
        """
        key = derive_key(self._facts.device_secret(), b"variants")
        about = canonical_json({"app": app, "flag": flag.name, "shuffle": flag.shuffle})
        drawn = int.from_bytes(hmac.digest(key, about, "sha256")[: _BITS // 8], "big")
        total = sum(variant.weight for variant in flag.variants)
        place = drawn * total >> _BITS
        for variant in flag.variants:
            place -= variant.weight
            if place < 0:
                return variant
        return flag.variants[-1]
