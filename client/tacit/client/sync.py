"""Sync: all steps of a session in order, with a report a person can read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tacit.client.errors import OfferRefused
from tacit.client.policy import Endpoints, TrustRoots
from tacit.client.session import DeviceSession
from tacit.client.traffic_log import TrafficLog
from tacit.privacy.release import KINDS, RANKING

if TYPE_CHECKING:
    from tacit.client.personalizer import Personalizer


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What one sync did.

    Attributes:
        device_id: name of the device's key.
        consents_sent: decisions sent and receipted.
        task_id, round_id: the round contributed to; None if none was.
        idle_reason: why not, in the gateway's words or this device's; empty if it was.
        installed_version: ranking release installed by this sync; None if there was nothing newer.
        installed: kind → version of every release installed by this sync.
        sent_bytes, received_bytes: payload, without TLS and HTTP/2 framing.
        wall_s, cpu_s: time taken, seconds; cpu_s is of the calling thread.
    """

    device_id: str
    consents_sent: int
    task_id: str | None
    round_id: int | None
    idle_reason: str
    installed_version: int | None
    installed: Mapping[str, int]
    sent_bytes: int
    received_bytes: int
    wall_s: float
    cpu_s: float


def sync(
    device: Personalizer, endpoints: Endpoints, trust: TrustRoots, *, token: str | None = None
) -> SyncReport:
    """Open connections, run a session and close them; see `Personalizer.sync`."""
    from tacit.client.transport import Connection

    with Connection(endpoints) as connection:
        servers = connection.servers(device.facts.identity(), device.clock_ms)
        return run(device, DeviceSession(device, servers, trust), token=token)


def run(device: Personalizer, session: DeviceSession, *, token: str | None = None) -> SyncReport:
    """Run the steps of one session: enrol, push consents, contribute, pull the releases.

    An erasure the person asked for goes first, and ends the session: the device that would go on is
    no more. One that was erased and is enrolled nowhere learns what became of its contributions.
    Then withdrawals, so they hold before anything else is asked. A refused offer is reported and
    does not keep the device from a new release; a rollback stops everything. What was sent and
    received is entered in the device's own account, whatever came of it.
    """
    try:
        return _steps(device, session, token)
    finally:
        TrafficLog(device.facts).add(session.traffic, device.clock_ms())


def _steps(device: Personalizer, session: DeviceSession, token: str | None) -> SyncReport:
    wall_s, cpu_s = time.perf_counter(), time.thread_time()
    device_id = device.device_id
    if session.finish_erasure() or (token is None and session.look_after_erasure()):
        return SyncReport(
            device_id=device_id,
            consents_sent=0,
            task_id=None,
            round_id=None,
            idle_reason="erased; a new identity can enrol with a new token",
            installed_version=None,
            installed={},
            sent_bytes=session.traffic.sent_bytes,
            received_bytes=session.traffic.received_bytes,
            wall_s=time.perf_counter() - wall_s,
            cpu_s=time.thread_time() - cpu_s,
        )
    if token is not None:
        session.enrol(token)
    consents_sent = session.push_consents()
    offer, idle_reason = None, ""
    try:
        offer = session.check_in()
        if offer is not None:
            session.contribute(offer)
        idle_reason = session.idle_reason
    except OfferRefused as error:
        offer, idle_reason = None, f"declined: {error}"
    session.look_for_retrainings()  # before a release is used for another day
    pulled = {kind: session.pull_release(kind) for kind in KINDS}  # the ranking first
    installed = {kind: version for kind, version in pulled.items() if version is not None}
    return SyncReport(
        device_id=device.device_id,
        consents_sent=consents_sent,
        task_id=None if offer is None else offer.manifest.task_id,
        round_id=None if offer is None else offer.plan.round_id,
        idle_reason=idle_reason,
        installed_version=installed.get(RANKING),
        installed=installed,
        sent_bytes=session.traffic.sent_bytes,
        received_bytes=session.traffic.received_bytes,
        wall_s=time.perf_counter() - wall_s,
        cpu_s=time.thread_time() - cpu_s,
    )
