"""One round at the gateway: who was offered it, what came, and their exact sum.

The order of the checks on a contribution is the order in which they stand in `Round.accept`.
Vectors are kept one by one until the cut-off, because a withdrawal up to then drops the vector;
after the cut-off only their sum exists, and the vectors are released.

Guarantee (trust levels `central` and `consent-only`): every vector in the sum has ℓ2 norm at most
the plan's `integer_norm`, there is at most one a device, and each came under a consent that stood
at the cut-off. Nobody was turned away for want of room: such a round has no sum, for in it one
device takes another's place, and a sum with or without it would differ by up to twice
`integer_norm`.

Nor may one device decide whether others get in. So who may take part is fixed when the round
opens, and it closes when all of them are in or when its time is up; both are the same for everybody
else, with any one device or without it. Closing when nothing came for a while (`quiet_s`) breaks
this: one device's vector can keep a round open for others. It is for populations whose arrivals do
not depend on one another, and off by default.

At `local` vectors are noised when they come and no norm can be checked; what replaces the check is
`tacit.privacy.local_noise.check_noised`, a bound on what honest noise gives.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tacit.privacy.errors import BadContribution
from tacit.privacy.local_noise import check_noised
from tacit.privacy.quantize import check_contribution
from tacit.privacy.task import RoundHeader, RoundPlan, TaskManifest
from tacit.privacy.trust import CENTRAL, CONSENT_ONLY, LOCAL
from tacit.server.gateway.errors import NotAdmitted, RoundAborted

DTYPES = {CONSENT_ONLY: "<i2", CENTRAL: "<i2", LOCAL: "<i4"}
"""Trust level → integers its contributions travel as."""


@dataclass(frozen=True, slots=True)
class RoundSum:
    """What the gateway hands to the coordinator.

    Attributes:
        values: exact sum, shape (length,), int64.
        contributions: how many vectors it holds.
    """

    values: npt.NDArray[np.int64]
    contributions: int


@dataclass(slots=True)
class RoundCounts:
    """What happened in a round, in numbers; read by `GatewayStatus`."""

    eligible: int = 0
    offered: int = 0
    contributed: int = 0
    dropped_at_cutoff: int = 0
    refused: Counter[str] = field(default_factory=Counter[str])
    bytes_received: int = 0
    bytes_sent: int = 0


@dataclass(frozen=True, slots=True)
class _Contribution:
    """One accepted vector and the signals it may be made from."""

    vector: npt.NDArray[np.signedinteger]
    signals: frozenset[str]


class Round:
    """Collects one round's contributions; safe to call from many threads.

    Args:
        manifest: the task.
        header: the signed header, already verified.
        eligible: names of the devices of the population that consent to the purpose as the round
            opens. Nobody else may take part; when all of them have contributed it closes early.
        monotonic_s: a monotonic clock in seconds.
        timeout_s: the round closes this long after it opened, whatever has come.
        quiet_s: if above 0, the round also closes when at least `cohort_min` have contributed and
            nothing has come for this long; see above for what that assumes.
    """

    def __init__(
        self,
        manifest: TaskManifest,
        header: RoundHeader,
        *,
        eligible: Collection[str],
        monotonic_s: Callable[[], float],
        timeout_s: float,
        quiet_s: float,
    ) -> None:
        self.manifest = manifest
        self.header = header
        self.plan: RoundPlan = manifest.round_plan(header.round_id)
        self._eligible = frozenset(eligible)
        self.counts = RoundCounts(eligible=len(self._eligible))
        self._monotonic_s = monotonic_s
        self._deadline_s = monotonic_s() + timeout_s
        self._quiet_s = quiet_s
        self._last_s = monotonic_s()
        self._condition = threading.Condition()
        self._offered: set[str] = set()
        self._contributions: dict[str, _Contribution] = {}
        self._open = True
        self._crowded = False

    @property
    def is_open(self) -> bool:
        """True until the cut-off."""
        return self._open

    def offer(self, device_id: str) -> None:
        """Record that a device was offered the round.

        Raises:
            NotAdmitted: if the round is closed or full, the device was not eligible when it opened,
                or has contributed to it.
        """
        with self._condition:
            self._check_open()
            if device_id not in self._eligible:
                raise NotAdmitted(
                    "came later", "the device was not eligible when the round opened; try the next"
                )
            if device_id in self._contributions:
                raise NotAdmitted(
                    "already contributed", "this device has contributed to this round"
                )
            self._check_room()
            self._offered.add(device_id)
            self.counts.offered = len(self._offered)

    def accept(self, device_id: str, signals: frozenset[str], values: bytes) -> None:
        """Check one contribution and keep it until the cut-off.

        A retransmission of identical bytes is accepted and changes nothing.

        Args:
            device_id: the authenticated sender, whose capability was verified.
            signals: what the capability allows the vector to be made from.
            values: the vector as it came, integers of the level's dtype in `DTYPES`.

        Raises:
            NotAdmitted: if the round is closed, the device was not offered it, the vector has the
                wrong length or norm, or differs from one already accepted.
        """
        level = self.manifest.trust_level
        dtype = np.dtype(DTYPES[level])
        expected_bytes = self.plan.length * dtype.itemsize
        if len(values) != expected_bytes:
            raise self.refuse(
                "wrong length",
                f"expected {expected_bytes} bytes, got {len(values)}",
            )
        vector: npt.NDArray[np.signedinteger] = np.frombuffer(values, dtype=dtype)
        try:
            if level == LOCAL:
                check_noised(vector, self.plan)
            else:
                check_contribution(vector, self.plan.length, self.plan.integer_norm)
        except BadContribution as error:
            raise self.refuse("over norm", str(error)) from None
        with self._condition:
            self._check_open()
            if device_id not in self._offered:
                raise self.refuse("not offered", "expected a device that was offered this round")
            earlier = self._contributions.get(device_id)
            if earlier is not None:
                if not np.array_equal(earlier.vector, vector):
                    raise self.refuse(
                        "second contribution", "expected one contribution a device and round"
                    )
                return
            self._check_room()
            self._contributions[device_id] = _Contribution(vector, signals)
            self.counts.contributed = len(self._contributions)
            self._last_s = self._monotonic_s()
            self._condition.notify_all()

    def count_bytes(self, *, received: int = 0, sent: int = 0) -> None:
        """Count payload that devices exchanged for this round."""
        with self._condition:
            self.counts.bytes_received += received
            self.counts.bytes_sent += sent

    def refuse(self, reason: str, message: str) -> NotAdmitted:
        """Count a refusal and return the error to raise."""
        with self._condition:
            self.counts.refused[reason] += 1
        return NotAdmitted(reason, message)

    def wait(self) -> None:
        """Block until the round should close: all in, out of time, or quiet where that counts."""
        with self._condition:
            while self._open:
                now_s = self._monotonic_s()
                enough = len(self._contributions) >= self.manifest.cohort_min
                everyone = enough and self._eligible <= self._contributions.keys()
                until_s = self._deadline_s
                if enough and self._quiet_s > 0:
                    until_s = min(until_s, self._last_s + self._quiet_s)
                if now_s >= until_s or everyone or self._crowded:
                    return
                self._condition.wait(max(0.01, until_s - now_s))

    def close(
        self, signals_granted: Callable[[list[str]], Mapping[str, frozenset[str]]]
    ) -> RoundSum:
        """Cut off: drop those who withdrew meanwhile, sum the rest, forget the vectors.

        Args:
            signals_granted: given device ids, the signals each grants now. A device that is
                missing, or no longer grants every signal its vector may be made from, is dropped.

        Raises:
            RoundAborted: if the round was closed before, somebody came for whom `cohort_max` left
                no room, or fewer than `cohort_min` remain.
        """
        with self._condition:
            if not self._open:
                raise RoundAborted("the round was already closed")
            self._open = False
            contributions, self._contributions = self._contributions, {}
            self._condition.notify_all()
        if self._crowded:
            raise RoundAborted(
                f"more than cohort_max = {self.manifest.cohort_max} devices came; a task's cohort "
                "must have room for its whole population"
            )
        granted = signals_granted(sorted(contributions))
        kept = [
            contribution.vector
            for device_id, contribution in sorted(contributions.items())
            if device_id in granted and contribution.signals <= granted[device_id]
        ]
        self.counts.dropped_at_cutoff = len(contributions) - len(kept)
        self.counts.contributed = len(kept)
        if len(kept) < self.manifest.cohort_min:
            raise RoundAborted(
                f"expected at least {self.manifest.cohort_min} contributions, got {len(kept)}"
            )
        total = np.zeros(self.plan.length, dtype=np.int64)
        for vector in kept:
            total += vector
        return RoundSum(values=total, contributions=len(kept))

    def abandon(self) -> None:
        """Close without a sum; vectors are forgotten."""
        with self._condition:
            self._open = False
            self._contributions = {}
            self._condition.notify_all()

    def _check_open(self) -> None:
        if not self._open:
            raise NotAdmitted("round closed", "the round is closed")

    def _check_room(self) -> None:
        if len(self._contributions) >= self.manifest.cohort_max:
            self._crowded = True
            self._condition.notify_all()
            raise self.refuse("cohort full", "the cohort is complete")
