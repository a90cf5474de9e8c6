"""`trunkline label-errors`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from clitools import done, fails, made_up, write_csv, write_jsonl

ROWS = "data: {train: rows.jsonl}\ntasks:\n  mood: {kind: sequence, label: mood}\n"


def test_all_rows_are_ranked_in_a_file(tiny_overrides):
    write_jsonl(Path("rows.jsonl"), made_up(40))
    Path("rows.yaml").write_text(ROWS)
    command = ["label-errors", "rows.yaml", *tiny_overrides, "training.epochs=1", "--folds", "2", "--out", "d.csv"]
    found = json.loads(done(*command, "--json").stdout)
    rows = list(csv.DictReader(Path("d.csv").read_text().splitlines()))
    assert found["csv"] == "d.csv" and found["rows"] == {"mood": 40} and not Path("runs").exists()
    assert sorted(int(row["line"]) for row in rows) == list(range(1, 41))
    assert [int(row["rank"]) for row in rows] == list(range(1, 41))
    assert found["suspected"] == {"mood": sum(row["suspected"] == "true" for row in rows)}
    assert found["findings"] == [f"mood: {found['suspected']['mood']} of 40 rows are suspected to have a wrong label."]


def test_what_cannot_be_is_said_before_any_work(tiny_overrides):
    Path("rows.yaml").write_text(ROWS)
    assert "ends in .csv" in fails(2, "label-errors", "rows.yaml", "--out", "rows.yaml")
    assert "folder that exists" in fails(2, "label-errors", "rows.yaml", "--out", "nowhere/d.csv")
    write_csv(Path("rows.csv"), made_up(60))
    said = fails(2, "label-errors", "rows.csv", "--out", "rows.csv", *tiny_overrides)
    assert said == "--out rows.csv: found data that the config reads, expected a file to write"
    Path("label-errors.csv").write_text("mine")
    assert "replaced only if it is named" in fails(2, "label-errors", "rows.csv", *tiny_overrides)
    assert Path("label-errors.csv").read_text() == "mine"
