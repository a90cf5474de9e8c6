import json
from pathlib import Path

import pytest
import yaml
from clitools import done, fails, made_up, write_csv, write_jsonl

from trunkline.data.guess import guess_columns
from trunkline.data.sources import read_table
from trunkline.training.config import load_config
from trunkline.training.guessed import commented, config_for

TABLES = {
    "csv": lambda folder: write_csv(folder / "reviews.csv", made_up(60)),
    "jsonl": lambda folder: write_jsonl(folder / "rows.jsonl", made_up(60)),
    "tokens": lambda folder: write_jsonl(
        folder / "tokens.jsonl",
        [{"tokens": r["text"].split(), "tags": ["O", "B-x"] + ["O"] * (len(r["text"].split()) - 2)} for r in made_up(30)],
    ),
    "pair": lambda folder: write_jsonl(
        folder / "pair.jsonl",
        [{"premise": r["text"], "hypothesis": r["text"][::-1], "label: odd name #": r["mood"]} for r in made_up(30)],
    ),
    "embedded": lambda folder: "snips",
}


@pytest.mark.parametrize("name", TABLES)
def test_the_commented_config_says_what_fit_would_do(name, tmp_path):
    source = TABLES[name](tmp_path)
    source = source.name if isinstance(source, Path) else source
    done("init", source, "-o", "made.yaml")
    table = read_table(source)
    values = config_for(guess_columns(table), source, len(table))
    assert yaml.safe_load((tmp_path / "made.yaml").read_text()) == values
    load_config("made.yaml")


def test_fitting_the_written_config_is_the_same_run_as_fitting_the_file(tmp_path, tiny_overrides):
    write_csv(tmp_path / "reviews.csv", made_up(120))
    first = json.loads(done("fit", "reviews.csv", *tiny_overrides, "--json").stdout)
    done("init", "reviews.csv")
    second = done("fit", "reviews.yaml", *tiny_overrides, "--json")
    assert json.loads(second.stdout)["run"] == first["run"] and "already completed" in second.stderr


def test_it_explains_every_column_and_never_overwrites_unless_told(tmp_path):
    write_csv(tmp_path / "reviews.csv", made_up(60))
    result = done("init", "reviews.csv", "--json")
    told = json.loads(result.stdout)
    assert told["config"] == "reviews.yaml" and set(told["columns"]) == {"id", "review", "mood", "score", "topics"}
    text = (tmp_path / "reviews.yaml").read_text()
    for said in ("'id' is not used", "'review' is the text", "'mood' is a sequence task", "roberta"):
        assert said in text
    (tmp_path / "reviews.yaml").write_text("mine")
    assert "--force" in fails(2, "init", "reviews.csv")
    assert (tmp_path / "reviews.yaml").read_text() == "mine"
    done("init", "reviews.csv", "--force")
    assert (tmp_path / "reviews.yaml").read_text() == text


def test_paths_are_relative_to_the_config(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "configs").mkdir()
    write_csv(tmp_path / "data" / "reviews.csv", made_up(60))
    done("init", "data/reviews.csv", "-o", "configs/a.yaml")
    assert yaml.safe_load(Path("configs/a.yaml").read_text())["data"]["train"] == "../data/reviews.csv"
    assert load_config("configs/a.yaml").data.train == str((tmp_path / "data" / "reviews.csv").resolve())
    assert "folder that exists" in fails(2, "init", "data/reviews.csv", "-o", "nowhere/a.yaml")


def test_comments_cannot_break_out_of_their_line():
    from trunkline.data.table import Table

    rows = made_up(40)
    table = Table("odd", {"text": [r["text"] for r in rows], "a\nb: [": [r["mood"] for r in rows]})
    guess = guess_columns(table)
    assert yaml.safe_load(commented(guess, "odd.csv", 40, "odd.yaml")) == config_for(guess, "odd.csv", 40)
