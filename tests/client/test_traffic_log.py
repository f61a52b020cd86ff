"""The account of traffic: every sync counts, also one that failed, and it outlives a restart."""

from __future__ import annotations

from typing import Any

import pytest

from tacit.client import TransportError
from tacit.client.sync import run
from tacit.client.traffic_log import TrafficAccount, TrafficLog
from tacit.client.wire import Traffic


class Unreachable:
    """A session that loses its servers after some bytes."""

    traffic = Traffic(sent_bytes=700, received_bytes=30)

    def finish_erasure(self) -> bool:
        raise TransportError("server unreachable")


def test_a_sync_that_failed_counts_too(shop: Any) -> None:
    session: Any = Unreachable()
    with shop.open() as pz:
        assert pz.state().traffic == TrafficAccount()
        for _ in range(2):
            with pytest.raises(TransportError):
                run(pz, session)
    with shop.open() as pz:
        assert pz.state().traffic == TrafficAccount(2, 1400, 60, shop.clock())


def test_it_ends_with_the_profile_it_belongs_to(shop: Any) -> None:
    with shop.open() as pz:
        TrafficLog(pz.facts).add(Traffic(5, 6), -1)
        assert pz.state().traffic == TrafficAccount(1, 5, 6, 0)
        pz.forget(all=True)
    with shop.open() as pz:
        assert pz.state().traffic == TrafficAccount()
