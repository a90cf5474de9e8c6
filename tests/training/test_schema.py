"""The JSON schema accepts what the check of the config accepts, and refuses what it refuses, as far as a schema can say it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from trunkline.branches import methods
from trunkline.cli.schema import FILES as OF_KIND
from trunkline.cli.schemas import SCHEMAS
from trunkline.errors import BadInput
from trunkline.model.checking import _numbers
from trunkline.model.config_yaml import read_yaml
from trunkline.studies.config import study_of
from trunkline.studies.plan import Plan
from trunkline.studies.sweep.config import sweep_of
from trunkline.tasks import kinds
from trunkline.training.config import presets, resolve
from trunkline.training.distillation.config import load_distillation
from trunkline.training.schema import SHIPPED, as_text, config_schema, distillation_schema

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads(SHIPPED.read_text(encoding="utf-8"))
CHECK = jsonschema.Draft202012Validator(SCHEMA)
BASE = {"data": {"train": "snips"}, "tasks": {"intent": {"kind": "sequence", "label": "label"}}}


def refused(config) -> list[str]:
    return [error.message for error in CHECK.iter_errors(json.loads(json.dumps(config)))]


def test_what_is_shipped_is_current():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SHIPPED.read_text(encoding="utf-8") == as_text(config_schema()), "make schema writes it anew"


EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
DISTILLED = [file for file in EXAMPLES if file.stem.startswith("distill")]
FILES = [*(file for file in EXAMPLES if file not in DISTILLED), ROOT / "src/trunkline/cli/demo.yaml"]


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_every_example_is_valid(file):
    assert refused(_numbers(read_yaml(file.read_text(encoding="utf-8"), str(file)))) == []


def test_every_preset_and_the_config_of_the_docs_are_valid():
    for name, file in presets().items():
        assert refused(_numbers({**BASE, **yaml.safe_load(file.read_text(encoding="utf-8"))})) == []
        assert refused({**BASE, "preset": name}) == []
    for page in sorted((ROOT / "docs").glob("*.md")):
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            if isinstance(found := yaml.safe_load(block), dict) and {"data", "tasks"} <= found.keys():
                if {"methods", "sweep"} & found.keys():
                    continue  # the config of many runs
                assert refused(_numbers(found)) == [], f"{page.name}: {block}"


@pytest.mark.parametrize("name", methods.names())
def test_a_resolved_config_of_every_method_is_valid(name):
    more = {"peft": {"method": "VERA"}, "fusion": {"adapters": ["a", "b"]}}.get(name, {})
    config = resolve({**BASE, "method": {"name": name, **more}})
    assert refused(config.as_dict()) == []
    assert refused({**BASE, "method": {"name": name, **more, "typo": 1}})


VALID = {
    "short forms": {**BASE, "trunk": "minilm", "method": "lora", "trackers": "jsonl"},
    "a method without a name": {**BASE, "method": {"dim": 64}},
    "several sources": {"data": {"train": ["a.csv", "b.csv"], "validation": "5%", "test": None}, "tasks": BASE["tasks"]},
    "labels that YAML reads as numbers": {
        **BASE,
        "tasks": {"a": {"kind": "sequence", "label": "x", "label_list": [0, True, "c"]}},
    },
    "weights of labels": {**BASE, "tasks": {"a": {"kind": "sequence", "label": "x", "class_weights": {"0": 2}}}},
    "a head by name": {**BASE, "method": {"name": "lora", "head": "probe"}},
    "a head with keys": {**BASE, "method": {"name": "lora", "head": {"name": "adalayers", "dim": 8, "heads": 2}}},
    "texts of its own": {**BASE, "tasks": {"a": {"kind": "sequence", "label": "x", "data": {"train": "b.csv"}}}},
    "trackers with a name": {**BASE, "trackers": [{"name": "jsonl"}]},
}


@pytest.mark.parametrize("case", VALID)
def test_what_the_check_accepts_is_valid(case):
    resolve(VALID[case])
    assert refused(VALID[case]) == []


INVALID = {
    "an unknown section": {**BASE, "trianing": {}},
    "an unknown key": {**BASE, "training": {"epoch": 3}},
    "a key of another method": {**BASE, "method": {"name": "lora", "dim": 3}},
    "a key of another method than the default": {**BASE, "method": {"r": 3}},
    "an unknown method": {**BASE, "method": "lara"},
    "a task without a kind": {**BASE, "tasks": {"a": {"label": "x"}}},
    "a key of another kind": {**BASE, "tasks": {"a": {"kind": "sequence", "label": "x", "crf": True}}},
    "a required key is missing": {**BASE, "tasks": {"a": {"kind": "regression"}}},
    "no tasks": {"data": {"train": "snips"}, "tasks": {}},
    "no data": {"tasks": BASE["tasks"]},
    "a number out of range": {**BASE, "training": {"epochs": 0}},
    "a word for a number": {**BASE, "training": {"epochs": "three"}},
    "a tuner as a head": {**BASE, "method": {"name": "lora", "head": "bitfit"}},
    "a wrong key in a head": {**BASE, "method": {"name": "lora", "head": {"name": "probe", "alpha": 1}}},
    "an unknown preset": {**BASE, "preset": "adalayers-imdp"},
    "an unknown tracker": {**BASE, "trackers": ["jsonlines"]},
}


@pytest.mark.parametrize("case", INVALID)
def test_what_the_check_refuses_is_invalid(case):
    with pytest.raises(BadInput):
        resolve(INVALID[case])
    assert refused(INVALID[case])


def test_every_kind_is_there():
    assert SCHEMA["$defs"]["Task"]["properties"]["kind"]["enum"] == kinds.names()


def test_the_schema_of_distillations_is_right():
    check = jsonschema.Draft202012Validator(distillation_schema())
    assert DISTILLED
    for file in DISTILLED:
        values = _numbers(read_yaml(file.read_text(encoding="utf-8"), str(file)))
        check.validate(json.loads(json.dumps(values)))
        check.validate(json.loads(json.dumps(load_distillation(file).as_dict())))
    base = {"student": {"layers": 3}, "data": {"train": "snips"}}
    check.validate(base | {"losses": {"mse": {"layers": {"0": 0, "3": 6}}, "relation": {"heads": 12}}})
    for wrong in ({"losses": {"mse": {"layers": {"last": 6}}}}, {"student": {"layers": 0}}, {"tasks": {}}):
        assert not check.is_valid(base | wrong)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_schema_of_each_kind_that_is_shipped_is_current(kind):
    shipped = (SHIPPED.parent / OF_KIND[kind]).read_text(encoding="utf-8")
    assert shipped == as_text(SCHEMAS[kind]()), "make schema writes it anew"
    jsonschema.Draft202012Validator.check_schema(json.loads(shipped))


def refused_by(kind, config) -> list[str]:
    schema = json.loads((SHIPPED.parent / OF_KIND[kind]).read_text(encoding="utf-8"))
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(json.loads(json.dumps(config)))]


def kind_of(values) -> str:
    return "study" if "methods" in values else "sweep" if "sweep" in values else "run"


STUDIES = sorted((ROOT / "examples/studies").glob("*.yaml"))


@pytest.mark.parametrize("file", STUDIES, ids=lambda path: path.name)
def test_every_example_of_a_study_and_a_sweep_is_valid(file):
    values = _numbers(read_yaml(file.read_text(encoding="utf-8"), str(file)))
    assert kind_of(values) != "run" and refused_by(kind_of(values), values) == []


def test_the_studies_and_sweeps_of_the_docs_are_valid():
    seen = []
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for block in re.findall(r"^```yaml[^\n]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            if isinstance(found := yaml.safe_load(block), dict) and {"data", "tasks"} <= found.keys():
                seen.append(kind_of(found))
                assert refused_by(seen[-1], _numbers(found)) == [], f"{page.name}: {block}"
    assert set(seen) == {"run", "study", "sweep"}


STUDY = {**BASE, "methods": {"probe": None, "wide": {"method": {"name": "adalayers", "dim": 256}}}}
SWEEP = {**BASE, "sweep": {"space": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}}}


def test_schemas_of_studies_and_sweeps_refuse_what_the_commands_refuse():
    assert refused_by("study", STUDY) == [] and refused_by("study", {**BASE, "methods": ["probe", "lora"]}) == []
    assert refused_by("sweep", SWEEP) == []
    for wrong in (
        BASE,
        {**STUDY, "study": {"seed": 3}},
        {**STUDY, "methods": {"probe": {"metod": "probe"}}},
        {**STUDY, "methods": {"probe": {"training": {"epoch": 3}}}},
        {**STUDY, "methods": {"wide": {"method": {"name": "adalayers", "dims": 8}}}},
        {**STUDY, "method": "probe"},
    ):
        assert refused_by("study", wrong), wrong
        with pytest.raises(BadInput):
            Plan(study_of(wrong))
    for wrong in (BASE, {**SWEEP, "sweep": {"space": {}}}, {**SWEEP, "sweep": {**SWEEP["sweep"], "sampler": "best"}}):
        assert refused_by("sweep", wrong), wrong
        with pytest.raises(BadInput):
            sweep_of(wrong)
