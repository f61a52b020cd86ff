"""Exposure: this device's own privacy account, by trust level, purpose and task.

Composed by the closed-form accountant from the rounds the device entered itself, never from what a
server says. Every figure carries what must stand beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tacit.client.participation import Participation
from tacit.privacy.accounting import EpsilonClaim
from tacit.privacy.accounting_quick import epsilon_without_libraries
from tacit.privacy.trust import CLAIMS, CONSENT_ONLY, LEVELS, claim_context

UNRECORDED = "unrecorded"
"""Purpose and task of rounds entered before these were kept."""


@dataclass(frozen=True, slots=True)
class ExposureLine:
    """Some of the rounds this device took part in.

    Attributes:
        trust_level: of these rounds; where they are of several, the one their claim holds at.
        rounds: how many.
        claim: what they compose to; None for rounds at `consent-only`, where nothing bounds it.
    """

    trust_level: str
    rounds: int
    claim: EpsilonClaim | None

    def to_json(self) -> dict[str, object]:
        """Return the line; with its ε everything that must stand beside it."""
        document: dict[str, object] = {"rounds": self.rounds}
        if self.claim is None:
            return {
                **document,
                "trust_level": self.trust_level,
                "claim": CLAIMS[self.trust_level],
            }
        return {
            **document,
            "epsilon": self.claim.epsilon,
            **claim_context(self.claim, self.rounds),
        }


@dataclass(frozen=True, slots=True)
class DeviceExposure:
    """What this device was exposed to over its whole life.

    Attributes:
        cap_epsilon, target_delta: the device's own cap.
        together: all rounds that have an ε; its level is the weakest among them. None for none.
        by_level: trust level → its rounds alone.
        by_purpose: purpose → trust level → its rounds.
        by_task: name of a task → trust level → its rounds.
    """

    cap_epsilon: float
    target_delta: float
    together: ExposureLine | None
    by_level: Mapping[str, ExposureLine]
    by_purpose: Mapping[str, Mapping[str, ExposureLine]]
    by_task: Mapping[str, Mapping[str, ExposureLine]]

    @property
    def epsilon(self) -> float | None:
        """ε of everything; None if a round without noise was entered: then nothing bounds it."""
        if CONSENT_ONLY in self.by_level:
            return None
        if self.together is None or self.together.claim is None:
            return 0.0
        return self.together.claim.epsilon

    def to_json(self) -> dict[str, object]:
        """Return the account as a document; a device without figures shows none, nor its cap."""

        def lines(of: Mapping[str, ExposureLine]) -> dict[str, object]:
            return {level: line.to_json() for level, line in of.items()}

        document: dict[str, object] = {
            "by_level": lines(self.by_level),
            "by_purpose": {name: lines(of) for name, of in self.by_purpose.items()},
            "by_task": {name: lines(of) for name, of in self.by_task.items()},
        }
        if self.together is not None:
            document |= {
                "together": {**self.together.to_json(), "cap_epsilon": self.cap_epsilon},
            }
        return document


def exposure_of(
    entries: Iterable[Participation], cap_epsilon: float, target_delta: float
) -> DeviceExposure:
    """Compose a device's account from the rounds it entered.

    Args:
        entries: every round entered.
        cap_epsilon: the device's own cap.
        target_delta: δ of every figure.
    """
    taken = list(entries)
    charged = [entry for entry in taken if entry.event is not None]
    return DeviceExposure(
        cap_epsilon=cap_epsilon,
        target_delta=target_delta,
        together=_line(charged, target_delta) if charged else None,
        by_level=_by_level(taken, target_delta),
        by_purpose={
            name: _by_level([e for e in taken if (e.purpose or UNRECORDED) == name], target_delta)
            for name in dict.fromkeys(e.purpose or UNRECORDED for e in taken)
        },
        by_task={
            name: _by_level([e for e in taken if _task_name(e) == name], target_delta)
            for name in dict.fromkeys(map(_task_name, taken))
        },
    )


def _by_level(entries: list[Participation], target_delta: float) -> dict[str, ExposureLine]:
    found = {level: [e for e in entries if e.trust_level == level] for level in LEVELS}
    return {level: _line(own, target_delta) for level, own in found.items() if own}


def _line(entries: list[Participation], target_delta: float) -> ExposureLine:
    events = [entry.event for entry in entries if entry.event is not None]
    if not events:
        return ExposureLine(CONSENT_ONLY, len(entries), None)
    claim = epsilon_without_libraries(events, target_delta)
    return ExposureLine(claim.trust_level, len(entries), claim)


def _task_name(entry: Participation) -> str:
    """Name a task: two tasks may bear one id on two ledgers, so with its digest."""
    return f"{entry.task_id or UNRECORDED}@{entry.task_sha256[:12]}"
