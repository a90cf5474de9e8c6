"""The pages of docs/ say what the code says: every key with its default, every method, kind, preset and format."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from trunkline.branches import SideBranch, methods
from trunkline.branches.auto import Auto
from trunkline.data.formats import formats
from trunkline.tasks import kinds
from trunkline.trackers import trackers
from trunkline.training import config, sections
from trunkline.training.distillation import config as distillation
from trunkline.tuners import Tuner

DOCS = Path(__file__).resolve().parent.parent / "docs"


def section(page: str, heading: str) -> str:
    """What stands under a heading of a page, up to the next heading of any level."""
    parts = re.split(r"^#+ (.*)$", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return parts[parts.index(heading, 1) + 1]


def headings(page: str, level: str) -> set[str]:
    return set(re.findall(rf"^{level} (\w+)$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE))


def keys_in(page: str, heading: str) -> dict[str, str]:
    """Key -> default of the table under a heading: rows that begin with | `key` | default |."""
    rows = re.findall(r"^\| `(\w+)` \| (`[^`]+`|\S+) \|", section(page, heading), re.MULTILINE)
    return {key: default.strip("`") for key, default in rows}


def keys_of(model: type[BaseModel]) -> dict[str, str]:
    """The same of a section of the config."""

    def shown(field: FieldInfo) -> str:
        if field.is_required():
            return "required"
        value = field.get_default(call_default_factory=True)
        return value if isinstance(value, str) else json.dumps(value)

    return {name: shown(field) for name, field in model.model_fields.items()}


MODELS = {"trunk": sections.TrunkSection, "data": sections.DataSection, "training": sections.TrainingSection}


@pytest.mark.parametrize("name", MODELS)
def test_config_page_has_every_key_and_its_default(name):
    assert keys_in("config.md", name) == keys_of(MODELS[name])


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("student", distillation.StudentSection),
        ("data", distillation.TextsSection),
        ("training", distillation.DistillationTraining),
    ],
)
def test_distill_page_has_every_key_and_its_default(heading, model):
    assert keys_in("distill.md", heading) == keys_of(model)


def test_config_page_has_every_task_kind():
    assert headings("config.md", "###") == set(kinds.names())
    for kind in kinds.names():
        assert keys_in("config.md", kind) == keys_of(kinds.get(kind).Config)


def test_config_page_has_every_preset():
    shipped = {path.stem for path in (Path(config.__file__).parent / "presets").glob("*.yaml")}
    assert set(re.findall(r"^\| `([\w-]+)` \|", section("config.md", "Presets"), re.MULTILINE)) == shipped


@pytest.mark.parametrize(("page", "kind"), [("methods.md", (SideBranch, Auto)), ("tuners.md", Tuner)])
def test_the_pages_of_methods_have_every_method(page, kind):
    names = {name for name in methods.names() if issubclass(methods.get(name), kind)}
    table = re.findall(r"^\| \[(\w+)\]\(#(\w+)\) \|", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert names and sorted(table) == sorted((name, name) for name in names)
    assert {heading for heading in headings(page, "##") if heading.islower()} == names  # other sections begin with a capital
    for name in names:
        assert keys_in(page, name) == keys_of(methods.get(name).Config)


def test_every_method_is_a_side_branch_or_a_tuner():
    others = [name for name in methods.names() if not issubclass(methods.get(name), (SideBranch, Tuner))]
    assert others == ["auto"]  # the choice of one


@pytest.mark.parametrize("page", sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")))
def test_links_to_sections_find_them(page):
    for target, anchor in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", (DOCS / page).read_text(encoding="utf-8")):
        there = re.findall(
            r"^#+ (.*)$", (DOCS / page).parent.joinpath(target or Path(page).name).read_text(encoding="utf-8"), re.MULTILINE
        )
        anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in there}
        assert anchor in anchors, f"{page} links to {target}#{anchor}"


def test_tracking_page_has_every_tool_and_its_keys():
    tools = set(trackers.names()) - {"jsonl"}  # a file of ours
    assert {heading for heading in headings("tracking.md", "##") if heading.islower()} == tools
    for name in tools:
        keys = keys_of(trackers.get(name).Config)
        assert keys_in("tracking.md", name) == {key: default for key, default in keys.items() if key != "name"}
        assert f"pip install 'trunkline[{name}]'" in section("tracking.md", name)
    assert set(re.findall(r"^\| \[?`(\w+)`", section("config.md", "trackers"), re.MULTILINE)) == set(trackers.names())


def test_the_configs_of_the_tracking_page_are_right():
    blocks = re.findall(r"^```yaml\n(.*?)^```", (DOCS / "tracking.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    base = {"data": {"train": "emotion"}, "tasks": {"mood": {"kind": "sequence", "label": "label"}}}
    assert len(blocks) == 3 and all(config.resolve(base | yaml.safe_load(block)).trackers for block in blocks)


def test_data_page_has_every_format():
    rows = re.findall(r"^\| `(\w+)` \| ((?:`\.\w+` ?)*)", section("data.md", "Sources"), re.MULTILINE)
    shown = {name: re.findall(r"`(\.\w+)`", cells) for name, cells in rows}
    assert shown == {name: list(formats.get(name).suffixes) for name in formats.names()}
