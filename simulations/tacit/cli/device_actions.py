"""`tacit device next-action | next-question | compose`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from tacit.cli._device_options import Device, of_a_device, read_object, read_value
from tacit.client import Action, Component
from tacit.client.actions import Strategy

_KINDS = ("offer", "message", "wait", "hand_over")


@click.command("next-action")
@of_a_device
@click.option(
    "--action",
    "actions",
    multiple=True,
    required=True,
    help='A JSON object: {"name": …, "kind": "offer|message|wait|hand_over", "channel", "item"}.',
)
@click.option("--surface", default="home", show_default=True, help="Where it is asked.")
@click.option("--strategy", type=click.Choice(["thompson", "epsilon_greedy"]), default="thompson")
def next_action(device: Device, actions: tuple[str, ...], surface: str, strategy: str) -> None:
    """Choose one of the actions, or to wait."""
    read = [_made(Action, read_object(one, "--action"), "--action") for one in actions]
    if any(action.kind not in _KINDS for action in read):
        raise click.BadParameter(
            f"expected a kind among {', '.join(_KINDS)}", param_hint="'--action'"
        )
    with device.opened() as opened:
        decision = opened.next_action(surface, read, strategy=cast(Strategy, strategy))
    lines = [f"{decision.action.name}: {decision.reason}"]
    lines += [f"  {name}: {chance:.0%}" for name, chance in decision.propensities.items()]
    lines += [f"  {name} is forbidden by {', '.join(r)}" for name, r in decision.removed.items()]
    device.say(decision, [*lines, f"decision {decision.id}"])


@click.command("next-question")
@of_a_device
@click.option("--why", "category", help="Say why this category is asked about, instead.")
def next_question(device: Device, category: str | None) -> None:
    """Show the question whose answer would tell most about the person's taste."""
    with device.opened() as opened:
        if category is not None:
            told = opened.why_asked(category)
            device.say({"category": category, "why": told}, [told])
            return
        question = opened.next_question()
    if question is None:
        device.say(None, ["nothing is left to ask"])
        return
    answers = " / ".join(answer.label for answer in question.answers)
    device.say(question, [question.text, f"  {answers}", f"  {question.why}"])


@click.command()
@of_a_device
@click.argument("channel")
@click.argument("components", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--item", help="What the message is about.")
@click.option("--values", default="{}", help="A JSON object of further values.")
def compose(device: Device, channel: str, components: Path, item: str | None, values: str) -> None:
    """Assemble a message for CHANNEL from COMPONENTS, a JSON list in a file."""
    listed = read_value(components.read_text(encoding="utf-8"), "COMPONENTS")
    if not isinstance(listed, list):
        raise click.BadParameter("expected a JSON list", param_hint="'COMPONENTS'")
    held = [_made(Component, one, "COMPONENTS") for one in cast(list[object], listed)]
    texts = {name: str(value) for name, value in read_object(values, "--values").items()}
    with device.opened() as opened:
        content = opened.compose(channel, held, item, texts)
    device.say(content, [f"{part}: {text}" for part, text in content.parts.items()])


def _made(kind: type[Any], fields: object, option: str) -> Any:
    try:
        given = cast(dict[str, Any], fields)
        lists = {
            name: tuple(cast(list[object], value))
            for name, value in given.items()
            if isinstance(value, list)
        }
        return kind(**{**given, **lists})
    except (TypeError, AttributeError):
        names = ", ".join(kind.__dataclass_fields__)
        raise click.BadParameter(
            f"expected objects with some of {names}", param_hint=f"'{option}'"
        ) from None
