"""A branch is exported, loaded by the library that it was written for, and answers as `Bundle.predict` does."""

from __future__ import annotations

import json
import shutil
import textwrap
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from clitools import done, fails
from peft import PeftModel
from synthetic import config, write_rows
from tiny import tiny_bert

from trunkline.branches.fold import LayerState
from trunkline.data.sources import read_table
from trunkline.model.bundle import Bundle
from trunkline.training.fit import fit
from trunkline.trunk.load import load_trunk
from trunkline.tuners import TunedTrunk
from trunkline.tuners.adapter import Adapter, AdapterConfig
from trunkline.tuners.adapters.heads import read_head
from trunkline.tuners.fusion import Fusion, FusionConfig
from trunkline.tuners.states import TunedStates

METHODS = {
    "full": {"name": "full"},
    "bitfit": {"name": "bitfit"},
    "lora": {"name": "lora", "r": 4},
    "prompt": {"name": "prompt", "virtual_tokens": 4},
    "prefix": {"name": "prefix", "virtual_tokens": 4},
    "adapter": {"name": "adapter", "reduction": 2},
    "probe-head": {"name": "lora", "r": 4, "head": {"name": "probe"}},
    "side": {"name": "probe"},
}
TASKS = {
    "full": ("mood", "cities", "topics", "stars"),
    "lora": ("mood", "stars"),
    "adapter": ("mood", "cities", "stars"),
}  # mood alone of the others


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    tiny_bert(folder / "trunk")
    write_rows(folder / "rows.jsonl", 240)
    return folder


@pytest.fixture(scope="session")
def branch(home):
    """Trains a method once for all tests that ask for it, a few epochs: enough for answers that are not all alike."""

    @cache
    def run(method: str) -> Path:
        values = config(home / "trunk", home / "rows.jsonl", tasks=TASKS.get(method, ("mood",)), epochs=5, learning_rate=6e-3)
        if method == "fusion":
            of = run("adapter") / "branches"
            section: dict = {"name": "fusion", "adapters": {task: str(of / task) for task in ("mood", "cities")}}
        elif method == "stacked":
            section = {"name": "adapter", "reduction": 4, "stack_on": str(run("adapter") / "branches" / "cities")}
        else:
            section = METHODS[method]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRUNKLINE_CACHE", str(home / "cache"))
            fit({**values, "method": section}, run_dir=home / method)
        return home / method

    return lambda method, task: run(method) / "branches" / task


@pytest.fixture(scope="session")
def texts(home) -> list[str]:
    return read_table(str(home / "rows.jsonl")).columns["text"][:60]


def told(branch: Path, texts: list[str]) -> list[dict]:
    return [answer[branch.name] for answer in Bundle.open(branch).predict(texts)]


@pytest.mark.parametrize(
    ("method", "options"), [("full", []), ("bitfit", []), pytest.param("lora", ["--merge"], marks=pytest.mark.slow)]
)
def test_a_pipeline_gives_the_same_labels(method, options, branch, texts):
    facts = json.loads(done("export", branch(method, "mood"), "out", *options, "--json").stdout)
    assert facts["format"] == "transformers" and facts["labels"] == ["negative", "positive"]
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= set(facts["files"])
    answers = hf.pipeline("text-classification", "out", device="cpu")(texts)
    expected = told(branch(method, "mood"), texts)
    assert [each["label"] for each in answers] == [each["label"] for each in expected]
    assert np.allclose([each["score"] for each in answers], [max(each["scores"].values()) for each in expected], atol=1e-4)
    if method == "full":
        assert len({each["label"] for each in answers}) == 2


def test_a_pipeline_finds_the_same_spans(branch, texts):
    done("export", branch("full", "cities"), "out")
    found = hf.pipeline("token-classification", "out", device="cpu", aggregation_strategy="first")(texts)
    expected = told(branch("full", "cities"), texts)
    spans = [[(s["start"], s["end"], s["label"]) for s in each["spans"]] for each in expected]
    assert [[(s["start"], s["end"], s["entity_group"]) for s in each] for each in found] == spans
    assert any(spans) and not all(spans)


def test_a_pipeline_gives_every_label_its_probability(branch, texts):
    done("export", branch("full", "topics"), "out")
    answers = hf.pipeline("text-classification", "out", device="cpu", top_k=None)(texts)
    for answer, expected in zip(answers, told(branch("full", "topics"), texts), strict=True):
        assert {each["label"]: each["score"] for each in answer} == pytest.approx(expected["scores"], abs=1e-4)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_numbers_come_in_the_units_of_the_column(method, branch, texts):
    done("export", branch(method, "stars"), "out", *["--merge"] * (method == "lora"))
    answers = hf.pipeline("text-classification", "out", device="cpu")(texts)
    expected = [each["value"] for each in told(branch(method, "stars"), texts)]
    assert np.allclose([each["score"] for each in answers], expected, atol=1e-3)
    assert 1 < np.mean(expected) < 5  # the mean of stars, not that of what the head was trained on


def pasted(said: str) -> dict:
    """What the lines of Python that `export` prints leave behind."""
    names: dict = {}
    lines = [line for line in said.splitlines() if line.startswith("    ")]
    assert lines
    exec(textwrap.dedent("\n".join(lines)), names)
    return names


@pytest.mark.parametrize("task", ["mood", "stars"])
@pytest.mark.parametrize(("method", "options"), [("full", []), ("lora", []), ("lora", ["--merge"])])
def test_the_lines_that_are_printed_run_as_they_are(method, options, task, branch, texts):
    path = branch(method, task)
    names = pasted(done("export", path, "an out", *options).stdout)
    model = names["classify"].model if "classify" in names else names["model"]
    expected = {0: "negative", 1: "positive"} if task == "mood" else {0: "value"}
    assert model.config.id2label == expected
    assert model.config.label2id == {label: i for i, label in expected.items()}
    tokenizer = hf.AutoTokenizer.from_pretrained("an out")
    with torch.no_grad():
        found = model.eval()(**tokenizer(texts[:20], return_tensors="pt", padding=True)).logits
    answers = told(path, texts[:20])
    if task == "stars":
        assert np.allclose(found[:, 0], [each["value"] for each in answers], atol=1e-3)
    else:
        assert np.allclose(found.softmax(-1), [list(each["scores"].values()) for each in answers], atol=1e-4)


@pytest.mark.parametrize("method", ["full", "lora", "adapter", "fusion", "stacked"])
def test_nothing_that_is_written_tells_where_the_trunk_is(method, branch, home):
    done("export", branch(method, "mood"), "out")
    files = [file for file in Path("out").rglob("*") if file.is_file()]
    assert len(files) >= 4
    assert not [file for file in files if str(home).encode() in file.read_bytes()]
    card = Path("out/README.md").read_text()
    assert "```python\nfrom " in card and '"out' in card
    if method == "lora":
        assert json.loads(Path("out/adapter_config.json").read_text())["base_model_name_or_path"] == "trunk"
        assert '.from_pretrained("trunk", id2label=' in card


def of_peft(home: Path, kind: type, outputs: int, folder: str) -> torch.nn.Module:
    base = kind.from_pretrained(home / "trunk", num_labels=outputs, dtype=torch.float32)
    return PeftModel.from_pretrained(base, folder).eval()


@pytest.mark.parametrize("method", ["lora", "prefix"])
def test_peft_gives_the_same_labels(method, branch, texts, home):
    result = done("export", branch(method, "mood"), "out")
    assert "PeftModel.from_pretrained" in result.stdout
    model, tokenizer = of_peft(home, hf.AutoModelForSequenceClassification, 2, "out"), hf.AutoTokenizer.from_pretrained("out")
    for text, expected in zip(texts[:20], told(branch(method, "mood"), texts[:20]), strict=True):
        with torch.no_grad():
            scores = model(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0]
        assert scores.tolist() == pytest.approx(list(expected["scores"].values()), abs=1e-4)


def test_peft_gives_numbers_in_the_units_of_the_column(branch, texts, home):
    done("export", branch("lora", "stars"), "out")
    model, tokenizer = of_peft(home, hf.AutoModelForSequenceClassification, 1, "out"), hf.AutoTokenizer.from_pretrained("out")
    with torch.no_grad():
        values = model(**tokenizer(texts, return_tensors="pt", padding=True)).logits[:, 0]
    assert np.allclose(values, [each["value"] for each in told(branch("lora", "stars"), texts)], atol=1e-3)


@torch.no_grad()
def of_adapters(tuned: TunedTrunk, folder: Path, texts: list[str]) -> tuple[list[str], torch.Tensor]:
    """Labels and logits of a folder's own head, on the states of a trunk with the folder's adapters, of the first tokens."""
    encoded, found = tuned.trunk.encode(texts), {}
    top = tuned.num_layers
    TunedStates(tuned.eval(), encoded).feed(np.arange(len(texts)), (top,), found.__setitem__)
    head = read_head(folder)
    rows = LayerState(found[top]).rows
    return head.labels, head.logits(rows if head.kind == "tagging" else rows[torch.as_tensor(encoded.offsets[:-1])])


def test_an_adapter_takes_its_head_along(branch, texts, home):
    facts = json.loads(done("export", branch("adapter", "mood"), "out", "--json").stdout)
    assert facts["format"] == "adapters"
    assert facts["files"] == [
        "README.md", "adapter.safetensors", "adapter_config.json", "head_config.json", "model_head.safetensors"
    ]  # fmt: skip
    trunk = load_trunk(home / "trunk", dtype="fp32", device="cpu")
    tuned = TunedTrunk(trunk, Adapter(AdapterConfig(start="out")), "fp32")
    labels, logits = of_adapters(tuned, Path("out"), texts)
    expected = told(branch("adapter", "mood"), texts)
    assert [labels[i] for i in logits.argmax(-1)] == [each["label"] for each in expected]
    assert np.allclose(logits.softmax(-1), [list(each["scores"].values()) for each in expected], atol=1e-4)
    done("export", branch("adapter", "stars"), "stars")
    tuned = TunedTrunk(trunk, Adapter(AdapterConfig(start="stars")), "fp32")
    values = of_adapters(tuned, Path("stars"), texts)[1][:, 0]
    assert np.allclose(values, [each["value"] for each in told(branch("adapter", "stars"), texts)], atol=1e-3)


def test_a_fusion_takes_its_adapters_along(branch, texts, home):
    result = done("export", branch("fusion", "mood"), "out")
    assert 'load_adapter("out/cities"' in result.stdout and 'load_adapter_fusion("out/fusion"' in result.stdout
    trunk = load_trunk(home / "trunk", dtype="fp32", device="cpu")
    section = FusionConfig(adapters={"mood": "out/mood", "cities": "out/cities"}, start="out/fusion")
    labels, logits = of_adapters(TunedTrunk(trunk, Fusion(section), "fp32"), Path("out/fusion"), texts)
    expected = told(branch("fusion", "mood"), texts)
    assert labels == ["negative", "positive"]
    assert np.allclose(logits.softmax(-1), [list(each["scores"].values()) for each in expected], atol=1e-4)


def test_an_adapter_takes_the_one_below_along(branch, texts, home):
    result = done("export", branch("stacked", "mood"), "out")
    assert 'model.set_active_adapters(Stack("language", "mood"))' in result.stdout
    trunk = load_trunk(home / "trunk", dtype="fp32", device="cpu")
    tuned = TunedTrunk(trunk, Adapter(AdapterConfig(start="out", stack_on="out/language")), "fp32")
    logits = of_adapters(tuned, Path("out"), texts)[1]
    expected = [list(each["scores"].values()) for each in told(branch("stacked", "mood"), texts)]
    assert np.allclose(logits.softmax(-1), expected, atol=1e-4)
    card = Path("out/README.md").read_text()
    assert "| stack_on | cities |" in card and str(home) not in card


def test_the_card_tells_what_the_branch_knows(branch, home):
    done("export", branch("full", "topics"), "out")
    card = Path("out/README.md").read_text().splitlines()
    described = json.loads((branch("full", "topics") / "branch.json").read_text())
    for line in (
        "# topics",
        "| labels | film, music, table |",
        f"| threshold | {described['task']['learned']['threshold']:.4g} |",
        f"| test.f1_micro | {described['metrics']['test']['f1_micro']:.4g} |",
        f"| trained_parameters | {described['cost']['trained_parameters']} |",
        f"| sha256 of its weights | {described['trunk']['weights']} |",
    ):
        assert line in card
    assert not any(str(home) in line for line in card)


@pytest.mark.parametrize(
    ("method", "task", "options", "sentence"),
    [
        ("side", "mood", [], "its method probe is a side branch"),
        ("probe-head", "mood", [], "its head is probe, which no other library can load; expected the plain head"),
        ("prefix", "mood", ["--merge"], "method prefix: cannot be merged"),
        ("prompt", "mood", [], "method prompt: the peft library's head would read the first virtual token"),
        (
            "adapter",
            "mood",
            ["--merge"],
            "method adapter: adds layers that cannot be merged into the trunk's weights; omit --merge (merge=True)",
        ),
    ],
)
def test_what_no_other_library_has_is_refused_before_anything_is_written(method, task, options, sentence, branch):
    said = fails(2, "export", branch(method, task), "out", *options)
    assert said.startswith(f"{branch(method, task)}: ") and sentence in said
    assert not list(Path().iterdir())


def test_a_crf_is_refused(home, monkeypatch):
    monkeypatch.setenv("TRUNKLINE_CACHE", str(home / "cache"))
    values = config(home / "trunk", home / "rows.jsonl", tasks=("cities",), epochs=1)
    values["tasks"]["cities"]["crf"] = True
    result = fit({**values, "method": {"name": "bitfit"}}, run_dir=home / "crf")
    assert "its task has a CRF, which no other library can load" in fails(2, "export", result.branches["cities"], "out")
    assert not list(Path().iterdir())


def test_bad_input_is_one_sentence(branch):
    path = branch("bitfit", "mood")
    assert fails(2, "export", "nowhere", "out").startswith("nowhere: no such folder; expected that of a branch or of a run")
    run = path.parents[1]
    assert fails(2, "export", run, "out") == f"{run}: a run; expected one of its branches, such as {path}"
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    assert fails(2, "export", path, "full") == "full: is not empty; expected a new or empty folder"
    assert fails(2, "export", path, "full/mine.txt") == "full/mine.txt: is a file; expected a new or empty folder"
    assert Path("full/mine.txt").read_text() == "mine" and len(list(Path().iterdir())) == 1


def test_a_trunk_that_was_moved_can_be_named(branch, home):
    copy = Path("copy")
    shutil.copytree(branch("bitfit", "mood"), copy)
    described = json.loads((copy / "branch.json").read_text())
    described["trunk"]["name"] = "/nowhere/trunk"
    (copy / "branch.json").write_text(json.dumps(described))
    assert "--trunk" in fails(2, "export", copy, "out")
    done("export", copy, "out", "--trunk", home / "trunk")


def test_a_run_is_answered_by_its_branches_and_what_can_be_exported(branch):
    run = branch("full", "mood").parents[1]
    assert f"{run}: a run; expected one of its branches, such as {run}/branches/" in fails(2, "export", run, "out")
    side = branch("side", "mood").parents[1]
    said = fails(2, "export", side, "out")
    assert f"{side}: its branches have the method probe, a side branch, which no other library can load" in said
    assert "method=lora" in said and "no such folder" in fails(2, "export", "nowhere", "out")
