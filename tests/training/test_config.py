import json
import re
from pathlib import Path

import pytest
import yaml

from trunkline.branches import methods
from trunkline.errors import BadInput, TrunklineError
from trunkline.training.config import load_config, resolve
from trunkline.training.fit import fit
from trunkline.training.overrides import override

GOOD = {
    "trunk": "minilm",
    "data": {"train": "snips", "validation": "10%", "test": "snips:test"},
    "tasks": {"intent": {"kind": "sequence", "label": "label"}},
    "method": {"name": "adalayers", "dim": 32},
}


def with_(**changes):
    return override(GOOD, [f"{key.replace('__', '.')}={value}" for key, value in changes.items()])


def test_resolving_fills_defaults_and_a_resolved_config_resolves_to_itself():
    config = resolve(GOOD)
    assert config.trunk.name == "minilm" and config.data.validation == 0.1 and config.method.dim == 32
    again = resolve(yaml.safe_load(yaml.safe_dump(config.as_dict())))
    assert again.as_dict() == config.as_dict() and again.identity() == config.identity()


def test_identity_changes_with_any_value():
    assert resolve(GOOD).identity() != resolve(with_(training__seed=1)).identity()
    assert resolve(GOOD).identity() != resolve(with_(method__dim=64)).identity()


def test_the_identity_of_an_older_run_with_a_device_is_known_again():
    section = {"trunk": {"name": "minilm", "device": "cpu"}, "method": "probe"}
    section["training"] = {"epochs": 3, "batch_tokens": 2048, "learning_rate": 1e-3, "patience": None}
    config = resolve({"data": {"train": "snips"}, "tasks": GOOD["tasks"], **section})
    # As commit e8ad30c computed it.
    assert config.identity(older=True) == "032e67a4dfd5664ae7b6951cfc7e02de92538e6b91f0c4e011d47e81352eb1d9"


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"training__epoch": 3}, ["training.epoch", "did you mean 'epochs'"]),
        ({"method__dimension": 3}, ["method.dimension"]),
        ({"method__name": "adalayer"}, ["method.name", "did you mean 'adalayers'"]),
        ({"tasks__intent__kind": "sequences"}, ["tasks.intent.kind", "did you mean 'sequence'"]),
        ({"tasks__intent__lable": "x"}, ["tasks.intent.lable", "did you mean 'label'?"]),
        ({"training__epochs": "many"}, ["training.epochs: found 'many', expected a whole number"]),
        ({"training__epochs": 1.5}, ["training.epochs: found 1.5, expected a whole number"]),
        ({"training__epochs": "null"}, ["training.epochs: found null, expected a whole number"]),
        ({"training__optimizer": "sgd"}, ["training.optimizer: found 'sgd', expected 'adamw' or 'adam'"]),
        ({"training__evaluate_every": "x"}, ["training.evaluate_every: found 'x', expected 'epoch' or a whole number"]),
        ({"data__train": "[snips, 1]"}, ["data.train.1: found 1, expected a string"]),
        ({"data__train": 3}, ["data.train: found 3, expected a string or a list"]),
        ({"training": "[1]"}, ["training: found a list, expected a section"]),
        ({"tasks": "{}"}, ["tasks: found 0 of them, expected at least 1"]),
        (
            {"tasks__intent__class_weights": "{a: -1}"},
            ["tasks.intent.class_weights.a: found -1, expected a number greater than 0"],
        ),
        ({"training__learning_rate": -1}, ["training.learning_rate: found -1, expected a number greater than 0"]),
        ({"data__validation": "150%"}, ["data.validation", "between 0% and 100%"]),
        ({"trainin": 3}, ["trainin", "did you mean 'training'"]),
        ({"tasks": {"Intent": {}, "intent": {}}}, ["tasks: found 'Intent' and 'intent'"]),
        ({"tasks": {"../intent": {}}}, ["tasks: found the name '../intent'"]),
        ({"preset": "adalayers-imbd"}, ["preset", "did you mean 'adalayers-imdb'"]),
        ({"training__learning_rate": ".inf"}, ["training.learning_rate", "finite"]),
        ({"training__evaluate_every": 0}, ["training.evaluate_every", "at least 1"]),
    ],
)
def test_a_wrong_key_or_value_is_one_sentence_that_names_it(changes, parts, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(with_(**changes)))
    with pytest.raises(BadInput) as error:
        load_config(file)
    message = str(error.value)
    assert "\n" not in message and str(file) in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"method": "{name: probe, alpha: 3}"},
            r"method.alpha: not a key of probe but of .*adalayers.*; the keys of probe are dropout, layer, pooling",
        ),
        (
            {"method": "{name: probe, layers: [1]}"},  # probe has a key "layer", but these are another method's
            r"method.layers: not a key of probe but of .*adalayers.*; did you mean 'layer'\?; the keys of probe are dropout, ",
        ),
        ({"method": "{name: probe, lyer: 1}"}, r"method.lyer: unknown name 'lyer'; did you mean 'layer'\?"),
        (
            {"method": "{name: probe, whatever: 1}"},
            "method.whatever: not a key of probe; the keys of probe are dropout, layer, pooling",
        ),
        ({"method": "{name: auto, whatever: 1}"}, "method.whatever: not a key of auto, which has none$"),
        (
            {"tasks__intent": "{kind: regression, target: y, label_list: [a]}"},
            "tasks.intent.label_list: not a key of regression but of multilabel and sequence and token; "
            "the keys of regression are .*metric, .*target",
        ),
    ],
)
def test_a_key_of_another_method_or_kind_is_told_whose_it_is(changes, sentence):
    with pytest.raises(BadInput, match=f"^run.yaml: {sentence}"):
        resolve(with_(**changes), "run.yaml")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["training.epochs=abc"], "override 'training.epochs=abc': training.epochs: found 'abc', expected a whole number"),
        (["training.epochs=3", "training.epochs=x"], "override 'training.epochs=x': training.epochs: found 'x'"),
        (["training.epoch=3"], "override 'training.epoch=3': training.epoch: unknown name 'epoch'; did you mean 'epochs'?"),
        (["method.name=prob"], "override 'method.name=prob': method.name: unknown name 'prob'; did you mean 'probe'?"),
        (["method={name: probe, alpha: 1}"], "override 'method={name: probe, alpha: 1}': method.alpha: not a key of probe"),
        (["method.name=probe"], "FILE: method.dim: not a key of probe but of "),
        (["preset=x"], "override 'preset=x': preset: unknown name 'x'"),
        (["training.seed=-1"], "override 'training.seed=-1': training.seed: found -1, expected a number greater than or equal"),
        (["training.epochs=[1"], "override 'training.epochs=[1': not YAML: "),
        (["method={dim: 1, dim: 2}"], "override 'method={dim: 1, dim: 2}': found the key 'dim' twice"),
        (["training.epochs"], "override 'training.epochs': expected key.sub=value"),
        (
            ["method.alpha=0.5", "training.seed=1", "method=probe"],
            "override 'method=probe': replaces what the override 'method.alpha=0.5' has set; give it first",
        ),
        (["training.loss_weights.a=1", "training={epochs: 3}"], "override 'training={epochs: 3}': replaces what the override"),
        (["trunk.name=x", "trunk=minilm"], "override 'trunk=minilm': replaces what the override 'trunk.name=x' has set"),
        (
            ["training.loss_weights.intent=-2"],
            "override 'training.loss_weights.intent=-2': training.loss_weights.intent: found -2",
        ),
        (
            ["training.loss_weights.intent=.inf"],
            "override 'training.loss_weights.intent=.inf': training.loss_weights.intent: found",
        ),
    ],
)
def test_what_is_wrong_with_an_override_names_the_override(overrides, sentence, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(GOOD))
    with pytest.raises(BadInput) as error:
        load_config(file, overrides)
    assert str(error.value).startswith(sentence.replace("FILE", str(file)))


@pytest.mark.parametrize(
    ("text", "line", "key", "first"),
    [
        ("data: {train: a}\ntasks: {}\ndata: {train: b}\n", 3, "data", 1),
        ("data:\n  train: a\n  # again\n  train: a\n", 4, "train", 2),
        ("method: {name: probe,\n  name: probe}\n", 2, "name", 1),
        ("tasks:\n- {'a b': 1, \"a b\": 2}\n", 2, "a b", 2),
    ],
)
def test_a_key_given_twice_is_refused_with_its_line(text, line, key, first, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(BadInput) as error:
        load_config(file)
    assert (
        str(error.value) == f"{file} line {line}: found the key {key!r} twice (first in line {first}), expected each key once"
    )


def test_merged_keys_may_be_given_again(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "data: {train: snips}\ntasks:\n  intent: &task {kind: sequence, label: label}\n  other: {<<: *task, label: mood}\n"
    )
    assert load_config(file).tasks["other"].label == "mood"


def test_aliases_that_stand_for_more_than_fits_anywhere_are_refused_at_once(tmp_path):
    file = tmp_path / "run.yaml"
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40))]
    file.write_text("\n".join(lines))
    with pytest.raises(BadInput, match=r"run.yaml line 6: found aliases that repeat more than 100,000 values, expected fewer"):
        load_config(file)
    file.write_text("data: {train: snips}\ntasks: &all\n  intent: *all\n")
    with pytest.raises(BadInput, match=r"run.yaml line 3: found \*all within &all, expected it outside"):
        load_config(file)


@pytest.mark.parametrize(
    ("key", "value", "what", "command"),
    [
        ("methods", {"probe": None}, "study", "compare"),
        ("study", {"seeds": 1}, "study", "compare"),
        ("sweep", {"space": {"learning_rate": [0.1]}}, "sweep", "sweep"),
    ],
)
def test_the_config_of_a_study_or_a_sweep_is_sent_to_its_command(key, value, what, command, tmp_path):
    file, tasks = tmp_path / "mine.yaml", {"intent": {"kind": "sequence", "label": "label"}}
    file.write_text(json.dumps({"data": {"train": "snips"}, "tasks": tasks, key: value}))
    takes = "trunkline compare or, in Python, trunkline.compare" if command == "compare" else f"trunkline {command}"
    said = f"{key}: found the config of a {what}, expected that of a run; {takes} takes it$"
    with pytest.raises(BadInput, match=f"mine.yaml: {said}"):
        load_config(file)
    with pytest.raises(BadInput, match=f"^config: {said}"):
        fit({"data": {"train": "snips"}, "tasks": tasks, key: value})


def test_a_config_that_cannot_be_read_is_told_as_it_is(tmp_path):
    """One sentence, with what was found and expected, whatever the reason."""
    there, gone, loop, latin = (tmp_path / f"{name}.yaml" for name in ("there", "gone", "loop", "latin"))
    there.symlink_to(gone)
    loop.symlink_to(loop)
    latin.write_bytes(b"trunk: \xe9")
    long = tmp_path / f"{'x' * 300}.yaml"
    for path, said in (
        (there, f"{there}: found a link to {gone}, which does not exist; expected a YAML config"),
        (gone, f"{gone}: no such file; expected a YAML config"),
        (loop, f"{loop}: cannot be read (Too many levels of symbolic links); expected a YAML config"),
        (latin, f"{latin}: cannot be read as UTF-8 text (UnicodeDecodeError)"),
        (long, f"'{'x' * 40}'...: found a name of 305 bytes, expected at most 255"),
        (Path("y/" * 2500) / "c.yaml", f"'{'y/' * 20}'...: found a path of 5006 bytes, expected at most 4095"),
    ):
        with pytest.raises(BadInput) as found:
            load_config(path)
        assert str(found.value) == said


@pytest.mark.parametrize("kind", [BadInput, TrunklineError])
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"key": "method.layers", "found": "layer 99"}, "run.yaml: method.layers: found layer 99"),
        ({"key": "method.heads", "problem": "odd"}, "override 'method.heads=3': method.heads: odd"),
        ({"key": "tasks.intent.label_list", "found": "'a: b' twice"}, "run.yaml: tasks.intent.label_list: found 'a: b' twice"),
        ({"key": "device", "found": "'tpu9'"}, "run.yaml: trunk.device: found 'tpu9'"),
        ({"key": "training.loss_weights.slot", "problem": "unknown"},
         "override 'training.loss_weights.slot=2': training.loss_weights.slot: unknown"),
        ({"key": "training.loss_weights.slots", "problem": "unknown"}, "run.yaml: training.loss_weights.slots: unknown"),
        ({"problem": "tasks.csv: no rows found"}, "tasks.csv: no rows found"),
        ({"where": "other.json", "key": "method.layers", "found": "layer 99"}, "other.json: method.layers: found layer 99"),
        ({"key": "trunk", "found": "'nosuch'", "problem": "none"}, "override 'trunk.name=nosuch': trunk.name 'nosuch': none"),
        ({"key": "trunk", "found": "'another'", "problem": "none"}, "trunk 'another': none"),
    ],
)  # fmt: skip
def test_a_key_that_fits_not_the_trunk_or_the_data_is_told_where_it_was_given(kind, said, expected):
    overrides = ["method.heads=3", "training.loss_weights.slot=2", "trunk.name=nosuch"]
    config = resolve(with_(method__layers="[1, 99]", trunk="nosuch"), "run.yaml", overrides=overrides)
    with pytest.raises(TrunklineError) as error, config.naming():
        raise kind(**said)
    assert type(error.value) is kind and str(error.value) == expected


def test_both_batch_measures_are_refused_and_one_replaces_the_other():
    assert resolve(with_(training__batch_size=16)).training.batch_tokens is None
    with pytest.raises(BadInput, match="not both"):
        resolve(with_(training__batch_size=16, training__batch_tokens=100))


@pytest.mark.parametrize("name", ["batch_size", "batch_tokens"])
def test_an_override_of_one_batch_measure_replaces_the_other_of_the_config(name):
    given = {**GOOD, "training": {"batch_tokens": 512}} if name == "batch_size" else {**GOOD, "training": {"batch_size": 8}}
    found = resolve(override(given, ["training.epochs=3", f"training.{name}=16"])).training
    assert (found.batch_size, found.batch_tokens) == ((16, None) if name == "batch_size" else (None, 16))
    for overrides in (
        ["training.batch_size=16", "training.batch_tokens=64"],
        ["training.batch_tokens=64", "training.batch_size=16"],
    ):
        with pytest.raises(BadInput, match="give batch_tokens or batch_size, not both"):
            resolve(override(given, overrides))
    with pytest.raises(BadInput, match="not both"):
        resolve({**GOOD, "training": {"batch_tokens": 64, "batch_size": 16}})
    assert resolve(override(given, ["training.batch_size=null"])).training.batch_tokens in (512, None)


def test_a_batch_measure_of_the_config_replaces_that_of_a_preset():
    found = resolve(
        {**{k: v for k, v in GOOD.items() if k != "method"}, "preset": "adalayers-cola", "training": {"batch_tokens": 64}}
    )
    assert (found.training.batch_size, found.training.batch_tokens) == (None, 64)


SPELLED = ["no", "yes", "NA", "01", "1.0", "2020-01-01", "null", "~", "1e3", "0x1F", "on", "1_000", "12:30", "True"]


@pytest.mark.parametrize("key", ["label_list", "missing", "class_weights"])
def test_labels_in_yaml_are_what_is_written(key, tmp_path):
    weights = "{" + ", ".join(f"{label}: {i + 1}" for i, label in enumerate(SPELLED)) + "}"
    text = weights if key == "class_weights" else "[" + ", ".join(SPELLED) + "]"
    (tmp_path / "run.yaml").write_text(
        f"data: {{train: snips}}\ntasks:\n  t: {{kind: sequence, label: label, {key}: {text}}}\n"
    )
    (tmp_path / "bare.yaml").write_text("data: {train: snips}\ntasks:\n  t: {kind: sequence, label: label}\n")
    for config in (load_config(tmp_path / "run.yaml"), load_config(tmp_path / "bare.yaml", [f"tasks.t.{key}={text}"])):
        assert list(getattr(config.tasks["t"], key)) == SPELLED
        if key == "class_weights":
            assert list(config.tasks["t"].class_weights.values()) == list(range(1, len(SPELLED) + 1))
        saved = tmp_path / "saved.yaml"
        saved.write_text(yaml.safe_dump(config.as_dict()))
        assert load_config(saved).as_dict() == config.as_dict()


def test_names_of_columns_in_yaml_are_what_is_written_and_null_is_nothing(tmp_path):
    (tmp_path / "run.yaml").write_text(
        "data: {train: snips, text: 2020, text_pair: null, missing: [NA, no]}\n"
        "tasks:\n  a: {kind: sequence, label: no, label_list: null, class_weights: {yes: 1}}\n"
        "  b: {kind: multilabel, labels: [01, y, 1.0]}\n  c: {kind: regression, target: 2020-01-01}\n"
    )
    config = load_config(tmp_path / "run.yaml", ["tasks.a.class_weights.no=2", "tasks.c.target=007"])
    assert (config.data.text, config.data.text_pair, config.data.missing) == ("2020", None, ["NA", "no"])
    assert config.tasks["a"].label == "no" and config.tasks["a"].label_list is None
    assert config.tasks["a"].class_weights == {"yes": 1, "no": 2}
    assert config.tasks["b"].labels == ["01", "y", "1.0"] and config.tasks["c"].target == "007"


def test_keys_that_came_later_change_no_identity_unless_they_say_something():
    values = {**GOOD, "tasks": {**GOOD["tasks"], "m": {"kind": "multilabel", "labels": "l", "data": {"train": "snips"}}}}
    plain = resolve(values)
    assert resolve(override(values, ["data.missing=null", "tasks.m.label_list=null"])).identity() == plain.identity()
    changes = ["data.missing=[]", "tasks.m.missing=[x]", "tasks.m.label_list=[x]", "tasks.m.data.missing=[x]"]
    assert len({plain.identity(), *(resolve(override(values, [change])).identity() for change in changes)}) == 5


def test_later_keys_of_methods_and_heads_change_no_identity_either():
    # As commit dedbfd7 computed them, which had no depth_penalty.
    assert resolve(GOOD).identity() == "eaa742dba5a1869add071b1763fa842f8829033e59e093e02afb6b44458a3124"
    tuned = resolve({**GOOD, "method": {"name": "lora", "head": {"name": "scalar_mix"}}})
    assert tuned.identity() == "0ae6eba019548dbbd9947859c931b8b9f64614a22f7bcccef999ead80c16d832"
    assert resolve(with_(method__depth_penalty=0.1)).identity() != resolve(GOOD).identity()


@pytest.mark.parametrize(
    ("method", "rate"),
    [
        ({}, 1e-3),
        ({"method": {"dim": 8}}, 1e-3),
        ({"method": "probe"}, 1e-2),
        ({"method": "lora"}, 5e-4),
        ({"method": {"name": "full", "head": "probe"}}, 5e-5),
        ({"method": "full", "training__learning_rate": 3e-4}, 3e-4),
    ],
)
def test_the_rate_is_the_methods_own_unless_it_is_given(method, rate):
    config = resolve(with_(**method))
    assert config.training.learning_rate == rate
    assert resolve(config.as_dict()).training.learning_rate == rate
    assert resolve(with_(training__learning_rate="null")).training.learning_rate == 1e-3


def test_every_method_has_a_rate_and_the_docs_show_it():
    page = (Path(__file__).parents[2] / "docs" / "config.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^\| `(\w+)` \| ([\d.e-]+) \|$", page, re.MULTILINE))
    rates = {name: methods.get(name).Config.LEARNING_RATE for name in methods.names()}
    assert [name for name, rate in rates.items() if rate is None] == ["auto"]  # whose candidates have rates of their own
    assert {name: float(rate) for name, rate in shown.items()} == {
        name: rate for name, rate in rates.items() if rate is not None
    }


def test_missing_file_broken_yaml_and_wrong_top_level(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("tasks: {a: b\nc")
    with pytest.raises(BadInput, match=r"broken.yaml line \d+: not YAML"):
        load_config(tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    with pytest.raises(BadInput, match="expected a mapping"):
        load_config(tmp_path / "list.yaml")


# What a config says, where the path lies in the resolved one, and overrides that say the same.
TASK = {"kind": "sequence", "label": "label", "data": {"train": "PATH"}}
PLACES = {
    "train": ({"data": {"train": "PATH"}}, lambda c: c.data.train, ["data.train=PATH", "data={train: PATH}"]),
    "list": ({"data": {"train": ["PATH"]}}, lambda c: c.data.train[0], ["data.train=[PATH]"]),
    "test": ({"data": {"train": "snips", "test": "PATH"}}, lambda c: c.data.test, ["data.test=PATH"]),
    "task": (
        {"tasks": {"intent": TASK}},
        lambda c: c.tasks["intent"].data.train,
        ["tasks.intent.data.train=PATH", "tasks.intent.data={train: PATH}"],
    ),
    "trunk": ({"trunk": "PATH"}, lambda c: c.trunk.name, ["trunk=PATH", "trunk.name=PATH"]),
    "start": (
        {"method": {"name": "adapter", "start": "PATH"}},
        lambda c: c.method.start,
        ["method.start=PATH", "method={name: adapter, start: PATH}"],
    ),
    "stack_on": (
        {"method": {"name": "adapter", "stack_on": "PATH"}},
        lambda c: c.method.stack_on,
        ["method.stack_on=PATH"],
    ),
    "adapters": (
        {"method": {"name": "fusion", "adapters": ["PATH"]}},
        lambda c: c.method.adapters[0],
        ["method.adapters=[PATH]", "method={name: fusion, adapters: [PATH]}"],
    ),
    "named": (
        {"method": {"name": "fusion", "adapters": {"a": "PATH"}}},
        lambda c: c.method.adapters["a"],
        ["method.adapters.a=PATH", "method.adapters={a: PATH}"],
    ),
}


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A config's folder and the working directory: both hold a folder called `there`, each one of its own too."""
    for name in ("configs/there", "configs/with", "here/there", "here/without"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "configs", tmp_path / "here"


@pytest.mark.parametrize("key", PLACES)
def test_a_path_in_a_file_is_relative_to_the_file(key, folders):
    values, found, _ = PLACES[key]
    for typed in ("there", "with", "../configs/with", str(folders[1] / "without")):
        (folders[0] / "run.yaml").write_text(json.dumps(GOOD | values).replace("PATH", typed))
        assert found(load_config(folders[0] / "run.yaml")) == str((folders[0] / typed).resolve())


@pytest.mark.parametrize("key", PLACES)
def test_a_path_in_an_override_is_relative_to_the_working_directory(key, folders):
    values, found, overrides = PLACES[key]
    (folders[0] / "run.yaml").write_text(json.dumps(GOOD | values).replace("PATH", "with"))
    for typed in ("there", "without", "../configs/with"):
        for text in overrides:
            config = load_config(folders[0] / "run.yaml", [text.replace("PATH", typed)])
            assert found(config) == str((folders[1] / typed).resolve()), text


def test_a_split_of_a_saved_folder_and_a_home_directory_are_paths_too(folders, monkeypatch):
    monkeypatch.setenv("HOME", str(folders[1]))
    (folders[0] / "run.yaml").write_text(json.dumps({**GOOD, "data": {"train": "with:train", "test": "~/without:test"}}))
    data = load_config(folders[0] / "run.yaml").data
    assert (data.train, data.test) == (f"{folders[0]}/with:train", f"{folders[1]}/without:test")


def test_the_last_path_given_counts_and_others_stay_relative_to_the_file(folders):
    values = {"method": {"name": "fusion", "adapters": {"a": "there", "b": "there"}, "stack_on": "there"}}
    (folders[0] / "run.yaml").write_text(json.dumps(GOOD | values))
    config = load_config(folders[0] / "run.yaml", ["method.adapters.a=with", "method.adapters.a=without", "training.seed=2"])
    here, there = str(folders[1] / "without"), str(folders[0] / "there")
    assert (config.method.adapters, config.method.stack_on) == ({"a": here, "b": there}, there)


def test_what_is_no_path_stays_as_it_is(folders):
    (folders[0] / "snips").mkdir()  # the embedded set goes first, as everywhere
    data = {"train": ["snips", "owner/name"], "validation": "10%", "test": "snips:test"}
    (folders[0] / "run.yaml").write_text(json.dumps({**GOOD, "trunk": "owner/trunk", "data": data}))
    config = load_config(folders[0] / "run.yaml")
    assert (config.trunk.name, config.data.train) == ("owner/trunk", ["snips", "owner/name"])
    assert (config.data.validation, config.data.test) == (0.1, "snips:test")


def test_a_file_that_is_missing_beside_the_config_is_not_looked_for_elsewhere(folders):
    (folders[1] / "rows.csv").write_text("text,label\na,b\n")
    (folders[0] / "run.yaml").write_text(json.dumps({**GOOD, "data": {"train": "rows.csv", "test": "data/rows.jsonl.gz"}}))
    data = load_config(folders[0] / "run.yaml").data
    assert (data.train, data.test) == (str(folders[0] / "rows.csv"), str(folders[0] / "data/rows.jsonl.gz"))


DRAWS = "a number of rows from 1 on, or of rows per class such as '8 per class'"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("training.epochs", "true", "found true, expected a whole number"),
        ("training.epochs", "False", "found false, expected a whole number"),
        ("training.learning_rate", "true", "found true, expected a number"),
        ("training.patience", "yes", "found true, expected a whole number"),
        ("training.evaluate_every", "true", "found true, expected 'epoch' or a whole number"),
        ("training.loss_weights.intent", "true", "found true, expected a number"),
        ("trunk.max_length", "true", "found true, expected a whole number"),
        ("data.rows", "true", f"found true, expected {DRAWS}"),
        ("data.validation", "true", "found true, expected a string or a list or a number"),
        ("tasks.intent.data.rows", "true", f"found true, expected {DRAWS}"),
        ("tasks.intent.gamma", "true", "found true, expected a number"),
        ("tasks.intent.class_weights.a", "true", "found true, expected a number"),
        ("method.dim", "true", "found true, expected a whole number"),
        ("method.layers", "[1, true]", "found true, expected a whole number"),
        ("method", "{name: lora, r: true}", "found true, expected a whole number"),
        ("method", "{name: lora, head: {name: probe, dropout: true}}", "found true, expected a number"),
    ],
)
def test_true_and_false_are_no_numbers(key, value, expected, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(GOOD | {"tasks": {"intent": {**GOOD["tasks"]["intent"], "data": {"train": "snips"}}}}))
    with pytest.raises(BadInput) as error:
        load_config(file, [f"{key}={value}"])
    told = str(error.value)
    assert told.startswith(f"override '{key}={value}': {key}") and told.endswith(f": {expected}") and "\n" not in told


def test_true_and_false_are_what_they_are_where_they_are_meant():
    assert resolve(with_(method__positions="true")).method.positions is True
    assert resolve(with_(method="{name: scalar_mix, layer_norm: yes}")).method.layer_norm is True
    assert resolve(with_(method="{name: lora, dora: true}")).method.dora is True
    peft = with_(method="{name: peft, method: LOHA, parameters: {rank_dropout: 0.1, use_effective_conv2d: true}}")
    assert resolve(peft).method.parameters["use_effective_conv2d"] is True


def test_scientific_notation_without_a_dot_is_a_number(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(GOOD) + "training: {learning_rate: 1e-3}\n")
    assert load_config(file).training.learning_rate == 1e-3
    assert load_config(file, ["training.learning_rate=2e-4"]).training.learning_rate == 2e-4


IMDB = {"dim": 64, "alpha": 70, "cutoff": 5e-3, "heads": 16, "entropy": 0, "positions": False, "dropout": 0.3}
COLA = {"dim": 64, "alpha": 64, "cutoff": 1e-2, "heads": 8, "entropy": 0, "positions": True, "dropout": 0.3}
CONLL = {"dim": 128, "alpha": 128, "cutoff": 1e-2, "heads": 8, "entropy": 1e-3, "positions": True, "dropout": 0.2}


@pytest.mark.parametrize(
    ("preset", "method", "training"),
    [
        ("adalayers-imdb", IMDB, {"batch_size": 1200, "weight_decay": 1e-3, "plateau_patience": 5}),
        ("adalayers-cola", COLA, {"batch_size": 600, "weight_decay": 0, "plateau_patience": 25}),
        ("adalayers-conll", CONLL, {"batch_size": 356, "weight_decay": 1e-3, "plateau_patience": 16}),
    ],
)
def test_presets_hold_the_published_hyperparameters_and_give_way_to_the_config(preset, method, training):
    """Dropout is that of the configs in the published code, with one rate for all places (0.03 in the document's table)."""
    rate = method["dropout"]
    method = {**method, "feature_dropout": rate, "position_dropout": rate if method["positions"] else 0.0}
    values = {key: value for key, value in GOOD.items() if key != "method"}
    config = resolve({**values, "preset": preset})
    for key, value in method.items():
        assert getattr(config.method, key) == value
    for key, value in {**training, "optimizer": "adam", "schedule": "plateau", "learning_rate": 1e-4}.items():
        assert getattr(config.training, key) == value
    own = resolve({**values, "preset": preset, "method": {"name": "adalayers", "dim": 48, "heads": 4}})
    assert own.method.dim == 48 and own.method.alpha == method["alpha"]


def test_a_date_as_a_name_is_a_sentence_and_not_a_crash(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("data: {train: snips}\ntasks:\n  2024-01-01: {kind: sequence, label: label}\n")
    with pytest.raises(BadInput, match=r"run.yaml: tasks.*: found datetime.date\(2024, 1, 1\), expected a string"):
        load_config(file)


@pytest.mark.parametrize(
    ("task", "key"),
    [
        ({"kind": "sequence", "label": "body"}, "label"),
        ({"kind": "sequence", "label": "other"}, "label"),
        ({"kind": "multilabel", "labels": "body"}, "labels"),
        ({"kind": "regression", "target": "body"}, "target"),
    ],
)
def test_the_texts_are_no_labels(task, key):
    data = {"train": "snips", "text": "body", "text_pair": "other"}
    with pytest.raises(
        BadInput, match=rf"tasks\.t\.{key}: found '(body|other)', the column of the texts, expected a column of"
    ):
        resolve({"data": data, "tasks": {"t": task}})
    words = {"kind": "multilabel", "labels": "body", "separator": " "}  # the words of a text, on purpose
    assert resolve({"data": data, "tasks": {"t": words}}).tasks["t"].separator == " "


def test_an_override_with_null_drops_a_task():
    values = {
        "data": {"train": "a.csv"},
        "tasks": {"a": {"kind": "sequence", "label": "a"}, "b": {"kind": "sequence", "label": "b"}},
    }
    assert list(override(values, ["tasks.b.metric=accuracy", "tasks.a=null"])["tasks"]) == ["b"] and len(values["tasks"]) == 2
    with pytest.raises(BadInput, match=r"override 'tasks\.c=null': tasks\.c: unknown name 'c'; expected one of a, b"):
        override(values, ["tasks.c=null"])
