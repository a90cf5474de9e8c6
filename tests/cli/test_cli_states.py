import json
from pathlib import Path

import pytest
from clitools import done, fails, invoke, made_up, write_jsonl

from trunkline.files import cache_dir
from trunkline.states.locks import lock_of


@pytest.fixture
def config(tmp_path, tiny_overrides):
    write_jsonl(tmp_path / "rows.jsonl", made_up(60))
    trunk = tiny_overrides[0].removeprefix("trunk.name=")
    (tmp_path / "rows.yaml").write_text(
        f"trunk: {{name: {trunk}, dtype: fp32, device: cpu}}\n"
        "data: {train: rows.jsonl}\ntasks: {mood: {kind: sequence, label: mood}}\nmethod: {dim: 16, heads: 2}\n"
    )
    return tmp_path / "rows.yaml"


def test_what_is_built_is_what_fit_reads(config):
    before = json.loads(done("states", "info", config, "--json").stdout)["stores"]
    assert [one["split"] for one in before] == ["train", "validation"] and not any(one["built"] for one in before)
    built = json.loads(done("states", "build", config, "--json").stdout)["stores"]
    assert all(one["built"] == one["layers"] == [0, 1, 2, 3] for one in built)
    assert [one["key"] for one in built] == [one["key"] for one in before]
    for one in built:
        files = list((cache_dir() / "states" / one["key"]).glob("*.states"))
        assert sum(file.stat().st_size for file in files) == one["bytes"]
    fitted = done("fit", config, "training.epochs=1")
    assert "layer states" not in fitted.stderr  # nothing was left to compute
    assert json.loads(done("states", "info", "--json").stdout)["bytes"] > 0
    assert len(list((cache_dir() / "states").glob("*/store.json"))) == 2
    assert "yes" in done("states", "info", config).stdout


def test_stores_are_listed_and_removed(config):
    done("states", "build", config)
    told = json.loads(done("states", "info", "--json").stdout)
    assert told["root"] == str(cache_dir() / "states") and len(told["stores"]) == 2
    first = told["stores"][0]
    assert json.loads(done("states", "info", first["key"][:10], "--json").stdout)["stores"] == [first]
    assert first["key"][:12] in done("states", "info").stdout
    dry = json.loads(done("states", "prune", "--all", "--dry-run", "--json").stdout)
    assert len(dry["removed"]) == 2 and dry["bytes"] == told["bytes"] and dry["left"] == 0
    assert len(json.loads(done("states", "info", "--json").stdout)["stores"]) == 2
    assert "1 of 2 stores removed" in done("states", "prune", first["key"][:10]).stdout
    assert json.loads(done("states", "prune", "--older-than", "1", "--json").stdout)["left"] == 1
    assert json.loads(done("states", "prune", "--keep-gb", "0", "--json").stdout)["left"] == 0
    assert json.loads(done("states", "info", "--json").stdout)["stores"] == []


def test_a_store_that_is_being_built_stays_and_that_is_said(config):
    (first, _) = json.loads(done("states", "build", config, "--json").stdout)["stores"]
    with lock_of(cache_dir() / "states" / first["key"]):
        pruned = done("states", "prune", "--all", "--json")
    assert json.loads(pruned.stdout)["left"] == 1
    assert f"trunkline: {cache_dir() / 'states' / first['key']} is being built, so it is kept\n" in pruned.stderr


def test_bad_input_is_one_sentence(config, tmp_path):
    assert "nothing selected" in fails(2, "states", "prune")
    assert "no stores have a key" in fails(2, "states", "prune", "abc")
    assert "no store under" in fails(2, "states", "info", "abc")
    assert "missing.yaml: no such file" in fails(2, "states", "build", "missing.yaml")
    assert "training.states_budget_gb" in fails(2, "states", "build", config, "training.states_budget_gb=1e-6")
    assert not list((cache_dir() / "states").glob("*/store.json"))


def test_a_command_of_another_name_is_answered_by_the_one_that_there_is():
    for given, meant in (
        ("states list", "info"),
        ("states rm", "prune"),
        ("states bild", "build"),
        ("tran", "fit"),
        ("predcit", "predict"),
    ):
        result = invoke(*given.split())
        given = given.split()[-1]
        assert result.exit_code == 2 and f"unknown command '{given}'; did you mean {meant}?" in " ".join(result.stderr.split())


def test_rows_that_moved_to_another_file_and_split_are_not_computed_again(config, tmp_path):
    done("fit", config, "training.epochs=1")
    rows = (tmp_path / "rows.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "moved.jsonl").write_text("".join(reversed(rows[10:])))
    (tmp_path / "rest.jsonl").write_text("".join(rows[:10]))
    moved = tmp_path / "moved.yaml"
    moved.write_text(config.read_text().replace("train: rows.jsonl", "train: moved.jsonl, validation: rest.jsonl"))
    found = json.loads(done("states", "info", moved, "--json").stdout)["stores"]
    assert [one["stored"] == one["sequences"] > 0 for one in found] == [True, True]
    assert "layer states" not in done("fit", moved, "training.epochs=1").stderr
    assert len(list((cache_dir() / "states").glob("*/store.json"))) == 2
    told = json.loads(done("states", "info", "--json").stdout)["stores"]
    names = [{(Path(use["data"]).name, use["split"]) for use in store["data"]} for store in told]
    both = {("moved.jsonl", "train"), ("rest.jsonl", "validation")}
    assert all(own & {("rows.jsonl", "train"), ("rows.jsonl", "validation")} and own & both for own in names)
    key = told[0]["key"]
    said = done("states", "info")
    listed = said.stdout
    assert "read for every data set that has the same texts" in " ".join(said.stderr.split())
    assert "rows.jsonl" in listed and "moved.jsonl" in listed and "(train)" in listed
    full = done("states", "info", key[:10]).stdout
    assert key in full and "rows.jsonl" in full and "computed in fp32" in full and "layers 0-3 in bf16" in full
    assert "training.states_dtype: bf16" in full
    assert "yes" in done("states", "info", moved).stdout
    (tmp_path / "moved.jsonl").write_text("".join(rows) + json.dumps({**json.loads(rows[0]), "text": "so so so"}) + "\n")
    assert "60 of 61" in " ".join(done("states", "info", moved).stdout.split())
