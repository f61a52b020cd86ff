"""The facade an app embeds: track, consent, recommend, explain, sync.

Everything but `sync` works without a network and opens no socket. The verbs are grouped by what
they do: `observing.py`, `consenting.py`, `deciding.py` and `keeping.py`, over `parts.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tacit.client.catalogue import Catalogue
from tacit.client.consenting import Consenting
from tacit.client.decide import Recency
from tacit.client.deciding import Deciding
from tacit.client.decision import DeviceState
from tacit.client.identifying import Identifying
from tacit.client.keeping import Keeping
from tacit.client.keys import KeyProvider
from tacit.client.policy import DevicePolicy, Endpoints, TrustRoots
from tacit.client.retention import retention_days
from tacit.client.slate import Exploration
from tacit.client.store import Store
from tacit.client.switching import Switching
from tacit.client.terms import ConsentTerms
from tacit.client.traffic_log import TrafficLog
from tacit.privacy.release import KINDS, RANKING

if TYPE_CHECKING:
    # What no decision needs is loaded by the verb that needs it.
    from tacit.client.exposure import DeviceExposure
    from tacit.client.recovery import Recovered
    from tacit.client.rights import Rights
    from tacit.client.sync import SyncReport

DEFAULT_EXPLORATION = Exploration(0.1)
"""One slot in ten is filled by chance, so that taste is not only confirmed."""


def system_clock_ms() -> int:
    """Return Unix milliseconds from the operating system."""
    return time.time_ns() // 1_000_000


class Personalizer(Deciding, Identifying, Consenting, Switching, Keeping):
    """One user's personalization on one device; see `Parts` for what it is made of."""

    def __init__(
        self,
        store: Store,
        *,
        catalogue: Catalogue | None,
        policy: DevicePolicy,
        terms: ConsentTerms,
        recency: Recency | None,
        exploration: Exploration | None,
        clock_ms: Callable[[], int],
    ) -> None:
        """Not for callers; use `Personalizer.open`."""
        super().__init__(
            store,
            catalogue=catalogue,
            policy=policy,
            terms=terms,
            recency=recency,
            exploration=exploration,
            clock_ms=clock_ms,
        )
        self.recall()

    @classmethod
    def open(
        cls,
        path: Path | str,
        keys: KeyProvider,
        catalogue: Catalogue | None = None,
        *,
        policy: DevicePolicy | None = None,
        terms: ConsentTerms | None = None,
        recency: Recency | None = None,
        exploration: Exploration | None = DEFAULT_EXPLORATION,
        clock_ms: Callable[[], int] = system_clock_ms,
    ) -> Personalizer:
        """Open a profile, making it on first use; what was kept long enough is deleted.

        Args:
            path: the database file.
            keys: wraps the store's data key.
            catalogue: the items there are; without one, events and consents can be recorded but
                nothing can be recommended or contributed.
            policy: the device's own limits.
            terms: what consent events say the person was told.
            recency: how much more new items weigh in decisions, `DEFAULT_RECENCY` for what
                people do next; None for all items alike.
            exploration: how often chance fills a slot; None for never.
            clock_ms: Unix milliseconds.

        Raises:
            KeyUnavailable, StoreDamaged, StoreUnavailable: see `Store.open`.
            BadEvent: if the policy's `retention_days` cannot be.
        """
        policy = policy or DevicePolicy()
        retention_days(policy.retention_days)  # before there is a file
        opened = cls(
            Store.open(Path(path), keys),
            catalogue=catalogue,
            policy=policy,
            terms=terms or ConsentTerms(),
            recency=recency,
            exploration=exploration,
            clock_ms=clock_ms,
        )
        try:
            opened._sweep(clock_ms())
        except BaseException:
            opened.close()
            raise
        return opened

    @staticmethod
    def recover(
        path: Path | str,
        keys: KeyProvider,
        *,
        terms: ConsentTerms | None = None,
        clock_ms: Callable[[], int] = system_clock_ms,
    ) -> Recovered | None:
        """Move a damaged profile aside and put what still opens in its place; then `open` it.

        If what must be whole is not (keys, facts, consents, rounds), the device starts anew: every
        purpose is refused and every channel but the app itself opted out of, until the person is
        asked again.

        Returns:
            What was done; None if nothing is damaged.

        Raises:
            KeyUnavailable, StoreDamaged, StoreUnavailable: see `tacit.client.recovery.recover`;
                nothing changed.
        """
        from tacit.client.recovery import recover

        return recover(Path(path), keys, terms or ConsentTerms(), clock_ms())

    @cached_property
    def rights(self) -> Rights:
        """The verbs of a data subject."""
        from tacit.client.rights import Rights

        return Rights(self)

    def state(self) -> DeviceState:
        """Return what the device knows about itself, and expects of its user.

        Predictions read only signals permitted for `decide`.
        """
        from tacit.client.predictions import predict_now

        now_ms = self.clock_ms()
        held = {kind: self.releases.get(kind) for kind in KINDS}
        installed = {kind: release for kind, release in held.items() if release is not None}
        versions = {kind: release.manifest.version for kind, release in installed.items()}
        return DeviceState(
            device_id=self.device_id,
            population=self.population,
            consents=self.consents.state(now_ms),
            pending_consents=len(self.consents.pending()),
            events=self.events.count(),
            rounds=len(self.participation.entries()),
            exposure=self.exposure(),
            release_version=versions.get(RANKING, 0),
            releases=versions,
            predictions=predict_now(
                self.events,
                installed,
                self.consents.permitted("decide", now_ms),
                now_ms,
                self.policy.max_model_bytes,
            ),
            features=self._features(now_ms),
            retention_days=self.retention.days,
            traffic=TrafficLog(self.facts).get(),
        )

    def exposure(self) -> DeviceExposure:
        """Return this device's own privacy account: what it was exposed to, and its cap.

        By trust level, purpose and task, from the rounds it entered itself over its whole life. No
        server can reset it; `forget` ends it with the identity it belongs to.
        """
        from tacit.client.exposure import exposure_of

        policy = self.policy
        return exposure_of(self.participation.entries(), policy.max_epsilon, policy.max_delta)

    def sync(
        self, servers: Endpoints, trust: TrustRoots, *, token: str | None = None
    ) -> SyncReport:
        """Talk to the servers once; the only verb that opens a socket.

        Sends pending consents, takes part in a round if one is offered and acceptable, and
        installs a newer release. Needs the `device` extra.

        Args:
            servers: where they are.
            trust: pinned names and keys.
            token: one-time enrolment token, on first use.

        Raises:
            NotEnrolled: if the device has no identity at the ledger and no token was given.
            TransportError: if a server cannot be reached.
            OfferRefused, ReleaseRefused, RollbackRefused, ReceiptRefused: see `DeviceSession`.
        """
        from tacit.client.sync import sync

        report = sync(self, servers, trust, token=token)
        self.reload()
        return report
