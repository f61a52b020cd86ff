"""Offers: what a device checks before it takes part in a round."""

from __future__ import annotations

from dataclasses import dataclass

from tacit.client.consents import ConsentLog
from tacit.client.errors import OfferRefused, PolicyRefused
from tacit.client.participation import ParticipationLog
from tacit.client.policy import DevicePolicy, TrustRoots
from tacit.client.statistics import KNOWN_STATISTICS
from tacit.client.wire import RoundOffer
from tacit.privacy.accounting import epsilon_bound
from tacit.privacy.canonical import parse_canonical
from tacit.privacy.errors import PrivacyError
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.quantize import integer_target
from tacit.privacy.signatures import verify
from tacit.privacy.task import RoundHeader, RoundPlan, TaskManifest
from tacit.privacy.trust import CONSENT_ONLY, LOCAL

_ROUNDING = 1.0 + 1e-6
"""A stated ε may be this factor below the device's own figure, for decimal rounding."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A round that this device has verified and agrees to.

    Attributes:
        manifest: the task.
        task_sha256: digest of the manifest, 32 bytes.
        header: the round that is open.
        plan: what the manifest says about that round.
        signals: the signals asked for and permitted when the offer was accepted.
        capability: the gateway's leave, to be sent back.
    """

    manifest: TaskManifest
    task_sha256: bytes
    header: RoundHeader
    plan: RoundPlan
    signals: frozenset[str]
    capability: bytes


@dataclass(frozen=True, slots=True)
class Standing:
    """What this device brings to the decision.

    Attributes:
        population: where it is enrolled.
        catalogue_sha256: digest of its catalogue, 32 bytes.
        policy: its own limits.
        consents, participation: its own records.
        now_ms: its clock.
    """

    population: str
    catalogue_sha256: bytes
    policy: DevicePolicy
    consents: ConsentLog
    participation: ParticipationLog
    now_ms: int


def accept_offer(
    offered: RoundOffer, entry: GovernanceEntry, trust: TrustRoots, own: Standing
) -> Offer:
    """Decide about a round whose task entry was verified (steps 1 to 4 in `verify_entry`).

    5. The manifest is well formed, for this population and catalogue, and has not expired.
    6. The round header is signed by the coordinator, names this task and one of its rounds, and
       the round is open.
    7. The person permits the purpose, on at least one of the signals asked for.
    8. The statistic is compiled into this client, and its integers fit their norm.
    9. The stated ε covers what the manifest's own rounds cost, recomputed here: at level `local`
       against 2L. A task at `consent-only` states none.
    10. The device's own limits: trust level, cohort, δ, length, participation, ε over its life.

    Raises:
        OfferRefused: naming the step that fails (`PolicyRefused` for step 10).
    """
    manifest = _manifest(entry, own)
    task_sha256 = manifest.digest()
    header, plan = _round(offered, manifest, task_sha256, trust, own)
    signals = permitted_signals(manifest, own.consents, own.now_ms)
    if plan.statistic not in KNOWN_STATISTICS:
        raise OfferRefused(
            f"step 8, statistic: expected one of {', '.join(KNOWN_STATISTICS)}, got another"
        )
    try:
        integer_target(plan.integer_norm, plan.length)
        events = manifest.events()
    except PrivacyError as error:
        raise OfferRefused(f"step 8, statistic: {error}") from None
    stated, delta = manifest.epsilon, manifest.target_delta
    if stated is None or delta is None:
        pass  # consent-only: nothing is stated, and the policy decides about the level itself
    elif epsilon_bound(events, delta) > stated * _ROUNDING:
        raise OfferRefused("step 9, epsilon: the rounds cost more than the manifest states")
    _check_policy(manifest, task_sha256, plan, own)
    return Offer(manifest, task_sha256, header, plan, signals, offered.capability)


def permitted_signals(manifest: TaskManifest, consents: ConsentLog, now_ms: int) -> frozenset[str]:
    """Return the signals the task asks for and the person permits for its purpose, right now.

    Raises:
        OfferRefused: if there are none (step 7).
    """
    signals = consents.permitted(manifest.purpose, now_ms) & manifest.signals.keys()
    if not signals:
        raise OfferRefused(
            f"step 7, consent: no signal of this task is permitted for {manifest.purpose!r}"
        )
    return frozenset(signals)


def _manifest(entry: GovernanceEntry, own: Standing) -> TaskManifest:
    try:
        manifest = TaskManifest.from_json(entry.body)
    except PrivacyError as error:
        raise OfferRefused(f"step 5, manifest: {error}") from None
    if manifest.population != own.population:
        raise OfferRefused("step 5, manifest: the task is for another population")
    if manifest.catalogue_sha256 != own.catalogue_sha256.hex():
        raise OfferRefused("step 5, manifest: the task is over another catalogue")
    if manifest.issued_at_ms > own.now_ms + own.policy.clock_skew_ms:
        raise OfferRefused("step 5, manifest: the task is not valid yet")
    if manifest.expires_at_ms <= own.now_ms:
        raise OfferRefused(f"step 5, manifest: the task expired at {manifest.expires_at_ms} ms")
    return manifest


def _round(
    offered: RoundOffer,
    manifest: TaskManifest,
    task_sha256: bytes,
    trust: TrustRoots,
    own: Standing,
) -> tuple[RoundHeader, RoundPlan]:
    try:
        verify(
            trust.coordinator_key,
            RoundHeader.SIGNING_CONTEXT,
            offered.round_header,
            offered.round_signature,
        )
        header = RoundHeader.from_json(parse_canonical(offered.round_header))
    except PrivacyError as error:
        raise OfferRefused(f"step 6, round: {error}") from None
    if header.task_sha256 != task_sha256.hex():
        raise OfferRefused("step 6, round: the header is of another task")
    try:
        plan = manifest.round_plan(header.round_id)
    except PrivacyError as error:
        raise OfferRefused(f"step 6, round: {error}") from None
    if header.opened_at_ms > own.now_ms + own.policy.clock_skew_ms:
        raise OfferRefused("step 6, round: the round is not open yet")
    if header.closes_at_ms <= own.now_ms:
        raise OfferRefused(f"step 6, round: the round closed at {header.closes_at_ms} ms")
    return header, plan


def _check_policy(
    manifest: TaskManifest, task_sha256: bytes, plan: RoundPlan, own: Standing
) -> None:
    policy = own.policy
    if manifest.trust_level not in policy.trust_levels:
        raise PolicyRefused(
            f"step 10, policy: expected trust level {' or '.join(policy.trust_levels)}, got "
            f"{manifest.trust_level}, which this app does not accept"
        )
    if manifest.cohort_min < policy.min_cohort:
        raise PolicyRefused(
            f"step 10, policy: expected a cohort of at least {policy.min_cohort}, "
            f"got {manifest.cohort_min}"
        )
    if manifest.target_delta is not None and manifest.target_delta > policy.max_delta:
        raise PolicyRefused(
            f"step 10, policy: expected delta of at most {policy.max_delta}, "
            f"got {manifest.target_delta}"
        )
    # Noised values take twice the bytes, in memory and in the one message they travel in.
    longest = policy.max_contribution_values // (2 if manifest.trust_level == LOCAL else 1)
    if plan.length > longest:
        raise PolicyRefused(
            f"step 10, policy: expected a contribution of at most {longest} values, got "
            f"{plan.length}"
        )
    task = task_sha256.hex()
    taken = {e.round_id for e in own.participation.entries() if e.task_sha256 == task}
    if plan.round_id not in taken and len(taken) >= manifest.participation_bound:
        raise PolicyRefused("step 10, policy: the task's participation bound is reached")
    # All that is left of the task counts now: a device does not start what it may not finish.
    left = (
        manifest.event(p)
        for p in manifest.rounds
        if p.round_id >= plan.round_id and p.round_id not in taken
    )
    ahead = [event for event in left if event is not None]
    if manifest.trust_level == CONSENT_ONLY:
        return  # no ε: the level itself is what the policy decides about
    exposed = own.participation.epsilon(policy.max_delta, ahead)
    if exposed > policy.max_epsilon:
        raise PolicyRefused(
            f"step 10, policy: expected at most epsilon {policy.max_epsilon:g} over this "
            f"device's life, this task would make it {exposed:.4g}"
        )
