"""`tacit device track | page | rate | prefer | identify | opt-out | infer`."""

from __future__ import annotations

import click

from tacit.cli._device_options import Device, of_a_device, read_object
from tacit.client import Ack


def _told(ack: Ack | None) -> list[str]:
    if ack is None:
        return ["in force"]
    if ack.duplicate:
        return [f"{ack.event_id}: recorded before"]
    return [f"{ack.event_id}: " + ("recorded" if ack.recorded else "not recorded; no consent")]


@click.command()
@of_a_device
@click.argument("event")
@click.option("--properties", default="{}", help='A JSON object, like {"product_id": "kettle"}.')
@click.option("--id", "event_id", help="Names the event for good; again records nothing.")
@click.option("--ts", type=int, help="When, Unix milliseconds; now by default.")
def track(
    device: Device, event: str, properties: str, event_id: str | None, ts: int | None
) -> None:
    """Record EVENT, a name of the Segment specification or a signal.

    `tacit device track PATH "Product Viewed" --properties '{"product_id": "kettle"}'`
    """
    read = read_object(properties, "--properties")
    with device.opened() as opened:
        ack = opened.track(event, read, event_id=event_id, ts=ts)
    device.say(ack, _told(ack))


@click.command()
@of_a_device
@click.argument("name")
@click.option("--dwell-ms", type=click.IntRange(min=0), default=0, help="How long, milliseconds.")
@click.option("--scroll", type=click.FloatRange(0, 1), default=0.0, help="How far, 0 to 1.")
def page(device: Device, name: str, dwell_ms: int, scroll: float) -> None:
    """Record that the page NAME was opened."""
    with device.opened() as opened:
        ack = opened.page(name, dwell_ms, scroll)
    device.say(ack, _told(ack))


@click.command()
@of_a_device
@click.argument("item")
@click.argument("value", type=float)
def rate(device: Device, item: str, value: float) -> None:
    """Record that the person rated ITEM with VALUE."""
    with device.opened() as opened:
        ack = opened.rate(item, value)
    device.say(ack, _told(ack))


@click.command(context_settings={"ignore_unknown_options": True})
@of_a_device
@click.argument("kind", type=click.Choice(["item", "category", "channel"]))
@click.argument("value")
@click.argument("weight", type=float)
def prefer(device: Device, kind: str, value: str, weight: float) -> None:
    """Record what the person thinks of an item or a category.

    WEIGHT goes from -1 to 1: above 0 it is liked, below 0 it is never shown again, whatever the
    consents, and 0 takes both back.
    """
    with device.opened() as opened:
        ack = opened.prefer(kind, value, weight)
    device.say(ack, _told(ack))


@click.command()
@of_a_device
@click.option("--time-zone", help="IANA name, like Europe/Berlin; for quiet hours.")
@click.option("--interest", "interests", multiple=True, help="A category the person likes.")
def identify(device: Device, time_zone: str | None, interests: tuple[str, ...]) -> None:
    """Record the person's time zone and interests.

    There is no option for a name or an address: a device has no use for them.
    """
    traits: dict[str, object] = {}
    if time_zone is not None:
        traits["time_zone"] = time_zone
    if interests:
        traits["interests"] = interests
    with device.opened() as opened:
        opened.identify(traits)
    device.say(traits, ["in force"])


@click.command("opt-out")
@of_a_device
@click.argument("channel")
@click.option("--in", "again", is_flag=True, help="Opt in again.")
def opt_out(device: Device, channel: str, again: bool) -> None:
    """Decide nothing for CHANNEL any more; beats every other rule."""
    with device.opened() as opened:
        opened.opt_out(channel, not again)
        channels = opened.suppressions.get().channels
    device.say({"opted_out": channels}, [f"opted out: {', '.join(sorted(channels)) or 'nothing'}"])


@click.command()
@of_a_device
@click.argument("feature")
@click.option("--no", "refused", is_flag=True, help="Do not work it out any more.")
def infer(device: Device, feature: str, refused: bool) -> None:
    """Let FEATURE (stage, intent, churn, …) be worked out about the person, or no more."""
    with device.opened() as opened:
        opened.infer(feature, not refused)
    allowed = "no longer worked out" if refused else "worked out where permitted"
    device.say({"feature": feature, "allowed": not refused}, [f"{feature}: {allowed}"])
