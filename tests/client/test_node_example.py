"""The example in Node, run by a real Node against a real `tacit device serve`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tacit.client import FileKeyProvider, Personalizer
from tacit.client.service import EVERYDAY_VERBS, AppTokens

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "examples" / "node"

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="no node and npm here"
)


@pytest.fixture
def served_shop() -> Iterator[dict[str, str]]:
    """The environment of an app of a shop that `tacit device serve` serves."""
    with tempfile.TemporaryDirectory(prefix="tacit-") as made:
        folder = Path(made)
        keys = FileKeyProvider(folder / "key")
        Personalizer.open(folder / "profile.db", keys).close()
        items = [
            ("kettle", "Copper kettle", "Kitchen"),
            ("teapot", "Stoneware teapot", "Kitchen"),
            ("tin", "Tea tin", "Kitchen"),
            ("lamp", "Brass desk lamp", "Study"),
            ("chair", "Oak reading chair", "Study"),
            ("rake", "Garden rake", "Garden"),
        ]
        listed = [{"id": i, "title": t, "categories": [c]} for i, t, c in items]
        (folder / "catalogue.json").write_text(json.dumps({"items": listed}))
        token = AppTokens(folder / "profile.db", keys).issue("shop", EVERYDAY_VERBS, ["home"], 0)
        command = [str(Path(sys.executable).with_name("tacit")), "device", "serve", made]
        with subprocess.Popen(
            [*command, "--key", str(folder / "key"), "--json"], stdout=subprocess.PIPE, text=True
        ) as serving:
            try:
                assert serving.stdout is not None
                head = [serving.stdout.readline() for _ in range(3)]
                socket: str = json.loads("".join(head))["socket"]
                yield {**os.environ, "TACIT_SOCKET": socket, "TACIT_TOKEN": token}
                serving.send_signal(signal.SIGINT)
                assert serving.wait(timeout=20) == 0
            finally:
                serving.kill()


def check(folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["node", "shop.js"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "told twice, kept once: true"
    assert len([line for line in lines if ": Because" in line or "Something" in line]) >= 1
    assert "Tea tin is not shown: stock" in lines
    assert "not interested, not shown again: true" in lines
    assert any(line.startswith("Do you like") for line in lines)
    assert "refused the surface push: this app was not given the surface it asks for" in lines
    assert "refused the whole profile: this app was not given the verb state" in lines


def test_the_app_in_node_with_the_packages_that_are_there(served_shop: dict[str, str]) -> None:
    if not (EXAMPLE / "node_modules" / "@grpc").is_dir():
        pytest.skip("packages of the Node example are not installed; run: make node-example")
    check(EXAMPLE, served_shop)


@pytest.mark.long
def test_the_app_in_node_with_the_packages_it_pins(
    served_shop: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "examples" / "node"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    (tmp_path / "protos").symlink_to(REPOSITORY / "protos")
    installed = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode != 0:
        pytest.skip("npm cannot fetch the packages here")
    check(folder, served_shop)
