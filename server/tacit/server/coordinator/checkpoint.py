"""The coordinator's memory: the task it runs and the noised sums it has released.

    state_dir/
      task.json            canonical TaskManifest of the running task
      round-001.npz        noised integers of round 1, …
      ledger-checkpoint    the governance log as it was seen last: it may only grow
      lock                 held by the coordinator at work

A learner is a pure function of the noised sums, so nothing else needs to be kept: a restarted
coordinator replays them. Files appear whole or not at all (write, fsync, rename, fsync directory),
and a noised sum that is there is never replaced.
"""

from __future__ import annotations

import fcntl
import hashlib
import pathlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import cast

import numpy as np
import numpy.typing as npt

from tacit.privacy.arrays import pack_arrays, unpack_arrays
from tacit.privacy.canonical import canonical_json, parse_canonical
from tacit.privacy.errors import BadDocument
from tacit.privacy.task import RoundPlan, TaskManifest
from tacit.server.coordinator.errors import StateConflict
from tacit.server.durable_file import write_durably

_MAX_BYTES = 1 << 31


class Checkpoint:
    """Reads and writes one coordinator's state directory; one process at a time writes."""

    def __init__(self, state_dir: pathlib.Path) -> None:
        self._dir = state_dir
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)

    @contextmanager
    def exclusive(self) -> Generator[None]:
        """Hold the directory for this process; the kernel lets go when the process dies.

        Raises:
            StateConflict: if another coordinator holds it.
        """
        with (self._dir / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StateConflict("another coordinator works in this state directory") from None
            yield

    def task(self) -> TaskManifest | None:
        """Return the running task, if one was begun."""
        data = self._read("task.json")
        try:
            return None if data is None else TaskManifest.from_json(parse_canonical(data))
        except BadDocument as error:
            raise StateConflict(f"task.json is damaged: {error}") from None

    def save_task(self, manifest: TaskManifest) -> None:
        """Remember the task before it is published, so that a restart publishes the same one."""
        self._write("task.json", canonical_json(manifest.to_json()))

    def contributions(self, plan: RoundPlan) -> int:
        """Return how many contributions are in a saved sum; 1 where that was not saved with it."""
        data = self._read(_round_name(plan.round_id))
        arrays = {} if data is None else unpack_arrays(data, _MAX_BYTES)
        return int(arrays["contributions"]) if "contributions" in arrays else 1

    def noised_sum(self, plan: RoundPlan) -> tuple[npt.NDArray[np.int64], str] | None:
        """Return a round's noised integers and the hex digest of their file, if released."""
        data = self._read(_round_name(plan.round_id))
        if data is None:
            return None
        try:
            integers = unpack_arrays(data, _MAX_BYTES)["noised"]
        except (BadDocument, KeyError) as error:
            raise StateConflict(f"round {plan.round_id} is damaged: {error}") from None
        if integers.shape != (plan.length,) or integers.dtype != np.int64:
            raise StateConflict(f"round {plan.round_id}: expected {plan.length} 64-bit integers")
        return cast(npt.NDArray[np.int64], integers), hashlib.sha256(data).hexdigest()

    def save_noised_sum(
        self, plan: RoundPlan, integers: npt.NDArray[np.int64], contributions: int | None = None
    ) -> str:
        """Persist a round's noised integers; returns the hex digest of the file.

        Args:
            plan: the round.
            integers: shape (length,).
            contributions: how many are in it, where the learner has to know: at level `local`.

        Raises:
            StateConflict: if the round has a noised sum; a second one would be a second release.
        """
        if (self._dir / _round_name(plan.round_id)).exists():
            raise StateConflict(f"round {plan.round_id} has a noised sum; refusing to replace it")
        arrays = {"noised": integers}
        if contributions is not None:
            arrays["contributions"] = np.asarray(contributions, dtype=np.int64)
        data = pack_arrays(arrays)
        self._write(_round_name(plan.round_id), data)
        return hashlib.sha256(data).hexdigest()

    def ledger_checkpoint(self) -> bytes | None:
        """Return the checkpoint of the governance log that was seen last, None before any was."""
        return self._read("ledger-checkpoint")

    def save_ledger_checkpoint(self, note: bytes) -> None:
        """Remember how far the governance log had come."""
        self._write("ledger-checkpoint", note)

    def _read(self, name: str) -> bytes | None:
        try:
            return (self._dir / name).read_bytes()
        except FileNotFoundError:
            return None

    def _write(self, name: str, data: bytes) -> None:
        write_durably(self._dir / name, data)


def _round_name(round_id: int) -> str:
    return f"round-{round_id:03d}.npz"
