"""The ledger's goals, each with what is measured: `python benchmarks/ledger.py [--help]`.

Everything is the real thing on this machine's disk, in one run: the node's own storage for appends,
withdrawals and erasure, a real ledger process over TLS for spends and kills, pymerkle beside our
Merkle trees where it is installed. A goal that is missed is marked and makes the exit status 1.
Times include whatever else the machine does; its load is printed first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ledger_appends import Storage, measure_appends
from ledger_databases import KINDS, Databases
from ledger_promises import erase, race
from ledger_proofs import accepted_mutations, measure_proofs
from ledger_spends import kill, overspend


@dataclass(frozen=True, slots=True)
class Row:
    """One goal.

    Attributes:
        database: which one it was measured on; empty where none is involved.
        goal, target, measured: in words.
        met: whether the target is.
    """

    database: str
    goal: str
    target: str
    measured: str
    met: bool


Show = Callable[[Row], None]


def progress(line: str) -> None:
    """Say on standard error what is being done."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{line}")
    else:
        sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def proofs(arguments: argparse.Namespace, show: Show) -> None:
    """Measure everything that needs no database."""
    costs, issued = measure_proofs(arguments.leaves, progress)
    beside = ["", ""]
    if costs.oracle_inclusion_us is not None:
        beside = [
            f" (pymerkle on {costs.oracle_leaves}: {one:.0f} µs)"
            for one in (costs.oracle_inclusion_us, costs.oracle_consistency_us)
        ]
    at = f"{costs.leaves:,} leaves"
    show(
        Row(
            "", f"inclusion proof verify, {at}", "≤ 100 µs, 640-byte path",
            f"{costs.inclusion_us:.0f} µs{beside[0]}, {costs.path_bytes} bytes",
            costs.inclusion_us <= 100 and costs.path_bytes <= 640,
        )
    )  # fmt: skip
    show(
        Row(
            "", f"consistency proof verify, {at}", "≤ 200 µs",
            f"{costs.consistency_us:.0f} µs{beside[1]}", costs.consistency_us <= 200,
        )
    )  # fmt: skip
    weight = costs.receipt_bytes
    show(Row("", "receipt, three Ed25519 witnesses", "≤ 2 KiB", f"{weight} bytes", weight <= 2048))
    rebuilt = costs.rebuild_s
    measured = f"{rebuilt:.1f} s, {costs.rebuild_cpu_s:.1f} s of CPU"
    show(Row("", f"rebuild, {at}", "≤ 10 s", measured, rebuilt <= 10))
    count = arguments.mutations
    accepted = accepted_mutations(issued, count, progress)
    measured = f"{accepted} of {count:,} receipts changed"
    show(Row("", "mutations accepted", "0 of ≥ 100,000", measured, accepted == 0))
    began_s = time.perf_counter()
    question = ["--epsilon", "1", "--rounds", "4", "--users", "100000"]
    tacit = Path(sys.executable).with_name("tacit")
    subprocess.run([tacit, "budget", "what-if", *question], check=True, capture_output=True)
    took_s = time.perf_counter() - began_s
    show(Row("", "what-if, one campaign", "≤ 3 s", f"{took_s:.1f} s, the command", took_s <= 3))


def storage(databases: Databases, arguments: argparse.Namespace, show: Show) -> None:
    """Measure the node's storage in this process."""
    kind = databases.kind
    with databases.open() as (database, folder, address):
        costs = measure_appends(
            database, lambda: databases.size_bytes(folder, address),
            arguments.appends, arguments.callers, progress,
        )  # fmt: skip
    show(
        Row(
            kind, "batched durable appends with signature check", "≥ 3,000/s on two idle cores",
            f"{costs.batched_per_s:,.0f}/s by {costs.callers} callers, "
            f"{costs.cpu_us:.0f} µs of CPU each",
            costs.batched_per_s >= 3000,
        )
    )  # fmt: skip
    p50, p99 = costs.alone_p50_ms, costs.alone_p99_ms
    show(
        Row(
            kind, "single durable append p50 / p99", "≤ 5 / 15 ms",
            f"{p50:.1f} / {p99:.1f} ms; {costs.fsync_p50_ms:.1f} / {costs.fsync_p99_ms:.1f} ms "
            "a bare fsync beside it",
            p50 <= 5 and p99 <= 15,
        )
    )  # fmt: skip
    each = costs.bytes_per_entry
    show(Row(kind, "storage per consent entry", "≤ 1 KB", f"{each:,.0f} bytes", each <= 1000))
    with databases.open() as (database, folder, address):
        store = Storage(database)
        done = race(store, arguments.races, progress)
        measured = (
            f"{done.late} in {done.races:,} races, {done.questions:,} questions of which "
            f"{done.both_sides[0]:,} were faster"
        )
        fair = done.late == 0 and min(done.both_sides) > 0
        show(Row(kind, "late admits after withdrawal", "0 in 10,000 races", measured, fair))
        progress("erasing")
        gone = erase(store, lambda: databases.files(folder, address))
        show(
            Row(
                kind, "erasure", "≤ 1 s; 0 bytes left; roots unchanged",
                f"{gone.worst_s:.2f} s at worst of {gone.erasures}; {gone.found_after} of "
                f"{gone.needles} secrets left ({gone.found_before} before); roots "
                + ("unchanged" if gone.roots_unchanged else "CHANGED"),
                gone.worst_s <= 1 and not gone.found_after and gone.roots_unchanged
                and gone.found_before > 0,
            )
        )  # fmt: skip


def spends(databases: Databases, arguments: argparse.Namespace, show: Show) -> None:
    """Measure spends on a real process."""
    kind, workers = databases.kind, arguments.workers
    progress(f"{arguments.reserves} spends by {workers} workers against one cap")
    spent = overspend(*databases.new(), workers, arguments.reserves)
    show(
        Row(
            kind, f"concurrent reserve, {workers} workers", "0 overspend in 10,000 runs",
            f"{max(0, spent.admitted - spent.most)} over in {spent.attempts:,}: "
            f"{spent.admitted:,} admitted of {spent.most:,} the cap has room for",
            spent.admitted == spent.most and spent.spent <= spent.cap,
        )
    )  # fmt: skip
    left = kill(*databases.new(), arguments.kills, 8, progress)
    always = "spent ≥ released each time" if left.spent_at_least_released else "RELEASED MORE"
    show(
        Row(
            kind, "kill -9 while spending", "spent ≥ released, always",
            f"{left.kills} kills: {always}; {left.lost} of {left.answered:,} answered spends lost",
            left.spent_at_least_released and not left.lost,
        )
    )  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--database", choices=(*KINDS, "both"), default="sqlite")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    for name, count in {
        "leaves": 1_000_000, "mutations": 100_000, "appends": 10_000, "callers": 128,
        "races": 10_000, "workers": 64, "reserves": 10_000, "kills": 10,
    }.items():  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=count, help="default: %(default)s")
    arguments = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    machine = (
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {commit}"
    )
    rows: list[Row] = []

    def show(row: Row) -> None:
        rows.append(row)
        if not arguments.json:
            clear = "\r\033[K" if sys.stderr.isatty() else ""
            mark = "" if row.met else "  MISSED"
            where = f"{row.goal} [{row.database}]" if row.database else row.goal
            print(f"{clear}{where:58} | {row.target:38} | {row.measured}{mark}", flush=True)

    if not arguments.json:
        print(machine)
        print(f"{'goal':58} | {'target':38} | measured")
    proofs(arguments, show)
    with tempfile.TemporaryDirectory(prefix="tacit-bench-", dir="/tmp") as directory:
        home = Path(directory)
        home.chmod(0o755)
        for kind in KINDS if arguments.database == "both" else (arguments.database,):
            databases = Databases(home, kind)
            try:
                storage(databases, arguments, show)
                spends(databases, arguments, show)
            finally:
                databases.close()
    if arguments.json:
        print(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=1))
    sys.exit(0 if all(row.met for row in rows) else 1)


if __name__ == "__main__":
    main()
