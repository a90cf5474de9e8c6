import json
import shutil
from pathlib import Path

from clitools import done, fails
from safetensors.numpy import load_file


def test_a_branch_shows_which_layers_it_reads_and_how_much(trained):
    branch = trained / "branches" / "mood"
    facts = json.loads(done("info", branch, "--json").stdout)
    summary = json.loads((trained / "result.json").read_text())["tasks"]["mood"]
    assert facts["kind"] == "sequence" and facts["labels"] == ["negative", "positive"]
    assert facts["reads"] == summary["reads"] and len(facts["trunk"]["weights"]) == 64
    weights = load_file(branch / "weights.safetensors")
    assert facts["parameters"] == sum(value.size for value in weights.values())
    assert abs(sum(facts["layers"].values()) - 1) < 1e-5
    text = done("info", branch).stdout
    assert "share of each layer" in text and facts["trunk"]["weights"] in "".join(text.split())
    for layer, share in facts["layers"].items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"{layer} ")]
        assert (f"{share:.1%}" in line) if int(layer) in facts["reads"] else ("not read" in line)


def test_a_run_shows_its_scores_and_how_to_go_on(trained):
    result = done("info", trained)
    assert "accuracy" in result.stdout and f"trunkline predict {trained}" in result.stderr
    facts = json.loads(done("info", trained, "--json").stdout)
    assert set(facts["tasks"]) == {"mood", "score", "topics", "city"}


def test_a_run_that_was_moved_names_its_branches_where_they_are(trained):
    shutil.copytree(trained, "moved")
    facts = json.loads(done("info", "moved", "--json").stdout)
    assert {task["branch"] for task in facts["tasks"].values()} == {f"moved/branches/{name}" for name in facts["tasks"]}


def test_a_regression_gives_a_number_and_has_no_labels(trained):
    (line,) = [line for line in done("info", trained / "branches" / "score").stdout.splitlines() if line.startswith("labels")]
    assert line.split() == ["labels", "a", "number"]


def test_a_trunk_shows_its_shape_and_fingerprint(trained):
    described = json.loads((trained / "branches" / "mood" / "branch.json").read_text())["trunk"]
    facts = json.loads(done("info", described["name"], "--json").stdout)
    assert facts["architecture"] == "bert" and facts["layers"] == 3 and facts["hidden_size"] == 32
    assert (facts["weights"], facts["tokenizer"]) == (described["weights"], described["tokenizer"])
    assert facts["max_length"] == 64
    text = done("info", described["name"]).stdout
    assert "3 of width 32" in text and described["weights"] in "".join(text.split())


def test_a_name_that_could_be_of_the_hub_says_that_it_was_looked_for_in_both_places(trained, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    shutil.copytree(trained, "runs/films-1a2b3c4d")
    said = fails(1, "info", "runs/films-1a2b3c")
    assert "no such folder here" in said and "the hub cannot be reached; did you mean 'runs/films-1a2b3c4d'?" in said


def test_bad_input_is_one_sentence(trained, tmp_path):
    (tmp_path / "begun" / "branches").mkdir(parents=True)
    assert "not finished" in fails(2, "info", "begun")
    for typed in ("./nowhere", "runs/mood/branches/stars", "run.yaml", "~/nowhere"):
        assert fails(2, "info", typed) == f"{typed}: no such file or folder; expected a branch, a run or a trunk"
    copy = Path("copy")
    copy.mkdir()
    described = json.loads((trained / "branches" / "mood" / "branch.json").read_text())
    (copy / "branch.json").write_text(json.dumps({**described, "schema": 99}))
    assert "99" in fails(2, "info", "copy")
