"""`trunkline fit --depths`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import yaml
from clitools import done, fails, made_up, write_csv, write_jsonl

ROWS = "data: {train: rows.jsonl, validation: 25%, test: 25%}\ntasks:\n  mood: {kind: sequence, label: mood}\n"


def test_every_depth_is_a_run_a_row_and_a_mark(tiny_overrides):
    write_jsonl(Path("rows.jsonl"), made_up(80))
    Path("rows.yaml").write_text(ROWS)
    tiny = [*tiny_overrides, "training.epochs=1", "training.patience=null"]
    command = ["fit", "rows.yaml", *tiny, "--depths", "d.csv", "--picture", "d.png"]
    found = json.loads(done(*command, "--json").stdout)
    assert Path("d.png").read_bytes().startswith(b"\x89PNG") and (found["csv"], found["picture"]) == ("d.csv", "d.png")
    rows = list(csv.DictReader(Path("d.csv").read_text().splitlines()))
    assert [int(row["allowed"]) for row in rows] == [3, 2, 1, 0]
    for row, point in zip(rows, found["points"], strict=True):
        assert row == {key: "" if value is None else str(value) for key, value in point.items()}
        result = json.loads((Path(row["run"]) / "result.json").read_text())["tasks"]["mood"]
        assert point["blocks"] == max(result["reads"]) <= point["allowed"] and point["of"] == 3
        assert (point["validation"], point["test"]) == (result["validation"]["accuracy"], result["test"]["accuracy"])
        assert point["share_of_blocks"] == round(point["blocks"] / 3, 4) and point["share_of_time"] > 0
    (said,) = found["findings"]
    assert said.startswith("mood: ") and "within one point" in said
    # They are runs like any others, so nothing is trained again.
    lower = yaml.safe_load((Path(rows[2]["run"]) / "config.yaml").read_text())
    assert lower["method"]["layers"] == "0-1" and lower["method"]["depth_penalty"] == 0
    assert json.loads(done("fit", "rows.yaml", *tiny, "method.layers=0-1", "--json").stdout)["run"] == rows[2]["run"]
    again = done(*command)
    assert again.stderr.count("already completed") == 4 and f"note: {said}" not in again.stdout
    shown = [line.split() for line in again.stdout.splitlines() if "up to" in line]
    assert [line[line.index("to") + 1] for line in shown] == ["0", "1", "2", "3"]


def test_what_cannot_be_is_said_before_any_work(tiny_overrides):
    Path("rows.yaml").write_text(ROWS)
    assert fails(2, "fit", "rows.yaml", "--seeds", "2") == "--seeds: found without --depths, expected them together"
    assert fails(2, "fit", "rows.yaml", "--picture", "a.png") == "--picture: found without --depths, expected them together"
    assert "ends in .csv" in fails(2, "fit", "rows.yaml", "--depths", "rows.yaml")
    assert "folder that exists" in fails(2, "fit", "rows.yaml", "--depths", "nowhere/d.csv")
    assert "expected .png" in fails(2, "fit", "rows.yaml", "--depths", "d.csv", "--picture", "d.gif")
    write_csv(Path("rows.csv"), made_up(60))
    said = fails(2, "fit", "rows.csv", "--depths", "rows.csv", *tiny_overrides)
    assert said == "--depths rows.csv: found data that the config reads, expected a file to write"
