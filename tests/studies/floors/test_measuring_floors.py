"""The floors of a whole config on a tiny trunk: which apply, their answers, embeddings and where these come from."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from floortools import rows_with
from seqeval.metrics import f1_score as span_f1
from sklearn.metrics import f1_score
from synthetic import config
from transformers import AutoModel, AutoTokenizer

from trunkline.errors import BadInput
from trunkline.events import Preparing, StatesStored
from trunkline.studies.floors.embedding import Embeddings
from trunkline.studies.floors.measuring import measure_floors
from trunkline.studies.subsets import read_sizes, subsets
from trunkline.training.config import resolve
from trunkline.training.prepare import prepare
from trunkline.training.run import Run

TASKS = ("mood", "cities", "topics", "stars")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return rows_with(tmp_path_factory.mktemp("floors") / "rows.jsonl", 200, lambda number, row: None)


def on_trunk(trunk, rows, *tasks, **training):
    return config(trunk, rows, tasks=tasks, **{"states": "live", **training})


@pytest.fixture(scope="module")
def found(tiny_trunk_dir, rows):
    """The floors of all four kinds, and what was published meanwhile."""
    told = []
    values = on_trunk(tiny_trunk_dir, rows, *TASKS) | {"method": {"name": "full"}}
    return measure_floors(resolve(values), publish=told.append), told


def test_every_task_has_the_floors_that_apply_and_a_sentence_for_the_others(found):
    (results, omitted, *_), told = found
    texts = ("embedding", "majority", "tfidf")
    assert [(one.task, one.floor) for one in results] == [
        *(("mood", floor) for floor in texts),
        ("cities", "word_tags"),
        *((task, floor) for task in ("topics", "stars") for floor in texts),
    ]
    assert len(omitted) == 3 + 3 and omitted[0].said == (
        "word_tags does not apply to 'mood', as there is one answer for a whole text."
    )
    assert next(event.what for event in told if isinstance(event, Preparing)) == (
        "measuring a floor of mood: mean-pooled embedding with logistic regression"
    )


def test_the_answers_of_the_test_rows_give_the_scores(found, tiny_trunk_dir, rows):
    """Laid out as the targets of a run on the same config are."""
    run = Run(resolve(on_trunk(tiny_trunk_dir, rows, *TASKS)), lambda event: None)
    for one in found[0].results:
        answers, metrics, targets = one.answers, one.measured.metrics["test"], run.groups[0].splits["test"].targets[one.task]
        assert (answers.true == targets.values).all() and (answers.present == targets.present).all()
        assert answers.predicted.shape == answers.true.shape
        if one.task == "mood":
            assert metrics["accuracy"] == (answers.true == answers.predicted).mean()
        elif one.task == "topics":
            assert metrics["f1_micro"] == pytest.approx(f1_score(answers.true, answers.predicted, average="micro"))
        elif one.task == "stars":
            assert metrics["mse"] == pytest.approx(((answers.true - answers.predicted) ** 2).mean())
        else:
            names = np.array(["O", "B-city", "I-city"])
            true, predicted = (np.split(names[own], answers.offsets[1:-1]) for own in (answers.true, answers.predicted))
            gold, guessed = ([list(text) for text in own] for own in (true, predicted))
            assert metrics["f1"] == pytest.approx(span_f1(gold, guessed))
        assert json.loads(json.dumps(one.as_dict()))["test"]["by_label" if one.task != "stars" else "sample"]
        assert one.seconds > 0 and one.measured.parameters > 0


def test_an_embedding_is_the_mean_of_the_last_layer_over_all_tokens(tiny_trunk_dir, rows):
    own = resolve(on_trunk(tiny_trunk_dir, rows, "mood"))
    [group] = prepare(own)
    split = group.splits["validation"]
    made = Embeddings(own, [group], lambda event: None).of(group.tasks["mood"], split)
    model, tokenizer = AutoModel.from_pretrained(tiny_trunk_dir), AutoTokenizer.from_pretrained(tiny_trunk_dir)
    inputs = tokenizer(split.corpus.texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"][:, :, None]
    assert made == pytest.approx(((states * mask).sum(1) / mask.sum(1)).numpy(), abs=1e-5)
    assert made.dtype == np.float32 and made.shape == (len(split.corpus), 32)


def test_embeddings_are_those_that_a_side_branch_reads_whatever_the_method(tiny_trunk_dir, rows):
    """A tuner has its trunk in fp32, whatever the config says."""
    made = {}
    for method in ("probe", "full"):
        values = on_trunk(tiny_trunk_dir, rows, "mood") | {"method": {"name": method}}
        values["trunk"]["dtype"] = "bf16"
        [group] = prepare(resolve(values))
        embeddings = Embeddings(resolve(values), [group], lambda event: None)
        made[method] = embeddings.of(group.tasks["mood"], group.splits["test"])
    assert (made["probe"] == made["full"]).all()


def test_each_task_has_the_embeddings_of_what_it_reads(tiny_trunk_dir, tmp_path):
    def change(number, row):
        row.update(text=" ".join(["film song " * 5, row["text"]]))

    rows = rows_with(tmp_path / "rows.jsonl", 100, change)
    losses = []
    for tasks in (("stars", "mood"), ("stars",)):
        values = on_trunk(tiny_trunk_dir, rows, *tasks)
        values["trunk"]["max_length"], values["tasks"]["stars"]["long_texts"] = 12, "mean"
        results = measure_floors(resolve(values), names=["embedding"]).results
        losses.append(results[0].measured.metrics["test"]["mse"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("long_texts", ["first", "mean", "max"])
def test_a_text_longer_than_a_sequence_is_the_mean_of_what_its_task_reads(long_texts, tiny_trunk_dir, tmp_path):
    rows = rows_with(
        tmp_path / "rows.jsonl", 30, lambda number, row: row.update(text=" ".join(["film song"] * (3 + number % 9)))
    )
    values = on_trunk(tiny_trunk_dir, rows, "mood")
    values["trunk"]["max_length"], values["tasks"]["mood"]["long_texts"] = 10, long_texts
    [group] = prepare(resolve(values))
    embeddings, split = Embeddings(resolve(values), [group], lambda event: None), group.splits["train"]
    made = embeddings.of(group.tasks["mood"], split)
    encoded, model = split.encoded, AutoModel.from_pretrained(tiny_trunk_dir)
    windows = np.bincount(encoded.text_of)
    assert (windows.max() > 1) == (long_texts != "first")
    for text in (0, int(windows.argmax()), 3):
        states = []
        for sequence in np.flatnonzero(encoded.text_of == text):
            ids = encoded.ids[encoded.offsets[sequence] : encoded.offsets[sequence + 1]]
            with torch.no_grad():
                states.append(model(torch.from_numpy(ids.astype(np.int64))[None]).last_hidden_state[0])
        assert made[text] == pytest.approx(torch.cat(states).mean(0).numpy(), abs=1e-5)


def test_states_are_read_from_a_store_and_computed_for_no_size_and_no_task_again(tiny_trunk_dir, rows):
    values = on_trunk(tiny_trunk_dir, rows, "mood", "stars", states="store", states_dtype="fp32")
    told = []
    first = measure_floors(resolve(values), names=["embedding"], publish=told.append)
    assert [event.split for event in told if isinstance(event, StatesStored)] == ["train", "validation", "test"]
    for subset in subsets(resolve(values), read_sizes(["8 per class", 60])):
        measure_floors(subset.config, names=["embedding"], publish=told.append)
    again = measure_floors(resolve(values), names=["embedding"], publish=told.append)
    assert sum(isinstance(event, StatesStored) for event in told) == 3
    for one, other in zip(first.results, again.results, strict=True):
        assert (one.answers.predicted == other.answers.predicted).all() and one.measured.metrics == other.measured.metrics


def test_a_trunk_is_only_loaded_for_what_reads_it(rows, tmp_path):
    own = resolve(on_trunk(tmp_path / "no-such-trunk", rows, "mood", "cities"))
    results, *_ = measure_floors(own, names=["majority", "tfidf", "word_tags"])
    assert [one.floor for one in results] == ["majority", "tfidf", "word_tags"]
    with pytest.raises(BadInput, match=r"trunk\.name '.*no-such-trunk': no such file"):
        measure_floors(own)
    with pytest.raises(BadInput, match="unknown name 'tfid'; did you mean 'tfidf'"):
        measure_floors(own, names=["tfid"])


def test_a_run_without_test_rows_has_floors_on_validation(rows, tmp_path):
    values = on_trunk(tmp_path, rows, "mood", "cities")
    values["data"]["test"] = None
    for one in measure_floors(resolve(values), names=["majority", "tfidf", "word_tags"]).results:
        assert one.answers is None and set(one.measured.metrics) == {"validation"}


def test_tasks_on_data_of_their_own_have_their_floors_there(rows, tmp_path):
    values = on_trunk(tmp_path, rows, "mood", "stars")
    other = rows_with(tmp_path / "other.jsonl", 60, lambda number, row: row.update(stars=number + 100.0))
    values["tasks"]["stars"]["data"] = {"train": str(other), "validation": "20%", "test": "20%"}
    mood, stars = measure_floors(resolve(values), names=["majority"]).results
    assert (len(mood.answers.true), len(stars.answers.true)) == (40, 12) and stars.answers.true.min() >= 100


@pytest.mark.slow
def test_a_clip_has_an_embedding_and_no_words(tmp_path):
    from tiny_audio import AUDIO, write_sounds

    write_sounds(tmp_path, "train", 72)
    AUDIO["wav2vec2-layer"](tmp_path / "trunk")
    values = {
        "trunk": {"name": str(tmp_path / "trunk"), "dtype": "fp32", "device": "cpu"},
        "data": {"train": str(tmp_path / "train.csv"), "test": "20%", "audio": "file"},
        "tasks": {"sound": {"kind": "sequence", "label": "sound"}},
        "training": {"states": "live"},
    }
    found = measure_floors(resolve(values))
    scores = {one.floor: one.measured.metrics["test"]["accuracy"] for one in found.results}
    assert scores.keys() == {"embedding", "majority"} and scores["embedding"] > scores["majority"]
    assert "tfidf does not apply to 'sound', as audio clips have no words." in [one.said for one in found.omitted]
