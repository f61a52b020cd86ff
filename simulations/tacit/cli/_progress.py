"""Progress for long work: one line a step, one bar a phase."""

from __future__ import annotations

import threading

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)


class Bars:
    """Shows steps and counts as they happen; use as a context manager. Thread-safe.

    Args:
        console: where to draw; standard error keeps standard output for results.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/green]"),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._bars: dict[str, TaskID] = {}
        self._step: TaskID | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._end_step()
        self._progress.stop()

    def step(self, text: str) -> None:
        """Begin a step that has no count; the one before it is done."""
        with self._lock:
            self._end_step()
            self._step = self._progress.add_task(text, total=None)

    def count(self, phase: str, done: int, total: int) -> None:
        """Set a phase's bar, making it on first sight."""
        with self._lock:
            self._end_step()
            if phase not in self._bars:
                self._bars[phase] = self._progress.add_task(phase, total=total)
            self._progress.update(self._bars[phase], completed=done, total=total)

    def _end_step(self) -> None:
        if self._step is not None:
            self._progress.update(self._step, total=1, completed=1)
            self._step = None
