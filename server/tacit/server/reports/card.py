"""The deployment card of a release: what a regulator asks of it, derived from the ledger alone."""

from __future__ import annotations

import datetime

from tacit.privacy.trust import LOCAL_EXCLUSIONS, exclusions
from tacit.server.budget.facts import ReleaseFacts
from tacit.server.errors import NotFound
from tacit.server.ledger.contents import LedgerContents
from tacit.server.ledger.log import GOVERNANCE
from tacit.server.reports.audits import audits_section
from tacit.server.reports.card_claim import claim_section
from tacit.server.reports.card_governance import approvals_section
from tacit.server.reports.card_mechanism import mechanism_section, participation_section
from tacit.server.reports.card_registry import registry_section
from tacit.server.reports.document import Bullets, Code, Document, Facts, Section
from tacit.server.reports.dpia import dpia_section
from tacit.server.reports.evidence import VerifiedLedger, evidence
from tacit.server.reports.figures import second
from tacit.server.reports.positions import Positions
from tacit.server.reports.proofs import verification_section

_COMMANDS = (
    "tacit ledger verify EXPORT --key {key}",
    "tacit budget facts EXPORT",
    "tacit report card EXPORT --population {population} --release {version} --json card.json",
)


def deployment_card(
    ledger: LedgerContents | VerifiedLedger,
    release: int | None = None,
    *,
    population: str | None = None,
    drawn_up: datetime.date | None = None,
) -> Document:
    """Make the deployment card of one release.

    Its fields are those of NIST SP 800-226 (2025), of the tiers of the public registry of
    deployments of differential privacy (Dwork, Kohli, Mulligan 2019, doi:10.29012/jpc.689;
    Nanayakkara, Ghazi, Vadhan 2025, arXiv:2509.13509), and what GDPR Article 35(7) asks of an
    impact assessment, as far as a ledger knows it. Every figure is composed anew.

    A release at trust level `consent-only` has no figures and claims nothing of the kind; neither
    does its card.

    Args:
        ledger: What a ledger published, which is verified first, or what `verified` returned.
        release: Version; by default the newest.
        population: Whose release; may be left out where one population alone has it.
        drawn_up: The day the card carries; None where it only names the state of the ledger.

    Raises:
        VerificationFailed: The ledger does not hold together: it has no cards.
        NotFound: There is no such release, or several.
    """
    verified = evidence(ledger)
    facts = find_release(verified.release_facts(), release, population)
    positions = Positions.of(verified.entries)
    charged = facts.claim is not None
    index = positions.releases[facts.release.population, facts.release.version]
    task = positions.tasks[facts.release.task_sha256]
    name = {"population": facts.release.population, "version": facts.release.version}
    commands = "\n".join(_COMMANDS if charged else (_COMMANDS[0], _COMMANDS[2]))
    commands = commands.format(key=verified.contents.keys.ledger_key.hex(), **name)
    sections = (
        claim_section(facts),
        registry_section(verified, facts),
        mechanism_section(facts, positions),
        participation_section(facts),
        approvals_section(verified, facts, positions),
        dpia_section(verified, facts, positions),
        audits_section(
            verified,
            positions,
            [one for one in verified.history.audits if tuple(name.values()) in one.releases],
            "No audit of this release is recorded in the ledger.",
        ),
        Section("Not covered", (Bullets(_not_covered(facts)),)),
        verification_section(
            verified,
            "Proofs, and how to verify them",
            commands,
            (("the release", index), ("its task", task)),
            with_figures=charged,
        ),
    )
    return Document(
        title="Differential privacy deployment card" if charged else "Deployment card",
        subtitle=f"{facts.release.population}, release {facts.release.version}",
        head=_head(verified, facts, index, drawn_up),
        sections=sections,
        running_foot=(
            f"{facts.release.population}, release {facts.release.version}; "
            f"{verified.contents.keys.origins[GOVERNANCE]}, {verified.size:,} entries"
        ),
        drawn_up=drawn_up,
        data={"facts": facts.to_json(), "ledger_entry": index},
    )


def find_release(
    cards: tuple[ReleaseFacts, ...], release: int | None, population: str | None
) -> ReleaseFacts:
    """Return the facts of the release asked for.

    Raises:
        NotFound: There is none, or releases of several populations fit.
    """
    if not cards:
        raise NotFound("expected a ledger with a release; nothing was released yet")
    mine = [one for one in cards if population in (None, one.release.population)]
    names = sorted({one.release.population for one in mine})
    if not mine:
        known = ", ".join(sorted({one.release.population for one in cards}))
        raise NotFound(f"expected a population with releases ({known}), got {population!r}")
    if len(names) > 1:
        raise NotFound(f"expected the population of the release, one of: {', '.join(names)}")
    newest = max(one.release.version for one in mine)
    for one in mine:
        if one.release.version == (newest if release is None else release):
            return one
    raise NotFound(f"expected a release of {names[0]} from 1 to {newest}, got {release}")


def _head(
    ledger: VerifiedLedger, facts: ReleaseFacts, index: int, drawn_up: datetime.date | None
) -> Facts:
    release = facts.release
    return Facts(
        (
            ("Released", f"{second(release.created_at_ms)} UTC, entry {index} of the ledger"),
            ("Model", Code(release.model_sha256)),
            ("Trust level", release.trust_level),
            (
                "Ledger",
                f"{ledger.contents.keys.origins[GOVERNANCE]}, verified with {ledger.size:,} "
                f"entries up to {second(ledger.entries[-1].recorded_at_ms)} UTC",
            ),
            *((("Drawn up", f"{drawn_up.isoformat()}"),) if drawn_up else ()),
            ("Made by", "generated from the ledger; no field was typed by hand"),
        )
    )


def _not_covered(facts: ReleaseFacts) -> tuple[str, ...]:
    if facts.claim is None:
        return (
            "what a model, or a sum, tells about a single person: nothing bounds it at this level",
            *LOCAL_EXCLUSIONS[1:],
            "which signals a device really used, and what the coordinator really ran: the ledger "
            "holds what was signed",
        )
    return (
        *exclusions(facts.claim),
        "which signals a device really used, and what the coordinator really ran: the ledger holds "
        "what was signed",
        "how well the model serves people, and whom it serves less: quality is measured outside "
        "of the ledger",
        "what is true of many people can be learned, also about somebody who took no part",
    )
