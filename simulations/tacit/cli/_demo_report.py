"""How a demo's report looks on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_NARROW = 74  # characters; below, the table of rounds takes shorter words
_SHORT = {"eligible": "could", "contributed": "did", "turned away": "away", "noise z": "z"}


def render(console: Console, report: Mapping[str, Any]) -> None:
    """Print the report as a person would like to read it."""
    _people(console, report)
    _rounds(console, report)
    _privacy(console, report["privacy"])
    _quality(console, report["quality"])
    _samples(console, report["samples"])
    _ledger(console, report["ledger"], report["privacy"])
    _cost(console, report["cost"])
    console.print(f"\nEverything is in {report['state']}", soft_wrap=True)
    console.print(
        f"Check it again: tacit ledger verify {report['ledger']['export']}", soft_wrap=True
    )


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold"))


def _people(console: Console, report: Mapping[str, Any]) -> None:
    data, devices = report["dataset"], report["devices"]
    _heading(console, f"Who took part ({data['name']}, {data['items']:,} items)")
    console.print(
        f"{devices['enrolled']} devices enrolled, each with its own key and encrypted profile. "
        f"{devices['consenting']} consented to learn, {devices['refused_learn']} refused; "
        f"{devices['refused_signals']} withheld single signals, {devices['withdrew']} withdrew "
        f"after the first round, {devices['drop_outs']} dropped out mid-round."
    )
    if devices["failures"]:
        failures = ", ".join(f"{count} × {what}" for what, count in devices["failures"].items())
        console.print(f"[yellow]Devices that could not finish a step: {failures}[/yellow]")


def _rounds(console: Console, report: Mapping[str, Any]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("round", "statistic"):
        table.add_column(name, no_wrap=True)
    narrow = console.width < _NARROW
    for name in ("eligible", "contributed", "turned away", "noise z", "upload"):
        table.add_column(
            _SHORT.get(name, name) if narrow else name, justify="right", overflow="fold"
        )
    for one in report["rounds"]:
        table.add_row(
            str(one["round_id"]),
            one["statistic"],
            str(one["eligible"]),
            str(one["contributed"]),
            str(sum(one["refused"].values()) + one["dropped_at_cutoff"]),
            f"{one['noise_multiplier']:.2f}",
            _bytes(one["payload_bytes"]),
        )
    console.print(table)


def _privacy(console: Console, privacy: Mapping[str, Any]) -> None:
    _heading(console, "What was spent")
    console.print(
        f"ε = {privacy['epsilon']:g} at δ = {privacy['delta']:g}, of a cap of "
        f"{privacy['cap_epsilon']:g}, per {privacy['unit']}, over {privacy['rounds']} rounds "
        f"(add/remove; every user may be in every round; no sampling claimed)."
    )
    console.print(f"Trust level {privacy['trust']}: “{privacy['claim']}”")
    console.print(f"Accountant: {privacy['accountant']}.")


def _quality(console: Console, quality: Mapping[str, Any]) -> None:
    _heading(console, "What was learned (demo evaluation on held-out events, not the protocol)")
    model, floor = quality["model"], quality["popularity"]
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in ("recall@20", "NDCG@100"):
        table.add_column(name, justify="right")
    table.add_row("on the device", f"{model['recall_20']:.3f}", f"{model['ndcg_100']:.3f}")
    table.add_row(
        "popularity, not private", f"{floor['recall_20']:.3f}", f"{floor['ndcg_100']:.3f}"
    )
    console.print(table)
    if model["recall_20"] <= floor["recall_20"]:
        console.print(
            f"[yellow]{model['devices']} devices are too few at this ε: noise drowns what they "
            "have in common. More devices help, noise stays the same.[/yellow]"
        )


def _samples(console: Console, samples: list[Mapping[str, Any]]) -> None:
    _heading(console, "Recommended offline")
    for one in samples:
        titles = ", ".join(one["recommended"])
        console.print(
            f"Device {one['device']}: {titles}  [dim]({one['took_us'] / 1000:.0f} ms)[/dim]"
        )
        console.print(f"  {one['recommended'][0]}: {one['because']}", highlight=False)


def _ledger(console: Console, ledger: Mapping[str, Any], privacy: Mapping[str, Any]) -> None:
    _heading(console, "Is the ledger intact?")
    console.print(
        f"[green]Yes.[/green] Verified offline from its export: {ledger['governance_size']} "
        f"governance and {ledger['consent_size']} consent entries under {ledger['checkpoints']} "
        f"signed checkpoints; the newest of both logs cosigned by {_names(ledger['witnesses'])}."
    )
    console.print(
        f"ε recomputed from its rows: {privacy['epsilon']:g}; stated in the release: "
        f"{privacy['epsilon_in_release']:g}; in the devices' own accounts, at most: "
        f"{privacy['epsilon_on_devices_at_most']:g}."
    )


def _names(witnesses: Mapping[str, int]) -> str:
    return "the witness " + ", ".join(witnesses)


def _cost(console: Console, cost: Mapping[str, Any]) -> None:
    _heading(console, "What it cost a device")
    console.print(
        f"{1000 * cost['cpu_s_per_device_round']:.0f} ms of processor time a round, "
        f"{_bytes(cost['sent_bytes_per_device'])} sent and "
        f"{_bytes(cost['received_bytes_per_device'])} received in all; "
        f"{cost['wall_s']:.0f} s for the whole demo on this machine."
    )


def _bytes(count: int) -> str:
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1e6:.2f} MB"
