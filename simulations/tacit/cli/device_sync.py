"""`tacit device sync`: the only command about a device that opens a connection."""

from __future__ import annotations

from pathlib import Path

import click

from tacit.cli._device_options import Device, of_a_device
from tacit.cli._servers_file import read_servers


@click.command()
@of_a_device
@click.option(
    "--servers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="Where they are and whom to trust; see docs/device.md.",
)
@click.option("--enrol", "token", help="One-time enrolment token, on first use.")
def sync(device: Device, servers: Path, token: str | None) -> None:
    """Send consents, take part in a round if one is acceptable, install newer models."""
    endpoints, trust = read_servers(servers)
    with device.opened() as opened:
        report = opened.sync(endpoints, trust, token=token)
    round_ = f"round {report.round_id} of {report.task_id}" if report.task_id else "no round"
    idle = f" ({report.idle_reason})" if report.idle_reason else ""
    installed = ", ".join(f"{kind} {version}" for kind, version in report.installed.items())
    device.say(
        report,
        [
            f"{report.consents_sent} decisions sent; contributed to {round_}{idle}",
            f"installed: {installed or 'nothing newer'}",
            f"{report.sent_bytes} bytes sent, {report.received_bytes} received",
        ],
    )
