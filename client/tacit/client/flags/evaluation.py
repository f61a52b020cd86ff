"""Evaluation: what a flag comes to on this device now, and a record of every variant met.

The words are OpenFeature's (specification, section "Types"): reasons `STATIC`, `SPLIT`, `DISABLED`
and `ERROR`, error codes `FLAG_NOT_FOUND` and `TYPE_MISMATCH`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from tacit.client.errors import BadEvent, BadFlags
from tacit.client.facts import Facts
from tacit.client.flags.assignment import Assigner
from tacit.client.flags.document import FlagSet, FlagValue, kind_of
from tacit.client.flags.signed import InstalledFlags
from tacit.client.journal import DecisionJournal
from tacit.privacy.canonical import Fields, canonical_json, parse_canonical

Reason = Literal["STATIC", "SPLIT", "DISABLED", "ERROR"]
EVERY_FLAG = "*"
_FACT = "flags-opted-out"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `variant` answers.

    Attributes:
        flag: its name.
        value: what the app is to go by.
        variant: the variant it belongs to; None where the app's default is the answer.
        reason: `STATIC` for a flag with one variant, `SPLIT` for one that was assigned, `DISABLED`
            where the flag is off, the person opted out or did not consent, `ERROR`.
        error_code: `FLAG_NOT_FOUND`, `TYPE_MISMATCH` or None.
        error_message: one line; empty without an error.
        version: of the flags; 0 for none.
    """

    flag: str
    value: FlagValue
    variant: str | None
    reason: Reason
    error_code: str | None
    error_message: str
    version: int


class Flags:
    """The flags of one open profile."""

    def __init__(self, facts: Facts, journal: DecisionJournal) -> None:
        self._facts = facts
        self._journal = journal
        self._installed = InstalledFlags(facts)
        self._assigner = Assigner(facts)

    def install(self, signed: bytes, public_key: bytes) -> FlagSet:
        """Verify and install a signed set; see `InstalledFlags.install`."""
        return self._installed.install(signed, public_key)

    def get(self) -> FlagSet | None:
        """Return the installed set, or None."""
        return self._installed.get()

    def opted_out(self) -> frozenset[str]:
        """Return the flags the person opted out of; `*` among them is all, also later ones."""
        content = self._facts.get(_FACT)
        if content is None:
            return frozenset()
        return frozenset(Fields(parse_canonical(content), "opted out").texts("flags"))

    def opt_out(self, flag: str = EVERY_FLAG, opted_out: bool = True) -> None:
        """Opt the person out of a flag, or of all of them, or in again; on the disk on return.

        Raises:
            BadEvent: if the name is empty or too long.
        """
        if not 0 < len(flag) <= 64:
            raise BadEvent("flag: expected a name of 1 to 64 characters, or * for all")
        held = self.opted_out()
        after = held | {flag} if opted_out else held - {flag}
        self._facts.put(_FACT, canonical_json({"flags": sorted(after)}))

    def evaluate(
        self,
        name: str,
        default: FlagValue,
        permitted: Callable[[str], Collection[str]],
        now_ms: int,
    ) -> Evaluation:
        """Evaluate a flag, and record the first time that its variant is met.

        Args:
            name: of the flag.
            default: the app's own value, whose kind is what is asked for.
            permitted: purpose → signals permitted for it.
            now_ms: Unix milliseconds.
        """
        flags = self.get()
        version = 0 if flags is None else flags.version

        def answer(reason: Reason, code: str | None = None, line: str = "") -> Evaluation:
            return Evaluation(name, default, None, reason, code, line, version)

        flag = None if flags is None else flags.get(name)
        if flags is None or flag is None:
            return answer("ERROR", "FLAG_NOT_FOUND", "no flag of this name is installed")
        try:
            asked = kind_of(default)
        except BadFlags as error:
            return answer("ERROR", "TYPE_MISMATCH", str(error))
        if asked != flag.kind and (asked, flag.kind) != ("float", "integer"):
            return answer("ERROR", "TYPE_MISMATCH", f"the flag is of kind {flag.kind}, not {asked}")
        off = self.opted_out()
        refused = flag.purpose is not None and not permitted(flag.purpose)
        if not flag.enabled or refused or name in off or EVERY_FLAG in off:
            return answer("DISABLED")
        variant = self._assigner.assign(flags.app, flag)
        self._expose(flags, name, variant.name, now_ms)
        value = variant.value
        if asked == "float" and isinstance(value, int):
            value = float(value)
        reason: Reason = "SPLIT" if len(flag.variants) > 1 else "STATIC"
        return Evaluation(name, value, variant.name, reason, None, "", version)

    def _expose(self, flags: FlagSet, flag: str, variant: str, now_ms: int) -> None:
        """Enter the exposure in the journal, once for each flag, variant and version."""
        exposure = f"exposure/{flags.version}/{flag}/{variant}"
        if not self._journal.holds("exposure", exposure):
            self._journal.append(
                "exposure", exposure, now_ms, flag=flag, variant=variant, version=flags.version
            )
