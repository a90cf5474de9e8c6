"""What surrounds a release: the container, the citation, the changelog, the promises about security and saved files."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import jsonschema
import pytest
import typer
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import trunkline
from trunkline.cli import app
from trunkline.model.branch_file import READS, SCHEMA

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def steps() -> list[tuple[str, str]]:
    """(instruction, rest) of each step of the Containerfile, lines that go on joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Containerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [tuple(line.split(maxsplit=1)) for line in text.replace("\\\n", " ").splitlines() if line.strip()]  # type: ignore[misc]


def test_the_container_copies_what_is_there_and_all_that_a_wheel_is_made_of(tmp_path):
    copied = [name for step, rest in steps() if step == "COPY" for name in rest.split()[:-1]]
    assert copied and all((ROOT / name).exists() for name in copied)
    ignored = (ROOT / ".containerignore").read_text(encoding="utf-8").split()
    assert not set(copied) & set(ignored)
    # Its own files, for `pip install .` there, and the pinned versions.
    assert {PROJECT["readme"], *PROJECT["license-files"], "pyproject.toml", "constraints.txt", "src"} <= set(copied)


def test_the_container_installs_extras_that_exist_on_a_python_that_is_supported():
    ((_, image),) = [step for step in steps() if step[0] == "FROM"]
    version = Version(re.search(r"python:([\d.]+)-slim$", image)[1])
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]
    (line,) = [rest for step, rest in steps() if step == "RUN" and "pip install" in rest]
    words = shlex.split(line)
    assert words[:4] == ["python", "-m", "pip", "install"] and words[words.index("-c") + 1] == "constraints.txt"
    extras = Requirement(words[-1].replace(".", "trunkline", 1)).extras
    assert extras == {"minilm", "serve"} and extras <= PROJECT["optional-dependencies"].keys()


def test_the_container_runs_the_command_as_a_user_without_rights():
    order = [step for step, _ in steps()]
    assert order[0] == "FROM" and order.index("USER") > max(i for i, step in enumerate(order) if step in ("RUN", "COPY"))
    given = {step: rest for step, rest in steps()}
    (created,) = [rest for step, rest in steps() if step == "RUN" and "useradd" in rest]
    assert given["USER"] in created and given["USER"] != "root"
    assert json.loads(given["ENTRYPOINT"]) == list(PROJECT["scripts"]) and json.loads(given["CMD"]) == ["--help"]


def test_the_commands_that_the_containerfile_shows_parse():
    lines = re.findall(r"^#     podman run .*? trunkline (.+)$", (ROOT / "Containerfile").read_text("utf-8"), re.MULTILINE)
    assert len(lines) == 2
    for words in map(shlex.split, lines):
        words = words[1:] if words[0] == "trunkline" else words  # the entry point is given already
        if words == ["--help"]:
            continue
        group = typer.main.get_command(app)
        with typer.Context(group) as context:
            group.get_command(context, words[0]).make_context(words[0], words[1:])  # type: ignore[attr-defined]


CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
# schema.json of the Citation File Format 1.2.0 (https://citation-file-format.github.io, CC BY 4.0), unchanged.
CFF = json.loads((ROOT / "tests/schemas/cff-1.2.0.json").read_text(encoding="utf-8"))


def test_the_citation_is_valid_and_of_this_version():
    assert [error.message for error in jsonschema.Draft7Validator(CFF).iter_errors(CITATION)] == []
    assert list(jsonschema.Draft7Validator(CFF).iter_errors({**CITATION, "licence": "MIT"}))
    assert CITATION["version"] == trunkline.__version__ and CITATION["license"] == PROJECT["license"]
    assert [author["name"] for author in CITATION["authors"]] == [author["name"] for author in PROJECT["authors"]]


def test_the_changelog_has_an_entry_for_every_version_newest_first():
    parts = re.split(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    names, entries = parts[1::2], parts[2::2]
    assert all(re.search(r"^- ", entry, re.MULTILINE) for entry in entries)
    versions = [Version(re.match(r"[\d.]+\w*", name)[0]) for name in names if not name.startswith("Unreleased")]
    assert versions == sorted(set(versions), reverse=True) and versions[0] == Version(trunkline.__version__)
    assert "Unreleased" not in names[1:]


def test_the_page_of_versions_names_every_schema_of_a_branch():
    text = (ROOT / "docs/versions.md").read_text(encoding="utf-8")
    row = re.search(r"^\| a branch \| `schema` in `branch.json`, ([\d or]+) \|", text, re.MULTILINE)
    assert tuple(map(int, row[1].split(" or "))) == READS and READS[-1] == SCHEMA


@pytest.mark.parametrize("schema", READS)
def test_there_are_saved_branches_of_every_schema(schema):
    saved = [*ROOT.glob("tests/saved/**/branch.json"), *ROOT.glob("tests/model/schema_*/*/branch.json")]
    assert any(json.loads(path.read_text(encoding="utf-8"))["schema"] == schema for path in saved)


def test_nothing_of_the_package_reads_a_pickle_or_runs_code_of_a_model():
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"^\s*(import|from) (pickle|cPickle|dill|cloudpickle|joblib|marshal|shelve)\b", text, re.MULTILINE
        ), path
        assert "trust_remote_code=True" not in text and "allow_pickle=True" not in text, path
        for call in re.findall(r"torch\.load\([^\n]*", text):
            assert "weights_only=True" in call, path
