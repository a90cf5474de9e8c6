"""The names of stages are folders' names, whatever tasks are called; nothing is trained here."""

from __future__ import annotations

from pathlib import Path

import pytest

from trunkline.errors import BadInput
from trunkline.files import NAME_BYTES, safe_name
from trunkline.training.config import resolve
from trunkline.training.stages import plan


def stages(names: list[str], method: str, groups: list[tuple[str, ...]], **training):
    tasks = {name: {"kind": "sequence", "label": "label"} for name in names}
    config = resolve({"data": {"train": "snips"}, "tasks": tasks, "method": method, "training": training})
    return plan(config, Path("run"), groups)


def test_the_stage_of_many_tasks_has_a_name_that_is_short_enough_and_its_own():
    names = [f"task-{number}-{'x' * 20}" for number in range(40)]
    made = stages(names, "probe", [tuple(names[:20]), tuple(names[20:30]), tuple(names[30:])])
    assert len({stage.name for stage in made}) == 3
    for stage in made:
        assert len(stage.name.encode()) <= NAME_BYTES and stage.name.startswith(stage.tasks[0])
        safe_name(stage.name.replace("+", "-"), "stage")
    assert [stage.name for stage in stages(["a", "b", "c"], "probe", [("a", "b"), ("c",)])] == ["a+b", "c"]


@pytest.mark.parametrize(
    ("name", "sentence"), [("x.y", "without dots"), ("type", "which is an attribute of PyTorch's modules")]
)
def test_a_task_that_cannot_name_an_adapter_of_a_fusion_is_refused_before_its_adapter_is_trained(name, sentence):
    with pytest.raises(BadInput, match=rf"tasks: found the name '{name}', .*{sentence}"):
        stages([name, "other"], "adapter", [(name, "other")], regime="fusion")
    assert stages([name, "other"], "adapter", [(name, "other")])  # separate ones are called by nothing
