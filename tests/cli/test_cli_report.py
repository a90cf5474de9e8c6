"""`trunkline report`: the folder that it writes, what it replaces, and what it says where something is missing."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from clitools import done, fails
from studyfolder import METHODS, study_folder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No pictures: drawing them takes seconds, and they have tests of their own."""
    monkeypatch.setattr("trunkline.pages.folder._png", lambda picture: b"png")


def test_a_report_is_written_beside_the_study_and_replaced_by_the_next():
    study_folder(Path("study"))
    before = {file: file.read_bytes() for file in Path("study").rglob("*") if file.is_file()}
    found = json.loads((shown := done("report", "study", "--json")).stdout)
    assert found["page"] == "study/report/index.html" and found["left_out"] == {
        "Training sizes": "the study has one training size"
    }
    assert "Training sizes: left out" in shown.stderr and "wake me" not in shown.stderr + shown.stdout
    there = {str(file) for file in Path("study/report").rglob("*") if file.is_file()}
    assert there == {*found["files"], "study/report/report.json"}
    for name in ("quality.csv", "significance.csv", "cost.csv", "report.md", "latex/all.tex", "latex/quality.tex"):
        assert f"study/report/{name}" in there
    html = Path("study/report/index.html").read_text(encoding="utf-8")
    for method in METHODS:
        assert f"<summary>{method}</summary>" in html and f"name: {method}" in html  # their configs
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html and "<script" not in html
    assert found["findings"][0].startswith("intent: ")
    with open("study/report/quality.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    results = json.loads(Path("study/results.json").read_text())
    for cell in results["cells"]:
        for task, own in cell["tasks"].items():
            (row,) = (row for row in rows if (row["method"], row["task"]) == (cell["method"], task))
            assert float(row["test"]) == own["test"] and int(row["floor"]) == results["methods"][cell["method"]]["floor"]
    content = {name: Path(name).read_bytes() for name in there}
    again = done("report", "study")
    assert again.stdout.strip() == "study/report/index.html" and f"wrote {len(there) - 1} files" in again.stderr
    assert {name: Path(name).read_bytes() for name in there} == content  # the same bytes
    assert {file: file.read_bytes() for file in before} == before
    Path("study/report/mine.txt").write_text("mine")
    assert "holds 'mine.txt', which `trunkline report` has not written" in fails(2, "report", "study")
    Path("other").mkdir()
    Path("other/mine.txt").write_text("mine")
    assert "is not empty" in fails(2, "report", "study", "--out", "other")


def test_what_is_no_study_is_one_sentence():
    Path("empty").mkdir()
    assert "empty/results.json: no such file; expected the folder of a study" in fails(2, "report", "empty")
    assert "nowhere/results.json: no such file" in fails(2, "report", "nowhere")
    Path("empty/results.json").write_text("{")
    assert "cannot be read as JSON" in fails(2, "report", "empty")
    assert not Path("empty/report").exists()
