"""What a data protection impact assessment needs, as far as a ledger knows it."""

from __future__ import annotations

from tacit.privacy.signals import PURPOSES, SIGNALS
from tacit.privacy.trust import ASSUMPTIONS
from tacit.server.budget.facts import ReleaseFacts
from tacit.server.reports.document import (
    Block,
    Bullets,
    Facts,
    Paragraph,
    Quotation,
    Section,
    Table,
)
from tacit.server.reports.evidence import VerifiedLedger
from tacit.server.reports.figures import exact, plural, second, short
from tacit.server.reports.positions import Positions

_SHOWN_CHARACTERS = 1_500

_FROM_THE_CONTROLLER = (
    "who the controller and its data protection officer are, and who processes for them",
    "why this processing is necessary and proportionate, and what people said of it",
    "how many people the population has, and whether children or patients are among them",
    "recipients, transfers to third countries, and how long contributions are kept before they are "
    "summed: the ledger shows that sums were paid for, not that contributions were deleted",
    "what the model is used for on the devices, and with which effects for people",
)


def dpia_section(ledger: VerifiedLedger, facts: ReleaseFacts, positions: Positions) -> Section:
    """Order what the ledger knows by GDPR Article 35(7), and name what it does not know."""
    release = positions.releases[facts.release.population, facts.release.version]
    notices = [(index, one) for index, one in positions.notices if index < release]
    blocks: list[Block] = [
        Paragraph(
            "Ordered by Article 35(7) of the GDPR. These are inputs: the assessment is the "
            "controller's, and the end of this section lists what only the controller can add."
        ),
        Facts(_processing(facts), "(a) The processing, and its purpose"),
        _signals(facts),
        Table(
            "Notices published before the release, under which people could decide",
            (
                ("notice", False),
                ("version", False),
                ("language", False),
                ("published (UTC)", False),
                ("entry", True),
                ("sha256 of the text", False),
            ),
            tuple(
                (
                    one.notice_id,
                    one.version,
                    one.language,
                    second(ledger.entries[index].recorded_at_ms),
                    str(index),
                    short(one.text_digest()),
                )
                for index, one in notices
            ),
            "No notice was published in this ledger before the release.",
        ),
    ]
    newest = {(one.notice_id, one.language): one for _, one in notices}
    blocks += [
        Quotation(
            f"Notice {one.notice_id}, version {one.version} ({one.language}), as published",
            _whole(one.text),
        )
        for one in newest.values()
    ]
    blocks += [
        Facts(_necessity(facts), "(b) Necessity and proportionality, as built in"),
        Facts(_risks(facts), "(c) Risks to the people, and what bounds them"),
        Bullets(_measures(facts), "(d) Measures"),
        Bullets(_FROM_THE_CONTROLLER, "Not in the ledger, to be added by the controller"),
    ]
    return Section("Inputs to a data protection impact assessment", tuple(blocks))


def _processing(facts: ReleaseFacts) -> tuple[tuple[str, str], ...]:
    task = facts.task
    return (
        ("Nature", "a shared model is learned from sums over devices; raw events stay on them"),
        ("Purpose", f"{task.purpose} ({PURPOSES[task.purpose]})"),
        (
            "Lawful basis",
            f"consent: devices and ledger accept no grant of “{task.purpose}” on another basis, "
            "none that is implied, and none without a notice",
        ),
        (
            "Data",
            "what leaves a device is one bounded vector of integers a round; what is kept on it is "
            "sealed under the device's key",
        ),
        (
            "When",
            f"from {second(task.issued_at_ms)} UTC, when the task was issued, to "
            f"{second(facts.release.created_at_ms)} UTC",
        ),
    )


def _signals(facts: ReleaseFacts) -> Table:
    return Table(
        "Signals the task may read, where a person consented to them",
        (("signal", False), ("class", False), ("what it is", False), ("weight", True)),
        tuple(
            (
                name,
                SIGNALS[name].sensitivity.value if name in SIGNALS else "unknown",
                SIGNALS[name].description if name in SIGNALS else "not in the catalogue",
                f"{weight:.6g}",
            )
            for name, weight in sorted(facts.task.signals.items())
        ),
        "None.",
    )


def _necessity(facts: ReleaseFacts) -> tuple[tuple[str, str], ...]:
    rounds = facts.task.rounds
    largest = max(plan.length for plan in rounds)
    return (
        (
            "Minimisation",
            f"{plural(len(rounds), 'vector')} at most from a person, of at most "
            f"{largest:,} integers; no event, no count, no time and no text",
        ),
        (
            "Choice",
            "consent by signal and by purpose, refused unless given; withdrawn as easily, and in "
            "force at the next admission",
        ),
        ("Weight", "every contribution counts the same, whoever it is from"),
    )


def _risks(facts: ReleaseFacts) -> tuple[tuple[str, str], ...]:
    level = facts.task.trust_level
    inference = (
        f"bounded: ε {exact(facts.claim.epsilon)} at δ = {facts.claim.target_delta!r} for this "
        f"release, ε {exact(facts.lifetime_epsilon)} for all that its account ever paid for"
        if facts.claim
        else "not bounded at this level"
    )
    return (
        ("Inference about one person from the model", inference),
        ("What the operator sees", f"at trust level {level}: {ASSUMPTIONS[level]}"),
        (
            "Inference about groups",
            "not bounded: what is true of many people can be learned, also about others",
        ),
        (
            "Several devices of one person",
            "not bounded together: each device identity counts as a user",
        ),
    )


def _measures(facts: ReleaseFacts) -> tuple[str, ...]:
    budget = (
        (
            "a hard cap on what the population's users are exposed to, spent durably before noise "
            "is drawn; its terms change only by two officers",
        )
        if facts.claim
        else ()
    )
    return (
        "a consent gate on the device before any event is read, and at admission, at "
        "upload and at the cut-off of a round",
        *budget,
        "signed tasks in a public append-only log; a device answers no other; no code is ever sent "
        "to it",
        "erasure destroys what the ledger holds of a device and states, by label, what became of "
        "its past contributions",
        "this report, which anybody can make again from the ledger",
    )


def _whole(text: str) -> str:
    text = " ".join(text.split())
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return (
        f"{text[:_SHOWN_CHARACTERS]} … (the first {_SHOWN_CHARACTERS:,} of {len(text):,} "
        "characters; the digest above names the whole)"
    )
