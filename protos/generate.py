"""Generate the Python code of the wire, or check that what is checked in is current.

Usage: python protos/generate.py [--check]
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile

PROTOS = pathlib.Path(__file__).resolve().parent
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def generate(out: pathlib.Path) -> None:
    """Run protoc over every file of `tacit/v1`, writing below `out`."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("tacit/v1/*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", ".", f"--python_out={out}"]
    command += [f"--grpc_python_out={out}", f"--mypy_out={out}", f"--mypy_grpc_out={out}"]
    bin_dir = str(pathlib.Path(sys.executable).parent)
    subprocess.run(
        [*command, *sources],
        cwd=PROTOS,
        check=True,
        stderr=subprocess.PIPE,
        env={"PATH": f"{bin_dir}:/usr/bin:/bin"},
    )


def generated(root: pathlib.Path) -> dict[str, bytes]:
    """Read every generated file below `root`, by name."""
    return {
        path.name: path.read_bytes()
        for path in (root / "tacit" / "v1").iterdir()
        if path.name.endswith(SUFFIXES)
    }


def main() -> int:
    """Generate, or with --check compare; returns the exit code."""
    if sys.argv[1:] not in ([], ["--check"]):
        sys.stderr.write(f"{__doc__}")
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        generate(pathlib.Path(scratch))
        fresh = generated(pathlib.Path(scratch))
    here = generated(PROTOS)
    if "--check" in sys.argv:
        stale = sorted(
            name for name in fresh.keys() | here.keys() if fresh.get(name) != here.get(name)
        )
        if stale:
            sys.stderr.write(f"stale: {', '.join(stale)}; run `make protos`\n")
        return 1 if stale else 0
    for name in here.keys() - fresh.keys():
        (PROTOS / "tacit" / "v1" / name).unlink()
    for name, content in fresh.items():
        (PROTOS / "tacit" / "v1" / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
