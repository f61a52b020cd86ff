"""One hosted device: opened for each piece of work, closed after it, as an app would."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from tacit.client import (
    ConsentTerms,
    Decision,
    DeviceExposure,
    DevicePolicy,
    FileKeyProvider,
    Personalizer,
    TrustRoots,
)
from tacit.client.session import DeviceSession
from tacit.client.transport import Connection
from tacit.simulations.demo.population import DemoPopulation
from tacit.simulations.demo.scenario import Role


@dataclass(slots=True)
class Cost:
    """What a device has spent so far.

    Attributes:
        cpu_s: processor time of training rounds.
        sent_bytes, received_bytes: payload of training rounds and releases.
        rounds: rounds contributed to.
    """

    cpu_s: float = 0.0
    sent_bytes: int = 0
    received_bytes: int = 0
    rounds: int = 0


class HostedDevice:
    """One device of a fleet.

    Args:
        number: its place in the population.
        directory: the fleet's directory.
        population: gives its events, its role and the catalogue.
        policy: its own limits.
        terms: what its user is told when asked for consent.
        connection: channels it shares with the others; requests carry its own signature.
        trust: what it pins.
    """

    def __init__(
        self,
        number: int,
        directory: pathlib.Path,
        population: DemoPopulation,
        policy: DevicePolicy,
        terms: ConsentTerms,
        connection: Connection,
        trust: TrustRoots,
    ) -> None:
        self.number = number
        self.cost = Cost()
        self._home = directory / "devices" / f"{number:05d}"
        self._key = directory / "keys" / f"{number:05d}.key"
        self._population = population
        self._policy = policy
        self._terms = terms
        self._connection = connection
        self._trust = trust

    @property
    def role(self) -> Role:
        """What this device does in the play."""
        return self._population.roles[self.number]

    @property
    def withholds_signals(self) -> bool:
        """Whether it grants `learn`, but not for every signal its population has."""
        granted = len(self.role.learn_signals)
        return 0 < granted < len(self._population.dataset.signal_names)

    @contextmanager
    def opened(self) -> Generator[Personalizer]:
        """Open the device's profile for one piece of work."""
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with Personalizer.open(
            self._home / "profile.db",
            FileKeyProvider(self._key),
            self._population.catalogue,
            policy=self._policy,
            terms=self._terms,
            # The demo evaluates what the model ranks, not what chance and variety add to it.
            exploration=None,
        ) as device:
            yield device

    def set_up(self, token: str) -> None:
        """Decide about consent, record the user's events, enrol; done steps are not repeated."""
        with self.opened() as device:
            if not device.events.count():
                signals = self.role.learn_signals
                device.consent("learn", signals or None, bool(signals))
                item_ids = self._population.dataset.item_ids
                events = self._population.events(self.number).rows()
                # As if the data set ended now: what is too old a device deletes by itself.
                later_ms = device.clock_ms() - self._population.newest_ms
                device.track_all(
                    (
                        signal,
                        {"product_id": item_ids[item], "value": value},
                        f"event-{n}",
                        at_ms + later_ms,
                    )
                    for n, (signal, item, value, at_ms) in enumerate(events)
                )
            session = self._session(device)
            session.enrol(token)
            session.push_consents()

    def withdraw(self) -> None:
        """Withdraw `learn` and tell the ledger."""
        with self.opened() as device:
            if device.consents.permitted("learn", device.clock_ms()):
                device.consent("learn", None, False)
            self._session(device).push_consents()

    def answer(self, round_id: int) -> bool:
        """Check in and contribute to the open round; returns whether a contribution was sent.

        A device that drops out in this round takes the offer and is never heard of again.
        """
        started_s = time.thread_time()
        with self.opened() as device:
            session = self._session(device)
            offer = session.check_in()
            contributed = offer is not None and self.role.drops_out_in != round_id
            if offer is not None and contributed:
                session.contribute(offer)
            self._count(session)
        self.cost.cpu_s += time.thread_time() - started_s
        self.cost.rounds += contributed
        return contributed

    def pull(self) -> int | None:
        """Install the newest release; returns its version if it was new."""
        with self.opened() as device:
            session = self._session(device)
            version = session.pull_release()
            self._count(session)
            return version

    def recommend(self, k: int) -> Decision:
        """Recommend offline."""
        with self.opened() as device:
            return device.recommend("home", k, diversity=0.0)

    def explained(self, k: int) -> tuple[Decision, str]:
        """Recommend and explain the first item in words."""
        with self.opened() as device:
            decision = device.recommend("home", k, diversity=0.0)
            return decision, device.explain(decision.id, decision.items[0].item_id).text

    def exposure(self) -> DeviceExposure:
        """Return this device's own account of what it was exposed to."""
        with self.opened() as device:
            return device.exposure()

    def _session(self, device: Personalizer) -> DeviceSession:
        servers = self._connection.servers(device.facts.identity(), device.clock_ms)
        return DeviceSession(device, servers, self._trust)

    def _count(self, session: DeviceSession) -> None:
        self.cost.sent_bytes += session.traffic.sent_bytes
        self.cost.received_bytes += session.traffic.received_bytes
