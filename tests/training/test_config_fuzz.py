"""Whatever a config holds, it is resolved or refused in one sentence."""

from __future__ import annotations

import copy
import datetime

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trunkline.branches import methods
from trunkline.errors import BadInput
from trunkline.tasks import kinds
from trunkline.training.config import RunConfig, load_config, resolve
from trunkline.training.overrides import override

CONFIG = {
    "trunk": {"name": "minilm", "max_length": 20},
    "data": {"train": "snips", "validation": "10%", "test": ["a.csv", "b.csv"], "rows": 5},
    "tasks": {
        "a": {"kind": "sequence", "label": "intent", "label_list": ["a", "b"], "data": {"train": "snips"}},
        "b": {"kind": "token", "tokens": "tokens", "tags": "tags"},
        "c": {"kind": "multilabel", "labels": "l"},
        "d": {"kind": "regression", "target": "t"},
    },
    "method": {"name": "adalayers", "layers": [0, 1]},
    "training": {"epochs": 2, "loss_weights": {"a": 1.0}, "order": ["a"]},
}
METHODS = [
    {"name": "adalayers", "layers": [0, 1]}, {"name": "single_layer"}, {"name": "scalar_mix"}, {"name": "probe"},
    {"name": "ladder"}, {"name": "routing"}, {"name": "ensemble", "members": ["probe", {"name": "ladder"}], "weights": [1, 2]},
    {"name": "variability"}, {"name": "head2toe"},
    {"name": "lora", "head": {"name": "probe"}, "targets": ["q"]}, {"name": "adapter", "stack_on": None},
    {"name": "fusion", "adapters": ["x"]}, {"name": "peft", "method": "VERA", "parameters": {"r": 4}}, {"name": "full"},
    {"name": "bitfit"}, {"name": "layernorm"}, {"name": "ia3"}, {"name": "prompt"}, {"name": "prefix"},
]  # fmt: skip
EXTREMES = [
    None, [], {}, [None], [[]], {"a": 1}, {"name": ["a"]}, {"name": {}}, {"kind": ["a"]}, {1: 2}, {None: None}, 0, -1, 2**33,
    -(10**30), 10**1000, 1e308, float("inf"), float("nan"), 0.5, True, "", " ", "\0", "a/b", "..", "50%", "1e999",
    "9" * 400 + "%", "x" * 10_000,
    "\ud800", "[/b]", "a\nb", "~nobody/x", b"bytes", datetime.date(2020, 1, 1), ["snips", 3], (1, 2), {1},
    {"name": "lora", "head": {"name": "lora"}},
]  # fmt: skip


def places(config):
    """The path of every key that a config may have, whatever stands there in CONFIG."""

    def below(value, path):
        yield path
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in items:
            yield from below(inner, (*path, key))

    for section in RunConfig.model_fields:
        fields = getattr(RunConfig.model_fields[section].annotation, "model_fields", {})
        yield from ((section, key) for key in fields)
        yield from below(config.get(section), (section,))
    for name, task in config["tasks"].items():
        yield from (("tasks", name, key) for key in kinds.get(task["kind"]).Config.model_fields)
    yield from (("method", key) for key in methods.get(config["method"]["name"]).Config.model_fields)
    yield from [("preset",), ("nokey",), (3,), ("tasks", 3), ("tasks", "x\ny"), ("method", None), ("training", "\x1b")]


def changed(config, path, value):
    config = copy.deepcopy(config)
    place = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return config


def resolved_or_refused(make):
    try:
        config = make()
        config.identity()
        yaml.safe_dump(config.as_dict()).encode()  # what a run writes
    except BadInput as error:
        said = str(error)
        assert said.isprintable() and len(said) < 1000 and said.encode()


ALL = []
for method in METHODS:
    config = CONFIG | {"method": method}
    ALL += [(config, path) for path in dict.fromkeys(places(config)) if method is METHODS[0] or path[0] == "method"]
STEP = 4  # a place in four for each, other ones for the next


@pytest.mark.parametrize("number", range(len(EXTREMES)))
def test_keys_with_extremes_are_resolved_or_refused(number):
    for config, path in ALL[number % STEP :: STEP]:
        resolved_or_refused(lambda c=config, p=path: resolve(changed(c, p, copy.deepcopy(EXTREMES[number]))))


YAMLS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(EXTREMES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(ALL), YAMLS)
@settings(max_examples=50, deadline=None)
def test_any_value_anywhere_is_resolved_or_refused(where, value):
    resolved_or_refused(lambda: resolve(changed(*where, value)))


@given(st.text(max_size=60) | st.binary(max_size=60))
@example("[" * 1500)
@example("&a [*a]")
@example("tasks: &a {b: *a}")
@example("seed: 2020-99-99")
@example("seed: " + "1" * 5000)
@example("!!binary x")
@example("a: !!python/object:os.system {}")
@example("\x00")
@settings(max_examples=50, deadline=None)
def test_any_file_is_a_config_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    resolved_or_refused(lambda: load_config(path))


@given(st.text(max_size=30), st.text(max_size=30))
@example("training", "[[[")
@example("training.seed", "8589934592")
@example("tasks.a", "3")
@example("tasks.a.label.b", "3")
@example("..", "3")
@example("method.name", "[a]")
@settings(max_examples=50, deadline=None)
def test_any_override_is_applied_or_refused(key, value):
    resolved_or_refused(lambda: resolve(override(copy.deepcopy(CONFIG), [f"{key}={value}"]), overrides=[f"{key}={value}"]))


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"training": {"seed": 8589934592}}, "training.seed: found 8589934592, expected a number of at most 32 bits"),
        ({"method": {"name": ["a"]}}, "method.name: unknown name a list; expected one of adalayers, "),
        ({"tasks": {"a": {"kind": ["a"]}}}, "tasks.a.kind: unknown name a list; expected one of multilabel, "),
        ({"preset": ["a"]}, "preset: unknown name a list; expected one of adalayers-cola, "),
        ({"data": {"train": "x" * 10_000}}, f"data.train: found '{'x' * 37}...', expected a path or a name"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_ended_in_a_traceback_is_one_sentence(section, said):
    with pytest.raises(BadInput) as error:
        resolve(CONFIG | section)
    assert str(error.value).startswith(f"config: {said}")
