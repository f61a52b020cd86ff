"""Both databases for every deployment."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["sqlite", "postgres"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """Every test of the ledger that uses a deployment runs on both databases."""
    kind: str = request.param
    return kind
