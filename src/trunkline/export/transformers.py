"""A tuned trunk with its plain head, written as transformers loads it, and what all exports share.

`save_model` writes a folder for `AutoModelForSequenceClassification` or `AutoModelForTokenClassification` and `pipeline`; a
method of the peft library is merged into plain weights for it (peft_export.py writes it as it is). What was written is loaded
again, and nothing is left on disk unless it answers as the tuned trunk does.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, PreTrainedModel

from trunkline.errors import BadInput, TrunklineError
from trunkline.export.base import targets
from trunkline.export.card import write_card
from trunkline.files import atomic_directory
from trunkline.inputs.batching import Layout
from trunkline.model.branch import Branch
from trunkline.trunk.load import Trunk
from trunkline.trunk.pretrained import quiet_loading
from trunkline.trunk.stream import run_layers
from trunkline.tuners.merged import merged_model
from trunkline.tuners.plain import PlainHead
from trunkline.tuners.tuned import TunedTrunk

AUTO = {"text": AutoModelForSequenceClassification, "unit": AutoModelForTokenClassification}
# By kind of task, what transformers calls the problem; a config for tokens names none.
PROBLEMS = {"sequence": "single_label_classification", "multilabel": "multi_label_classification", "regression": "regression"}
PROBES = ("a", "the b c", "one two three four five six")  # what is answered before and after loading


def save_model(
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
    """Write a folder that transformers loads by itself: config with labels, weights in float32, tokenizer and model card.

    Args:
        trunk: that `tuned` is a copy of.
        tuned: with what was learned; it stays as it is.
        head: bound to it.
        labels: names of the outputs in order; none for a regression.
        folder: is replaced as a whole.
        problem_type: what transformers calls the task: single_label_classification, multi_label_classification or
            regression.
        units: mean and deviation of a regression's targets: what is written then answers in their units, as its last layer
            holds both.
        title, facts: of the model card; facts are e.g. its data, metrics and cost.

    Raises:
        BadInput: transformers has no class for this head, or the method cannot be merged into plain weights.
        TrunklineError: what was written answers differently.
    """
    check_plain(head)
    model = whole_model(trunk, head, merged_model(tuned), labels, problem_type, units)
    tokenizer = _settle_padding(trunk, model)
    with atomic_directory(folder) as temporary:
        with quiet_loading():
            model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        kind = AUTO[head.output.level]
        code = loading(head.output.level, folder.name)
        write_card(temporary, "transformers", kind.__name__, head.output.level, trunk, title or folder.name, facts or {}, code)
        compare(trunk, tuned, head, lambda: kind.from_pretrained(temporary, local_files_only=True), folder, units)


def loading(level: str, folder: str) -> list[str]:
    """Lines of Python that load what `save_model` has written to `folder`."""
    # Tags are of word pieces there: the first one's counts, as in Trunkline.
    task, option = ("token", ', aggregation_strategy="first"') if level == "unit" else ("text", "")
    return ["from transformers import pipeline", f'classify = pipeline("{task}-classification", {quoted(folder)}{option})']


def quoted(text: str) -> str:
    """`text` as Python reads it, in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def trunk_arguments(trunk: str, revision: str | None) -> str:
    """What `from_pretrained` is given to find a trunk: its name or folder, and its commit on the hub."""
    return quoted(trunk) + (f", revision={quoted(revision)}" if revision else "")


def check_plain(head: Any) -> None:
    """BadInput unless `head` is the plain one of a trunk that transformers has a class for."""
    if not isinstance(head, PlainHead) or head.model is None:
        raise BadInput("export: transformers has no class for this head on this trunk; expected the plain head of one stack")


def whole_model(
    trunk: Trunk,
    head: PlainHead,
    base: PreTrainedModel,
    labels: Sequence[str],
    problem_type: str | None,
    units: tuple[float, float] | None,
) -> PreTrainedModel:
    """The library's class with `base` in it, and a config that says what it is for."""
    model: Any = copy.deepcopy(head.model)
    model.cpu().float().eval()
    if units is not None:
        last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        rescale(last.weight, last.bias, units)
    config = copy.deepcopy(trunk.model.config)
    names = list(labels) or [f"LABEL_{i}" for i in range(head.output.size)]
    if len(names) != head.output.size:
        raise BadInput(f"export: found {len(names)} labels, expected {head.output.size}, one for each output")
    config.id2label = dict(enumerate(names))
    config.label2id = {name: i for i, name in enumerate(names)}
    config.problem_type = problem_type
    model.config = config
    if head.activation is not None:
        base.pooler_activation = copy.deepcopy(head.activation)
    setattr(model, model.base_model_prefix, base)
    return model


@torch.no_grad()
def rescale(weight: Tensor, bias: Tensor | None, units: tuple[float, float]) -> None:
    """Give a head's last layer, (1, K) and (1,), the units of a regression's targets, in place.

    Raises:
        BadInput: it has no bias, so that it cannot add their mean.
    """
    mean, deviation = units
    if bias is None:
        raise BadInput(
            "export: this trunk's head has no bias for the mean of a regression's targets; expected another task kind"
        )
    weight.mul_(deviation)
    bias.mul_(deviation).add_(mean)


def _settle_padding(trunk: Trunk, model: PreTrainedModel) -> Any:
    """A tokenizer and a config that agree on a token to pad with, which the heads of decoders need to find a text's end."""
    tokenizer = copy.deepcopy(trunk.tokenizer)
    if tokenizer.pad_token_id is None:
        used = set(tokenizer("a")["input_ids"])
        choices = (tokenizer.eos_token_id, tokenizer.unk_token_id, trunk.pad_id)
        chosen = next((i for i in choices if i is not None and i not in used), trunk.pad_id)
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(chosen)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return tokenizer


@contextmanager
def _evaluating(*modules: nn.Module) -> Iterator[None]:
    before = [module.training for module in modules]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for module, mode in zip(modules, before, strict=True):
            module.train(mode)


@torch.no_grad()
def answers(head: PlainHead, states: Tensor, layout: Layout) -> Tensor:
    """What the head makes of packed last states (N, K), without dropout: float32 logits on the CPU."""
    device = next(head.parameters()).device
    with _evaluating(head):
        return head.finish(states.to(device), Layout(layout.lengths.to(device))).float().cpu()


@torch.no_grad()
def compare(
    trunk: Trunk,
    tuned: TunedTrunk,
    head: PlainHead,
    load: Callable[[], nn.Module],
    folder: Path,
    units: tuple[float, float] | None,
) -> None:
    """Compare the outputs of the tuned trunk and of the loaded model for a few texts; TrunklineError unless they agree."""
    encoded = trunk.encode(list(PROBES))
    try:
        with quiet_loading():
            loaded = load().eval()
    except Exception as error:
        raise TrunklineError(f"{folder}: the export cannot be loaded ({type(error).__name__}); nothing was written") from error
    bf16 = tuned.precision == "bf16"
    with _evaluating(tuned, head):
        for sequence in range(len(PROBES)):
            inputs = trunk.collate(encoded, [sequence])
            rows: list[Tensor] = []
            with tuned.computing():
                run_layers(tuned, inputs, head.layers, partial(_keep, rows))
                length = inputs["input_ids"].shape[1]
                carry = rows[0][0, -length:]
                ours = head.finish(carry.float(), Layout(torch.tensor([length], device=carry.device))).float().cpu()
            given = {name: inputs[name].cpu() for name in ("input_ids", "attention_mask")}
            theirs = loaded(**given).logits
            theirs = (theirs[0, -length:] if head.output.level == "unit" else theirs).float()
            if units is not None:
                theirs = (theirs - units[0]) / units[1]
            if not torch.allclose(ours, theirs, rtol=0.1 if bf16 else 1e-4, atol=0.1 if bf16 else 1e-4):
                by = f"{(ours - theirs).abs().max():.2g}"
                raise TrunklineError(f"{folder}: the outputs of the reloaded export differ (by {by}); nothing was written")


def _keep(rows: list[Tensor], layer: int, state: Tensor) -> None:
    rows.append(state)


@targets.register("transformers")
class TransformersTarget:
    """A `Target` (base.py)."""

    @staticmethod
    def write(branch: Branch, folder: Path, **card: Any) -> None:
        tuned: Any = branch.source
        head: Any = branch.module
        save_model(tuned.trunk, tuned, head, branch.task.labels, folder, problem_type=PROBLEMS.get(branch.task.kind), **card)

    @staticmethod
    def loading(branch: Branch, folder: str) -> list[str]:
        return loading(branch.task.answers.level, folder)
