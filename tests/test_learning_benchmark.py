"""`benchmarks/learning.py`: runs that are there are not made again, tables land between markers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "learning.py"


def test_resumes_and_fills_the_page(tmp_path: Path) -> None:
    data, page, kept = tmp_path / "tiny", tmp_path / "page.md", tmp_path / "runs.json"
    data.mkdir()
    rows = [f"{user},{(user * 7 + step * step) % 30}" for user in range(40) for step in range(12)]
    (data / "interactions.csv").write_text("user,item\n" + "\n".join(rows) + "\n")
    page.write_text("before\n<!-- learning:main:begin -->\nold\n<!-- learning:main:end -->\nafter")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), str(tmp_path), "--tables", "main"]
        command += ["--sets", "tiny", "--learners", "popularity", "--epsilons", "inf", "8"]
        command += ["--results", str(kept), "--write", str(page), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)

    first = run("--seeds", "1")
    assert first.returncode == 0, first.stderr
    made = json.loads(kept.read_text())
    assert len(made) == 3  # the baselines, and one run per epsilon
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after")
    assert "old" not in text
    for found in ("| tiny | EASE |", "| tiny | popularity/1 | ∞, no claim |", "| 8 (1e-05) |"):
        assert found in text

    lost = dict(list(made.items())[:2])  # as if interrupted before the third
    kept.write_text(json.dumps(lost))
    again = run("--seeds", "1")
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("NDCG@100") == 1
    assert {key: json.loads(kept.read_text())[key] for key in lost} == lost

    other = {key: value | {"commit": "0000000"} for key, value in made.items()}
    kept.write_text(json.dumps(other))
    refused = run("--seeds", "1")
    assert refused.returncode == 1
    assert "holds runs of commit 0000000" in refused.stderr
