"""A key in the wrong place, or under another library's name: the hint is what works, and it does."""

from __future__ import annotations

import shlex

import pytest
import yaml

from trunkline.errors import BadInput
from trunkline.training.config import load_config, resolve
from trunkline.training.distillation.config import load_distillation, resolve_distillation
from trunkline.training.guessed import run_name
from trunkline.training.hints import OTHER_NAMES, known_keys, option_hint, refuse_sources
from trunkline.training.overrides import override

GOOD = {"data": {"train": "snips"}, "tasks": {"intent": {"kind": "sequence", "label": "label"}}}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("epochs=3", "training.epochs=3"),
        ("epoch=3", "training.epochs=3"),
        ("lr=0.01", "training.learning_rate=0.01"),
        ("training.lr=3", "training.learning_rate=3"),
        ("training.max_length=32", "trunk.max_length=32"),
        ("method.lr=1e-4", "training.learning_rate=1e-4"),
        ("method.epochs=2", "training.epochs=2"),
        ("dim=64", "method.dim=64"),
        ("seed=1", "training.seed=1"),
        ("batch-size=8", "training.batch_size=8"),
        ("test=b.csv", "data.test=b.csv"),
        ("training.test=b.csv", "data.test=b.csv"),
        ("text=review", "data.text=review"),
        ("dev=snips:test", "data.validation=snips:test"),
        ("model=minilm", "trunk=minilm"),
        ("label=label", "tasks.intent.label=label"),
        ("tasks.intent.text=review", "data.text=review"),
        ("max_seq_length=64", "trunk.max_length=64"),
        ("Epochs=3", "training.epochs=3"),
    ],
)
def test_a_misplaced_key_is_told_where_it_belongs_and_the_hint_works(given, meant):
    with pytest.raises(BadInput) as error:
        resolve(override(GOOD, [given]), overrides=[given])
    assert str(error.value).startswith(f"override {given!r}: ") and str(error.value).endswith(f"did you mean {meant}?")
    resolve(override(GOOD, [meant]), overrides=[meant])


@pytest.mark.parametrize("given", ["lr=\ufbc3", "lr=a\u202eb"])
def test_a_hint_shows_no_character_that_a_terminal_would_not(given):
    with pytest.raises(BadInput, match="did you mean training") as error:
        resolve(override(GOOD, [given]), overrides=[given])
    assert str(error.value).isprintable()


def test_in_a_file_the_hint_is_the_key(tmp_path):
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({**GOOD, "epochs": 3}))
    with pytest.raises(BadInput, match=r"run.yaml: epochs: unknown name 'epochs'; did you mean 'training.epochs'\?"):
        load_config(tmp_path / "run.yaml")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("training.epoch=3", "did you mean 'epochs'?"),  # mistyped in the right place
        ("trainin.epochs=3", "did you mean 'training'?"),
        ("xyz=3", "expected one of"),
        ("method.alpa=3", "did you mean 'alpha'?"),
        ("method.pooling=mean", "not a key of adalayers but of head2toe and ladder and probe"),
    ],
)
def test_other_wrong_keys_are_answered_as_before(given, said):
    with pytest.raises(BadInput) as error:
        resolve(override(GOOD, [given]), overrides=[given])
    assert said in str(error.value)


@pytest.mark.parametrize("name", ["LoRA", "LORA", "lora", "AdaLayers", "Full", "IA3"])
def test_methods_and_kinds_are_found_whatever_their_case(name):
    config = resolve(override(GOOD, [f"method={name}", "tasks.intent.kind=Sequence"]))
    assert config.method.name == name.lower() and config.tasks["intent"].kind == "sequence"
    assert config.identity() == resolve(override(GOOD, [f"method={name.lower()}"])).identity()


def test_heads_are_found_whatever_their_case():
    assert resolve({**GOOD, "method": {"name": "lora", "head": "Probe"}}).method.head.name == "probe"


def test_every_name_of_another_library_leads_to_a_key_that_there_is():
    known = known_keys(GOOD, type(resolve(GOOD)))
    assert set(OTHER_NAMES) <= set(known)
    names = [name for names in OTHER_NAMES.values() for name in names.split()]
    assert len(names) == len(set(names)) and not set(names) & {key.rpartition(".")[2] for key in known}


@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [
        ("--epochs", "3", "training.epochs=3"),
        ("--batch-size", "8", "training.batch_size=8"),
        ("--method", "lora", "method=lora"),
        ("--model", None, "trunk=VALUE"),
        ("--output-dir", "x", "--run-dir"),
        ("--text-column", "the text", "data.text='the text'"),
        ("--xyz", "3", None),
        ("--encoding", "cp1252", None),
    ],
)
def test_an_option_that_is_a_key_of_the_config(option, value, hint):
    assert option_hint(option, value) == hint
    if hint and value and "=" in hint:
        (word,) = shlex.split(hint)
        resolve(override(GOOD, [word]))


def test_a_second_source_is_told_what_can_be_done_with_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "my b.csv"):
        (tmp_path / name).write_text("text,label\nx,y\n")
    with pytest.raises(BadInput) as error:
        refuse_sources("a.csv", ["training.epochs=3", "my b.csv"])
    assert str(error.value) == (
        "my b.csv: found a second source after a.csv; to test on it give --test 'my b.csv', to train on both "
        "'data.train=[a.csv, my b.csv]'"
    )
    values = override(GOOD, ["data.train=[a.csv, my b.csv]"])
    assert values["data"]["train"] == ["a.csv", "my b.csv"]
    with pytest.raises(BadInput, match=r"c\.csv: expected key\.sub=value after a\.csv"):
        refuse_sources("a.csv", ["c.csv"])


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("reviews.csv", "reviews"),
        ("data/reviews.csv.gz", "reviews"),
        ("reviews/train.csv", "reviews"),
        ("reviews/Train_Data.csv", "reviews"),
        ("reviews/data/train-00000-of-00002.parquet", "reviews"),
        ("reviews/dataset", "reviews"),
        ("reviews/dataset:test", "reviews"),
        ("reviews/training_notes.csv", "training_notes"),
        ("snips", "snips"),
        ("snips:test", "snips"),
        ("owner/name:train@main", "name"),
        (["a/part_1.csv", "a/part_2.csv"], "part"),
        (["reviews/train.csv", "reviews/dev.csv"], "reviews"),
        (["x.csv", "other.csv"], "x"),
    ],
)
def test_runs_are_called_by_what_the_data_is_about(source, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews" / "dataset").mkdir(parents=True)
    for one in [source] if isinstance(source, str) else source:
        path = tmp_path / one.partition(":")[0]
        if path.suffix:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("text\n")
    assert run_name(source) == name


def test_a_file_in_the_working_directory_is_called_by_that(tmp_path, monkeypatch):
    (tmp_path / "film reviews").mkdir()
    monkeypatch.chdir(tmp_path / "film reviews")
    (tmp_path / "film reviews" / "train.csv").write_text("text\n")
    assert run_name("train.csv") == "film reviews"


@pytest.mark.parametrize("place", ["data.encoding", "encoding"])
def test_that_there_is_no_encoding_is_said(place):
    with pytest.raises(BadInput, match=f"{place}: there is no such key, as files are read as UTF-8"):
        resolve(override(GOOD, [f"{place}=cp1252"]), overrides=[f"{place}=cp1252"])


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("epochs=3", "training.epochs=3"),
        ("lr=0.01", "training.learning_rate=0.01"),
        ("layers=3", "student.layers=3"),
        ("training.hidden_size=96", "student.hidden_size=96"),
        ("max_length=64", "trunk.max_length=64"),
        ("model=minilm", "trunk=minilm"),
    ],
)
def test_a_misplaced_key_of_a_distillation_is_told_where_it_belongs_and_the_hint_works(given, meant):
    good = {"student": {"layers": 3}, "data": {"train": "snips"}}
    with pytest.raises(BadInput) as refused:
        resolve_distillation(override(good, (given,)), overrides=(given,))
    assert str(refused.value).endswith(f"did you mean {meant}?")
    resolve_distillation(override(good, (meant,)), overrides=(meant,))


@pytest.mark.parametrize("given", ["dim=64", "patience=3", "training.patience=3", "data.rows=9"])
def test_a_key_that_a_distillation_does_not_have_is_not_sent_elsewhere(given):
    with pytest.raises(BadInput, match=r"unknown name .* expected one of"):
        resolve_distillation(override({"student": {"layers": 3}, "data": {"train": "snips"}}, (given,)), overrides=(given,))


def test_the_config_of_a_distillation_is_sent_to_its_command(tmp_path):
    config = tmp_path / "student.yaml"
    config.write_text("student: {layers: 3}\ndata: {train: snips}\n")
    with pytest.raises(BadInput, match=r"the config of a distillation, expected that of a run; trunkline distill or.*takes it"):
        load_config(config)


def test_the_config_of_a_run_is_sent_to_fit(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(GOOD))
    with pytest.raises(BadInput, match="the config of a run, expected that of a distillation; trunkline fit takes it"):
        load_distillation(config)
