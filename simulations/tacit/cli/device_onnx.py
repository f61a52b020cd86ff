"""`tacit device export-onnx`: the installed scorer for an ONNX runtime."""

from __future__ import annotations

from pathlib import Path

import click

from tacit.cli._device_options import Device, of_a_device
from tacit.cli._report_file import check_writable
from tacit.client.decide import DecideError, read_model
from tacit.privacy.arrays import unpack_arrays
from tacit.privacy.errors import PrivacyError


@click.command("export-onnx")
@of_a_device
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The ONNX file."
)
def export_onnx(device: Device, out: Path) -> None:
    """Write the installed ranking model as an ONNX graph: a history in, scores out.

    It is the public release and holds nothing of the person. Guardrails are not in it.
    """
    check_writable(out, "--out")
    try:
        from tacit.client.onnx import export_scorer
    except ModuleNotFoundError:
        raise click.ClickException("expected the onnx extra: pip install 'tacit[onnx]'") from None
    with device.opened() as opened:
        release = opened.releases.get()
        most = opened.policy.max_model_bytes
    if release is None:
        raise click.ClickException("expected an installed ranking model, got none; sync first")
    try:
        model = read_model(unpack_arrays(release.model_blob, max_bytes=most))
    except (DecideError, PrivacyError) as error:
        raise click.ClickException(f"the installed model cannot be used: {error}") from None
    content = export_scorer(model, release.manifest)
    unfinished = out.with_name(out.name + ".part")
    unfinished.write_bytes(content)
    unfinished.replace(out)
    answer = {"file": str(out), "bytes": len(content), "version": release.manifest.version}
    device.say(answer, [f"{out}: release {release.manifest.version}, {len(content)} bytes"])
