"""`trunkline explain` of a run with a branch of every kind: its numbers are those of the predictions."""

from __future__ import annotations

import csv
import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from clitools import done, fails, made_up, write_jsonl
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from trunkline import Bundle
from trunkline.explain import explain
from trunkline.explain.sections import SECTIONS
from trunkline.model.contributions import contributions
from trunkline.tasks.calibration import BINS
from trunkline.training import single_layers as training
from trunkline.training.own_test import own_test_splits

EXPLAINING = importlib.import_module("trunkline.explain.explaining")


@pytest.fixture(scope="module")
def page(trained, tmp_path_factory):
    """The folder of a page about every branch of the run, and what `--json` printed.

    Attributions have tests of their own, and pictures are made but not rendered, which takes most of the time.
    """
    folder = tmp_path_factory.mktemp("explained") / "page"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EXPLAINING, "SECTIONS", [make for make in SECTIONS if make.__name__ != "attributions"])
        patch.setattr("trunkline.pages.folder._png", lambda picture: b"")
        patch.setattr("trunkline.explain.drawing.TEXTS", 1)
        return folder, json.loads(done("explain", trained, "--out", folder, "--seed", 3, "--json").stdout)


@pytest.fixture
def only(monkeypatch):
    """Leaves some sections in pages, with small pictures: drawing all takes seconds."""
    monkeypatch.setattr("trunkline.pages.folder.DPI", 40)
    return lambda *names: monkeypatch.setattr(EXPLAINING, "SECTIONS", [make for make in SECTIONS if make.__name__ in names])


@pytest.fixture(scope="module")
def predicted(trained):
    """The rows of the test split, and the predictions for them."""
    (test,) = own_test_splits(trained, ["mood", "score", "topics", "city"])
    table = test.table
    answers = Bundle.open(trained, device="cpu").predict(table.columns["text"])
    return table.columns, answers


def read(file: Path) -> list[dict[str, str]]:
    with open(file, encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def test_every_branch_has_a_page_and_a_page_leads_to_them(page, trained):
    folder, said = page
    assert set(said["branches"]) == {"mood", "score", "topics", "city"}
    assert [": 'city' is no better than always predicting" in found for found in said["findings"]] == [True]
    assert {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()} == {
        "explain.json",
        *(str(Path(file).relative_to(folder)) for file in said["files"]),
    }
    index = (folder / "index.html").read_text()
    for name, one in said["branches"].items():
        assert f'href="{name}/index.html"' in index and Path(one["page"]).is_file()
        assert not set(one["sections"]) & set(one["left_out"]) and {"Scores", "Layers", "Texts"} <= set(one["sections"])
    assert "Calibration" in said["branches"]["score"]["left_out"] and "Confusion matrix" in said["branches"]["city"]["left_out"]
    assert "Entity types" in said["branches"]["city"]["sections"]
    assert all((folder / file).with_suffix(".csv").is_file() for file in folder.rglob("*.png"))


def test_the_confusion_matrix_and_the_scores_by_label_are_those_of_scikit_learn(page, predicted):
    folder, _ = page
    columns, answers = predicted
    labels, given = ["negative", "positive"], [answer["mood"]["label"] for answer in answers]
    expected = confusion_matrix(columns["mood"], given, labels=labels)
    rows = read(folder / "mood" / "confusion.csv")
    found = np.zeros((2, 2), int)
    for row in rows:
        found[labels.index(row["true"]), labels.index(row["predicted"])] = int(row["texts"])
        assert float(row["share_of_true"]) == pytest.approx(int(row["texts"]) / columns["mood"].count(row["true"]))
    assert (found == expected).all() and len(rows) == (expected > 0).sum()
    scores = np.transpose(precision_recall_fscore_support(columns["mood"], given, labels=labels, zero_division=0))
    for row, own in zip(read(folder / "mood" / "by_label.csv"), scores, strict=True):
        assert [float(row[key]) for key in ("precision", "recall", "f1", "support")] == pytest.approx(own.tolist())


def test_the_calibration_curve_is_that_of_scikit_learn(page, predicted):
    folder, _ = page
    columns, answers = predicted
    right = [answer["mood"]["label"] == mood for answer, mood in zip(answers, columns["mood"], strict=True)]
    accuracy, confidence = calibration_curve(right, [answer["mood"]["score"] for answer in answers], n_bins=BINS)
    rows = [
        row for row in read(folder / "mood" / "calibration.csv") if row["scores"] != "without temperature" and row["accuracy"]
    ]
    assert [float(row["accuracy"]) for row in rows] == pytest.approx(accuracy)
    assert [float(row["confidence"]) for row in rows] == pytest.approx(confidence, abs=1e-5)


def test_layers_and_their_history_are_those_of_the_run(page, trained):
    folder, _ = page
    summary = json.loads((trained / "result.json").read_text())
    shares = {row["layer"]: float(row["share"]) for row in read(folder / "mood" / "layers.csv")}
    assert shares == pytest.approx(summary["tasks"]["mood"]["layers"], abs=1e-6)
    history = read(folder / "city" / "history.csv")
    recorded = [entry for entry in summary["history"] if "city" in entry["tasks"]]
    assert [int(row["step"]) for row in history] == [entry["step"] for entry in recorded]
    for row, entry in zip(history, recorded, strict=True):
        layers = entry["tasks"]["city"]["layers"]
        assert [float(row[f"layer_{layer}"]) for layer in layers] == pytest.approx(list(layers.values()))
    (kept,) = [number for number, row in enumerate(history) if row["kept"] == "1"]
    assert recorded[kept]["tasks"]["city"]["best"] and not any(e["tasks"]["city"]["best"] for e in recorded[kept + 1 :])


def test_texts_are_right_or_wrong_as_their_predictions_are_and_the_seed_draws_them(page, predicted):
    folder, _ = page
    columns, answers = predicted
    by_text = {text: row for row, text in enumerate(columns["text"])}
    for name, correct in (("wrong_confident", False), ("wrong_drawn", False), ("right_drawn", True)):
        file = folder / "mood" / f"{name}.csv"
        for row in read(file) if file.exists() else ():
            number = by_text[row["text"]]
            assert (row["right"], row["predicted"]) == (columns["mood"][number], answers[number]["mood"]["label"])
            assert (row["right"] == row["predicted"]) is correct
            assert float(row["confidence"]) == pytest.approx(answers[number]["mood"]["score"], abs=1e-5)
    for row in read(folder / "city" / "right_drawn.csv"):
        number = by_text[row["text"]]
        spans = [(span["start"], span["end"]) for span in columns["spans"][number]]
        assert row["right"] == ("; ".join(f"{row['text'][a:b]} [city] {a}-{b}" for a, b in spans) or "(none)")
    errors = read(folder / "score" / "largest_errors.csv")
    found = [abs(answer["score"]["value"] - score) for answer, score in zip(answers, columns["score"], strict=True)]
    assert [float(row["error"]) for row in errors] == pytest.approx(sorted(found, reverse=True)[: len(errors)], abs=1e-4)


def test_data_that_is_given_and_the_same_folder_again(trained, only):
    only("confusion", "texts")
    rows = made_up(10, seed=9)
    for row, mood in zip(rows, ("negative", "positive"), strict=False):  # one of them is wrong, and so shown
        row |= {"text": "<script>alert(1)</script> great film", "mood": mood}
    rows[2]["mood"], rows[3]["mood"], rows[4]["mood"] = "poor", None, "mixed"
    write_jsonl(Path("new.jsonl"), [{key: row[key] for key in ("text", "mood")} for row in rows])
    branch = trained / "branches" / "mood"
    given = ("new.jsonl", "--map", "poor=negative")
    said = json.loads(done("explain", branch, "--data", *given, "--out", "out", "--json").stdout)
    assert said["findings"] == json.loads(done("evaluate", branch, *given, "--json").stdout)["findings"]
    assert "1 of 10 rows" in (found := " ".join(said["findings"])) and "mixed" in found and "poor" not in found
    assert said["page"] == "out/index.html" and list(said["branches"]) == ["mood"]
    html = Path("out/index.html").read_text()
    assert "<script" not in html and "&lt;script&gt;alert(1)&lt;/script&gt; great film" in html
    before = {file.name: file.read_bytes() for file in Path("out").iterdir()}
    shown = done("explain", branch, "--data", *given, "--out", "out")
    assert shown.stdout.strip() == "out/index.html" and f"wrote {len(before) - 1} files" in shown.stderr
    assert "great film" not in shown.stderr
    assert {file.name: file.read_bytes() for file in Path("out").iterdir()} == before  # the same bytes
    in_memory = {key: [row[key] for row in rows] for key in ("text", "mood")}
    explain(branch, "memory", data=in_memory, labels=["poor=negative"], device="cpu")
    assert Path("memory/confusion.csv").read_bytes() == before["confusion.csv"]
    Path("out/mine.txt").write_text("mine")
    assert "holds 'mine.txt'" in fails(2, "explain", branch, "--data", "new.jsonl", "--out", "out")


def test_what_cannot_be_explained_is_one_sentence_and_nothing_is_written(trained, tmp_path):
    branch = trained / "branches" / "mood"
    assert "expected a run or a branch" in fails(2, "explain", "nowhere", "--out", "out")
    for option in (("--column", "text=x"), ("--map", "poor=negative")):
        assert f"{option[0]}: found without --data" in fails(2, "explain", branch, "--out", "out", *option)
    said = fails(2, "explain", branch, "--out", "out", "--text", "a film", "--text", " ")
    assert said == "--text (texts= in Python): found a blank text, the 2. of 2; expected texts to show"
    shutil.copytree(branch, "alone")
    assert "give the data with --data" in fails(2, "explain", "alone", "--out", "out")
    write_jsonl(Path("unlabelled.jsonl"), [{"text": "a film"}, {"text": "another film"}])
    assert "no column with answers" in fails(2, "explain", "alone", "--out", "out", "--data", "unlabelled.jsonl")
    assert not Path("out").exists()


def test_single_layers_are_bars_beside_the_branch(trained, monkeypatch, only):
    only("single_layers")
    scores = {layer: {"validation": {"accuracy": 0.5 + layer / 10}, "test": {"accuracy": 0.4}} for layer in range(4)}
    asked = []

    def fitted(run, task, publish):
        asked.append((run, task))
        return training.SingleLayers("accuracy", scores, 3, 1234)

    monkeypatch.setattr(importlib.import_module("trunkline.explain.sections.single_layers"), "fit_single_layers", fitted)
    found = explain(trained / "branches" / "mood", "out", single_layers=True, device="cpu")
    assert asked == [(trained.resolve(), "mood")] and "Every layer alone" in found.branches["mood"]["sections"]
    rows = read(Path("out/single_layers.csv"))
    assert [row["read"] for row in rows] == ["layer 0", "layer 1", "layer 2", "layer 3", "adalayers"]
    assert [float(row["validation_accuracy"]) for row in rows[:4]] == pytest.approx([0.5, 0.6, 0.7, 0.8])
    assert [row["best_on_validation"] for row in rows] == ["0", "0", "0", "1", ""]
    summary = json.loads((trained / "result.json").read_text())["tasks"]["mood"]
    assert float(rows[4]["test_accuracy"]) == summary["test"]["accuracy"]
    assert "Validation chooses layer 3: accuracy 0.8000, on test 0.4000" in Path("out/index.html").read_text()


def test_contributions_are_those_of_the_method_and_pairs_are_shown_whole(tiny_overrides, only, monkeypatch):
    monkeypatch.setattr("trunkline.explain.drawing.TEXTS", 1)
    write_jsonl(Path("rows.jsonl"), [{**row, "other": f"second {row['id']}"} for row in made_up(60)])
    Path("rows.yaml").write_text(
        "data: {train: rows.jsonl, text_pair: other, validation: 20%, test: 20%}\n"
        "tasks: {mood: {kind: sequence, label: mood}}\nmethod: routing\n"
    )
    tiny = [text for text in tiny_overrides if not text.startswith("method.")]
    done("fit", "rows.yaml", *tiny, "training.epochs=1", "--run-dir", "routed")
    only("contributions", "texts")
    explain("routed", "out", device="cpu", seed=1)
    rows = {row["text"]: row for name in ("right", "wrong") for row in read(Path(f"out/{name}_drawn.csv"))}
    assert all(row["second text"].startswith("second ") for row in rows.values())
    bundle, written = Bundle.open("routed", device="cpu"), read(Path("out/contributions_1.csv"))
    tokens = [row["token"] for row in written[:: len({row["layer"] for row in written})]]
    text = next(text for text in rows if tokens[1:-1][: len(text.split())] == text.split())
    (expected,) = contributions(bundle, "mood", [text], [rows[text]["second text"]])
    label = expected.labels.index(rows[text]["predicted"])
    assert [float(row["contribution"]) for row in written] == pytest.approx(
        expected.values[:, :, label].ravel().tolist(), abs=1e-6
    )
    assert tokens == expected.tokens
    (about,) = read(Path("out/contributions.csv"))
    assert about["explained"] == about["predicted"] == rows[text]["predicted"] and about["right"] == rows[text]["right"]
    assert (about["row"], about["confidence"]) == (rows[text]["row"], rows[text]["confidence"])
    assert "reads pairs of texts" in fails(2, "explain", "routed", "--out", "again", "--text", "a film")
