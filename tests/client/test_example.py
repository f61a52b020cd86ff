"""The examples in `examples/` do what their texts say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def _run(name: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout


def test_the_first_recommendation_runs_offline_and_gives_reasons() -> None:
    told = _run("first_recommendation.py")
    assert "To get you started" in told
    assert "Because you put Tea tin in your cart (60%) and viewed Copper kettle (40%)." in told
    assert "Because you viewed Copper kettle (100%)." in told
    assert told.rstrip().endswith("and the key that opened them.")


def test_guarded_decisions_say_what_rules_removed_and_why() -> None:
    told = _run("guarded_decisions.py")
    assert "Tea tin              Not shown. stock: An item that the app says" in told
    assert "('no-guessing',)" in told
    assert "next action: offer" in told
    assert "{'remind': ('patience',)}" in told
    assert "looking for help: 0 items" in told
