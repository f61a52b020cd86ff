"""`tacit device recommend | rank | shown | outcome`."""

from __future__ import annotations

import click

from tacit.cli._device_options import Device, of_a_device
from tacit.client import Decision
from tacit.client.personalizer import Personalizer

_STOCK = click.option("--out-of-stock", multiple=True, help="An item that cannot be had now.")
_ZONE = click.option("--time-zone", help="IANA name of the zone the person is in now.")


def _tell(opened: Personalizer, out_of_stock: tuple[str, ...], time_zone: str | None) -> None:
    opened.context(out_of_stock=out_of_stock or None, time_zone=time_zone)


def _lines(decision: Decision) -> list[str]:
    lines = [
        f"{place:3}  {item.item_id}  {item.title}"
        f"  ({item.source}, propensity {item.propensity:.0%})"
        + (f"\n     {item.reasons[0]}" if item.reasons else "")
        for place, item in enumerate(decision.items, 1)
    ]
    if decision.closed:
        lines.append(f"nothing is shown: {', '.join(decision.closed)}")
    for rule, count in decision.removed.items():
        lines.append(f"removed by {rule}: {count}")
    if decision.escalate is not None:
        lines.append(f"a person should take over: {decision.escalate.reason}")
    return [
        *lines,
        f"decision {decision.id}; by {decision.basis}; {decision.took_us / 1000:.1f} ms",
    ]


@click.command()
@of_a_device
@click.option("--surface", default="home", show_default=True, help="Where it is shown.")
@click.option("-k", type=click.IntRange(1), default=10, show_default=True, help="Most items.")
@click.option("--exclude", multiple=True, help="An item not to show.")
@click.option("--seed", "seeds", multiple=True, help="An item to start from.")
@click.option("--category", "categories", multiple=True, help="Keep to this category.")
@click.option("--promote", multiple=True, help="An item that takes one of the first slots.")
@click.option("--diversity", type=click.FloatRange(0, 1), default=0.3, show_default=True)
@click.option("--serendipity", type=click.FloatRange(0, 1), default=0.0, show_default=True)
@_STOCK
@_ZONE
def recommend(
    device: Device,
    surface: str,
    k: int,
    exclude: tuple[str, ...],
    seeds: tuple[str, ...],
    categories: tuple[str, ...],
    promote: tuple[str, ...],
    diversity: float,
    serendipity: float,
    out_of_stock: tuple[str, ...],
    time_zone: str | None,
) -> None:
    """Recommend items the person has not met yet, with reasons."""
    with device.opened() as opened:
        _tell(opened, out_of_stock, time_zone)
        decision = opened.recommend(
            surface,
            k,
            exclude,
            seed_items=seeds,
            filter=categories or None,
            promote=promote,
            diversity=diversity,
            serendipity=serendipity,
        )
    device.say(decision, _lines(decision))


@click.command()
@of_a_device
@click.argument("items", nargs=-1, required=True)
@click.option("--surface", default="home", show_default=True, help="Where they are shown.")
@_STOCK
@_ZONE
def rank(
    device: Device,
    items: tuple[str, ...],
    surface: str,
    out_of_stock: tuple[str, ...],
    time_zone: str | None,
) -> None:
    """Order ITEMS for the person, best first; guardrails hold."""
    with device.opened() as opened:
        _tell(opened, out_of_stock, time_zone)
        decision = opened.rank(surface, items)
    device.say(decision, _lines(decision))


@click.command()
@of_a_device
@click.argument("decision_id")
@click.argument("items", nargs=-1)
def shown(device: Device, decision_id: str, items: tuple[str, ...]) -> None:
    """Record that ITEMS of a decision, or all of it, were shown."""
    with device.opened() as opened:
        opened.shown(decision_id, items or None)
    device.say({"decision_id": decision_id, "items": items}, ["recorded"])


@click.command()
@of_a_device
@click.argument("decision_id")
@click.argument("item")
@click.argument("event")
@click.option("--value", type=float, help="A number that came with it.")
def outcome(device: Device, decision_id: str, item: str, event: str, value: float | None) -> None:
    """Record that EVENT (as for `track`) came of showing ITEM."""
    with device.opened() as opened:
        ack = opened.outcome(decision_id, item, event, value)
    told = "recorded before" if ack.duplicate else "recorded" if ack.recorded else "no consent"
    device.say(ack, [f"{ack.event_id}: {told}"])
