"""A device against servers that answer in memory: the good path and every bad vector.

The servers here hold real Merkle logs and real keys, and can be told to lie in one way at a time.
`test_servers.py` runs the same session against the real ledger and gateway.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from tacit.client import (
    Catalogue,
    DevicePolicy,
    DeviceSession,
    FileKeyProvider,
    NotEnrolled,
    OfferRefused,
    Personalizer,
    PolicyRefused,
    ReceiptRefused,
    Rejected,
    ReleaseRefused,
    RollbackRefused,
    TrustRoots,
)
from tacit.client.offers import Offer
from tacit.client.statistics import (
    HISTORY_SIGNALS,
    NO_ACTION,
    Events,
    Profiles,
    build_histories,
    contributions,
)
from tacit.client.sync import run
from tacit.client.wire import (
    CheckIn,
    ErasureAnswer,
    LoggedEntry,
    RetrainingAnswer,
    RoundOffer,
    StateProof,
    Traffic,
)
from tacit.privacy.accounting import GaussianEvent, epsilon_bound
from tacit.privacy.arrays import pack_arrays
from tacit.privacy.canonical import Json
from tacit.privacy.capability import Capability, issue, read_unverified
from tacit.privacy.checkpoint import Checkpoint, sign
from tacit.privacy.consent import ConsentEvent
from tacit.privacy.consent_map import MapEpoch, blinding_key, map_key, map_value
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.merkle import MerkleTree, leaf_hash
from tacit.privacy.quantize import dense
from tacit.privacy.receipt import Receipt, leaf
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.signatures import SigningKey, verify
from tacit.privacy.state_map import StateMap
from tacit.privacy.task import RoundHeader, RoundPlan, TaskManifest

NOW_MS = 1_800_000_000_000
N_ITEMS, WIDTH = 40, 4
GOVERNANCE, CONSENT = "t.example/governance", "t.example/consent"
POPULATION = "people"
SIGNALS = {"product_view": 1.0, "purchase": 2.0}

Arrays = Mapping[str, npt.NDArray[np.generic]]


def _catalogue() -> Catalogue:
    return Catalogue.build((f"i{n}", f"Item {n}", ["even" if n % 2 else "odd"]) for n in range(40))


def _context(seed: int = 0) -> dict[str, npt.NDArray[np.generic]]:
    rng = np.random.default_rng(seed)
    return {
        "basis": rng.normal(size=(N_ITEMS, WIDTH)) / 6,
        "item_weights": np.ones(N_ITEMS),
    }


def context_floats(seed: int = 0) -> dict[str, npt.NDArray[np.float64]]:
    return {name: np.asarray(array, dtype=np.float64) for name, array in _context(seed).items()}


def _model(seed: int = 0) -> dict[str, npt.NDArray[np.generic]]:
    rng = np.random.default_rng(seed)
    popularity = rng.uniform(0.5, 2.0, size=N_ITEMS)
    return {
        "popularity": popularity / popularity.sum(),
        "loadings": rng.normal(size=(N_ITEMS, 3)) * 0.01,
        "prior_variance": np.ones(3),
        "item_variance": popularity / popularity.sum(),
    }


class World:
    """Servers in memory. Change an attribute to make them lie."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.ledger, self.coordinator, self.other = (SigningKey(bytes([n]) * 32) for n in (1, 2, 3))
        self.governance, self.consent = MerkleTree(), MerkleTree()
        self.context = pack_arrays(_context())
        self.blobs: dict[str, bytes] = {}
        self.contributions: list[tuple[int, bytes]] = []
        self.noised: list[bool] = []
        self.consents: list[ConsentEvent] = []
        self.task_signer = self.round_signer = self.coordinator
        self.checkpoint_signer = self.ledger
        self.offered: GovernanceEntry | None = None
        self.released: dict[str, GovernanceEntry] = {}
        self.header_change: dict[str, Any] = {}
        self.answer_kind = ""
        self.commitment_key = b"k" * 32
        self.refuse_contribution: Rejected | None = None
        self.mangle: Callable[[LoggedEntry], LoggedEntry] = lambda entry: entry
        self._entries: dict[bytes, int] = {}
        self.map_entries: dict[bytes, bytes] = {}
        self.epochs = 0
        self.epoch_change: dict[str, Any] = {}
        self.capability_change: dict[str, Any] = {}
        self.map_signer = self.ledger
        self.map_mangle: Callable[[LoggedEntry], LoggedEntry] = lambda entry: entry
        for n in range(5):
            self.governance.append(leaf_hash(b"earlier entry %d" % n))

    @property
    def trust(self) -> TrustRoots:
        return TrustRoots(GOVERNANCE, CONSENT, self.ledger.public_key, self.coordinator.public_key)

    # --- what the operator does

    def plan(self, **change: Any) -> RoundPlan:
        plan = RoundPlan(
            round_id=1,
            statistic="subspace/1",
            length=N_ITEMS * WIDTH,
            clipping_norm=0.5,
            integer_norm=4096,
            noise_multiplier=2.0,
            parameters={},
        )
        return dataclasses.replace(plan, **change)

    def manifest(self, **change: Any) -> TaskManifest:
        rounds = change.pop("rounds", (self.plan(), self.plan(round_id=2)))
        events = [GaussianEvent(p.noise_multiplier) for p in rounds]
        manifest = TaskManifest(
            task_id="task-1",
            population=POPULATION,
            purpose="learn",
            learner="spectral/1",
            signals=SIGNALS,
            rounds=rounds,
            trust_level="central",
            cohort_min=2,
            cohort_max=100,
            cohort_expected=50,
            participation_bound=len(rounds),
            unit="user",
            neighboring_relation="add_remove",
            epsilon=round(epsilon_bound(events, 1e-3) + 1e-6, 6),
            target_delta=1e-3,
            budget_account="a",
            catalogue_sha256=_catalogue().digest.hex(),
            issued_at_ms=NOW_MS - 1000,
            expires_at_ms=NOW_MS + 3_600_000,
            base_release=0,
        )
        return dataclasses.replace(manifest, **change)

    def publish_task(self, manifest: TaskManifest | None = None) -> None:
        body = (manifest or self.manifest()).to_json()
        self.offered = self._log(GovernanceEntry.sign("task", body, NOW_MS, self.task_signer))

    def publish_release(self, version: int, blob: bytes | None = None, **change: Any) -> None:
        blob = pack_arrays(_model(version)) if blob is None else blob
        manifest = ReleaseManifest(
            population=POPULATION,
            version=version,
            task_sha256="0" * 64,
            model_sha256=hashlib.sha256(blob).hexdigest(),
            model_bytes=len(blob),
            catalogue_sha256=_catalogue().digest.hex(),
            reservations=("r-1",),
            epsilon=3.0,
            target_delta=1e-3,
            created_at_ms=NOW_MS,
        )
        manifest = dataclasses.replace(manifest, **change)
        self.blobs[manifest.model_sha256] = blob
        entry = GovernanceEntry.sign("release", manifest.to_json(), NOW_MS, self.task_signer)
        self.released[manifest.kind] = self._log(entry)

    def _log(self, entry: GovernanceEntry) -> GovernanceEntry:
        self._entries[entry.to_bytes()] = self.governance.append(leaf_hash(entry.to_bytes()))
        return entry

    def logged(self, entry: GovernanceEntry, known_size: int) -> LoggedEntry:
        return self.mangle(self._proved(entry, known_size))

    def _proved(self, entry: GovernanceEntry, known_size: int) -> LoggedEntry:
        tree = self.governance
        consistent = 0 < known_size <= tree.size
        return LoggedEntry(
            entry=entry.to_bytes(),
            index=self._entries[entry.to_bytes()],
            inclusion=tuple(tree.inclusion_proof(self._entries[entry.to_bytes()])),
            checkpoint=self._checkpoint(GOVERNANCE, tree),
            consistency=tuple(tree.consistency_proof(known_size)) if consistent else (),
        )

    def _checkpoint(self, origin: str, tree: MerkleTree) -> bytes:
        return sign(Checkpoint(origin, tree.size, tree.root()), self.checkpoint_signer, origin)

    # --- what devices call (tacit.client.wire.Servers)

    def enrol(self, token: str, public_key: bytes, proof: bytes) -> tuple[str, str]:
        verify(public_key, "enrol", token.encode(), proof)
        return SigningKey(b"\x09" * 32).key_id if token == "wrong" else _id(public_key), POPULATION

    def append_consent(self, event: bytes, signature: bytes, known_size: int) -> Receipt:
        self.consents.append(ConsentEvent.parse(event))
        index = self.consent.append(leaf_hash(leaf(event, signature, b"k" * 32)))
        blinding = blinding_key(b"k" * 32)
        purpose = self.consents[-1].purpose
        self.map_entries[map_key(blinding, purpose)] = map_value(
            blinding, index, leaf(event, signature, b"k" * 32)
        )
        return Receipt(
            commitment_key=self.commitment_key,
            index=index,
            inclusion=tuple(self.consent.inclusion_proof(index)),
            checkpoint=self._checkpoint(CONSENT, self.consent),
            consistency=tuple(
                self.consent.consistency_proof(known_size)
                if 0 < known_size <= self.consent.size
                else ()
            ),
        )

    def get_state_proof(
        self, known_size: int, covering: int, keys: tuple[bytes, ...]
    ) -> StateProof:
        """Publish an epoch for every question, as a ledger with busy neighbours would."""
        state = StateMap(self.map_entries)
        self.epochs += 1
        size = max(1, self.consent.size)
        root = self.consent.root() if self.consent.size else b"r" * 32
        epoch = MapEpoch(self.epochs, size, root.hex(), state.root.hex())
        body = dataclasses.replace(epoch, **self.epoch_change).to_json()
        entry = self._log(GovernanceEntry.sign("consent.map", body, NOW_MS, self.map_signer))
        return StateProof(
            self.map_mangle(self._proved(entry, known_size)),
            tuple(state.prove(key) for key in keys),
        )

    def check_in(self, known_size: int) -> CheckIn:
        if self.offered is None:
            return CheckIn(None, "no round is open", 0)
        header = RoundHeader(
            task_sha256=self.offered.body_digest().hex(),
            round_id=1,
            context_sha256=hashlib.sha256(self.context).hexdigest(),
            opened_at_ms=NOW_MS - 10,
            closes_at_ms=NOW_MS + 60_000,
        )
        header = dataclasses.replace(header, **self.header_change)
        data = header.to_bytes()
        offer = RoundOffer(
            task=self.logged(self.offered, known_size),
            round_header=data,
            round_signature=self.round_signer.sign("round", data),
            capability=self._capability(header),
        )
        return CheckIn(offer, "", 0)

    def _capability(self, header: RoundHeader) -> bytes:
        assert self.offered is not None
        body = self.offered.body
        latest = [e for e in self.consents if e.purpose == body["purpose"]][-1:]
        asked = cast("dict[str, Json]", body["signals"])
        leave = Capability(
            device_id="device",
            task_sha256=header.task_sha256,
            round_id=header.round_id,
            signals=tuple(sorted(s for e in latest for s in e.signals if s in asked)),
            consent_sequence=len(self.consents),
            map_epoch=self.epochs,
            expires_at_ms=NOW_MS + 1,
            nonce="00" * 16,
        )
        return issue(self.other, dataclasses.replace(leave, **self.capability_change))

    def erase(
        self, request: bytes, signature: bytes, public_key: bytes, known_size: int
    ) -> ErasureAnswer:
        raise NotImplementedError

    def contribute(
        self, capability: bytes, task_sha256: bytes, round_id: int, values: bytes, noised: bool
    ) -> None:
        assert read_unverified(capability).round_id == round_id
        self.contributions.append((round_id, values))
        self.noised.append(noised)
        if self.refuse_contribution is not None:
            raise self.refuse_contribution

    def fetch_blob(self, sha256: bytes, max_bytes: int) -> bytes:
        return self.blobs.get(sha256.hex(), self.context)

    def get_release(self, population: str, known_size: int, kind: str) -> LoggedEntry | None:
        released = self.released.get(self.answer_kind or kind)
        return None if released is None else self.logged(released, known_size)

    def get_retrainings(self, population: str, known_size: int, after: int) -> RetrainingAnswer:
        return RetrainingAnswer(())


def _id(public_key: bytes) -> str:
    from tacit.privacy.signatures import key_id

    return key_id(public_key)


@pytest.fixture
def world() -> World:
    return World()


def _open(folder: Path, **options: Any) -> Personalizer:
    # Two decisions are compared, so chance has no part in them.
    options.setdefault("exploration", None)
    return Personalizer.open(
        folder / "device.db",
        FileKeyProvider(folder / "device.key"),
        _catalogue(),
        clock_ms=lambda: NOW_MS,
        **options,
    )


open_device, shop_catalogue = _open, _catalogue  # for the tests of trust levels


def other_context() -> bytes:
    return pack_arrays(_context(1))


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Personalizer]:
    with _open(tmp_path) as opened:
        opened.enrolled(POPULATION)
        for n in range(12):
            opened.track("Product Viewed", {"product_id": f"i{n}"}, event_id=f"v{n}")
        opened.track("Order Completed", {"products": [{"product_id": "i1"}, {"product_id": "i30"}]})
        opened.consent("learn", ["product_view", "purchase"], True)
        yield opened


@pytest.fixture
def session(device: Personalizer, world: World) -> DeviceSession:
    return DeviceSession(device, world, world.trust)


def _offer(session: DeviceSession) -> Offer:
    offer = session.check_in()
    assert offer is not None
    return offer


# --- the good path


def test_a_session_enrols_consents_contributes_and_installs(tmp_path: Path, world: World) -> None:
    world.publish_task()
    world.publish_release(1)
    with _open(tmp_path) as device:
        session = DeviceSession(device, world, world.trust)
        device.track("Product Viewed", {"product_id": "i3"})
        with pytest.raises(NotEnrolled):
            session.check_in()
        device.consent("learn", ["product_view"], True)
        report = run(device, session, token="t")
        assert (report.consents_sent, report.task_id, report.round_id) == (1, "task-1", 1)
        assert (report.idle_reason, report.installed_version) == ("", 1)
        state = device.state()
        assert (state.population, state.pending_consents, state.rounds) == (POPULATION, 0, 1)
        assert state.release_version == 1
        assert state.epsilon == pytest.approx(epsilon_bound([GaussianEvent(2.0)], 1e-2))
        assert device.recommend().model_version == 1
        assert device.recommend().items[0].source == "model"
        again = run(device, session)
        assert (again.consents_sent, again.installed_version) == (0, None)


def test_the_contribution_is_the_simulators(
    device: Personalizer, session: DeviceSession, world: World
) -> None:
    world.publish_task()
    offer = _offer(session)
    session.contribute(offer)
    ((round_id, values),) = world.contributions
    items = [*range(12), 30]
    weights = [2.0 if n in (1, 30) else 1.0 for n in items]
    expected = contributions(
        Profiles(np.array([0, 13]), np.array(items), np.array(weights), N_ITEMS),
        {k: np.asarray(v, np.float64) for k, v in _context().items()},
        RoundPlan(1, "subspace/1", N_ITEMS * WIDTH, 0.5, 4096, 1.0, {}),
        task_digest=offer.task_sha256,
        device_secrets=[device.facts.device_secret()],
    )
    assert round_id == 1
    np.testing.assert_array_equal(np.frombuffer(values, "<i2"), dense(expected, 0))
    assert np.any(np.frombuffer(values, "<i2"))


def test_participation_is_on_disk_before_the_vector_leaves(
    tmp_path: Path, device: Personalizer, session: DeviceSession, world: World
) -> None:
    world.publish_task()
    session.contribution(_offer(session), world.context)
    device.close()
    with _open(tmp_path) as reopened:
        (entry,) = reopened.participation.entries()
        assert (entry.round_id, entry.noise_multiplier) == (1, 2.0)


def test_a_retransmission_is_bit_identical_even_after_new_events_and_a_crash(
    tmp_path: Path, device: Personalizer, session: DeviceSession, world: World
) -> None:
    world.publish_task()
    first = session.contribution(_offer(session), world.context)
    device.track("Product Viewed", {"product_id": "i39"})
    device.close()
    with _open(tmp_path) as reopened:
        again = DeviceSession(reopened, world, world.trust)
        assert again.contribution(_offer(again), world.context) == first
        assert len(reopened.participation.entries()) == 1
        # The next round does see the new event.
        world.header_change = {"round_id": 2}
        assert again.contribution(_offer(again), world.context) != first
        assert len(reopened.participation.entries()) == 2


@pytest.mark.parametrize("how", ["forgotten", "corrected", "expired"])
def test_a_round_gets_no_second_answer_that_would_be_another(
    device: Personalizer, session: DeviceSession, world: World, how: str
) -> None:
    world.publish_task()
    offer = _offer(session)
    device.track("Product Viewed", {"product_id": "i38"}, event_id="visit")
    first = session.contribution(offer, world.context)
    assert session.contribution(offer, world.context) == first
    if how == "forgotten":
        device.forget(item="i38")
    elif how == "corrected":
        device.rights.rectify("visit", "Product Viewed", {"product_id": "i37"})
    else:
        event = device.events.find("visit")
        assert event is not None
        device.events.delete([event.sequence])
    with pytest.raises(OfferRefused, match="gives no second answer"):
        session.contribution(offer, world.context)
    world.header_change = {"round_id": 2}
    assert session.contribution(_offer(session), world.context) != first


def test_a_grant_made_in_between_does_not_change_a_round_already_answered(
    tmp_path: Path, device: Personalizer, session: DeviceSession, world: World
) -> None:
    world.publish_task(world.manifest(signals={**SIGNALS, "rating": 5.0}))
    device.rate("i20", 5)
    offer = _offer(session)
    first = session.contribution(offer, world.context)
    device.consent("learn", ["rating"], True)
    assert session.contribution(offer, world.context) == first
    device.close()
    with _open(tmp_path) as reopened:
        again = DeviceSession(reopened, world, world.trust)
        assert again.contribution(_offer(again), world.context) == first
        world.header_change = {"round_id": 2}
        assert again.contribution(_offer(again), world.context) != first


def test_a_grant_made_after_the_offer_is_not_used(
    device: Personalizer, session: DeviceSession, world: World
) -> None:
    world.publish_task(world.manifest(signals={**SIGNALS, "rating": 5.0}))
    device.rate("i20", 5)
    offer = _offer(session)
    device.consent("learn", ["rating"], True)
    session.contribute(offer)
    values = np.frombuffer(world.contributions[0][1], "<i2").reshape(N_ITEMS, WIDTH)
    assert not values[20].any()
    assert values[30].any()


def test_decisions_are_on_record_before_a_round_is_asked_for(
    device: Personalizer, session: DeviceSession, world: World
) -> None:
    world.publish_task()
    _offer(session)
    assert [e.purpose for e in world.consents] == ["learn"]
    device.consent("learn", None, False)
    with pytest.raises(OfferRefused, match="step 7"):
        session.check_in()
    assert [e.state for e in world.consents] == ["given", "withdrawn"]


def test_a_round_is_not_answered_again_with_another_context(
    session: DeviceSession, world: World
) -> None:
    world.publish_task()
    session.contribute(_offer(session))
    world.context = pack_arrays(_context(1))
    with pytest.raises(OfferRefused, match="another context"):
        session.contribute(_offer(session))
    assert len(world.contributions) == 1


def test_a_lost_reply_is_no_failure_and_a_refusal_is(session: DeviceSession, world: World) -> None:
    world.publish_task()
    world.refuse_contribution = Rejected("ALREADY_EXISTS", "have it")
    session.contribute(_offer(session))
    world.refuse_contribution = Rejected("FAILED_PRECONDITION", "round closed")
    with pytest.raises(Rejected, match="round closed"):
        session.contribute(_offer(session))


def test_an_empty_profile_sends_as_many_bytes_as_a_full_one(tmp_path: Path, world: World) -> None:
    world.publish_task()
    with _open(tmp_path) as empty:
        empty.enrolled(POPULATION)
        empty.consent("learn", ["purchase"], True)
        session = DeviceSession(empty, world, world.trust)
        values = session.contribution(_offer(session), world.context)
    assert values == bytes(2 * N_ITEMS * WIDTH)


class Listening(World):
    """Notes what a session says: each call with its sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[Any, ...]] = []

    def _hear(self, name: str, *arguments: Any) -> None:
        self.heard.append((name, *(len(a) if isinstance(a, bytes) else a for a in arguments)))

    def append_consent(self, event: bytes, signature: bytes, known_size: int) -> Receipt:
        self._hear("append_consent", event, signature, known_size)
        return super().append_consent(event, signature, known_size)

    def check_in(self, known_size: int) -> CheckIn:
        self._hear("check_in", known_size)
        return super().check_in(known_size)

    def fetch_blob(self, sha256: bytes, max_bytes: int) -> bytes:
        self._hear("fetch_blob", sha256, max_bytes)
        return super().fetch_blob(sha256, max_bytes)

    def contribute(
        self,
        capability: bytes,
        task_sha256: bytes,
        round_id: int,
        values: bytes,
        noised: bool,
    ) -> None:
        self._hear("contribute", capability, task_sha256, round_id, values)
        super().contribute(capability, task_sha256, round_id, values, noised)


@pytest.mark.parametrize("statistic", ["popularity/1", "subspace/1"])
def test_what_is_said_has_one_shape_with_and_without_data(tmp_path: Path, statistic: str) -> None:
    """Calls, their order and sizes are those of an empty device; only the vector differs."""
    heard: list[list[tuple[Any, ...]]] = []
    vectors: list[bytes] = []
    for events in (0, 300):
        world = Listening()
        length = N_ITEMS if statistic == "popularity/1" else N_ITEMS * WIDTH
        plan = world.plan(statistic=statistic, length=length)
        world.publish_task(world.manifest(rounds=(plan,)))
        folder = tmp_path / str(events)
        folder.mkdir()
        with _open(folder) as device:
            device.enrolled(POPULATION)
            for n in range(events):
                device.track("Product Viewed", {"product_id": f"i{n % N_ITEMS}"}, event_id=f"v{n}")
            device.consent("learn", ["product_view"], True)
            run(device, DeviceSession(device, world, world.trust))
        heard.append(world.heard)
        vectors += [values for _, values in world.contributions]
    assert heard[0] == heard[1]
    assert [one[0] for one in heard[0]].count("contribute") == 1
    assert vectors[0] != vectors[1], "otherwise nothing was compared"


# --- consent


def test_without_consent_nothing_is_read_and_nothing_leaves(
    device: Personalizer, session: DeviceSession, world: World
) -> None:
    world.publish_task()
    offer = _offer(session)
    device.consent("learn", None, False)
    with pytest.raises(OfferRefused, match="step 7"):
        session.check_in()
    with pytest.raises(OfferRefused, match="step 7"):
        session.contribution(offer, world.context)
    assert device.participation.entries() == []


def test_a_task_for_another_purpose_needs_its_own_consent(
    session: DeviceSession, world: World
) -> None:
    world.publish_task(world.manifest(purpose="measure"))
    with pytest.raises(OfferRefused, match="step 7"):
        session.check_in()


def test_withdrawing_one_signal_leaves_the_contribution_of_the_others(
    tmp_path: Path, device: Personalizer, session: DeviceSession, world: World
) -> None:
    world.publish_task()
    device.consent("learn", ["purchase"], False)
    with_views = session.contribution(_offer(session), world.context)
    other = tmp_path / "other"
    with _open(other) as twin:
        twin.enrolled(POPULATION)
        twin.facts.put("device-secret", device.facts.device_secret())
        for n in range(12):
            twin.track("Product Viewed", {"product_id": f"i{n}"})
        twin.consent("learn", ["product_view"], True)
        twin_session = DeviceSession(twin, world, world.trust)
        assert twin_session.contribution(_offer(twin_session), world.context) == with_views


def test_consents_are_pushed_in_order_and_receipts_kept(
    device: Personalizer, session: DeviceSession, world: World
) -> None:
    device.consent("measure", ["rating"], True)
    device.consent("learn", ["purchase"], False)
    assert session.push_consents() == 3
    assert [(e.seq, e.purpose, e.state, e.signals) for e in world.consents] == [
        (1, "learn", "given", ("product_view", "purchase")),
        (2, "measure", "given", ("rating",)),
        (3, "learn", "given", ("product_view",)),
    ]
    receipt = device.consents.receipt(2)
    assert receipt is not None
    assert receipt.index == 1
    assert session.push_consents() == 0


def test_a_receipt_that_does_not_open_the_leaf_is_refused(
    device: Personalizer, session: DeviceSession, world: World
) -> None:
    world.commitment_key = b"x" * 32
    with pytest.raises(ReceiptRefused, match="consent 1"):
        session.push_consents()
    assert device.consents.receipt(1) is None
    assert len(device.consents.pending()) == 1


def test_a_receipt_under_another_ledgers_checkpoint_is_refused(
    session: DeviceSession, world: World
) -> None:
    world.checkpoint_signer = world.other
    with pytest.raises(ReceiptRefused):
        session.push_consents()


def test_a_consent_log_that_forgets_is_detected(
    device: Personalizer, session: DeviceSession, world: World
) -> None:
    session.push_consents()
    world.consent = MerkleTree()
    device.consent("measure", ["rating"], True)
    with pytest.raises(RollbackRefused):
        session.push_consents()


def test_enrolment_of_another_key_is_refused(tmp_path: Path, world: World) -> None:
    with _open(tmp_path) as device:
        session = DeviceSession(device, world, world.trust)
        with pytest.raises(NotEnrolled, match="another key"):
            session.enrol("wrong")
        assert device.population is None
        assert session.enrol("t") == POPULATION
        assert session.enrol("wrong") == POPULATION


# --- offers that are refused

BAD_MANIFESTS: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"expires_at_ms": NOW_MS}, "step 5.*expired"),
    "not yet valid": ({"issued_at_ms": NOW_MS + 120_000}, "step 5.*not valid yet"),
    "another population": ({"population": "others"}, "step 5.*population"),
    "another catalogue": ({"catalogue_sha256": "0" * 64}, "step 5.*catalogue"),
    "no cohort": ({"cohort_min": 1}, "step 10.*cohort"),
    "large delta": ({"target_delta": 0.015, "cohort_max": 60}, "step 10.*delta"),
    "delta of one in a hundred of a hundred": ({"target_delta": 0.01}, "step 5.*cohort_max"),
    # Nobody granted it: `decide` on basic signals is implied.
    "what decide was implied for": ({"purpose": "decide"}, "step 5.*purpose"),
    "longer than memory": (
        {
            "rounds": (
                RoundPlan(1, "subspace/1", 1 << 30, 0.5, 32_767, 2.0, {}),
                RoundPlan(2, "subspace/1", 1 << 30, 0.5, 32_767, 2.0, {}),
            )
        },
        "step 10.*contribution of at most",
    ),
    "understated epsilon": ({"epsilon": 0.5}, "step 9"),
    "other unit": ({"unit": "event"}, "step 5"),
    "unknown trust level": ({"trust_level": "magic"}, "step 5"),
    "no signal in common": ({"signals": {"rating": 1.0}}, "step 7"),
}


@pytest.mark.parametrize("name", BAD_MANIFESTS)
def test_a_bad_manifest_is_refused(session: DeviceSession, world: World, name: str) -> None:
    change, message = BAD_MANIFESTS[name]
    world.publish_task(world.manifest(**change))
    with pytest.raises(OfferRefused, match=message):
        session.check_in()


BAD_PLANS: dict[str, dict[str, Any]] = {
    "statistic not compiled in": {"statistic": "keylogger/1"},
    "length beyond the integer norm": {"integer_norm": 1024, "length": 4_000_000},
}


@pytest.mark.parametrize("name", BAD_PLANS)
def test_a_bad_plan_is_refused(session: DeviceSession, world: World, name: str) -> None:
    world.publish_task(world.manifest(rounds=(world.plan(**BAD_PLANS[name]),)))
    with pytest.raises(OfferRefused, match="step 8"):
        session.check_in()


BAD_HEADERS: dict[str, dict[str, Any]] = {
    "another task": {"task_sha256": "0" * 64},
    "no such round": {"round_id": 3},
    "closed": {"closes_at_ms": NOW_MS},
    "not open yet": {"opened_at_ms": NOW_MS + 120_000},
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_a_bad_round_header_is_refused(session: DeviceSession, world: World, name: str) -> None:
    world.publish_task()
    world.header_change = BAD_HEADERS[name]
    with pytest.raises(OfferRefused, match="step 6"):
        session.check_in()


def _reindexed(entry: LoggedEntry) -> LoggedEntry:
    return dataclasses.replace(entry, index=entry.index - 1)


def _edited(entry: LoggedEntry) -> LoggedEntry:
    return dataclasses.replace(entry, entry=entry.entry.replace(b"spectral/1", b"spectral/2"))


def _unproved(entry: LoggedEntry) -> LoggedEntry:
    return dataclasses.replace(entry, inclusion=entry.inclusion[:-1])


def _unsigned(entry: LoggedEntry) -> LoggedEntry:
    return dataclasses.replace(entry, checkpoint=entry.checkpoint.split(b"\n\n")[0] + b"\n\n")


@pytest.mark.parametrize(
    ("mangle", "message"),
    [
        (_reindexed, "step 3"),
        (_edited, "step 3"),
        (_unproved, "step 3"),
        (_unsigned, "step 1"),
    ],
)
def test_a_task_without_its_proof_is_refused(
    session: DeviceSession,
    world: World,
    mangle: Callable[[LoggedEntry], LoggedEntry],
    message: str,
) -> None:
    world.publish_task()
    world.mangle = mangle
    with pytest.raises(OfferRefused, match=message):
        session.check_in()


def test_a_task_signed_by_another_key_is_refused(session: DeviceSession, world: World) -> None:
    world.task_signer = world.other
    world.publish_task()
    with pytest.raises(OfferRefused, match="step 4"):
        session.check_in()


def test_a_round_signed_by_another_key_is_refused(session: DeviceSession, world: World) -> None:
    world.round_signer = world.other
    world.publish_task()
    with pytest.raises(OfferRefused, match="step 6"):
        session.check_in()


def test_a_checkpoint_of_another_ledger_is_refused(session: DeviceSession, world: World) -> None:
    session.push_consents()
    world.checkpoint_signer = world.other
    world.publish_task()
    with pytest.raises(OfferRefused, match="step 1"):
        session.check_in()


def test_a_release_entry_does_not_pass_for_a_task(session: DeviceSession, world: World) -> None:
    world.publish_task()
    world.publish_release(1)
    released = world.released["ranking"]

    def swap(entry: LoggedEntry) -> LoggedEntry:
        world.mangle = lambda e: e
        return world.logged(released, 0)

    world.mangle = swap
    with pytest.raises(OfferRefused, match="kind 'task'"):
        session.check_in()


def test_a_log_that_shrank_is_detected(session: DeviceSession, world: World) -> None:
    world.publish_task()
    entry, at_first = world.offered, world.governance.size
    world.publish_release(1)
    _offer(session)
    world.governance.truncate(at_first)
    world.offered = entry
    with pytest.raises(RollbackRefused, match="at least"):
        session.check_in()


def test_a_log_that_forked_is_detected_after_a_restart(
    tmp_path: Path, device: Personalizer, session: DeviceSession, world: World
) -> None:
    world.publish_task()
    _offer(session)
    device.close()
    other = World()
    other.governance = MerkleTree([leaf_hash(b"history rewritten %d" % n) for n in range(9)])
    other.publish_task()
    with _open(tmp_path) as reopened, pytest.raises(RollbackRefused, match="does not extend"):
        DeviceSession(reopened, other, other.trust).check_in()


def test_a_log_of_the_same_size_with_another_root_is_detected(
    session: DeviceSession, world: World
) -> None:
    world.publish_task()
    _offer(session)
    size = world.governance.size
    world.governance = MerkleTree([leaf_hash(b"other %d" % n) for n in range(size - 1)])
    world.publish_task()
    assert world.governance.size == size
    with pytest.raises(RollbackRefused):
        session.check_in()


# --- contexts that are refused


def _nan_basis() -> Arrays:
    context = _context()
    context["basis"] = np.full((N_ITEMS, WIDTH), np.nan)
    return context


BAD_CONTEXTS: dict[str, tuple[Arrays, str]] = {
    "NaN": (_nan_basis(), "finite"),
    "infinite and unused": ({**_context(), "extra": np.array([np.inf])}, "finite"),
    "missing array": ({"basis": _context()["basis"]}, "item_weights"),
    "another catalogue": ({**_context(), "item_weights": np.ones(N_ITEMS + 1)}, "shape"),
    "another width": ({**_context(), "basis": np.ones((N_ITEMS, WIDTH + 1))}, "coordinates"),
}


@pytest.mark.parametrize("name", BAD_CONTEXTS)
def test_a_bad_context_costs_no_exposure(
    device: Personalizer, session: DeviceSession, world: World, name: str
) -> None:
    arrays, message = BAD_CONTEXTS[name]
    world.context = pack_arrays(arrays)
    world.publish_task()
    with pytest.raises(OfferRefused, match=message):
        session.contribute(_offer(session))
    assert device.participation.entries() == []
    assert world.contributions == []


def test_a_context_that_is_not_the_headers_is_refused(session: DeviceSession, world: World) -> None:
    world.publish_task()
    offer = _offer(session)
    with pytest.raises(OfferRefused, match="digest"):
        session.contribution(offer, pack_arrays(_context(5)))


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e150])
def test_whatever_the_context_the_integers_keep_their_norm(
    session: DeviceSession, world: World, scale: float
) -> None:
    context = _context()
    context["basis"] = np.asarray(context["basis"], np.float64) * scale
    world.context = pack_arrays(context)
    world.publish_task()
    values = np.frombuffer(session.contribution(_offer(session), world.context), "<i2")
    assert int(np.sum(values.astype(np.int64) ** 2)) <= 4096**2


# --- the device's own account


def test_a_task_beyond_the_devices_own_cap_is_refused(tmp_path: Path, world: World) -> None:
    world.publish_task()
    needed = epsilon_bound([GaussianEvent(2.0, 2)], 1e-2)
    for cap, accepted in ((needed * 0.99, False), (needed * 1.01, True)):
        with _open(tmp_path, policy=DevicePolicy(max_epsilon=cap)) as device:
            device.enrolled(POPULATION)
            device.consent("learn", ["purchase"], True)
            session = DeviceSession(device, world, world.trust)
            if accepted:
                assert session.check_in() is not None
            else:
                with pytest.raises(PolicyRefused, match="life"):
                    session.check_in()


def test_a_trust_level_the_app_does_not_accept_is_refused(tmp_path: Path, world: World) -> None:
    world.publish_task()
    with _open(tmp_path, policy=DevicePolicy(trust_levels=("secure",))) as device:
        device.enrolled(POPULATION)
        device.consent("learn", ["purchase"], True)
        with pytest.raises(PolicyRefused, match="expected trust level secure, got central"):
            DeviceSession(device, world, world.trust).check_in()


def test_tasks_add_up_over_the_devices_life(tmp_path: Path, world: World) -> None:
    cap = epsilon_bound([GaussianEvent(2.0, 3)], 1e-2)
    with _open(tmp_path, policy=DevicePolicy(max_epsilon=cap)) as device:
        device.enrolled(POPULATION)
        device.consent("learn", ["purchase"], True)
        session = DeviceSession(device, world, world.trust)
        world.publish_task()
        for round_id in (1, 2):
            world.header_change = {"round_id": round_id}
            session.contribute(_offer(session))
        world.header_change = {}
        world.publish_task(world.manifest(task_id="task-2"))
        with pytest.raises(PolicyRefused):
            session.check_in()
        assert run(device, session).idle_reason.startswith("declined: step 10")


# --- releases


def test_releases_are_installed_upwards_only(
    device: Personalizer, session: DeviceSession, world: World
) -> None:
    assert session.pull_release() is None
    world.publish_release(2)
    assert session.pull_release() == 2
    assert session.pull_release() is None
    before = device.recommend().items
    world.publish_release(1)
    with pytest.raises(RollbackRefused, match="version 2"):
        session.pull_release()
    assert device.recommend().items == before
    world.publish_release(3)
    assert session.pull_release() == 3
    assert device.state().release_version == 3


def test_one_version_never_names_two_models(session: DeviceSession, world: World) -> None:
    world.publish_release(1)
    session.pull_release()
    world.publish_release(1, pack_arrays(_model(99)))
    with pytest.raises(RollbackRefused, match="another model"):
        session.pull_release()


def test_an_unsigned_release_is_refused(session: DeviceSession, world: World) -> None:
    world.task_signer = world.other
    world.publish_release(1)
    with pytest.raises(ReleaseRefused, match="step 4"):
        session.pull_release()


def _tampered() -> bytes:
    blob = bytearray(pack_arrays(_model(1)))
    blob[300] ^= 1
    return bytes(blob)


def test_a_tampered_model_is_refused(
    device: Personalizer, session: DeviceSession, world: World
) -> None:
    world.publish_release(1)
    digest = hashlib.sha256(pack_arrays(_model(1))).hexdigest()
    world.blobs[digest] = _tampered()
    with pytest.raises(ReleaseRefused, match="step 8"):
        session.pull_release()
    assert device.state().release_version == 0


def _nan_model() -> bytes:
    return pack_arrays({**_model(), "loadings": np.full((N_ITEMS, 3), np.nan)})


BAD_RELEASES: dict[str, tuple[dict[str, Any], bytes | None, str]] = {
    "another catalogue": ({"catalogue_sha256": "0" * 64}, None, "step 7"),
    "another population": ({"population": "others"}, None, "step 5"),
    "too large": ({"model_bytes": 1 << 40}, None, "step 8"),
    "NaN": ({}, _nan_model(), "step 9"),
    "NaN in an array nothing reads": (
        {},
        pack_arrays({**_model(), "extra": np.array([np.nan])}),
        "step 9",
    ),
    "no arrays": ({}, b"not a zip", "step 9"),
    "missing array": ({}, pack_arrays({"popularity": np.ones(N_ITEMS)}), "step 9"),
    "wrong length": (
        {},
        pack_arrays({k: v[:5] if len(v) > 5 else v for k, v in _model().items()}),
        "step 9",
    ),
}


@pytest.mark.parametrize("name", BAD_RELEASES)
def test_a_bad_release_is_refused(
    device: Personalizer, session: DeviceSession, world: World, name: str
) -> None:
    change, blob, message = BAD_RELEASES[name]
    world.publish_release(1, blob, **change)
    with pytest.raises(ReleaseRefused, match=message):
        session.pull_release()
    assert device.state().release_version == 0


def test_a_history_statistic_reads_the_permitted_events_in_time(
    device: Personalizer, session: DeviceSession, world: World
) -> None:
    plan = world.plan(
        statistic="intent_moments/1",
        length=65,
        clipping_norm=5.0,
        parameters={"from_s": 0.0, "as_of_s": NOW_MS / 1000 + 9_000, "window_s": 60.0},
    )
    world.publish_task(world.manifest(rounds=(plan,), learner="linear/1"))
    offer = _offer(session)
    session.contribute(offer)
    permitted = np.array([[name in SIGNALS for name in HISTORY_SIGNALS]])
    views, orders = (HISTORY_SIGNALS.index(name) for name in ("product_view", "purchase"))
    expected = contributions(
        build_histories(
            Events(
                users=np.zeros(13, dtype=np.int64),
                times_ms=np.full(13, NOW_MS),
                signals=np.array([views] * 12 + [orders]),
                values=np.zeros(13),
                actions=np.full(13, NO_ACTION),
                propensities=np.ones(13),
            ),
            permitted,
        ),
        {},
        offer.plan,
        task_digest=offer.task_sha256,
        device_secrets=[device.facts.device_secret()],
    )
    ((_, values),) = world.contributions
    np.testing.assert_array_equal(np.frombuffer(values, "<i2"), dense(expected, 0))
    assert np.any(np.frombuffer(values, "<i2"))


# --- freshness: the ledger goes by this device's latest decisions


def test_a_withdrawal_the_ledger_lost_is_found(
    device: Personalizer, session: DeviceSession, world: World
) -> None:
    world.publish_task()
    session.check_in()
    as_granted = dict(world.map_entries)
    device.consent("learn", ["purchase"], False)
    session.push_consents()
    world.map_entries = as_granted  # the log holds the withdrawal, the state does not
    with pytest.raises(RollbackRefused, match="latest decisions"):
        session.check_in()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"epochs": 0}, "step 5: expected epoch 2 as it was, or a newer one, got 1"),
        ({"epochs": 1, "epoch_change": {"map_root": "ab" * 32}}, "step 5: expected epoch 2"),
        ({"epoch_change": {"consent_root": "ab" * 32}}, "step 6: it is of another consent log"),
        ({"map_entries": {}}, "step 7"),
    ],
)
def test_an_older_or_another_state_is_refused(
    device: Personalizer, session: DeviceSession, world: World, change: Mapping[str, Any], line: str
) -> None:
    world.publish_task()
    session.check_in()
    session.check_in()
    for name, value in change.items():
        setattr(world, name, value)
    with pytest.raises(RollbackRefused, match=line):
        session.check_in()
    assert not world.contributions


def test_an_epoch_that_covers_less_than_the_newest_decision_is_refused(
    device: Personalizer, session: DeviceSession, world: World
) -> None:
    world.publish_task()
    device.consent("measure", ["purchase"], True)
    world.epoch_change = {"consent_size": 1}
    with pytest.raises(RollbackRefused, match="step 6: expected to cover 2 leaves, got 1"):
        session.check_in()


def test_an_epoch_the_ledger_did_not_sign_or_log_is_refused(
    device: Personalizer, session: DeviceSession, world: World
) -> None:
    world.publish_task()
    world.map_signer = world.coordinator
    with pytest.raises(OfferRefused, match="step 4, ledger"):
        session.check_in()
    world.map_signer = world.ledger
    world.map_mangle = lambda entry: dataclasses.replace(entry, index=entry.index - 1)
    with pytest.raises(OfferRefused, match="step 3"):
        session.check_in()


@pytest.mark.parametrize("change", [{"map_epoch": 1}, {"consent_sequence": 0}])
def test_an_offer_by_an_older_state_is_refused(
    device: Personalizer, session: DeviceSession, world: World, change: Mapping[str, Any]
) -> None:
    world.publish_task()
    session.check_in()
    world.capability_change = dict(change)
    with pytest.raises(OfferRefused, match="freshness: admitted by map epoch"):
        session.check_in()


@pytest.mark.parametrize(
    "signals", [("cart_add", "product_view", "purchase"), ("product_view",), ()]
)
def test_an_offer_for_other_signals_than_permitted_is_refused(
    session: DeviceSession, world: World, signals: tuple[str, ...]
) -> None:
    """A gateway that was shown another state, as new as the device's, is found out by it."""
    world.publish_task()
    offer = session.check_in()
    assert offer is not None
    assert set(signals) != offer.signals
    world.capability_change = {"signals": signals}
    with pytest.raises(OfferRefused, match="freshness: admitted for"):
        session.check_in()
    assert world.contributions == []


def test_an_offer_by_a_newer_epoch_is_verified_at_that_epoch(
    device: Personalizer, session: DeviceSession, world: World
) -> None:
    world.publish_task()
    world.capability_change = {"map_epoch": 2}
    assert session.check_in() is not None
    assert world.epochs == 2
    world.capability_change = {"map_epoch": 99}
    with pytest.raises(RollbackRefused, match="a map epoch the ledger lacks"):
        session.check_in()
    world.capability_change = {"nonce": "0" * 33}
    with pytest.raises(OfferRefused, match="freshness"):
        session.check_in()
