"""Folders that another process begins to make in the same moment, or that a kill has left before their mark was there."""

from __future__ import annotations

from pathlib import Path

import pytest

from trunkline.claiming import foreign_entry

MARK = "study.json"
OURS = f".{MARK}.trunkline-0a1b2c3d.tmp"


@pytest.fixture
def folder(tmp_path):
    """A function that makes a folder with files, by their name and content; names that end in / are folders."""

    def made(files: dict[str, str]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                path.mkdir()
            else:
                path.write_text(content)
        return tmp_path

    return made


@pytest.mark.parametrize(
    "files",
    [{}, {OURS: "{"}, {"runs/": "", OURS: ""}, {"locks/folder": "", "runs/": ""}, {".lock": ""}],
    ids=lambda one: ", ".join(one),
)
def test_what_a_process_leaves_that_has_not_marked_it_yet_is_no_other_thing(files, folder):
    assert foreign_entry(folder(files), MARK, ("runs/", "locks/", ".lock")) is None


@pytest.mark.parametrize(
    ("files", "other"),
    [
        ({"mine.txt": ""}, "mine.txt"),
        ({OURS: "", "runs/mine.txt": "mine"}, "runs"),
        ({OURS: "", "runs": "mine"}, "runs"),
        ({"runs": ""}, "runs"),
        ({".lock/": ""}, ".lock"),
        ({".lock": "mine"}, ".lock"),
        ({OURS.replace(MARK, "other.json"): ""}, OURS.replace(MARK, "other.json")),
        ({f"{OURS}/": ""}, OURS),
        ({f".{MARK}.tmp": ""}, f".{MARK}.tmp"),
        ({MARK: ""}, MARK),
        ({"locks/": "", "logs/": ""}, "logs"),
    ],
)
def test_all_else_is(files, other, folder):
    assert foreign_entry(folder(files), MARK, ("runs/", "locks/", ".lock")).name == other


def test_a_link_is_not_followed(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    made = folder({"study/locks/": ""}) / "study"
    (made / "runs").symlink_to(elsewhere)
    assert foreign_entry(made, MARK, ("runs/", "locks/")).name == "runs"
