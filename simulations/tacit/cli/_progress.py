"""Progress for long work: a line a step, a bar a phase; plain lines without a terminal."""

from __future__ import annotations

import threading
import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column

_NARROW = 76  # characters; below, the bar gives way to the words
_QUIET_S = 5.0  # of a phase, between two plain lines


class Bars:
    """Shows steps and counts as they happen; use as a context manager. Thread-safe.

    Args:
        console: where to draw; standard error keeps standard output for results.
    """

    def __init__(self, console: Console) -> None:
        self._drawn = Progress(*_columns(console), console=console) if console.is_terminal else None
        self._lines = _Lines(console)
        self._bars: dict[str, TaskID] = {}
        self._step: TaskID | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Bars:
        if self._drawn is not None:
            self._drawn.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._drawn is None:
            return
        with self._lock:
            if kind is None:
                self._end_step()
            elif self._step is not None:
                # A step that failed keeps no spinner and gets no tick.
                task = self._drawn.tasks[self._drawn.task_ids.index(self._step)]
                self._drawn.remove_task(self._step)
                self._drawn.console.print(f"[red]✗[/red] {task.description}")
        self._drawn.stop()

    def step(self, text: str) -> None:
        """Begin a step that has no count; the one before it is done."""
        with self._lock:
            if self._drawn is None:
                self._lines.step(text)
                return
            self._end_step()
            self._step = self._drawn.add_task(text, total=None)

    def count(self, phase: str, done: int, total: int) -> None:
        """Set a phase's bar, making it on first sight."""
        with self._lock:
            if self._drawn is None:
                self._lines.count(phase, done, total)
                return
            self._end_step()
            if phase not in self._bars:
                self._bars[phase] = self._drawn.add_task(phase, total=total)
            self._drawn.update(self._bars[phase], completed=done, total=total)

    def _end_step(self) -> None:
        if self._drawn is not None and self._step is not None:
            self._drawn.update(self._step, total=1, completed=1)
            self._step = None


class _Lines:
    """Progress in a log: a line when something begins, moves on after a while, or is complete."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: dict[str, tuple[int, int]] = {}
        self._said_s = 0.0

    def step(self, text: str) -> None:
        self._say(f"{text} …")

    def count(self, phase: str, done: int, total: int) -> None:
        if self._said.get(phase) == (done, total):
            return
        now_s = time.monotonic()
        if phase in self._said and done < total and now_s - self._said_s < _QUIET_S:
            return
        self._said[phase] = (done, total)
        self._said_s = now_s
        self._say(f"{phase}: {done} of {total}")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def _columns(console: Console) -> list[ProgressColumn]:
    columns: list[ProgressColumn] = [
        SpinnerColumn(finished_text="[green]✓[/green]"),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
    ]
    if console.width < _NARROW:
        del columns[2]
    return columns
