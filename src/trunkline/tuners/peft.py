"""Any method of the peft library by its name: `{name: peft, method: VERA, parameters: {r: 64}}`, and what its methods share.

The library puts layers of its own around a model's modules; the model stays what it was otherwise, so that its layer states
are found where they were.
"""

from __future__ import annotations

import copy
import dataclasses
import re
import textwrap
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

import torch
from peft import PeftConfig, PeftType, PromptEncoderConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.p_tuning import PromptEncoder
from peft.tuners.prefix_tuning import PrefixEncoder
from peft.tuners.prompt_tuning import PromptEmbedding
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from pydantic import BaseModel, Field
from torch import nn
from transformers import PreTrainedModel

from trunkline.branches.fold import methods
from trunkline.errors import BadInput, unknown_name
from trunkline.trunk.architectures import Architecture, Taps
from trunkline.tuners.base import Tuner, TunerConfig
from trunkline.tuners.prefix import Prefixed, prefix_config
from trunkline.tuners.prompt import Prompted, prompt_shape
from trunkline.tuners.targets import find_targets, part_names

ADAPTER = "default"  # what the library calls the one adapter that a model has

REFUSED = {
    "ADALORA": "it changes its ranks during training through calls that only its own training loop makes",
    "ADAPTION_PROMPT": "it supports text-generating models only",
    "CARTRIDGE": "its cache is computed from texts beforehand, for text-generating models",
    "CPT": "it is for text-generating models only",
    "MULTITASK_PROMPT_TUNING": "it needs a task id with every text",
    "POLY": "it needs a task id with every text",
    "SHADOW": "it requires the library's own wrapper",
    "XLORA": "it combines previously trained LoRA adapters",
}
SHAPE = ("num_layers", "token_dim", "num_attention_heads", "num_transformer_submodules")  # follow from the trunk
PLAIN = {int, float, bool, NoneType}
UNUSED = ("peft_type", "task_type", "inference_mode", "auto_mapping", "base_model_name_or_path", "revision", "modules_to_save")


class Shared(nn.Module):
    """Around a model whose layers share tensors that the library keeps outside of it (VeRA's random matrices)."""

    def __init__(self, tuner: BaseTuner) -> None:
        super().__init__()
        self.tuner = tuner

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.tuner.model(*args, **kwargs)


def inject(model: PreTrainedModel, config: PeftConfig, where: str) -> Any:
    """Let the library change `model` in place as `config` says; return it, or a wrapper where its layers share tensors.

    Raises:
        BadInput: what the library refuses, opened by `where`.
    """
    kind = PEFT_TYPE_TO_TUNER_MAPPING[PeftType(config.peft_type)]
    try:
        # The library shortens the list of targets in the config that it is given.
        tuner = kind(model, copy.deepcopy(config), adapter_name=ADAPTER)
    except (ValueError, TypeError, AttributeError, ImportError, NotImplementedError) as error:
        raise _refused(where, error) from error
    return Shared(tuner) if kind.uses_shared_state else tuner.model


@torch.no_grad()
def merge_layers(model: nn.Module) -> Any:
    """Fold the library's layers into plain ones, in place. Weights that are changed are first copied, in float32."""
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    for name, layer in layers:
        base = layer.get_base_layer()
        for parameter in base.parameters():
            parameter.data = parameter.data.to(torch.float32, copy=True)
        layer.merge()
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, base)
    return model.requires_grad_(False)


class PeftConfigSection(TunerConfig):
    """`method: {name: peft}`."""

    name: Literal["peft"] = "peft"
    method: str = Field(description="a method of the peft library, as its PeftType names it: LOHA, VERA, OFT, P_TUNING")
    parameters: dict[str, Any] = Field({}, description="of the library's config for it; target_modules as lora's targets")


@methods.register("peft")
class Peft(Tuner):
    """See the module's docstring. Where `target_modules` is not given, every linear map of the blocks is one (see `lora`)."""

    Config: ClassVar[type[BaseModel]] = PeftConfigSection
    target = "peft"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.kind, parameters = PeftType[_method(config.method)], config.parameters
        self.library_config: Any = PEFT_TYPE_TO_CONFIG_MAPPING[self.kind]
        known = {field.name for field in dataclasses.fields(self.library_config) if field.init} - set(UNUSED)
        for name in parameters:
            if name not in known or name in SHAPE:
                raise unknown_name("", name, known - set(SHAPE), key=f"method.parameters.{name}")
        expected = get_type_hints(self.library_config)
        for name, found in parameters.items():
            _check_type(name, found, expected[name])
        if self.kind in (PeftType.PROMPT_TUNING, PeftType.P_TUNING, PeftType.PREFIX_TUNING):
            count = parameters.get("num_virtual_tokens")
            if count is None or count < 1:
                what = "missing" if count is None else f"found {count}"
                raise BadInput(f"{what}, expected a whole number from 1", key="method.parameters.num_virtual_tokens")
            self.positions = count
            self.virtual_tokens = 0 if self.kind is PeftType.PREFIX_TUNING else count

    def apply(self, model: PreTrainedModel, architecture: Architecture, taps: Taps) -> Any:
        parameters, where = dict(self.config.parameters), f"method {self.kind.name}"
        shared = _unshared(model)
        try:
            changed = self._changed(model, architecture, taps, parameters, where)
            _reshare(changed, shared)
            _try(changed, model)
        except BadInput:
            raise
        except Exception as error:  # the library checks in many ways
            raise _refused(where, error) from error
        if not any(p.requires_grad for p in changed.parameters()):
            raise BadInput(f"{where}: no trainable parameters matched in {architecture.model_type}; expected other parameters")
        return changed

    def _changed(
        self, model: PreTrainedModel, architecture: Architecture, taps: Taps, parameters: dict[str, Any], where: str
    ) -> Any:
        if self.kind is PeftType.PREFIX_TUNING:
            self.recomputes = False
            self.peft_config: Any = prefix_config(model, architecture, **parameters)
            return Prefixed(model, architecture, PrefixEncoder(self.peft_config), self.positions)
        if self.kind in (PeftType.PROMPT_TUNING, PeftType.P_TUNING):
            shape = prompt_shape(model, taps)
            if self.kind is PeftType.P_TUNING:
                self.peft_config = PromptEncoderConfig(**{"encoder_hidden_size": shape["token_dim"], **shape, **parameters})
                encoder: nn.Module = PromptEncoder(self.peft_config)
            else:
                self.peft_config = self.library_config(**{"prompt_tuning_init": "SAMPLE_VOCAB", **shape, **parameters})
                encoder = PromptEmbedding(self.peft_config, model.get_input_embeddings())
            return Prompted(model, architecture, encoder, self.positions)
        known = {field.name for field in dataclasses.fields(self.library_config)}
        if "target_modules" in known:
            parameters |= _targets(self.kind, parameters, model, architecture, taps)
        self.peft_config = self.library_config(**parameters)
        return inject(model, self.peft_config, where)

    def merge(self, model: Any) -> PreTrainedModel:
        inner = model.tuner.model if isinstance(model, Shared) else model
        if not any(isinstance(module, BaseTunerLayer) for module in inner.modules()):
            return super().merge(model)
        try:
            return merge_layers(inner)
        except (AttributeError, NotImplementedError, ValueError, TypeError) as error:
            raise _refused(f"method {self.kind.name}: merging", error) from error


def _method(name: str) -> str:
    method, known = name.upper(), {kind.name for kind in PeftType} - REFUSED.keys()
    if method in REFUSED:
        raise BadInput(
            f"{method} cannot be trained, as {REFUSED[method]}; expected one of {_listed(known)}", key="method.method"
        )
    if method not in known:
        raise unknown_name("", method, known, key="method.method")
    return method


def _check_type(name: str, found: Any, expected: Any) -> None:
    """BadInput unless `found` is such a number or truth as the annotation `expected` asks for; all else the library checks."""
    kinds = set(get_args(expected)) if get_origin(expected) in (Union, UnionType) else {expected}
    if found is None or not kinds & {int, float, bool} or (not isinstance(found, bool) and kinds - PLAIN):
        return
    # The library divides by what it calls alpha or lambda, and types some of them as whole numbers all the same.
    whole, numbers = float not in kinds and not re.search("alpha|lambda", name), kinds & {int, float}
    of_numbers = bool(numbers) and isinstance(found, int if whole else (int, float))
    fits = bool in kinds if isinstance(found, bool) else of_numbers
    if not fits:
        shown = {bool: str(found).lower(), list: "a list", dict: "a mapping"}.get(type(found), repr(found))
        words = "true or false" if not numbers else "a whole number" if whole else "a number"
        raise BadInput(f"found {shown}, expected {words}", key=f"method.parameters.{name}")


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))


def _targets(
    kind: PeftType, parameters: dict[str, Any], model: PreTrainedModel, architecture: Architecture, taps: Taps
) -> dict[str, Any]:
    """`target_modules` as full names, and what goes with them."""
    given = parameters.get("target_modules")
    if given is not None:
        where = "method.parameters.target_modules"
        return {"target_modules": find_targets(given, model, architecture, taps, kinds=(nn.Module,), where=where)}
    if kind is PeftType.LN_TUNING:
        return {"target_modules": [n for n, m in model.named_modules() if type(m).__name__.endswith("Norm")]}
    if kind is PeftType.TRAINABLE_TOKENS:
        words = model.get_input_embeddings()
        return {"target_modules": [name for name, module in model.named_modules() if module is words]}
    if kind is PeftType.IA3:
        down = part_names(model, architecture, taps, "down")
        return {"target_modules": [*part_names(model, architecture, taps, "key", "value"), *down], "feedforward_modules": down}
    return {"target_modules": find_targets("linear", model, architecture, taps)}


@torch.no_grad()
def _try(changed: nn.Module, model: PreTrainedModel) -> None:
    """Run a dummy forward pass: many parameters show only then that they do not fit this model."""
    pooler = getattr(model, "pooler", None)
    ids = torch.tensor([[0, 1, 2]], device=model.device)
    try:
        if pooler is not None:  # which its head calls, not the model
            model.pooler = None
        changed.to(model.device)(input_ids=ids, attention_mask=torch.ones_like(ids))
    finally:
        if pooler is not None:
            model.pooler = pooler


def _refused(where: str, error: Exception) -> BadInput:
    return BadInput(f"{where}: refused by the peft library ({textwrap.shorten(str(error) or type(error).__name__, 200)})")


def _unshared(model: nn.Module) -> list[tuple[nn.Parameter, torch.Tensor]]:
    """Give the model tensors of its own, as some methods write into those that are there; return what they were."""
    before = [(parameter, parameter.data) for parameter in model.parameters()]
    for parameter, value in before:
        parameter.data = value.clone()
    return before


def _reshare(model: nn.Module, before: list[tuple[nn.Parameter, torch.Tensor]]) -> None:
    """Put back every tensor that was not written into."""
    there = {id(parameter) for parameter in model.parameters()}
    for parameter, value in before:
        if id(parameter) in there and parameter.shape == value.shape and torch.equal(parameter.data, value):
            parameter.data = value
