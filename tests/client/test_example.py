"""The example in `examples/` does what its text says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "first_recommendation.py"


def test_the_first_recommendation_runs_offline_and_gives_reasons() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    assert "To get you started" in done.stdout
    assert (
        "Because you put Tea tin in your cart (60%) and viewed Copper kettle (40%)." in done.stdout
    )
    assert "Because you viewed Copper kettle (100%)." in done.stdout
    assert done.stdout.rstrip().endswith("and the key that opened them.")
