"""Consent in a review: what the public log shows of it, coverage in bands, and people's rights."""

from __future__ import annotations

from tacit.privacy.consent_map import MapEpoch
from tacit.privacy.erasure import DP_BOUNDED, STOPPED, UNBOUNDED
from tacit.privacy.signals import SIGNALS
from tacit.privacy.trust import CONSENT_ONLY
from tacit.server.reports.consent_coverage import BAND, ConsentCoverage, PopulationCoverage
from tacit.server.reports.document import Block, Facts, Paragraph, Section, Table, Text
from tacit.server.reports.evidence import VerifiedLedger
from tacit.server.reports.figures import plural, second
from tacit.server.reports.period import Period
from tacit.server.reports.positions import Positions

_WITHOUT_DATABASE = (
    "How many devices consent to which signals is not in this review: an export holds no decision "
    "of anybody, by design. Made from the node's own database, the review has it, in bands."
)
_MEANINGS = {
    STOPPED: "its contribution is in no release: the round was given up",
    DP_BOUNDED: "what its contribution tells stays bounded by the task's figures",
    UNBOUNDED: "its contribution may be in an exact sum: nothing bounds what that tells",
}


def consent_section(
    ledger: VerifiedLedger, period: Period, coverage: ConsentCoverage | None, names: set[str]
) -> Section:
    """State the growth of the consent log, and how many devices consent to what.

    Args:
        ledger: As it stood at the end of the period.
        period: What is reviewed.
        coverage: What was counted in the node's database; None for an export.
        names: Populations that are reviewed.
    """
    blocks: list[Block] = [_growth(ledger, period)]
    if coverage is None:
        return Section("Consent", (*blocks, Paragraph(_WITHOUT_DATABASE)))
    blocks.append(
        Paragraph(
            f"Counted in the node's database when this review was made, grants that had ended by "
            f"{second(coverage.at_ms)} UTC left out; of the ledger's database, not of its log, so "
            f"no export proves it. Counts are given in bands of {BAND}, and only signals that so "
            "many grant are listed, lest one be about a few people."
        )
    )
    for one in coverage.populations:
        if one.population in names:
            blocks += _coverage(one)
    return Section("Consent", tuple(blocks))


def rights_section(
    ledger: VerifiedLedger,
    positions: Positions,
    period: Period,
    coverage: ConsentCoverage | None,
    names: set[str],
) -> Section:
    """Say what a withdrawal or an erasure does, with the label of every round of the period."""
    rows: list[tuple[Text, ...]] = []
    for digest, task in ledger.history.tasks.items():
        if task.population not in names:
            continue
        for plan in task.rounds:
            made = positions.spends.get((digest, plan.round_id), [])
            on_record = positions.rounds.get((digest, plan.round_id))
            indices = [positions.reserved[one] for one in made]
            indices += [] if on_record is None else [on_record]
            if not any(period.holds(ledger.entries[one].recorded_at_ms) for one in indices):
                continue
            label = _label(task.trust_level, made, positions)
            rows.append((task.task_id, str(plan.round_id), label, _MEANINGS[label]))
    blocks: list[Block] = [
        Paragraph(
            "A withdrawal holds from the next admission on and drops the contribution of an open "
            "round. An erasure also destroys what the ledger holds of a device, and states by "
            "label what became of its past contributions. Both are opaque leaves of the consent "
            "log: nobody but the device and the ledger can tell them from other decisions, so the "
            "log counts them with these."
        )
    ]
    if coverage is not None:
        blocks.append(Facts((("Erased devices, ever", str(coverage.erased)),)))
    blocks.append(
        Table(
            "What an erasure states of a contribution to a round of the period, as of its end",
            (("task", False), ("round", True), ("label", False), ("what it means", False)),
            tuple(rows),
            "There was no round in the period.",
        )
    )
    return Section("Withdrawals and erasures", tuple(blocks))


def _label(level: str, made: list[str], positions: Positions) -> str:
    """Label a round as `tacit.server.ledger.erasure` does."""
    if made and all(one in positions.reasons for one in made):
        return STOPPED
    return UNBOUNDED if level == CONSENT_ONLY else DP_BOUNDED


def _growth(ledger: VerifiedLedger, period: Period) -> Facts:
    before, within = _epochs(ledger, period)
    covered = before[-1].consent_size if before else 0
    now = within[-1].consent_size if within else covered
    return Facts(
        (
            (
                "Decisions on record",
                f"{now:,} by the last map epoch of the period, {now - covered:,} of them new in it "
                "(grants, refusals, withdrawals and erasures together, which only the devices and "
                "the ledger can tell apart)",
            ),
            (
                "Current-state map",
                f"{plural(len(within), 'epoch')} published in the period, "
                f"{plural(len(before) + len(within), 'epoch')} in all",
            ),
        ),
        "From the governance log",
    )


def _epochs(ledger: VerifiedLedger, period: Period) -> tuple[list[MapEpoch], list[MapEpoch]]:
    """Return the epochs published before the period, and in it."""
    before: list[MapEpoch] = []
    within: list[MapEpoch] = []
    for entry in ledger.entries:
        if entry.kind == "consent.map":
            held = within if entry.recorded_at_ms >= period.start_ms else before
            held.append(MapEpoch.from_json(entry.body))
    return before, within


def _coverage(coverage: PopulationCoverage) -> list[Block]:
    return [
        Table(
            f"Population {coverage.population}: devices by purpose ({coverage.enrolled} enrolled)",
            (
                ("purpose", False),
                ("decided about it", True),
                ("grant at least one signal", True),
                ("grant none: refused, withdrawn or ended", True),
            ),
            tuple(
                (purpose, str(decided), str(granting), str(nothing))
                for purpose, decided, granting, nothing in coverage.by_purpose
            ),
            "There is no purpose.",
        ),
        Table(
            f"Population {coverage.population}: devices by purpose and signal",
            (
                ("purpose", False),
                ("signal", False),
                ("class", False),
                ("grant it", True),
            ),
            tuple(
                (
                    purpose,
                    signal,
                    SIGNALS[signal].sensitivity.value if signal in SIGNALS else "unknown",
                    str(granting),
                )
                for purpose, signal, granting in coverage.by_signal
            ),
            f"No signal is granted by {BAND} devices.",
        ),
    ]
