"""Withdrawals that race with a round at every stage, against the real ledger and gateway code.

A late admit is an answer that let a device in although the question was put after the ledger had
told the device that its withdrawal is on record: an offer, an accepted contribution, or a vector
that is in the sum. Questions and answers are ordered by one counter, not by a clock.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tacit.privacy.arrays import pack_arrays
from tacit.privacy.canonical import parse_canonical
from tacit.privacy.signatures import SigningKey
from tacit.privacy.task import RoundHeader
from tacit.server.gateway.config import GatewayConfig
from tacit.server.gateway.errors import NotAdmitted
from tacit.server.gateway.gateway import Gateway
from tacit.server.ledger.admission import admission_states
from tacit.server.ledger.client import ConsentState
from tacit.v1 import device_pb2, gateway_pb2, ledger_pb2

STEADY = 3
RACERS = 24
STAGES = (
    "before the offer",
    "during the offer",
    "between offer and upload",
    "during the upload",
    "between upload and cut-off",
    "as the cut-off asks",
    "during the cut-off",
    "after the cut-off",
)
CONTEXT = pack_arrays({})
LENGTH = 40


@dataclass
class Racer:
    """One device, and when its withdrawal was on record."""

    device: Any
    slot: int
    stage: str = ""
    recorded_at: float = float("inf")
    late: list[str] = field(default_factory=list[str])


class Races:
    """A real node and a real gateway in one process, so that a race costs milliseconds."""

    def __init__(self, deployment: Any, seed: int) -> None:
        self.node = deployment.node
        self.deployment = deployment
        self.rng = random.Random(seed)
        self.tick = itertools.count().__next__
        self.racers = [Racer(deployment.device(), n) for n in range(STEADY + RACERS)]
        self.at_cutoff: Callable[[], None] = lambda: None
        self.cutoff_at = float("inf")
        self.outcomes: Counter[str] = Counter()
        coordinator = deployment.keys["coordinator"]
        config = GatewayConfig(
            *(deployment.population, "", "", "", "", "", "", ""),
            coordinator_key=coordinator.public_key.hex(),
            quiet_s=0.02,
        )
        self.now_s = 0.0
        self.gateway = Gateway(
            config, self, SigningKey.generate(os.urandom), monotonic_s=lambda: self.now_s
        )
        account = deployment.account(1e6).to_json()
        deployment.client("operator").append_governance("account", account)
        self.coordinator = deployment.client("coordinator")
        self.tasks = 0

    entry: ledger_pb2.LoggedEntry
    closing: threading.Thread

    # --- what the gateway asks of the ledger

    def consent_states(self, purpose: str, device_ids: Sequence[str]) -> list[ConsentState]:
        if threading.current_thread() is self.closing and device_ids:
            self.at_cutoff()
            self.cutoff_at = self.tick()
        epoch = self.node.consent_map.epoch
        states = admission_states(self.node.database, purpose, device_ids, self.node.now_ms())
        return [
            ConsentState(
                one.device_id,
                one.public_key,
                one.population,
                bool(one.signals),
                one.signals,
                one.sequence,
                epoch,
            )
            for one in states
        ]

    def logged_entry(self, index: int, known_size: int) -> ledger_pb2.LoggedEntry:
        return self.entry

    def latest_release(
        self, population: str, known_size: int, kind: str = ""
    ) -> ledger_pb2.LoggedEntry | None:
        return None

    def get_blob(self, sha256: bytes) -> bytes:
        return CONTEXT

    # --- what people do

    def say(self, racer: Racer, state: str) -> None:
        device = racer.device
        data = device.event(state, signals=("rating",)).to_bytes()
        signature = device.key.sign("consent", data)
        name, key = device.key.key_id, device.key.public_key
        self.node.consent.append(name, key, data, signature, 0, self.node.now_ms())
        device.chain.append(data)
        racer.recorded_at = self.tick() if state == "withdrawn" else float("inf")

    def offer(self, racer: Racer) -> Any:
        asked = self.tick()
        reply = self.gateway.check_in(racer.device.key.key_id, 0)
        if reply.HasField("offer"):
            self.judge(racer, "offer", asked)
            return reply.offer
        return None

    def upload(self, racer: Racer, offer: Any) -> bool:
        header = RoundHeader.from_json(parse_canonical(offer.round_header))
        vector = np.zeros(LENGTH, "<i2")
        vector[racer.slot] = 1
        message = device_pb2.Contribution(
            capability=offer.capability,
            task_sha256=bytes.fromhex(header.task_sha256),
            round_id=1,
            dtype=device_pb2.DTYPE_INT16,
            values=vector.tobytes(),
        )
        asked = self.tick()
        try:
            self.gateway.contribute(racer.device.key.key_id, message)
        except NotAdmitted:
            return False
        self.judge(racer, "upload", asked)
        return True

    def judge(self, racer: Racer, what: str, asked: float) -> None:
        if asked > racer.recorded_at:
            racer.late.append(f"{what}, {racer.stage}")

    # --- one round

    def race(self, racer: Racer) -> None:
        """Take part, and withdraw at the racer's stage, from another thread where they overlap."""
        stage = racer.stage
        if stage == "before the offer":
            self.say(racer, "withdrawn")
        with self.beside(racer, stage == "during the offer"):
            offer = self.offer(racer)
        if stage == "between offer and upload":
            self.say(racer, "withdrawn")
        taken = False
        if offer is not None:
            with self.beside(racer, stage == "during the upload"):
                taken = self.upload(racer, offer)
            self.outcomes[f"{stage}: {'taken' if taken else 'refused'}"] += 1
        if stage == "between upload and cut-off":
            self.say(racer, "withdrawn")

    def fall_quiet(self) -> None:
        self.now_s += 1.0

    def beside(self, racer: Racer, overlaps: bool) -> Any:
        return _Beside(self, racer, overlaps)

    def run_round(self) -> int:
        """Run one round; returns how many withdrawals raced with it."""
        self.tasks += 1
        plan = self.deployment.task(rounds=1).rounds[0]
        task = self.deployment.task(rounds=1, task_id=f"race-{self.tasks}")
        task = dataclasses.replace(task, rounds=(dataclasses.replace(plan, length=LENGTH),))
        coordinator = self.coordinator
        self.entry = coordinator.logged_entry(coordinator.append_governance("task", task.to_json()))
        now_ms = self.node.now_ms()
        digest = hashlib.sha256(CONTEXT).hexdigest()
        header = RoundHeader(task.digest().hex(), 1, digest, now_ms, now_ms + 60_000).to_bytes()
        key = self.deployment.keys["coordinator"]
        request = gateway_pb2.RunRoundRequest(
            task=self.entry,
            round_header=header,
            round_signature=key.sign(RoundHeader.SIGNING_CONTEXT, header),
            context=CONTEXT,
        )
        for racer in self.racers:
            if racer.slot >= STEADY:
                racer.stage = self.rng.choice(STAGES)
            if racer.recorded_at != float("inf") or not racer.device.chain:
                self.say(racer, "given")
        of_stage = {stage: [r for r in self.racers if r.stage == stage] for stage in STAGES}
        overlapping: list[threading.Thread] = []

        def at_cutoff() -> None:
            for racer in of_stage["as the cut-off asks"]:
                self.say(racer, "withdrawn")
            for racer in of_stage["during the cut-off"]:
                overlapping.append(threading.Thread(target=self.say, args=(racer, "withdrawn")))
                overlapping[-1].start()

        self.at_cutoff, self.cutoff_at = at_cutoff, float("inf")
        result: list[Any] = []
        self.closing = threading.Thread(
            target=lambda: result.append(self.gateway.run_round(request))
        )
        self.closing.start()
        while not self.gateway.status().rounds or not self.gateway.status().rounds[-1].open:
            time.sleep(0.001)
        order = self.racers[STEADY:]
        self.rng.shuffle(order)
        for racer in self.racers[:STEADY]:
            offer = self.offer(racer)
            assert offer is not None
            assert self.upload(racer, offer)
        jobs: list[Callable[[], None]] = [functools.partial(self.race, one) for one in order]
        # The cut-off comes when the round is quiet by this clock, whatever the machine does; the
        # last few devices race with it.
        jobs.insert(self.rng.randrange(RACERS - 4, RACERS + 1), self.fall_quiet)
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(job) for job in jobs]:
                done.result(60)
        self.fall_quiet()  # somebody may have contributed after it fell quiet before
        self.closing.join(60)
        for thread in overlapping:
            thread.join(60)
        assert result, "the round was cut off"
        for racer in of_stage["after the cut-off"]:
            self.say(racer, "withdrawn")
        (summed,) = result
        for racer in self.racers:
            assert summed.values[racer.slot] in (0, 1)
            if summed.values[racer.slot]:
                self.judge(racer, "sum", self.cutoff_at)
                self.outcomes[f"{racer.stage}: summed"] += 1
        assert summed.contributions == int(summed.values.sum())
        assert all(summed.values[:STEADY] == 1), "nobody else is dropped with them"
        return RACERS


class _Beside:
    """Runs a withdrawal in another thread while the block runs, started at the same moment."""

    def __init__(self, races: Races, racer: Racer, overlaps: bool) -> None:
        self.thread = threading.Thread(target=races.say, args=(racer, "withdrawn"))
        self.overlaps = overlaps
        # Both take a few milliseconds; which comes first is left to chance.
        self.head_start_s = races.rng.uniform(0, 0.008)

    def __enter__(self) -> None:
        if self.overlaps:
            self.thread.start()
            time.sleep(self.head_start_s)

    def __exit__(self, *_: object) -> None:
        if self.overlaps:
            self.thread.join(30)


def _run(deployment: Any, races: int, seed: int) -> None:
    board = Races(deployment, seed)
    done = 0
    while done < races:
        done += board.run_round()
    assert [line for racer in board.racers for line in racer.late] == []
    # Both sides of every race that has two were seen, so the test has power.
    seen = board.outcomes
    assert seen["between offer and upload: taken"] == 0 < seen["between offer and upload: refused"]
    assert min(seen["during the upload: taken"], seen["during the upload: refused"]) > 0
    dropped = seen["between upload and cut-off: taken"], seen["between upload and cut-off: summed"]
    assert dropped[0] > dropped[1]  # in the sum only where the cut-off was faster
    assert seen["as the cut-off asks: summed"] == 0 < seen["as the cut-off asks: taken"]
    assert seen["after the cut-off: summed"] > 0


def test_hundreds_of_withdrawals_race_and_none_is_late(deployment: Any) -> None:
    _run(deployment, 300, seed=1)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ten_thousand_withdrawals_race_and_none_is_late(deployment: Any) -> None:
    _run(deployment, 10_000, seed=2)
