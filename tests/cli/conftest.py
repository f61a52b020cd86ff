"""A real ledger with a released task, a second task half spent, and its export."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import grpc
import pytest

from tacit.server.ledger.export import export_ledger
from tacit.server.tls import make_authority
from tacit.v1 import personalizer_pb2_grpc

_DEPLOYMENT = Path(__file__).resolve().parent.parent / "server" / "conftest.py"


@pytest.fixture(scope="module")
def demo_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory laid out like a demo's state: the node's state and the export in it."""
    deployment = _deployment_type()(tmp_path_factory.mktemp("node"), make_authority())
    try:
        deployment.run_task()
        second = deployment.task(rounds=2, z=20.0, task_id="task-2")
        coordinator = deployment.client("coordinator")
        coordinator.append_governance("task", second.to_json())
        coordinator.reserve(deployment.reserve(second, 1))
        coordinator.commit("main", "task-2/1", hashlib.sha256(b"noised").hexdigest())
        coordinator.reserve(deployment.reserve(second, 2))
    finally:
        deployment.stop()
    state = tmp_path_factory.mktemp("demo")
    shutil.copytree(deployment.state_dir, state / "ledger")
    export_ledger(deployment.state_dir, state / "ledger-export")
    return state


def _deployment_type() -> Any:
    """Load the deployment that the server's tests use."""
    name = "tests_server_deployment"
    spec = importlib.util.spec_from_file_location(name, _DEPLOYMENT)
    if spec is None or spec.loader is None:
        pytest.fail(f"{_DEPLOYMENT} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module.Deployment


@pytest.fixture
def ledger_deployment(tmp_path: Path) -> Iterator[Any]:
    """A ledger with a released task, whose node the test starts and stops."""
    deployment = _deployment_type()(tmp_path / "node", make_authority())
    deployment.run_task()
    yield deployment
    deployment.stop()


class _App:
    """An app with a token, over a channel of its own."""

    def __init__(self, socket: Path, token: str) -> None:
        self._channel = grpc.insecure_channel(f"unix:{socket}")
        self._stub = personalizer_pb2_grpc.PersonalizerServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {token}"),)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._channel.close()

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._stub, name)

        def with_token(request: Any) -> Any:
            return call(request, metadata=self._metadata, timeout=20)

        return with_token


@pytest.fixture
def served_app() -> type[_App]:
    """Make an app that calls a served device: `served_app(socket, token)`."""
    return _App
