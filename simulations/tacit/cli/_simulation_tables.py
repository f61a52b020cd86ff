"""What `tacit simulate` prints: tables a person can read, epsilon beside every figure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tacit.privacy.trust import CLAIMS, CONSENT_ONLY
from tacit.simulations.datasets import Dataset
from tacit.simulations.metrics import METRICS
from tacit.simulations.report import Row, SimulationReport, spread


def show_report(console: Console, report: SimulationReport) -> None:
    """Print one report."""
    data = report.dataset
    console.print(
        f"[bold]{data.name}[/bold]: {data.n_users:,} users, {data.n_items:,} items, "
        f"{data.n_interactions:,} interactions",
        soft_wrap=True,
    )
    show_notes(console, data.notes)
    show_notes(console, (*report.warnings, *report.trained.notes), loud=True)
    table = _table()
    table.add_column("ranking of\nheld-out items", min_width=14)
    shows_budget = report.trust_level != CONSENT_ONLY
    if shows_budget:
        table.add_column("ε", justify="right")
    for name in METRICS:
        table.add_column(name.replace("@", "\n@").replace("_rate", ""), justify="right")
    has_ease = any(row.label == "EASE" for row in report.rows)
    if has_ease:
        table.add_column("of\nEASE", justify="right")
    for row in report.rows:
        share = report.share_of_ease(row)
        table.add_row(
            row.label,
            *([_budget(row)] if shows_budget else []),
            *(f"{row.evaluation.means[name]:.4f}" for name in METRICS),
            *(["-" if share is None else f"{share[0]:.1%}"] if has_ease else []),
        )
    console.print(table)
    first = report.rows[0]
    low_high = first.intervals["ndcg@100"]
    console.print(
        f"NDCG@100 of {first.label}: 95% interval over users "
        f"{low_high.low:.4f} to {low_high.high:.4f}. {_held_out(report)}"
    )
    _show_slices(console, report)
    for row in report.rows:
        if row.sampled:
            figures = ", ".join(f"{name} {value:.4f}" for name, value in row.sampled.items())
            console.print(f"Paper protocol (99 sampled negatives), {row.label}: {figures}")
    for sentence in privacy_sentences(report):
        console.print(sentence)
    if report.audit is not None:
        style = "bold red" if report.audit.leaks else "bold"
        console.print(f"Leak audit: {report.audit.verdict}.", style=style, soft_wrap=True)
    payloads = report.trained.payload_bytes
    console.print(
        f"Each device would send {len(payloads)} vectors, {sum(payloads) / 1e3:,.1f} kB in all. "
        f"Took {report.wall_s:.1f} s, {report.cpu_s:.1f} s of processor time, "
        f"{report.peak_rss_bytes / 1e6:,.0f} MB."
    )


def show_notes(console: Console, notes: Sequence[str], *, loud: bool = False) -> None:
    """Print what a reader has to know before any figure; loud where it changes their meaning."""
    for note in notes:
        head = "[bold yellow]WARNING[/bold yellow]" if loud else "[bold]Note[/bold]"
        console.print(f"{head}: {escape(note)}.", soft_wrap=True)


def show_spread(console: Console, reports: list[SimulationReport]) -> None:
    """Print mean and spread over repeats."""
    table = _table(f"{len(reports)} split seeds, fresh noise each: mean ± std")
    for name in METRICS:
        table.add_column(name, justify="right")
    found = spread(reports)
    table.add_row(*(f"{found[n]['mean']:.4f} ± {found[n]['std']:.4f}" for n in METRICS))
    console.print(table)


def show_curve(console: Console, dataset: Dataset, points: Sequence[tuple[int, Row]]) -> None:
    """Print utility against the number of training users."""
    evaluated = points[0][1].evaluation.users_evaluated
    table = _table(f"{dataset.name}: {evaluated:,} users never trained on")
    shows_budget = any(row.trained and row.trained.guarantees for _, row in points)
    table.add_column("trained on", justify="right")
    if shows_budget:
        table.add_column("ε", justify="right")
    for name in METRICS:
        table.add_column(name, justify="right")
    for size, row in points:
        figures = (f"{row.evaluation.means[name]:.4f}" for name in METRICS)
        table.add_row(f"{size:,}", *([_budget(row)] if shows_budget else []), *figures)
    console.print(table)


def privacy_sentences(report: SimulationReport) -> list[str]:
    """State each claim with everything it rests on, or that there is none."""
    if report.trust_level == CONSENT_ONLY:
        return [CLAIMS[CONSENT_ONLY]]
    if not report.trained.guarantees:
        return ["No noise was added: no differential privacy is claimed."]
    return [
        f"Spent epsilon {claim.epsilon:.4f} at delta {claim.delta:.1e} per {claim.unit} "
        f"({claim.neighboring_relation.replace('_', '/')} adjacency, trust level {claim.trust}, "
        f"{claim.participation} participation in {claim.rounds} rounds, sampling claimed: "
        f"{claim.sampling}; {claim.accountant}). “{CLAIMS[claim.trust]}” Excluded: "
        f"{'; '.join(claim.exclusions)}."
        for claim in report.trained.guarantees
    ]


def _budget(row: Row) -> str:
    """Say what a row spent: its first guarantee's epsilon, or that it is not private."""
    if row.trained is None or not row.trained.guarantees:
        return "none"
    return f"{row.trained.guarantees[0].epsilon:.3g}"


def _held_out(report: SimulationReport) -> str:
    what = f"{report.target} events" if report.target else "events"
    how = {
        "random": f"a random fifth of each user's {what}",
        "leave-one-out": f"the last of each user's {what}",
        "temporal": f"{what} after one cut-off time",
    }[report.split_kind]
    read = "newer items weigh more" if report.recency else "all items weigh alike"
    got = report.evaluation
    return (
        f"Held out: {how}; full ranking, seen items masked; used: {', '.join(report.signals)} "
        f"({read} on the device); {got.users_evaluated:,} users evaluated, "
        f"{got.users_dropped:,} without held-out items dropped."
    )


def _show_slices(console: Console, report: SimulationReport) -> None:
    table = _table("NDCG@100 by slice, and tail items' share of the first ten places")
    groups = sorted(report.rows[0].slices.groups)
    _label(table)
    for name in ("head", "tail", "light", "heavy", *groups, "tail\nshare"):
        table.add_column(name, justify="right")
    for row in report.rows:
        cut = row.slices
        figures = (cut.head, cut.tail, cut.light, cut.heavy, *map(cut.groups.get, groups))
        table.add_row(row.label, *map(_figure, figures), f"{cut.tail_share:.1%}")
    console.print(table)
    _show_ratios(console, report)


def _show_ratios(console: Console, report: SimulationReport) -> None:
    """Print how evenly each model serves people, and what privacy changes about it."""
    table = _table("Ratios of NDCG@100, and the catalogue's share in anybody's first ten")
    groups = sorted(report.rows[0].slices.groups)
    _label(table)
    table.add_column("light/heavy", justify="right")
    if groups:
        table.add_column("worst/best of " + ", ".join(groups), justify="right")
    table.add_column("coverage", justify="right")
    for row in report.rows:
        cut = row.slices
        ratios = (cut.light_to_heavy, *([cut.group_ratio] if groups else []))
        table.add_row(row.label, *map(_figure, ratios), f"{cut.coverage:.1%}")
    gap = report.gap
    if gap is not None and report.trained.guarantees:
        table.add_section()
        ratios = (gap.light_to_heavy, *([gap.group_ratio] if groups else []))
        table.add_row("private less non-private", *map(_signed, ratios), f"{gap.coverage:+.1%}")
    console.print(table)


def _label(table: Table) -> None:
    table.add_column("", min_width=18)


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(title: str | None = None) -> Table:
    """Make a table whose columns fit 80 characters."""
    return Table(title=title, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
