"""One task from manifest to release: the loop that spends privacy budget.

For each round, in this order; the crash points are where a restart resumes:

    1  context   = learner.context(history)            pure: replayed bit for bit
    2  sum       = runner.run(header, context)         devices contribute, gateway sums
       ── crash: nothing was spent; the round runs again, devices send the same integers
    3  reserve   in the ledger, durable                same key, same body: the same reservation
       ── crash: spent > released; the round runs again under the same reservation
    4  noise     drawn from the OS, added              exists in this process only
    5  save      noised integers, fsync                the one noised value of this round
       ── crash: the saved value is committed on restart, never a second one drawn
    6  commit    in the ledger, with the digest of 5
    7  history  += decoded(noised)

So spent ≥ released at every moment, and no round is ever noised twice for release.

That is trust level `central`. At `local` what a device sends is a release already, so the order is
1, 3, 2, 5, 6, 7 and step 4 is the devices' own:

    3  reserve
       ── crash: spent > released; the round runs under the same reservation
    2  sum       of noised contributions; a device asked again sends the same noised bytes
       ── crash: likewise
    5  save      with the number of contributions, which gives the variance of their noise

At `consent-only` there is no noise to pay for: 1, 2, a record of the round in the governance log,
5, 7. A crash before the record or before 5 runs the round again; devices send the same integers.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tacit.privacy.accounting_quick import epsilon_without_libraries
from tacit.privacy.arrays import pack_arrays
from tacit.privacy.budget_documents import ReserveDocument
from tacit.privacy.canonical import Json
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.release import ReleaseManifest, ReleaseStatement, kind_of
from tacit.privacy.round_record import RoundRecord
from tacit.privacy.signatures import SigningKey
from tacit.privacy.task import NEIGHBOURS, RoundHeader, RoundPlan, TaskManifest
from tacit.privacy.trust import CONSENT_ONLY, LOCAL
from tacit.server.coordinator.checkpoint import Checkpoint
from tacit.server.coordinator.config import CoordinatorConfig
from tacit.server.coordinator.errors import RoundFailed, StateConflict
from tacit.server.coordinator.learners import Learner, NoisedSum
from tacit.server.coordinator.noise import decoded, noised
from tacit.server.coordinator.plan import plan_rounds, plan_without_noise
from tacit.server.coordinator.retraining import read_lineage
from tacit.v1 import budget_pb2, gateway_pb2, ledger_pb2

logger = logging.getLogger("tacit.coordinator")


@dataclass(frozen=True, slots=True)
class CohortSum:
    """What all gateways together return for one round.

    Attributes:
        values: exact sum of contributions, shape (length,), int64.
        contributions: how many were summed.
    """

    values: npt.NDArray[np.int64]
    contributions: int


class TaskLedger(Protocol):
    """What training asks of the ledger (`tacit.server.ledger.client.LedgerClient` has it).

    Every method is durable when it returns, and answers a repetition like the first time.
    """

    def append_governance(
        self, kind: str, body: dict[str, Json], recorded_at_ms: int | None = None
    ) -> int:
        """Sign and append a task or a release; returns its index."""
        ...

    def logged_entry(self, index: int, known_size: int = 0) -> ledger_pb2.LoggedEntry:
        """Return an entry with its proofs."""
        ...

    def reserve(self, document: ReserveDocument) -> budget_pb2.BudgetReply:
        """Reserve a spend."""
        ...

    def commit(
        self, account_id: str, reservation_id: str, release_sha256: str
    ) -> budget_pb2.BudgetReply:
        """Record that a reservation paid for the noised sum with this digest."""
        ...

    def put_blob(self, content: bytes) -> bytes:
        """Store a public blob; returns its digest."""
        ...

    def entries(self, start: int = 0, count: int = 1000) -> list[bytes]:
        """Return up to `count` governance entries from `start`."""
        ...

    def latest_release(
        self, population: str, known_size: int = 0, kind: str = ""
    ) -> ledger_pb2.LoggedEntry | None:
        """Return a population's newest release of a kind, of any kind if it is empty."""
        ...


class RoundRunner(Protocol):
    """Carries one round to the gateways and back; Flower in production."""

    def run(self, request: gateway_pb2.RunRoundRequest, timeout_s: float) -> CohortSum:
        """Run a round.

        Raises:
            RoundFailed: if no sum came back.
        """
        ...


class Trainer:
    """Runs one task to its release, or resumes it.

    Args:
        config: the task to run.
        learner: consumes noised sums only.
        ledger: budget, governance log and release registry.
        key: the coordinator's signing key.
        checkpoint: survives the process.
        runner: reaches the gateways.
        now_ms: wall clock.
        random_bytes: the operating system's CSPRNG in production; noise rests on it.
    """

    def __init__(
        self,
        config: CoordinatorConfig,
        learner: Learner,
        ledger: TaskLedger,
        key: SigningKey,
        checkpoint: Checkpoint,
        runner: RoundRunner,
        *,
        now_ms: Callable[[], int],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._config = config
        self._learner = learner
        self._ledger = ledger
        self._key = key
        self._checkpoint = checkpoint
        self._runner = runner
        self._now_ms = now_ms
        self._random_bytes = random_bytes

    def run(self) -> ReleaseManifest:
        """Train and publish; safe to call again after a crash at any point.

        Raises:
            RoundFailed: if a round failed `round_attempts` times.
            StateConflict: if the checkpoint contradicts the ledger.
            Refused: if the ledger refuses the task, a spend or the release.
        """
        manifest = self._manifest()
        index = self._ledger.append_governance("task", manifest.to_json(), manifest.issued_at_ms)
        logger.info("task %s is entry %d of the governance log", manifest.task_id, index)
        history: list[NoisedSum] = []
        for plan in manifest.rounds:
            history.append(self._round(manifest, index, plan, history))
        return self._publish(manifest, history)

    # --- the task ------------------------------------------------------------------------------

    def _manifest(self) -> TaskManifest:
        """Return the running task; a new one is saved before anyone sees it."""
        saved = self._checkpoint.task()
        if saved is not None:
            if saved.task_id != self._config.task_id:
                raise StateConflict(
                    f"expected task {self._config.task_id!r} in the checkpoint, got another; "
                    "use a new state directory for a new task"
                )
            return saved
        config = self._config
        specs, charged = self._learner.rounds(), config.trust_level != CONSENT_ONLY
        rounds = (
            plan_rounds(specs, config.epsilon, config.target_delta)
            if charged
            else plan_without_noise(specs)
        )
        issued_at_ms = self._now_ms()
        manifest = TaskManifest(
            task_id=config.task_id,
            population=config.population,
            purpose="learn",
            learner=self._learner.name,
            signals=dict(config.signals),
            rounds=rounds,
            trust_level=config.trust_level,
            cohort_min=config.cohort_min,
            cohort_max=config.cohort_max,
            cohort_expected=config.cohort_expected,
            participation_bound=len(rounds),
            unit="user",
            neighboring_relation=NEIGHBOURS[config.trust_level],
            epsilon=config.epsilon if charged else None,
            target_delta=config.target_delta if charged else None,
            budget_account=config.budget_account,
            catalogue_sha256=config.catalogue_sha256,
            issued_at_ms=issued_at_ms,
            expires_at_ms=issued_at_ms + int(config.task_ttl_s * 1000),
            base_release=config.base_release,
            retrains=config.retrains,
        )
        manifest.check()
        self._checkpoint.save_task(manifest)
        return manifest

    # --- a round -------------------------------------------------------------------------------

    def _round(
        self, manifest: TaskManifest, index: int, plan: RoundPlan, history: list[NoisedSum]
    ) -> NoisedSum:
        context = pack_arrays(self._learner.context(plan.round_id, history))  # 1
        context_sha256 = hashlib.sha256(context).hexdigest()
        if manifest.trust_level == CONSENT_ONLY:
            integers = self._unpaid(manifest, index, plan, context)
        else:
            spend = self._spend(manifest, plan, context_sha256)
            integers = self._paid(manifest, index, plan, context, spend)
        count = self._checkpoint.contributions(plan) if manifest.trust_level == LOCAL else 1
        return decoded(integers, plan, manifest.trust_level, count)  # 7

    def _unpaid(
        self, manifest: TaskManifest, index: int, plan: RoundPlan, context: bytes
    ) -> npt.NDArray[np.int64]:
        """Run a round that spends nothing; its sum is exact, and on record before it is used."""
        saved = self._checkpoint.noised_sum(plan)
        if saved is not None:
            return saved[0]
        total = self._collect(manifest, index, plan, context)  # 2
        digest = hashlib.sha256(context).hexdigest()
        record = RoundRecord(manifest.digest().hex(), plan.round_id, digest)
        self._ledger.append_governance("round", record.to_json())
        self._checkpoint.save_noised_sum(plan, total.values)  # 5
        logger.info("round %d of %s is on record", plan.round_id, manifest.task_id)
        return total.values

    def _paid(
        self,
        manifest: TaskManifest,
        index: int,
        plan: RoundPlan,
        context: bytes,
        spend: ReserveDocument,
    ) -> npt.NDArray[np.int64]:
        """Run a round and pay for it, or finish what a crash left of that."""
        released = self._checkpoint.noised_sum(plan)
        if released is not None:
            integers, digest = released
            reservation = self._ledger.reserve(spend).reservation
        elif manifest.trust_level == LOCAL:
            reservation = self._fresh(spend)  # 3
            total = self._collect(manifest, index, plan, context)  # 2
            integers = total.values
            digest = self._checkpoint.save_noised_sum(plan, integers, total.contributions)  # 5
        else:
            total = self._collect(manifest, index, plan, context)  # 2
            reservation = self._fresh(spend)  # 3
            integers = noised(total.values, plan, self._random_bytes)  # 4
            digest = self._checkpoint.save_noised_sum(plan, integers)  # 5
        if reservation.state == budget_pb2.RESERVATION_STATE_COMMITTED:
            if reservation.release_sha256 != digest:
                raise StateConflict(
                    f"{spend.reservation_id}: the ledger committed another noised sum than the "
                    "checkpoint holds; refusing to train"
                )
        else:
            account = spend.account_id
            committed = self._ledger.commit(account, spend.reservation_id, digest)  # 6
            logger.info("%s committed, epsilon %s", spend.reservation_id, committed.epsilon_spent)
        return integers

    def _fresh(self, spend: ReserveDocument) -> budget_pb2.Reservation:
        """Reserve what no noised sum was saved for yet."""
        reservation = self._ledger.reserve(spend).reservation
        if reservation.state != budget_pb2.RESERVATION_STATE_RESERVED:
            raise StateConflict(
                f"{spend.reservation_id}: expected a fresh reservation, for the checkpoint has "
                "no noised sum, but it was used or aborted; refusing to draw noise"
            )
        return reservation

    def _spend(
        self, manifest: TaskManifest, plan: RoundPlan, context_sha256: str
    ) -> ReserveDocument:
        name, event = _reservation_id(manifest, plan), manifest.event(plan)
        if event is None:
            raise StateConflict(f"{name}: trust level {manifest.trust_level} spends nothing")
        return ReserveDocument(
            reservation_id=name,
            account_id=manifest.budget_account,
            purpose=manifest.purpose,
            idempotency_key=name,
            task_sha256=manifest.digest().hex(),
            round_id=plan.round_id,
            context_sha256=context_sha256,
            event=event,
        )

    def _collect(
        self, manifest: TaskManifest, index: int, plan: RoundPlan, context: bytes
    ) -> CohortSum:
        """Run the round until a sum comes, at most `round_attempts` times."""
        failure: RoundFailed | None = None
        for attempt in range(1, self._config.round_attempts + 1):
            opened_at_ms = self._now_ms()
            header = RoundHeader(
                task_sha256=manifest.digest().hex(),
                round_id=plan.round_id,
                context_sha256=hashlib.sha256(context).hexdigest(),
                opened_at_ms=opened_at_ms,
                closes_at_ms=opened_at_ms + int(self._config.round_timeout_s * 1000),
            ).to_bytes()
            request = gateway_pb2.RunRoundRequest(
                task=self._ledger.logged_entry(index, 0),
                round_header=header,
                round_signature=self._key.sign(RoundHeader.SIGNING_CONTEXT, header),
                context=context,
            )
            try:
                total = self._runner.run(request, self._config.round_timeout_s)
            except RoundFailed as error:
                logger.warning("round %d, attempt %d: %s", plan.round_id, attempt, error)
                failure = error
                continue
            if total.values.shape != (plan.length,):
                raise StateConflict(
                    f"expected a sum of {plan.length} values, got {total.values.shape}"
                )
            return total
        raise failure or RoundFailed("no attempt was allowed")

    # --- the release ---------------------------------------------------------------------------

    def _publish(self, manifest: TaskManifest, history: list[NoisedSum]) -> ReleaseManifest:
        """Publish the model; a release of this task that is already there is returned as it is."""
        task_sha256 = manifest.digest().hex()
        kind = kind_of(plan.statistic for plan in manifest.rounds)
        newest = self._latest_release(manifest.population, kind)
        if newest is not None and newest.task_sha256 == task_sha256:
            return newest
        # Versions count over all kinds: one number names one release of the population.
        any_kind = self._latest_release(manifest.population, "")
        version = 1 if any_kind is None else any_kind.version + 1
        blob = pack_arrays(self._learner.model(history))
        self._ledger.put_blob(blob)
        claim = (
            None
            if manifest.target_delta is None
            else epsilon_without_libraries(manifest.events(), manifest.target_delta)
        )
        release = ReleaseManifest(
            population=manifest.population,
            version=version,
            task_sha256=task_sha256,
            model_sha256=hashlib.sha256(blob).hexdigest(),
            model_bytes=len(blob),
            catalogue_sha256=manifest.catalogue_sha256,
            reservations=()
            if claim is None
            else tuple(_reservation_id(manifest, plan) for plan in manifest.rounds),
            epsilon=None if claim is None else claim.epsilon,
            target_delta=manifest.target_delta,
            created_at_ms=self._now_ms(),
            kind=kind,
            trust_level=manifest.trust_level,
            statement=None
            if claim is None
            else ReleaseStatement.of(claim, manifest.participation_bound),
            supersedes=self._to_supersede(manifest),
        )
        self._ledger.append_governance("release", release.to_json(), release.created_at_ms)
        logger.info("release %d published, kind %s, level %s", version, kind, release.trust_level)
        return release

    def _to_supersede(self, manifest: TaskManifest) -> tuple[int, ...]:
        if not manifest.retrains:
            return ()
        return read_lineage(self._ledger, manifest.population).to_supersede(manifest)

    def _latest_release(self, population: str, kind: str) -> ReleaseManifest | None:
        logged = self._ledger.latest_release(population, 0, kind)
        if logged is None:
            return None
        return ReleaseManifest.from_json(GovernanceEntry.parse(logged.entry).body)


def _reservation_id(manifest: TaskManifest, plan: RoundPlan) -> str:
    return f"{manifest.task_id}/{plan.round_id}"
