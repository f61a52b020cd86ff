"""Command lines of Flower's own processes, with the settings a Tacit deployment needs.

Facts behind the settings: dependency installation, telemetry and update checks reach out to the
network, so all three are off; the Control API has no authentication in the open-source build, so
the SuperLink binds to loopback; SuperNodes authenticate with P-384 keys. The SuperLink keeps its
messages in memory: a round's reply is the sum before noise, and SQLite leaves deleted rows behind
in its write-ahead log. What a deployment needs to survive a crash is in the coordinator's
checkpoint, not here.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass

APP_DIR = pathlib.Path(__file__).parent / "flower_app"
"""Source of the Flower app bundle."""

CONNECTION = "tacit"

_IN_MEMORY = ":flwr-in-memory:"


@dataclass(frozen=True, slots=True)
class FlowerFiles:
    """Files and addresses of one SuperLink with one SuperNode.

    Attributes:
        home: `FLWR_HOME`, holds `config.toml`.
        tls_certificate, tls_key, tls_authority: PEM files.
        superlink_port, supernode_port: loopback ports.
        node_key, node_public_key: P-384 key pair of the SuperNode (OpenSSH format).
    """

    home: pathlib.Path
    tls_certificate: pathlib.Path
    tls_key: pathlib.Path
    tls_authority: pathlib.Path
    superlink_port: int
    supernode_port: int
    node_key: pathlib.Path
    node_public_key: pathlib.Path

    def write_home(self) -> None:
        """Write the CLI's connection profile."""
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "config.toml").write_text(
            f'[superlink]\ndefault = "{CONNECTION}"\n\n'
            f'[superlink.{CONNECTION}]\naddress = "127.0.0.1:{self.superlink_port}"\n'
            f'root-certificates = "{self.tls_authority}"\n',
            encoding="utf-8",
        )

    def environment(self) -> Mapping[str, str]:
        """Return the environment every Flower process needs."""
        bin_dir = str(pathlib.Path(sys.executable).parent)
        # A proxy of the host must not carry what goes between processes of one deployment.
        inherited = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        return {
            **inherited,
            "PATH": f"{bin_dir}{os.pathsep}{os.environ.get('PATH', '')}",
            "FLWR_HOME": str(self.home),
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
        }

    def superlink(self) -> list[str]:
        """Command of the SuperLink, which starts its SuperExec itself."""
        return [
            "flower-superlink",
            *self._tls(),
            "--enable-supernode-auth",
            "--disable-runtime-dependency-installation",
            *("--database", _IN_MEMORY),
            *("--host", "127.0.0.1", "--port", str(self.superlink_port)),
        ]

    def supernode(self, gateway_socket: pathlib.Path) -> list[str]:
        """Command of the SuperNode beside the gateway with this socket."""
        return [
            "flower-supernode",
            *self._tls(),
            *("--root-certificates", str(self.tls_authority)),
            *("--superlink", f"127.0.0.1:{self.superlink_port}"),
            *("--auth-supernode-private-key", str(self.node_key)),
            *("--host", "127.0.0.1", "--port", str(self.supernode_port)),
            *("--node-config", f'gateway-socket="{gateway_socket}"'),
        ]

    def register_supernode(self) -> list[str]:
        """Command that allows the SuperNode's key."""
        return [
            *("flwr", "supernode", "register", str(self.node_public_key), CONNECTION),
            *("--format", "json"),
        ]

    def run_task(self, app: pathlib.Path, coordinator_config: pathlib.Path) -> list[str]:
        """Command that starts an app's ServerApp with this coordinator configuration."""
        return [
            *("flwr", "run", str(app), CONNECTION, "--format", "json"),
            *("--run-config", f'coordinator-config="{coordinator_config}"'),
        ]

    def show_log(self, started: str) -> list[str]:
        """Command that prints the log of the run that `run_task` reported to have started."""
        return ["flwr", "log", "--show", str(json.loads(started)["run-id"]), CONNECTION]

    def _tls(self) -> list[str]:
        return [
            *("--ssl-certfile", str(self.tls_certificate)),
            *("--ssl-keyfile", str(self.tls_key)),
            *("--ssl-ca-certfile", str(self.tls_authority)),
        ]
