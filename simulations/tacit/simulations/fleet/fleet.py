"""The fleet's day: set up every device, answer rounds as they open, install the release, rank.

A device does nothing on its own clock here. The gateway's public notices play the part of a push
message: they wake the fleet, and each device then decides for itself.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pathlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

import grpc

from tacit.client import DeviceError
from tacit.client.transport import Connection
from tacit.simulations.demo.population import demo_population
from tacit.simulations.fleet.config import FleetConfig
from tacit.simulations.fleet.device import HostedDevice
from tacit.simulations.fleet.evaluation import DEPTH, popularity_ranking, quality
from tacit.v1 import device_pb2

logger = logging.getLogger("tacit.fleet")

SAMPLES = 3
_RECONNECT_S = 0.5
_Result = TypeVar("_Result")
Report = Callable[[str, int, int], None]
"""Called with a phase, how many are done, and how many there are."""


class Fleet:
    """Hosts the devices of one population.

    Args:
        config: see `FleetConfig`.
        report: hears about progress.
    """

    def __init__(self, config: FleetConfig, report: Report) -> None:
        self._config = config
        self._report = report
        self._directory = pathlib.Path(config.directory)
        self._population = demo_population(config.options)
        self._connection = Connection(config.endpoints())
        policy, terms, trust = config.policy(), config.terms(), config.trust()
        self.devices = [
            HostedDevice(
                n, self._directory, self._population, policy, terms, self._connection, trust
            )
            for n in range(len(self._population.users))
        ]
        self._pool = ThreadPoolExecutor(config.workers, "device")
        self._failures: Counter[str] = Counter()

    def run(self) -> None:
        """Do the whole day; returns when the release is installed and the report written."""
        consenting = self._set_up()
        self._answer_rounds()
        self._each("installing the release", lambda device: device.pull(), self.devices)
        self._write_report(consenting)
        self._pool.shutdown()
        self._connection.close()

    def _set_up(self) -> int:
        tokens: list[str] = json.loads(pathlib.Path(self._config.tokens).read_text("ascii"))
        enrolled = self._each(
            "enrolling devices", lambda d: d.set_up(tokens[d.number]), self.devices
        )
        return sum(bool(self.devices[number].role.learn_signals) for number in enrolled)

    def _answer_rounds(self) -> None:
        """Answer every round that opens, until a release is announced."""
        withdrawn = False
        answered: set[tuple[bytes, int]] = set()
        for notice in self._notices():
            if notice.latest_release:
                return
            first_is_over = not notice.round_open and any(r == 1 for _, r in answered)
            if not withdrawn and (first_is_over or notice.round_id > 1):
                leaving = [d for d in self.devices if d.role.withdraws]
                self._each("withdrawing consent", lambda d: d.withdraw(), leaving)
                withdrawn = True
            if notice.round_open:
                answered.add((notice.task_sha256, notice.round_id))
                self._answer(notice.round_id)

    def _answer(self, round_id: int) -> None:
        self._each(f"round {round_id}", lambda d: d.answer(round_id), self.devices)

    def _notices(self) -> Iterator[device_pb2.RoundNotice]:
        """Yield the gateway's notices; a gateway that is away is asked again."""
        sequence = 0
        while True:
            request = device_pb2.WatchRoundsRequest(after_sequence=sequence)
            try:
                for notice in self._connection.device_stub.WatchRounds(request):
                    sequence = notice.sequence
                    yield notice
            except grpc.RpcError:
                logger.warning("the gateway is away; asking again")
                sequence = 0
            time.sleep(_RECONNECT_S)

    def _each(
        self,
        phase: str,
        work: Callable[[HostedDevice], _Result],
        devices: Iterable[HostedDevice],
    ) -> dict[int, _Result]:
        """Do one piece of work on each device; a device that fails is counted, others go on."""
        chosen = list(devices)
        futures = {self._pool.submit(work, device): device for device in chosen}
        results: dict[int, _Result] = {}
        for done, future in enumerate(as_completed(futures), 1):
            device = futures[future]
            try:
                results[device.number] = future.result()
            except DeviceError as error:
                self._failures[f"{phase}: {type(error).__name__}"] += 1
                logger.warning("device %d, %s: %s", device.number, phase, error)
            self._report(phase, done, len(chosen))
        return results

    def _write_report(self, consenting: int) -> None:
        population = self._population
        started_s = time.perf_counter()
        decisions = self._each("recommending offline", lambda d: d.recommend(DEPTH), self.devices)
        recommend_s = time.perf_counter() - started_s
        index = population.catalogue.index
        ours = quality(
            ([index(item.item_id) or 0 for item in decision.items], population.held_out[n])
            for n, decision in sorted(decisions.items())
        )
        floor = quality(
            (
                popularity_ranking(population.train_counts, population.events(n).items).tolist(),
                population.held_out[n],
            )
            for n in sorted(decisions)
        )
        contributors = [d for d in self.devices if d.cost.rounds]
        count = max(1, len(contributors))
        document = {
            "devices": {
                "enrolled": len(self.devices),
                "consenting": consenting,
                "refused_learn": sum(not d.role.learn_signals for d in self.devices),
                "refused_signals": sum(d.withholds_signals for d in self.devices),
                "withdrew": sum(d.role.withdraws for d in self.devices),
                "drop_outs": sum(d.role.drops_out_in > 0 for d in self.devices),
                "failures": dict(self._failures),
            },
            "quality": {
                "model": dataclasses.asdict(ours),
                "popularity": dataclasses.asdict(floor),
            },
            "samples": [self._sample(d) for d in self._telling_devices()],
            "cost": {
                "cpu_s_per_device_round": sum(d.cost.cpu_s for d in contributors)
                / max(1, sum(d.cost.rounds for d in contributors)),
                "sent_bytes_per_device": sum(d.cost.sent_bytes for d in contributors) // count,
                "received_bytes_per_device": sum(d.cost.received_bytes for d in contributors)
                // count,
                "recommend_ms_per_device": 1000 * recommend_s / max(1, len(decisions)),
            },
            # The account of the device that was exposed most, as that device states it; after a
            # resume nobody may have contributed to this process, but accounts go on.
            "exposure": max(
                (d.exposure() for d in contributors or self.devices),
                key=lambda one: one.epsilon or 0.0,
            ).to_json(),
        }
        path = self._directory / "report.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False), "utf-8")
        os.replace(temporary, path)

    def _telling_devices(self) -> list[HostedDevice]:
        """Choose devices of the population's first users to show, with enough history."""
        rich = [d for d in self.devices if len(self._population.held_out[d.number]) >= SAMPLES]
        return (rich or self.devices)[:SAMPLES]

    def _sample(self, device: HostedDevice) -> dict[str, object]:
        decision, text = device.explained(SAMPLES)
        return {
            "device": device.number,
            "took_us": decision.took_us,
            "recommended": [item.title for item in decision.items],
            "source": decision.items[0].source,
            "because": text,
        }
