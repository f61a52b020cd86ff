"""The drawing of an account: what its window and its life have spent, under cap and alerts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tacit.server.budget.statement import AccountStatement

WIDTH, HEIGHT = 720, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 16, 36


@dataclass(frozen=True, slots=True)
class Line:
    """A horizontal line with its label.

    Attributes:
        y: In the drawing's units, from its top.
        label: What it stands for.
        kind: "cap" or "alert".
    """

    y: float
    label: str
    kind: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis.

    Attributes:
        at: In the drawing's units.
        label: Its value.
    """

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class BurnDown:
    """A drawing in user units, `WIDTH` by `HEIGHT`.

    Attributes:
        window, lifetime: Paths, as SVG's `d`.
        lines: Cap and alerts in force.
        x_ticks, y_ticks: Places on the axes.
        summary: The same in one sentence, for who cannot see it.
    """

    window: str
    lifetime: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    summary: str
    width: int = WIDTH
    height: int = HEIGHT


def burn_down(statement: AccountStatement) -> BurnDown | None:
    """Draw an account over the places of its steps in the governance log; None without steps.

    Places, not times: rounds of one task lie seconds apart and tasks lie months apart.
    """
    steps, cap = statement.steps, statement.account.cap_epsilon
    if not steps:
        return None
    last = len(steps) - 1
    top = 1.1 * max(cap, *(max(one.spent_epsilon, one.cap_epsilon) for one in steps))

    def x(place: int) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * (place / last if last else 0.0), 1)

    def y(epsilon: float) -> float:
        return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * epsilon / top, 1)

    account = statement.account
    alerts = tuple(
        Line(y(one * cap), f"alert at {one:.6g} of the cap", "alert")
        for one in account.alert_thresholds
        if one < 1.0  # an alert at the cap is the cap's own line
    )
    places = sorted({0, last // 2, last})
    return BurnDown(
        window=_steps([one.window_epsilon for one in steps], x, y),
        lifetime=_steps([one.spent_epsilon for one in steps], x, y),
        lines=(Line(y(cap), f"cap {cap:.6g}", "cap"), *alerts),
        x_ticks=tuple(Tick(x(place), f"entry {steps[place].index}") for place in places),
        y_ticks=tuple(Tick(y(part * top), f"{part * top:.2g}") for part in (0.0, 0.25, 0.5, 0.75)),
        summary=(
            f"Over {len(steps)} entries of the governance log, window {statement.standing.window} "
            f"has come to ε {statement.window_spent.epsilon} of a cap of {cap}, and lifetime ε to "
            f"{statement.spent.epsilon}."
        ),
    )


def _steps(values: list[float], x: Callable[[int], float], y: Callable[[float], float]) -> str:
    parts = [f"M{x(0)} {y(values[0])}"]
    for place, value in enumerate(values[1:], start=1):
        parts.append(f"H{x(place)}V{y(value)}")
    return "".join(parts)
