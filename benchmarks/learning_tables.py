"""Turn runs of `learning.py` into markdown tables, and put them between a page's markers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

TABLES = ("main", "last", "signals", "curve")

Group = tuple[str, str, str, str, str]
"""Table, data, learner, epsilon, variant."""
Runs = list[dict[str, Any]]
Groups = dict[Group, Runs]

BESIDE = ("popularity", "EASE", "iALS")
_NDCG, _HIT = "ndcg@100", "hit_rate@10"


def fill(page: str, table: str, text: str) -> str:
    """Replace what stands between a table's markers.

    Raises:
        SystemExit: the page lacks them.
    """
    begin, end = f"<!-- learning:{table}:begin -->", f"<!-- learning:{table}:end -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"expected the markers {begin} and {end} in the page")
    return f"{before}{begin}\n{text}\n{end}{after}"


def render(table: str, wanted: Sequence[Group], groups: Groups, seeds: Sequence[int]) -> str:
    """Write a table of the wanted groups, as far as there are runs, with what it was made by."""
    make = {"main": _main, "last": _last, "signals": _signals, "curve": _curve}[table]
    runs = [run for group in wanted for run in groups.get(group, [])]
    if not runs:
        return "Not yet run."
    lines = [*make(wanted, groups), ""]
    lines += sorted({f"{note}." for run in runs for note in run["notes"] if "time" in note})
    missing = [group for group in wanted if len(groups.get(group, [])) < len(seeds)]
    if missing:
        lines.append(f"Incomplete: {len(missing)} of {len(wanted)} rows lack runs.")
    commits = ", ".join(sorted({run["commit"] for run in runs}))
    machines = "; ".join(sorted({run["machine"] for run in runs}))
    lines.append(
        f"Split seeds {', '.join(map(str, seeds))}; `±` is the standard deviation over them, the "
        f"interval the mean of their 95% bootstrap intervals over users. Commit {commits}; "
        f"{machines}; {sum(run['run_s'] for run in runs) / 60:.0f} min in all."
    )
    return "\n".join(lines)


def _main(wanted: Sequence[Group], groups: Groups) -> list[str]:
    lines = _header(
        *("data", "learner", "ε (δ)", "NDCG@100", "95% interval", "of EASE", "recall@20", "HR@10"),
        *("coverage@10 (Δ)", "light/heavy (Δ)", "F, M: worst/best (Δ)", "uploads", "kB per device"),
        "train s",
    )

    def line(group: Group, label: str, budget: str, runs: Runs, rows: Runs) -> str:
        ease = _beside(groups, group, "EASE")
        reference = _rows(groups, (*group[:3], "inf", group[4])) if runs else []
        uploads = [run["payload_bytes"] for run in runs]
        return _row(
            *(group[1], label, budget, _spread(rows, _NDCG), _interval(rows, _NDCG)),
            f"{_mean(rows, _NDCG) / _mean(ease, _NDCG):.1%}" if ease else "-",
            *(f"{_mean(rows, 'recall@20'):.4f}", f"{_mean(rows, _HIT):.4f}"),
            _slice(rows, reference, lambda row, _: row["slices"]["coverage"]),
            _slice(rows, reference, lambda row, _: row["slices"]["light_to_heavy"]),
            _slice(rows, reference, _group_ratio),
            str(len(uploads[0])) if uploads else "-",
            f"{np.mean([sum(sizes) for sizes in uploads]) / 1e3:,.1f}" if uploads else "-",
            f"{np.mean([row['wall_s'] for row in rows]):.1f}",
        )

    return lines + _by_group(wanted, groups, line)


def _last(wanted: Sequence[Group], groups: Groups) -> list[str]:
    lines = _header(
        *("data", "learner", "ε (δ)", "HR@10, full ranking", "95% interval", "NDCG@10", "MRR"),
        *("paper protocol: sampled HR@10", "sampled NDCG@10"),
    )

    def line(group: Group, label: str, budget: str, runs: Runs, rows: Runs) -> str:
        del runs
        sampled = [
            np.mean([row["sampled"][name] for row in rows])
            for name in ("sampled_hr@10", "sampled_ndcg@10")
        ]
        return _row(
            *(group[1], f"{label}, {group[4]}" if group[4] else label, budget),
            *(_spread(rows, _HIT), _interval(rows, _HIT)),
            *(f"{_mean(rows, name):.4f}" for name in ("ndcg@10", "mrr")),
            *(f"{value:.4f}" for value in sampled),
        )

    return lines + _by_group(wanted, groups, line)


def _signals(wanted: Sequence[Group], groups: Groups) -> list[str]:
    lines = _header(
        *("ε (δ)", "signals", "NDCG@100", "95% interval", "recall@20", "HR@10"),
        *("exact popularity of the same signals: NDCG@100", "over the first signal alone"),
    )
    first: dict[str, float] = {}
    for group in wanted:
        runs = groups.get(group, [])
        if not runs:
            continue
        rows = [run["main"] for run in runs]
        first.setdefault(group[3], _mean(rows, _NDCG))
        popular = [run["beside"]["popularity"] for run in runs]
        lines.append(
            _row(
                *(_budget(rows), group[4].replace(",", ", ")),
                *(_spread(rows, _NDCG), _interval(rows, _NDCG)),
                *(f"{_mean(rows, name):.4f}" for name in ("recall@20", _HIT)),
                *(_spread(popular, _NDCG), f"{_mean(rows, _NDCG) / first[group[3]] - 1:+.1%}"),
            )
        )
    return lines


def _curve(wanted: Sequence[Group], groups: Groups) -> list[str]:
    epsilons = list(dict.fromkeys(group[3] for group in wanted))
    names = ["∞" if epsilon == "inf" else epsilon for epsilon in epsilons]
    lines = _header("data", "users trained on", *(f"NDCG@100 at ε = {name}" for name in names))
    for data, size in dict.fromkeys((group[1], group[4]) for group in wanted):
        cells: list[str] = []
        for epsilon in epsilons:
            found = [
                run["main"]
                for group in wanted
                if (group[1], group[3], group[4]) == (data, epsilon, size)
                for run in groups.get(group, [])
            ]
            cells.append(f"{_spread(found, _NDCG)} ({_interval(found, _NDCG)})" if found else "-")
        lines.append(_row(data, f"{int(size):,}", *cells))
    return lines


_Line = Callable[[Group, str, str, Runs, Runs], str]


def _by_group(wanted: Sequence[Group], groups: Groups, line: _Line) -> list[str]:
    """Write a line per group, and one per baseline where a group is the baselines."""
    lines: list[str] = []
    for group in wanted:
        runs = groups.get(group, [])
        if not runs:
            continue
        if group[2] == "baselines":
            for name in BESIDE:
                rows = [run["beside"][name] for run in runs if name in run["beside"]]
                label = "popularity, exact" if name == "popularity" else name
                if rows:
                    lines.append(line(group, label, "not private", [], rows))
            continue
        rows = [run["main"] for run in runs]
        label = runs[0]["learner"] + (" (a)" if _drowned(runs) else "")
        lines.append(line(group, label, _budget(rows), runs, rows))
    if any(_drowned(groups.get(group, [])) for group in wanted):
        lines += ["", "(a) In one seed or more noise drowned the signal; the learner says so."]
    return lines


def _drowned(runs: Runs) -> bool:
    return any("drown" in note for run in runs for note in run["notes"])


def _beside(groups: Groups, group: Group, name: str) -> Runs:
    runs = groups.get((group[0], group[1], "baselines", "inf", ""), [])
    return [run["beside"][name] for run in runs if name in run["beside"]]


def _rows(groups: Groups, group: Group) -> Runs:
    return [run["main"] for run in groups.get(group, [])]


def _budget(rows: Runs) -> str:
    """Say what was spent: every guarantee with its unit where it is not the user."""
    claims = rows[0]["guarantees"]
    if not claims:
        return "∞, no claim"
    return "; ".join(
        f"{claim['epsilon']:.3g} ({claim['delta']:.1g})"
        + ("" if claim["unit"] == "user" else f" per {claim['unit']}")
        for claim in claims
    )


def _slice(
    rows: Runs, reference: Runs, read: Callable[[dict[str, Any], Runs], float | None]
) -> str:
    """Write the mean of a slice figure, and its difference to the non-private version's."""
    known = [value for value in (read(row, reference or rows) for row in rows) if value is not None]
    if not known:
        return "-"
    mean = float(np.mean(known))
    others = [value for value in (read(row, reference) for row in reference) if value is not None]
    if not others or not rows[0]["guarantees"]:
        return f"{mean:.3f}"
    return f"{mean:.3f} ({mean - float(np.mean(others)):+.3f})"


def _group_ratio(row: dict[str, Any], reference: Runs) -> float | None:
    """Divide the group that is worst in the reference by its best one: no change of sides hides."""
    names = list(reference[0]["slices"]["groups"])
    if len(names) < 2:
        return None
    means = {n: np.mean([one["slices"]["groups"][n] for one in reference]) for n in names}
    ranked = sorted(names, key=lambda name: float(means[name]))
    groups = row["slices"]["groups"]
    return float(groups[ranked[0]] / groups[ranked[-1]]) if groups[ranked[-1]] else None


def _mean(rows: Runs, metric: str) -> float:
    return float(np.mean([row["metrics"][metric] for row in rows]))


def _spread(rows: Runs, metric: str) -> str:
    values = [row["metrics"][metric] for row in rows]
    std = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return f"{np.mean(values):.4f}" + ("" if math.isnan(std) else f" ± {std:.4f}")


def _interval(rows: Runs, metric: str) -> str:
    low, high = np.mean([row["intervals"][metric] for row in rows], axis=0)
    return f"{low:.3f}-{high:.3f}"


def _header(*names: str) -> list[str]:
    return [_row(*names), "|" + "---|" * len(names)]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
