import hashlib
import json

import numpy as np
import pytest
from synthetic import config, write_rows

from trunkline.errors import BadInput
from trunkline.training.config import resolve
from trunkline.training.fit import fit
from trunkline.training.prepare import encode_splits, prepare, split_digest
from trunkline.trunk.load import load_trunk


def edited(path, change):
    """Write the rows again, each as `change` leaves it."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        change(row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def numbered(tmp_path):
    """A hundred rows, each with an id in a column of its own."""
    path = write_rows(tmp_path / "rows.jsonl", 100)
    count = iter(range(100))
    edited(path, lambda row: row.update(id=next(count)))
    return path


def ids(prepared, split):
    return set(prepared.splits[split].corpus.table.columns["id"])


def test_nothing_of_the_drawn_splits_is_in_what_a_regression_learns(numbered):
    values = resolve(config("minilm", numbered, tasks=("mood", "stars")))
    before = prepare(values)[0]
    targets = before.splits["train"].targets["stars"].values
    learned = before.tasks["stars"].learned
    assert (learned.mean, learned.std) == pytest.approx((targets.mean(), targets.std()))
    held_out = ids(before, "test") | ids(before, "validation")
    assert len(held_out) == pytest.approx(40, abs=2)
    edited(numbered, lambda row: row.update(stars=1e6) if row["id"] in held_out else None)
    after = prepare(values)[0]
    assert ids(after, "test") | ids(after, "validation") == held_out
    assert after.tasks["stars"].learned == learned


def test_class_weights_are_those_of_the_training_rows(numbered):
    values = config("minilm", numbered, tasks=("mood", "topics"))
    for task in values["tasks"].values():
        task["class_weights"] = "balanced"
    prepared = prepare(resolve(values))[0]
    labels = prepared.splits["train"].targets["mood"].values
    counts = np.bincount(labels)
    assert prepared.tasks["mood"].learned.class_weights == pytest.approx(len(labels) / (2 * counts))
    share = prepared.splits["train"].targets["topics"].values.mean(axis=0)
    assert prepared.tasks["topics"].learned.class_weights == pytest.approx((1 - share) / share)


def test_a_rare_label_that_is_drawn_for_the_test_only_is_told_and_scored(tiny_trunk_dir, numbered, tmp_path):
    values = config(tiny_trunk_dir, numbered, tasks=("mood", "topics"), epochs=1)
    values["tasks"]["genre"] = {"kind": "sequence", "label": "genre", "class_weights": "balanced"}
    drawn = ids(prepare(resolve({**values, "tasks": {"mood": values["tasks"]["mood"]}}))[0], "test")
    edited(numbered, lambda row: row.update(genre="rare" if row["id"] in drawn else ("film", "book")[row["id"] % 2]))
    said = []
    result = fit(values, run_dir=tmp_path / "run", subscribers=[lambda event: said.append(getattr(event, "text", None))])
    assert "train: 1 of the 'genre' labels has no training examples: 'rare'." in said
    scores = result.tasks["genre"]["test"]
    assert set(scores["by_label"]) == {"book", "film", "rare"} and scores["by_label"]["rare"]["support"] == len(drawn)


def test_a_long_list_of_labels_says_how_many_more_there_are(tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    names = list("abcdefghijk")
    edited(rows, lambda row: row.update(genre="film"))
    values = config(tmp_path, rows, tasks=("mood",))
    values["tasks"]["genre"] = {"kind": "sequence", "label": "genre", "label_list": ["film", *names]}
    (said,) = [said for said in prepare(resolve(values))[0].findings if "'genre'" in said]
    assert said.endswith("no training examples: 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h' and 3 more.")
    values["tasks"]["genre"]["label_list"] = ["film", *(f"SECRET{i}" for i in range(100))]  # so many may be words of texts
    (said,) = [said for said in prepare(resolve(values))[0].findings if "'genre'" in said]
    assert said == "train: 100 of the 'genre' labels have no training examples."


def test_tasks_may_be_prepared_without_those_of_other_files(tmp_path):
    rows, other = write_rows(tmp_path / "rows.jsonl", 60), write_rows(tmp_path / "other.jsonl", 60, seed=5)
    values = config(tmp_path, rows, tasks=("mood", "cities", "stars"))
    values["tasks"]["stars"]["data"] = {"train": str(other), "validation": "20%", "test": "20%"}
    both = prepare(resolve(values))
    other.unlink()
    (only,) = prepare(resolve(values), only={"cities"})  # with mood, as the two were drawn together
    assert list(only.tasks) == ["mood", "cities"] and only.name == both[0].name == "mood+cities"
    assert split_digest(only.splits["test"]) == split_digest(both[0].splits["test"])


def test_a_number_of_rows_is_drawn_by_the_seed_and_fewer_are_among_more(tiny_trunk_dir, tmp_path):
    values = config(tiny_trunk_dir, write_rows(tmp_path / "rows.jsonl", 100), tasks=("mood",))

    def texts(rows, seed=3):
        values["data"]["rows"], values["training"]["seed"] = rows, seed
        return prepare(resolve(values))[0].splits["train"].corpus.table.lines

    assert len(texts(30)) == 30 and set(texts(10)) < set(texts(30)) and texts(30) != texts(30, seed=4)
    with pytest.raises(BadInput, match=r"data\.rows: found 61, but .* has 60 rows"):
        texts(61)


def test_words_that_the_tokenizer_makes_nothing_of_are_refused_before_work_starts(tiny_trunk_dir, numbered, tmp_path):
    """With `mixing: uniform` such a task was drawn for ever: there is no batch of it."""
    words = {"tokens": ["\u200b", "\u200c"], "tags": ["B-city", "O"]}
    edited(numbered, lambda row: row.update(words if row["id"] % 2 else {"tags": None}))
    values = config(tiny_trunk_dir, numbered, regime="joint", mixing="uniform", epochs=1)
    values["method"] = {"name": "full"}
    with pytest.raises(BadInput, match=r"rows\.jsonl: in the train split, task cities: .* produces no token for any word"):
        fit(values, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_spans_that_are_left_out_are_told_once_for_each_file(tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    one, other = {"start": 0, "end": 3, "label": "first"}, {"start": 1, "end": 3, "label": "second"}
    edited(rows, lambda row: row.update(text="abc " + row["text"], spans=[one, other]))
    values = config(tmp_path, rows, tasks=("mood",))
    values["tasks"]["slots"] = {"kind": "token", "spans": "spans"}
    said = prepare(resolve(values))[0].findings
    lost = "60 of the 120 spans of 'slots' left out, as they lie within another span."
    gone = "no span of 'slots' is left of 'second'."
    assert [one for one in said if str(rows) in one] == [f"{rows}: {lost}", f"{rows}: {gone}"]
    values["data"]["test"] = str(rows)
    said = prepare(resolve(values))[0].findings
    expected = [f"{of}: {one}" for of in (rows, "test") for one in (lost, gone)]
    assert [one for one in said if "slots" in one and " left o" in one] == expected


@pytest.mark.parametrize(
    ("side", "tasks", "said"),
    [
        ("right", ("mood",), ["30 of 30 texts are longer than 5 tokens and were cut"]),
        ("right", ("mood", "cities"), ["30 of 30 texts are longer than 5 tokens and were cut for mood"]),
        ("left", ("mood", "cities"), ["30 of 30 texts are longer than 5 tokens and were cut for mood"]),
        ("right", ("cities",), []),
    ],
)
def test_texts_that_are_cut_for_tasks_at_text_level_are_told_whatever_is_beside(tiny_trunk_dir, tmp_path, side, tasks, said):
    path = write_rows(tmp_path / "rows.jsonl", 30)
    edited(path, lambda row: row.update(text=f"so good {row['text']} so very good"))
    values = resolve({**config("minilm", path, tasks=tasks), "data": {"train": str(path), "validation": str(path)}})
    trunk = load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu")
    trunk.tokenizer.truncation_side = side
    prepared = prepare(values)[0]
    before = len(prepared.findings)
    encode_splits(prepared, trunk, 5)
    assert prepared.findings[before:] == [f"{split}: {one}" for split in ("train", "validation") for one in said]
    if tasks == ("mood", "cities"):  # what the text-level task reads is what it reads alone
        alone = prepare(
            resolve({**config("minilm", path, tasks=("mood",)), "data": {"train": str(path), "validation": str(path)}})
        )[0]
        encode_splits(alone, trunk, 5)
        one, both = alone.splits["train"].encoded, prepared.splits["train"].encoded
        first = [both.ids[both.offsets[i] : both.offsets[i + 1]].tolist() for i in both.first_sequence()]
        assert first == [one.ids[a:b].tolist() for a, b in zip(one.offsets, one.offsets[1:], strict=False)]


def test_what_a_reader_left_out_is_among_the_findings(tmp_path):
    rows = [{"text": f"t{n}", "mood": "ab"[n % 2], "_task_hash": n, "answer": "accept"} for n in range(20)]
    rows[3]["answer"] = "reject"
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = {"mood": {"kind": "sequence", "label": "mood"}}
    data = {"train": [str(tmp_path / "train.jsonl")] * 2, "test": str(tmp_path / "test.jsonl")}
    found = prepare(resolve({"data": data, "tasks": tasks}))[0].findings
    said = "1 row left out: their answer in Prodigy is 'reject'."
    assert found[:3] == [*[f"train: {tmp_path / 'train.jsonl'}: {said}"] * 2, f"test: {said}"]


def test_data_format_names_the_format_of_the_files(tmp_path):
    lines = "".join(f"word{n} X\nother Y\n\n" for n in range(20))
    (tmp_path / "eng.train").write_text(lines)
    data = {"train": str(tmp_path / "eng.train"), "format": "conll"}
    values = {"data": data, "tasks": {"tags": {"kind": "token", "tokens": "tokens", "tags": "tags"}}}
    assert prepare(resolve(values))[0].tasks["tags"].labels == ["O", "B-X", "I-X", "B-Y", "I-Y"]
    with pytest.raises(BadInput, match=r"data\.format: .*expected one of .*conll"):
        resolve({**values, "data": {**data, "format": "conl"}})
    plain = {**values, "data": {"train": "snips"}}
    assert resolve(plain).identity() != resolve({**plain, "data": {"train": "snips", "format": "conll"}}).identity()


def test_missing_values_are_those_of_the_data_and_are_counted_once_for_each_file(tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    count = iter(range(60))
    edited(rows, lambda row: row.update(genre=("film", "book", "nan")[next(count) % 3]))
    values = config(tmp_path, rows, tasks=("mood",))
    values["tasks"]["genre"] = {"kind": "sequence", "label": "genre"}
    kept = prepare(resolve(values))[0]
    assert kept.tasks["genre"].labels == ["book", "film", "nan"]
    (said,) = [said for said in kept.findings if "'genre'" in said]
    assert said.startswith("'genre': 'nan' (20) counts as a label, but") and "'data.missing=[nan]'" in said
    values["data"]["missing"] = ["nan"]
    gone = prepare(resolve(values))[0]
    assert gone.tasks["genre"].labels == ["book", "film"] and gone.tasks["genre"].config.missing == ["nan"]
    skipped = [said for said in gone.findings if "'genre'" in said]
    counts = {name: int((~split.targets["genre"].present).sum()) for name, split in gone.splits.items()}
    assert sum(counts.values()) == 20 and skipped == [
        f"{rows}: 20 of 60 rows have no value in column 'genre', 20 of them 'nan', and are skipped by 'genre'."
    ]
    values["tasks"]["genre"]["missing"] = []  # a task may say otherwise
    assert prepare(resolve(values))[0].tasks["genre"].labels == ["book", "film", "nan"]


def test_a_row_with_nan_carries_no_other_label(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"text": "same", "label": {label}}}\n' for label in ['"a"', "NaN", '"a"'] * 10 + ['"b"'] * 30))
    values = config(tmp_path, path, tasks=("mood",))
    assert "train: 1 text carries different labels for 'mood'." in prepare(resolve(values))[0].findings
    path.write_text("".join(f'{{"text": "same", "label": {label}}}\n' for label in ['"a"', "NaN", '"a"'] * 10))
    path.write_text(path.read_text() + "".join(f'{{"text": "other {i}", "label": "b"}}\n' for i in range(30)))
    assert not any("different labels" in said for said in prepare(resolve(values))[0].findings)


def test_rows_without_a_text_are_skipped_in_every_split_with_a_finding(tmp_path):
    for name, empty in (("rows", (3, 7)), ("other", (0,))):
        path = write_rows(tmp_path / f"{name}.jsonl", 60)
        count = iter(range(60))
        edited(path, lambda row, empty=empty, count=count: row.update(text=None) if next(count) in empty else None)
    values = config("minilm", tmp_path / "rows.jsonl", tasks=("mood",))
    values["data"] |= {"train": str(tmp_path / "rows.jsonl"), "test": str(tmp_path / "other.jsonl"), "validation": "20%"}
    (prepared,) = prepare(resolve(values))
    assert {name: len(split.corpus) for name, split in prepared.splits.items()} == {"train": 46, "validation": 12, "test": 59}
    assert [said.replace(str(tmp_path), "") for said in prepared.findings[:2]] == [
        "/rows.jsonl: 2 rows have no text and are skipped (the first is /rows.jsonl line 4).",
        "test: 1 row has no text and is skipped (/other.jsonl line 1).",
    ]
    with pytest.raises(BadInput, match=r"rows.jsonl line 4: found no text"):
        prepare(resolve({**values, "data": {**values["data"], "empty_texts": "refuse"}}))


def test_labels_of_a_test_source_that_training_lacks_are_counted_or_refused(tmp_path):
    rows, other = write_rows(tmp_path / "rows.jsonl", 60), write_rows(tmp_path / "other.jsonl", 30)
    count = iter(range(30))
    edited(other, lambda row: row.update(label="odd") if next(count) < 4 else None)
    values = config("minilm", rows, tasks=("mood", "topics"))
    values["data"] |= {"train": str(rows), "validation": str(other), "test": str(other)}
    (prepared,) = prepare(resolve(values))
    assert prepared.splits["validation"].targets["mood"].unseen == {"odd": 4}
    said = "4 rows have labels that 'mood' was not trained on and count as errors: 'odd' (4)."
    assert prepared.findings.count(f"test: {said}") == prepared.findings.count(f"validation: {said}") == 1
    with pytest.raises(BadInput, match=r"other.jsonl line 1, column 'label': found the label 'odd'"):
        prepare(resolve({**values, "data": {**values["data"], "unseen_labels": "refuse"}}))


ORIGINAL = {  # the keys that runs of the first version had
    "data": "train validation test rows text text_pair",
    "mood": "kind metric data label label_list class_weights loss gamma",
    "slots": "kind metric data tokens tags spans label_list crf loss gamma",
}


def test_keys_that_came_later_leave_the_identity_of_a_run_as_it_was(tmp_path):
    values = config("minilm", write_rows(tmp_path / "rows.jsonl", 20), tasks=("mood",))
    values["tasks"]["slots"] = {"kind": "token", "spans": "spans"}
    before = resolve(values)
    kept = before.as_dict()
    kept["trunk"]["device"] = "auto"
    for key in ("backend", "calibration"):
        del kept["trunk"][key]
    for key in ("initial", "depth_penalty", "freeze_distribution"):
        del kept["method"][key]
    for key in ("data_seed", "shard", "gradient_checkpointing"):
        del kept["training"][key]
    del kept["trackers"]
    for name, keys in ORIGINAL.items():
        whole = kept if name == "data" else kept["tasks"]
        whole[name] = {key: whole[name][key] for key in keys.split()}
    assert before.identity() == hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
    for key, value in (("empty_texts", "refuse"), ("unseen_labels", "refuse")):
        assert resolve({**values, "data": {**values["data"], key: value}}).identity() != before.identity()
    values["tasks"]["slots"]["offsets"] = "utf-16"
    assert resolve(values).identity() != before.identity()


def test_training_on_predictions_is_told(numbered):
    edited(numbered, lambda row: row.update({"label.score": 0.5}))
    findings = prepare(resolve(config("minilm", numbered, tasks=("mood", "stars"))))[0].findings
    told = [said for said in findings if "predictions" in said]
    assert told == [
        "train: column 'label' holds predictions, so 'mood' is trained to agree with them, not with labels that people gave."
    ]
