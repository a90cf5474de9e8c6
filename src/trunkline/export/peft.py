"""A branch of a method of the peft library, written as that library's `PeftModel.from_pretrained` loads it: what the method has
learned and the head. It is loaded again, and nothing is left on disk unless it answers as the tuned trunk does.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, TaskType, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from trunkline.errors import BadInput, TrunklineError
from trunkline.export.base import place_of, targets
from trunkline.export.card import write_card
from trunkline.export.transformers import AUTO, PROBLEMS, answers, check_plain, compare, quoted, trunk_arguments, whole_model
from trunkline.files import atomic_directory
from trunkline.inputs.batching import Layout
from trunkline.model.branch import Branch
from trunkline.trunk.load import Trunk
from trunkline.trunk.source import hub_place, public_name
from trunkline.tuners.peft import ADAPTER, Shared, merge_layers
from trunkline.tuners.plain import PlainHead
from trunkline.tuners.prompt import Before
from trunkline.tuners.tuned import TunedTrunk

TASK_TYPES = {"text": TaskType.SEQ_CLS, "unit": TaskType.TOKEN_CLS}


def save_adapter(
    trunk: Trunk,
    tuned: TunedTrunk,
    head: PlainHead,
    labels: Sequence[str],
    folder: Path,
    *,
    problem_type: str | None = None,
    units: tuple[float, float] | None = None,
    title: str | None = None,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write a folder for `PeftModel.from_pretrained(model, folder)`, `model` being the trunk with a fresh head of this size.

    The arguments are those of `save_model`.

    Raises:
        BadInput: the method is none of the peft library's, transformers has no class for this head, or that library's own
            head would read what the method puts before a text.
        TrunklineError: that library answers differently with what was written, or cannot run this method with this head.
    """
    check_plain(head)
    found = getattr(tuned.tuner, "peft_config", None)
    if found is None:
        raise BadInput(
            f"method {tuned.tuner.config.name}: is not a method of the peft library; expected an export for transformers"
        )
    if tuned.tuner.virtual_tokens and head.output.level == "text" and _reads_what_comes_first(head):
        raise BadInput(
            f"method {tuned.tuner.config.name}: the peft library's head would read the first virtual token where "
            "this one reads the text's; expected a task of words, or a trunk whose head reads the last token"
        )
    config = copy.deepcopy(found)
    base = _bare(tuned)
    pooler = _unknown_pooler(trunk, tuned, head)
    if pooler is not None:  # stored as it is merged, as the trunk's own files do not hold it
        base.pooler = pooler
        if targets := getattr(config, "target_modules", None):
            config.target_modules = [name for name in targets if name.split(".")[0] != "pooler"]
    model = whole_model(trunk, head, base, labels, None, units)
    prefix = model.base_model_prefix
    heads = [name for name, child in model.named_children() if name != prefix and any(True for _ in child.parameters())]
    config.task_type = TASK_TYPES[head.output.level]
    config.modules_to_save = [*heads, *([f"{prefix}.pooler"] if pooler is not None else [])]
    known = hub_place(trunk.name, trunk.revision) or (public_name(trunk.name, None), None)
    model.name_or_path, config.revision = known  # the library writes the former into the config
    with atomic_directory(folder) as temporary:
        try:
            wrapped = get_peft_model(model, config)
        except (ValueError, TypeError, NotImplementedError) as error:
            raise TrunklineError(f"{folder}: the peft library cannot apply this method to a model with a head") from error
        _fill(wrapped, tuned.model, prefix, pooled=pooler is not None)
        wrapped.save_pretrained(temporary, save_embedding_layers=False)
        trunk.tokenizer.save_pretrained(temporary)
        kind = AUTO[head.output.level]
        by = f"{kind.__name__}` and `PeftModel"
        code = loading(head, labels, folder.name, *known, problem_type=problem_type)
        write_card(temporary, "peft", by, head.output.level, trunk, title or folder.name, facts or {}, code)

        def load() -> nn.Module:
            fresh = kind.from_pretrained(trunk.folder, num_labels=head.output.size, local_files_only=True, dtype=torch.float32)
            return PeftModel.from_pretrained(fresh, temporary)

        compare(trunk, tuned, head, load, folder, units)


def loading(
    head: PlainHead,
    labels: Sequence[str],
    folder: str,
    trunk: str,
    revision: str | None = None,
    *,
    problem_type: str | None = None,
) -> list[str]:
    """Lines of Python that load what `save_adapter` has written, with its labels, which the peft library's files do not hold.

    Args:
        head, labels, problem_type: as for `save_adapter`.
        folder: where it is then.
        trunk, revision: the trunk's folder, or its name on the hub and its commit there.
    """
    auto, lines = AUTO[head.output.level].__name__, []
    options = [trunk_arguments(trunk, revision)]
    if labels:
        lines = [f"labels = [{', '.join(map(quoted, labels))}]"]
        options += ["id2label=dict(enumerate(labels))", "label2id={label: i for i, label in enumerate(labels)}"]
    else:
        options.append(f"num_labels={head.output.size}")
    if problem_type is not None:
        options.append(f"problem_type={quoted(problem_type)}")
    return [
        "from peft import PeftModel",
        f"from transformers import {auto}",
        *lines,
        f"model = {auto}.from_pretrained({', '.join(options)})",
        f"model = PeftModel.from_pretrained(model, {quoted(folder)})",
    ]


def _reads_what_comes_first(head: PlainHead) -> bool:
    """Whether rows before those of a text change the answer: heads of encoders read the first, those of decoders the last."""
    states = torch.randn(4, head.trunk.hidden_size, generator=torch.Generator().manual_seed(0))
    alone, preceded = (answers(head, rows, Layout(torch.tensor([len(rows)]))) for rows in (states[2:], states))
    return not torch.allclose(alone, preceded, rtol=1e-4, atol=1e-6)


def _bare(tuned: TunedTrunk) -> Any:
    """The model without the library's layers and wrappers; biases that were trained in it stay."""
    outer = tuned.in_float32()
    model = outer.model if isinstance(outer, Before) else outer.tuner.model if isinstance(outer, Shared) else outer
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, module.get_base_layer())
    return model


def _unknown_pooler(trunk: Trunk, tuned: TunedTrunk, head: PlainHead) -> nn.Module | None:
    """The pooler as it is now, merged, where it is not the one that comes with the trunk's files."""
    if not tuned.pooler:
        return None
    pooler = copy.deepcopy(head.current_pooler()).cpu()
    holder: Any = nn.Module()  # as the pooler itself may be a layer of the library
    holder.pooler = pooler
    merge_layers(holder)
    theirs = PlainHead(trunk.model.config, head.output, trunk.folder, stack=trunk.stack).pooler
    assert theirs is not None
    ours, known = holder.pooler.float().state_dict(), theirs.state_dict()
    same = all(torch.equal(ours[name], known[name]) for name in known)
    return None if same else holder.pooler


def _fill(wrapped: PeftModel, trained: nn.Module, prefix: str, *, pooled: bool) -> None:
    """Copy what the library's layers hold in `trained` to where they are in its own wrapper."""
    values: dict[str, Tensor] = {}
    for name, value in trained.state_dict().items():
        if isinstance(trained, Before):
            if name.startswith("encoder."):
                values[f"prompt_encoder.{ADAPTER}.{name.removeprefix('encoder.')}"] = value
            continue
        inner = name.removeprefix("tuner.model.") if isinstance(trained, Shared) else name
        if ADAPTER not in name.split(".") or (pooled and inner.startswith("pooler.")):
            continue
        own = isinstance(trained, Shared) and inner == name
        values[f"base_model.{name.removeprefix('tuner.')}" if own else f"base_model.model.{prefix}.{inner}"] = value
    report = wrapped.load_state_dict(values, strict=False)
    if report.unexpected_keys or not values:
        raise TrunklineError(f"export: the peft library does not support {(report.unexpected_keys or ['anything'])[0]}")


@targets.register("peft")
class PeftTarget:
    """A `Target` (base.py)."""

    @staticmethod
    def write(branch: Branch, folder: Path, **card: Any) -> None:
        tuned: Any = branch.source
        head: Any = branch.module
        save_adapter(tuned.trunk, tuned, head, branch.task.labels, folder, problem_type=PROBLEMS.get(branch.task.kind), **card)

    @staticmethod
    def loading(branch: Branch, folder: str) -> list[str]:
        tuned: Any = branch.source
        head: Any = branch.module
        problem = PROBLEMS.get(branch.task.kind)
        return loading(head, branch.task.labels, folder, *place_of(tuned.trunk), problem_type=problem)
