"""The root command."""

from __future__ import annotations

import os

import click

from tacit.cli._lazy_group import LazyGroup

# A server that does not answer, or not with the expected certificate, is reported in one line of
# our own; gRPC reads this when it is first imported, and would print several more.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

_COMMANDS = {
    "demo": (
        "tacit.cli.demo:demo",
        "Train, release and recommend with real processes on this machine.",
    ),
    "simulate": (
        "tacit.cli.simulate:simulate",
        "Train on one machine, vectorised: the same statistics, noise and learner.",
    ),
    "ledger": ("tacit.cli.ledger:ledger", "Verify, show or export a ledger, offline."),
    "device": (
        "tacit.cli.device:device",
        "A person's own device: decisions, reasons, consents, rights; serve it to apps.",
    ),
    "audit": (
        "tacit.cli.audit:audit",
        "Look for privacy violations: noise, sensitivity, canaries; states its power.",
    ),
    "budget": (
        "tacit.cli.budget:budget",
        "Show, explain, plan and govern privacy budgets; the facts of releases.",
    ),
    "report": (
        "tacit.cli.report:report",
        "Deployment cards and quarterly reviews for regulators, as HTML and PDF.",
    ),
    "console": (
        "tacit.cli.console:console",
        "Serve the privacy officer's pages over a ledger, on loopback.",
    ),
    "policy": (
        "tacit.cli.policy:policy",
        "Check and sign guardrails: what a device must not show.",
    ),
    "flags": ("tacit.cli.flags:flags", "Check and sign flags: the variants of an app."),
}


@click.group(
    cls=LazyGroup,
    commands_by_name=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="tacit")
def main() -> None:
    """Privacy-first, on-device personalization, trained federatedly.

    Start with `tacit demo`: it brings up a ledger, a Flower coordinator, a gateway and a fleet of
    devices on this machine, trains within a stated epsilon, and shows what was spent and learned.
    """
