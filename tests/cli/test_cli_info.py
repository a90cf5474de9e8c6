import contextlib
import json
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from clitools import done, fails, made_up, write_jsonl
from safetensors.numpy import load_file

from trunkline.cli import app
from trunkline.training.result import run_of_branch
from trunkline.trunk.speeds import compiles


def fit_made_up(tiny_overrides, config):
    """Train `config` (YAML; data: rows.jsonl) for an epoch on made-up rows, into `run`; return what `fit` has printed."""
    write_jsonl(Path("rows.jsonl"), made_up(60))
    Path("rows.yaml").write_text(config)
    tiny = [text for text in tiny_overrides if not text.startswith("method.")] + ["training.epochs=1"]
    return done("fit", "rows.yaml", *tiny, "--run-dir", "run").stdout


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
    findings = json.loads((trained / "result.json").read_text())["findings"]
    assert findings and result.stderr.count("note: ") == len(findings)
    facts = json.loads(done("info", trained, "--json").stdout)
    assert set(facts["tasks"]) == {"mood", "score", "topics", "city"}


def test_a_run_that_was_moved_names_its_branches_where_they_are(trained):
    shutil.copytree(trained, "moved")
    facts = json.loads(done("info", "moved", "--json").stdout)
    assert {task["branch"] for task in facts["tasks"].values()} == {f"moved/branches/{name}" for name in facts["tasks"]}


def test_a_regression_gives_a_number_and_has_no_labels(trained):
    (line,) = [line for line in done("info", trained / "branches" / "score").stdout.splitlines() if line.startswith("labels")]
    assert line.split() == ["labels", "a", "number"]


def test_a_trunk_shows_its_shape_fingerprint_and_speeds(trained, monkeypatch):
    times = {"torch fp32": 8.0, "torch bf16": 80.0, "onnx fp32": 5.0, "openvino fp32": 4.0, "openvino int8": 2.0}
    monkeypatch.setattr("trunkline.trunk.speeds.measured", lambda *given, **how: times)
    monkeypatch.setattr("trunkline.trunk.load.pick_dtype", lambda *given: "fp32")
    described = json.loads((trained / "branches" / "mood" / "branch.json").read_text())["trunk"]
    facts = json.loads(done("info", described["name"], "--json").stdout)
    assert facts["architecture"] == "bert" and facts["layers"] == 3 and facts["hidden_size"] == 32
    assert (facts["weights"], facts["tokenizer"]) == (described["weights"], described["tokenizer"])
    assert facts["max_length"] == 64
    if not compiles():
        assert "speeds" not in facts
        return
    assert facts["speeds"] == {"torch fp32": 1, "torch bf16": 0.1, "onnx fp32": 1.6, "openvino fp32": 2, "openvino int8": 4}
    assert len(facts["findings"]) == 2 and "4.0 times as fast" in facts["findings"][1]
    text = done("info", described["name"]).stdout
    assert "3 of width 32" in text and described["weights"] in "".join(text.split())


def test_a_name_that_could_be_of_the_hub_says_that_it_was_looked_for_in_both_places(trained, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    shutil.copytree(trained, "runs/films-1a2b3c4d")
    said = fails(2, "info", "runs/films-1a2b3c")
    assert "no such folder here" in said and "offline mode is on (HF_HUB_OFFLINE); did you mean 'runs/films-1a2b3c4d'?" in said


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


def test_a_folder_that_is_none_of_the_three_says_so_and_names_a_run_inside(trained):
    Path("plain").mkdir()
    (Path("plain") / "notes.txt").write_text("mine")
    expected = "plain: not a branch, a run or a trunk; expected the folder of one"
    assert fails(2, "info", "plain") == expected
    shutil.copytree(trained, "plain/films-1a2b3c4d")
    (Path("plain") / "begun" / "branches").mkdir(parents=True)
    begun, films = json.loads(done("info", "plain", "--json").stdout)["runs"]  # a folder of runs lists them
    assert begun == {"run": "plain/begun", "finished": False, "tasks": {}} and films["run"] == "plain/films-1a2b3c4d"
    result = json.loads((trained / "result.json").read_text())["tasks"]["mood"]
    mood = {"metric": result["monitor"], **{split: result[split][result["monitor"]] for split in ("validation", "test")}}
    assert films["finished"] and films["tasks"]["mood"] == mood
    shown = done("info", "plain").stdout
    assert "not finished" in shown and f"{mood['validation']:.4f}" in shown
    assert fails(2, "info", "./plain/film-1a2b3c4d").endswith("no such file or folder; did you mean plain/films-1a2b3c4d?")
    branches = "plain/films-1a2b3c4d/branches"
    assert fails(2, "info", branches) == f"{expected.replace('plain', branches)}, such as {branches}/city"
    Path("adapter").mkdir()
    (Path("adapter") / "adapter_config.json").write_text("{}")
    assert "an adapter without its base model; expected" in fails(2, "info", "adapter")


def test_a_run_and_a_branch_are_drawn(trained):
    result = done("info", trained, "--picture", "run.png")
    assert "wrote run.png" in result.stderr and "accuracy" in result.stdout
    assert Path("run.png").read_bytes().startswith(b"\x89PNG")
    facts = json.loads(done("info", trained / "branches" / "mood", "--picture", "mood.svg", "--json").stdout)
    assert facts["picture"] == "mood.svg" and ElementTree.parse("mood.svg").getroot().tag.endswith("svg")


def test_a_branch_has_the_baseline_and_the_learning_curve_of_its_run(trained):
    baseline = json.loads((trained / "result.json").read_text())["tasks"]["mood"]["baseline"]
    branch = trained / "branches" / "mood"
    assert json.loads(done("info", branch, "--json").stdout)["baseline"] == baseline
    text = done("info", branch, "--picture", "mood.svg").stdout
    assert f"{baseline['test']['accuracy']:.4f}" in text and not any(line != line.rstrip() for line in text.splitlines()[:9])
    drawn = run_of_branch(branch)
    assert drawn["name"] == f"{trained.resolve().name}/mood" and list(drawn["tasks"]) == ["mood"] and drawn["history"]
    shutil.copytree(branch, "alone")
    assert run_of_branch(Path("alone")) is None and "baseline" not in done("info", "alone").stdout


def test_a_sequence_on_a_changed_trunk_is_drawn_and_its_plain_heads_have_no_bars(tiny_overrides, own_folder):
    shown = fit_made_up(
        tiny_overrides,
        "data: {train: rows.jsonl, validation: 20%, test: 20%}\n"
        "tasks:\n  mood: {kind: sequence, label: mood}\n  score: {kind: regression, target: score}\n"
        "method: {name: full, top: 1}\ntraining: {regime: sequential}\n",
    )
    assert "after" in shown and "reads layer" not in shown
    done("info", "run", "--picture", "together.pdf")
    assert Path("together.pdf").read_bytes().startswith(b"%PDF-")
    for branch in ("run/branches/mood", "run/stages/1-mood/mood"):
        assert "share of each layer" not in done("info", branch).stdout
    done("info", "run/branches/mood", "--picture", "branch.png")  # its confusion matrix and scores by label
    assert Path("branch.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_is_one_sentence(trained):
    assert "expected .png, .svg or .pdf" in fails(2, "info", trained, "--picture", "run.jpeg")
    assert "folder that exists" in fails(2, "info", trained, "--picture", "nowhere/run.png")
    for place in ("minilm", "./nowhere"):
        assert fails(2, "info", place, "--picture", "x.png").startswith(f"{place}: not a run or a branch")
    summary = json.loads((trained / "result.json").read_text())
    scores = {"validation": {"accuracy": 0.5}, "test": {"accuracy": 0.5}}
    tasks = {"mood": {**summary["tasks"]["mood"], **scores, "layers": {"3": 1.0}, "reads": [3]}}
    Path("plain").mkdir()
    Path("plain/result.json").write_text(json.dumps({**summary, "tasks": tasks, "history": []}))
    sentence = fails(2, "info", "plain", "--picture", "x.png")
    assert sentence.startswith("plain: nothing to draw") and list(Path().glob("*.png")) == []


def loaded(options: list[list[str]], pipe) -> None:
    """Run commands one after the other; send which of matplotlib's modules are loaded before, and after each."""

    def now() -> list[str]:
        return sorted({"matplotlib", "matplotlib.pyplot"} & set(sys.modules))

    found = [now()]
    for words in options:
        with contextlib.suppress(SystemExit):
            app(words)
        found.append(now())
    pipe.send(found)


@pytest.mark.slow
def test_matplotlib_is_loaded_for_a_picture_only(trained, processes):
    here, there = processes.Pipe()
    info = ["info", str(trained)]
    process = processes.Process(target=loaded, args=([info, [*info, "--picture", "run.svg"]], there), daemon=True)
    process.start()
    assert here.poll(60) and here.recv() == [[], [], ["matplotlib"]] and Path("run.svg").exists()
    process.join()


def test_a_token_task_shows_its_types_as_fit_does(trained):
    lines = done("info", trained / "branches" / "city").stdout.splitlines()
    assert [line.split() for line in lines if line.startswith(("labels", "types"))] == [["types", "city"]]
    assert json.loads(done("info", trained / "branches" / "city", "--json").stdout)["labels"] == ["O", "B-city", "I-city"]


def test_stored_and_trained_weights_are_told_apart(trained, tiny_overrides):
    facts = json.loads(done("info", trained / "branches" / "mood", "--json").stdout)
    assert facts["trained_parameters"] == facts["cost"]["trained_parameters"] <= facts["parameters"]
    fit_made_up(
        tiny_overrides,
        "data: {train: rows.jsonl}\n"
        "tasks:\n  mood: {kind: sequence, label: mood}\n  score: {kind: regression, target: score}\n"
        "method: {name: lora, r: 2}\ntraining: {regime: joint}\n",
    )
    facts = json.loads(done("info", "run/branches/mood", "--json").stdout)
    weights = load_file(Path("run/branches/mood/weights.safetensors"))
    pooler = sum(value.size for name, value in weights.items() if "pooler" in name and "lora" not in name)
    assert pooler > 0 and facts["trained_parameters"] == facts["parameters"] - pooler
    assert facts["trained_parameters"] < facts["cost"]["trained_parameters"]  # of both heads
    (line,) = [line for line in done("info", "run/branches/mood").stdout.splitlines() if line.startswith("weights")]
    assert f"{facts['parameters']:,} stored" in line and f"{facts['trained_parameters']:,} of them trained" in line


def test_what_an_adapter_is_made_of_inside_is_not_printed(own_folder, tiny_overrides):
    fit_made_up(
        tiny_overrides,
        "data: {train: rows.jsonl}\ntasks:\n  mood: {kind: sequence, label: mood}\nmethod: {name: adapter, reduction: 4}\n",
    )
    assert json.loads(done("info", "run/branches/mood", "--json").stdout)["method"]["specs"]["task"]
    shown = done("info", "run/branches/mood").stdout
    assert "reduction 4" in shown and "specs" not in shown


def test_a_file_is_none_of_what_can_be_shown(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n")
    assert "is a file; expected the folder of a run, a branch or a trunk" in fails(2, "info", str(tmp_path / "rows.csv"))
