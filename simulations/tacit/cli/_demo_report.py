"""How a demo's report looks on a terminal."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console


def render(console: Console, report: dict[str, Any]) -> None:
    """Print the report."""
    console.print_json(json.dumps(report))
