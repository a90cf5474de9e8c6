"""The wheel, installed into an environment of its own, does what the checkout does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
KEPT = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    ".gitignore",
    "CHANGELOG.md",
    "constraints.txt",
    "Makefile",
    "src",
    "tests",
    "docs",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder with an sdist, and with the wheel that is made of that."""
    project = tmp_path_factory.mktemp("project")
    for name in KEPT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, project / name)
    build(project, "sdist")
    (archive,) = (project / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as sources:
        sources.extractall(project / "unpacked", filter="data")
    (unpacked,) = (project / "unpacked").iterdir()
    build(unpacked, "wheel")
    return unpacked / "dist"


def build(project: Path, what: str) -> None:
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", what], cwd=project, check=True, capture_output=True)


@pytest.fixture(scope="module")
def python(built, tmp_path_factory) -> Path:
    """The interpreter of a new environment with the wheel in it. What Trunkline depends on is that of this one."""
    place = tmp_path_factory.mktemp("environment") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    interpreter = place / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", interpreter, "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(pip, check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # its own .pth files are not read
    return interpreter


def run(python: Path, folder: Path, *words: object, tool: str = "trunkline") -> subprocess.CompletedProcess:
    command = [python.parent / tool, *map(str, words)]
    environment = {
        "PATH": str(python.parent),
        "HOME": str(folder),
        "TRUNKLINE_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_installed_it_runs_from_any_folder(python, tmp_path, tiny_trunk_dir):
    where = run(python, tmp_path, "-c", "import trunkline; print(trunkline.__file__)", tool="python").stdout
    assert Path(where.strip()).is_relative_to(python.parent.parent)
    assert "predict" in run(python, tmp_path, "--help").stdout
    assert json.loads(run(python, tmp_path, "schema").stdout)["properties"]["training"]
    assert run(python, tmp_path, "-c", "import trunkline.data.sources as s; print(len(s.read_table('snips')))", tool="python")
    rows = [{"text": f"{mood} film {number}", "mood": mood} for number in range(20) for mood in ("good", "bad")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(python, tmp_path, "init", "rows.jsonl")
    fitted = run(
        python, tmp_path, "fit", "rows.yaml", f"trunk.name={tiny_trunk_dir}", "trunk.dtype=fp32", "training.epochs=1", "--json"
    )
    answer = run(python, tmp_path, "predict", json.loads(fitted.stdout)["run"], "--text", "good film", "--json")
    assert json.loads(answer.stdout)["predictions"][0]["mood"]["label"] in ("good", "bad")


@pytest.mark.slow
def test_the_wheel_is_of_the_sdist_and_whole(built):
    (wheel,) = built.glob("*.whl")
    there = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*") if path.is_file()}
    expected = {name for name in there if "__pycache__" not in name}
    assert {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("trunkline/")} == expected
