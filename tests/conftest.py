"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import pathlib

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """Folder with real data sets; tests that need it are skipped where it is absent."""
    found = pathlib.Path(os.environ.get("TACIT_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not found.is_dir():
        pytest.skip("real data is not here; set TACIT_SHARED_DATA to a folder with ml-100k, ml-1m")
    return found
