"""`tacit device status | why | privacy`: what is held, why it was decided, what was given away."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import click

from tacit.cli._device_options import Device, of_a_device
from tacit.client import DeviceState, Explanation
from tacit.client.participation import Participation
from tacit.privacy.trust import CLAIMS, exclusions


@click.command()
@of_a_device
def status(device: Device) -> None:
    """Show what is stored, permitted, installed and expected of the person."""
    with device.opened() as opened:
        state = opened.state()
        document = {
            **_without_figures(state),
            "guardrails": {"app": opened.guardrails.app, "version": opened.guardrails.version},
            "flags": None if (flags := opened.flags.get()) is None else flags.version,
            "traits": opened.traits(),
            "exposure": state.exposure.to_json(),
        }
    device.say(document, _status(state))


def _without_figures(state: DeviceState) -> dict[str, object]:
    # Figures stand in `exposure`, each with all that it rests on.
    names = (
        *("device_id", "population", "consents", "pending_consents", "events", "rounds"),
        *("releases", "predictions", "features", "retention_days", "traffic"),
    )
    return {name: getattr(state, name) for name in names}


def _status(state: DeviceState) -> Iterator[str]:
    yield f"device      {state.device_id}, {state.population or 'not enrolled'}"
    yield f"events      {state.events} held"
    for purpose, signals in state.consents.items():
        yield f"{purpose:11} {', '.join(sorted(signals)) or 'nothing'}"
    if state.pending_consents:
        yield f"            {state.pending_consents} decisions go to the ledger at the next sync"
    installed = (f"{kind} {version}" for kind, version in state.releases.items())
    yield f"installed   {', '.join(installed) or 'no model'}"
    features = state.features
    if features.stage is not None:
        yield f"stage       {features.stage}"
    if features.intent is not None:
        yield f"intent      {features.intent}"
    if features.affinities:
        shares = (f"{one.category} {one.share:.0%}" for one in features.affinities[:5])
        yield f"interests   {', '.join(shares)}"
    for kind, told in state.predictions.items():
        yield f"{kind:11} {told.probability:.0%} (score {told.low:.2f} to {told.high:.2f})"
    yield f"rounds      {state.rounds} joined; see tacit device privacy"


@click.command()
@of_a_device
@click.argument("decision_id")
@click.argument("item")
def why(device: Device, decision_id: str, item: str) -> None:
    """Explain why ITEM was shown in a decision, or which rules removed it.

    The shares are exact: they add up to the score, and without a cited event the item would have
    ranked where it says.
    """
    with device.opened() as opened:
        told = opened.explain(decision_id, item)
    device.say(told, _why(told))


def _why(told: Explanation) -> Iterator[str]:
    yield f"{told.title}: {told.text}"
    for event in told.cited:
        lost = ""
        if event.rank_without is not None:
            lost = f"; without it rank {event.rank_without} instead of {told.rank}"
        yield f"  {event.percent:3.0f}%  {event.signal} {event.title}{lost}"
    for rule in told.rules:
        yield f"  removed by {rule}"
    for control in told.controls:
        yield f"  you can: {control.label}"


@click.command()
@of_a_device
def privacy(device: Device) -> None:
    """Show consents, the rounds joined, what they exposed the person to, and bytes sent.

    Every figure is the device's own, composed from the rounds it entered itself; no server can
    change it.
    """
    with device.opened() as opened:
        state, rounds = opened.state(), opened.participation.entries()
        opted_out = opened.suppressions.get().channels
        gpc = opened.gpc_present
    document = {
        "consents": state.consents,
        "global_privacy_control": gpc,
        "opted_out_channels": opted_out,
        "rounds": [_round(one) for one in rounds],
        "exposure": state.exposure.to_json(),
        "traffic": state.traffic,
        "retention_days": state.retention_days,
    }
    device.say(document, _privacy(state, rounds, gpc))


def _privacy(state: DeviceState, rounds: list[Participation], gpc: bool) -> Iterator[str]:
    for purpose, signals in state.consents.items():
        yield f"{purpose:11} {', '.join(sorted(signals)) or 'nothing'}"
    if gpc:
        yield "            Global Privacy Control is on: nothing for learn or measure leaves"
    for one in rounds:
        at = datetime.datetime.fromtimestamp(one.entered_at_ms / 1000, datetime.UTC)
        what = f"{one.task_id or 'a task'} round {one.round_id}"
        yield f"joined      {what}, {at:%Y-%m-%d %H:%M} UTC, {one.trust_level}: {_signals(one)}"
    if not rounds:
        yield "joined      no round: nothing about the person left this device"
    exposure = state.exposure
    for level, line in exposure.by_level.items():
        if line.claim is None:
            yield f"exposure    {level}: {line.rounds} rounds without noise; no figure bounds them"
    together = exposure.together
    if together is not None and together.claim is not None:
        claim = together.claim
        yield (
            f"exposure    ε = {claim.epsilon:.6g} at δ = {claim.target_delta:g}, of a cap of "
            f"{exposure.cap_epsilon:g}, per {claim.unit}, over {together.rounds} rounds"
        )
        yield (
            f"            trust level {claim.trust_level}; {claim.neighboring_relation}; "
            f"sampling {claim.sampling}; {claim.accountant} {claim.accountant_version}"
        )
        yield f"            {CLAIMS[claim.trust_level]}"
        for excluded in exclusions(claim):
            yield f"            not covered: {excluded}"
    traffic = state.traffic
    yield (
        f"traffic     {traffic.syncs} syncs, {traffic.sent_bytes / 1000:.1f} kB sent, "
        f"{traffic.received_bytes / 1000:.1f} kB received"
    )


def _signals(entry: Participation) -> str:
    return ", ".join(entry.signals)


def _round(entry: Participation) -> dict[str, object]:
    return {
        "task_id": entry.task_id,
        "task_sha256": entry.task_sha256,
        "round_id": entry.round_id,
        "purpose": entry.purpose,
        "trust_level": entry.trust_level,
        "signals": entry.signals,
        "entered_at_ms": entry.entered_at_ms,
    }
