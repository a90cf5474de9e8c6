"""A tuned trunk with its plain head, written as other libraries load it.

`save_model` writes a folder for `AutoModelForSequenceClassification` or `AutoModelForTokenClassification` and `pipeline`; a
method of the peft library is merged into plain weights for it. `save_adapter` writes what that library's
`PeftModel.from_pretrained` puts on the trunk: its weights and the head's. Both load what they have written, and nothing is
left on disk unless it answers as the tuned trunk does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from peft import PeftModel, TaskType, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, PreTrainedModel

from trunkline.data.batching import Layout
from trunkline.errors import BadInput, TrunklineError
from trunkline.files import atomic_directory
from trunkline.trunk.load import Trunk, quiet_loading
from trunkline.trunk.stream import run_layers
from trunkline.tuners.peft import ADAPTER, Shared, merge_layers
from trunkline.tuners.plain import PlainHead
from trunkline.tuners.prompt import Before
from trunkline.tuners.tuned import TunedTrunk, private_copy

AUTO = {"text": AutoModelForSequenceClassification, "unit": AutoModelForTokenClassification}
TAGS = {"text": "text-classification", "unit": "token-classification"}
TASK_TYPES = {"text": TaskType.SEQ_CLS, "unit": TaskType.TOKEN_CLS}
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
    merged = private_copy(tuned.model).cpu()
    if any(isinstance(module, (BaseTunerLayer, Before, Shared)) for module in merged.modules()):
        merged = tuned.tuner.merge(merged)
    model = _whole(trunk, head, _restored(merged, trunk), labels, problem_type, units)
    tokenizer = _settle_padding(trunk, model)
    with atomic_directory(folder) as temporary:
        with quiet_loading():
            model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        kind = AUTO[head.output.level]
        write_card(temporary, "transformers", kind.__name__, head, trunk, title or folder.name, facts or {})
        _compare(trunk, tuned, head, lambda: kind.from_pretrained(temporary, local_files_only=True), folder, units)


def save_adapter(
    trunk: Trunk,
    tuned: TunedTrunk,
    head: PlainHead,
    labels: Sequence[str],
    folder: Path,
    *,
    units: tuple[float, float] | None = None,
    title: str | None = None,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write a folder for `PeftModel.from_pretrained(model, folder)`, `model` being the trunk with a fresh head of this size.

    The arguments are those of `save_model`.

    Raises:
        BadInput: the method is none of the peft library's, or transformers has no class for this head.
        TrunklineError: that library answers differently with what was written, or cannot run this method with this head.
    """
    check_plain(head)
    found = getattr(tuned.tuner, "peft_config", None)
    if found is None:
        raise BadInput(f"method {tuned.tuner.config.name}: is none of the peft library's; expected a folder for transformers")
    config = copy.deepcopy(found)
    base = _bare(tuned)
    pooler = _unknown_pooler(trunk, tuned, head)
    if pooler is not None:  # stored as it is merged, as the trunk's own files do not hold it
        base.pooler = pooler
        if targets := getattr(config, "target_modules", None):
            config.target_modules = [name for name in targets if name.split(".")[0] != "pooler"]
    model = _whole(trunk, head, _restored(base, trunk), labels, None, units)
    prefix = model.base_model_prefix
    heads = [name for name, child in model.named_children() if name != prefix and any(True for _ in child.parameters())]
    config.task_type = TASK_TYPES[head.output.level]
    config.modules_to_save = [*heads, *([f"{prefix}.pooler"] if pooler is not None else [])]
    config.base_model_name_or_path = trunk.name
    with atomic_directory(folder) as temporary:
        try:
            wrapped = get_peft_model(model, config)
        except (ValueError, TypeError, NotImplementedError) as error:
            raise TrunklineError(f"{folder}: the peft library cannot put this method on a model with a head") from error
        _fill(wrapped, tuned.model, prefix, pooled=pooler is not None)
        wrapped.save_pretrained(temporary, save_embedding_layers=False)
        trunk.tokenizer.save_pretrained(temporary)
        kind = AUTO[head.output.level]
        write_card(temporary, "peft", f"{kind.__name__}` and `PeftModel", head, trunk, title or folder.name, facts or {})

        def load() -> nn.Module:
            fresh = kind.from_pretrained(trunk.folder, num_labels=head.output.size, local_files_only=True, dtype=torch.float32)
            return PeftModel.from_pretrained(fresh, temporary)

        # That library's heads for encoders then read what stands first, which is a virtual token.
        prompted = tuned.tuner.virtual_tokens > 0 and head.output.level == "text"
        hint = ", as the peft library's head reads the first virtual token where this one reads the text's" if prompted else ""
        _compare(trunk, tuned, head, load, folder, units, hint)


def check_plain(head: Any) -> None:
    """BadInput unless `head` is the plain one of a trunk that transformers has a class for."""
    if not isinstance(head, PlainHead) or head.model is None:
        raise BadInput("export: transformers has no class for this head on this trunk; expected the plain head of one stack")


def _whole(
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
            "export: this trunk's head has no bias to hold the mean of a regression's targets; expected another kind"
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


def _bare(tuned: TunedTrunk) -> Any:
    """The model without the library's layers and wrappers; biases that were trained in it stay."""
    outer = private_copy(tuned.model).cpu()
    model = outer.model if isinstance(outer, Before) else outer.tuner.model if isinstance(outer, Shared) else outer
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, module.get_base_layer())
    return model


def _restored(model: PreTrainedModel, trunk: Trunk) -> PreTrainedModel:
    """`model` in float32: what training held in bf16 is the trunk's own again."""
    originals = dict(trunk.model.named_parameters())
    for name, parameter in model.named_parameters():
        if parameter.dtype == torch.bfloat16 and name in originals:
            parameter.data = originals[name].data.cpu()
        parameter.data = parameter.data.float()
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
    same = all(torch.allclose(ours[name], known[name], atol=1e-2 if tuned.precision == "bf16" else 0) for name in known)
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
        raise TrunklineError(f"export: the peft library has no place for {(report.unexpected_keys or ['anything'])[0]}")


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
def _compare(
    trunk: Trunk,
    tuned: TunedTrunk,
    head: PlainHead,
    load: Callable[[], nn.Module],
    folder: Path,
    units: tuple[float, float] | None,
    hint: str = "",
) -> None:
    """Answer a few made-up texts with the tuned trunk and with what was loaded; TrunklineError unless they agree."""
    encoded = trunk.encode(list(PROBES))
    try:
        with quiet_loading():
            loaded = load().eval()
    except Exception as error:
        raise TrunklineError(
            f"{folder}: what was written cannot be loaded ({type(error).__name__}); nothing was written"
        ) from error
    bf16 = tuned.precision == "bf16"
    with _evaluating(tuned, head):
        for sequence in range(len(PROBES)):
            inputs = trunk.collate(encoded, [sequence])
            rows: list[Tensor] = []
            with torch.autocast(tuned.device.type, torch.bfloat16, enabled=bf16):
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
                raise TrunklineError(f"{folder}: what was loaded answers differently (by {by}){hint}; nothing was written")


def _keep(rows: list[Tensor], layer: int, state: Tensor) -> None:
    rows.append(state)


def write_card(
    folder: Path,
    library: str,
    loaded_by: str,
    head: PlainHead,
    trunk: Trunk,
    title: str,
    facts: Mapping[str, Mapping[str, Any]],
) -> None:
    """README.md: what it is and which classes load it, and tables of the given facts."""
    about: dict[str, Any] = {"library_name": library, "pipeline_tag": TAGS[head.output.level], "tags": ["trunkline"]}
    if trunk.revision is not None:  # a name on the hub, which others know too
        about["base_model"] = trunk.name
    lines = [f"---\n{yaml.safe_dump(about, sort_keys=False)}---\n\n# {title}\n"]
    lines.append(f"Trained with Trunkline on {Path(trunk.name).name}; load it with `{loaded_by}`.\n")
    for section, values in facts.items():
        rows = "\n".join(f"| {key} | {value} |" for key, value in _flat(values))
        lines.append(f"## {section.capitalize()}\n\n| | |\n|---|---|\n{rows}\n")
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
