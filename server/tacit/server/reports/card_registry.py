"""The fields of a public registry of deployments, by its tiers of transparency."""

from __future__ import annotations

from tacit.privacy.accounting import EpsilonClaim
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.signals import PURPOSES
from tacit.privacy.trust import exclusions
from tacit.server.budget.facts import ReleaseFacts
from tacit.server.ledger.log import GOVERNANCE
from tacit.server.reports.document import Block, Code, Facts, Paragraph, Section, Text
from tacit.server.reports.evidence import VerifiedLedger
from tacit.server.reports.figures import exact, plural, relation, second

_PRODUCTS = {
    "ranking": "a model that ranks the items of a public catalogue",
    "churn": "a model that predicts whether a person leaves",
    "intent": "a model that predicts what a person is about to do",
    "bandit": "a model that weighs which of several offers to make",
}
_Rows = tuple[tuple[str, Text | list[Text]], ...]


def registry_section(ledger: VerifiedLedger, facts: ReleaseFacts) -> Section:
    """State the registry's fields; the tiers that ask for a guarantee only where there is one."""
    blocks: list[Block] = []
    if facts.claim is not None:
        blocks.append(
            Paragraph(
                "Fields and tiers are those of the public registry of deployments of differential "
                "privacy; together with the mechanism below they hold what NIST SP 800-226 asks "
                "of whoever states a guarantee."
            )
        )
    blocks.append(Facts(_product(ledger, facts), "Tier 1: the deployment"))
    if facts.claim is not None:
        blocks.append(Facts(_guarantee(facts, facts.claim), "Tier 2: the guarantee"))
        blocks.append(Facts(_details(facts, facts.claim), "Tier 3: its details"))
    return Section("Registry fields" if facts.claim else "The deployment", tuple(blocks))


def _product(ledger: VerifiedLedger, facts: ReleaseFacts) -> _Rows:
    release, task = facts.release, facts.task
    base = f", continuing from release {task.base_release}" if task.base_release else ""
    return (
        (
            "Data curator",
            f"operator of ledger {ledger.contents.keys.origins[GOVERNANCE]}; its legal name is not "
            "in the ledger",
        ),
        ("Intended use", f"purpose “{task.purpose}” ({PURPOSES[task.purpose]})"),
        (
            "Data product",
            f"{_PRODUCTS[release.kind]}, installed on the devices of population "
            f"{release.population}, which use it offline ({release.model_bytes:,} bytes)",
        ),
        ("Learned by", f"{task.learner} in {plural(len(task.rounds), 'round')}{base}"),
        ("Published", f"{second(release.created_at_ms)} UTC"),
        ("Access", _access(release)),
        ("Task", Code(release.task_sha256)),
        ("Catalogue", Code(release.catalogue_sha256)),
    )


def _access(release: ReleaseManifest) -> str:
    return (
        f"release manifest {release.version} is public in the ledger; the model goes to devices of "
        "the population"
    )


def _guarantee(facts: ReleaseFacts, claim: EpsilonClaim) -> _Rows:
    return (
        ("Flavor", "(ε, δ)-differential privacy (approximate)"),
        ("Privacy unit", claim.unit),
        (
            "Privacy loss",
            f"ε = {exact(claim.epsilon)}, δ = {claim.target_delta!r}",
        ),
        ("Deployment model", f"trust level {facts.task.trust_level}, as claimed above"),
    )


def _details(facts: ReleaseFacts, claim: EpsilonClaim) -> _Rows:
    task = facts.task
    return (
        ("Data domain", f"events of the signals {', '.join(sorted(task.signals))}"),
        ("Neighbours", relation(claim.neighboring_relation)),
        ("Unprotected", "; ".join(exclusions(claim))),
        (
            "Composition",
            f"{plural(len(facts.paid), 'event')} of the Gaussian mechanism, composed by "
            f"{claim.accountant} {claim.accountant_version}; with everything else charged to the "
            f"account: lifetime ε {exact(facts.lifetime_epsilon)}",
        ),
        (
            "Post-processing",
            "learning from the noised sums and all use of the model; it costs no ε (Dwork, Roth "
            "2014, Proposition 2.1)",
        ),
        ("Implementation", str(facts.to_json()["implementation"])),
        ("Rationale", str(facts.to_json()["security_rationale"])),
    )
