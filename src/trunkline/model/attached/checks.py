"""The self-check of an attachment: a model gives with branches what it gives without, and they read its states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from trunkline.errors import BadInput
from trunkline.trunk.architectures import ARCHITECTURES, model_within
from trunkline.trunk.stream import read_layers

if TYPE_CHECKING:
    from trunkline.model.attached.attachment import Attachment
    from trunkline.model.attached.matching import Trunked

NEW_TOKENS = 6  # that each way of generating makes
STATES = {"encoder": ("encoder_hidden_states", "hidden_states"), "decoder": ("decoder_hidden_states", "hidden_states")}
WAYS: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False, "num_beams": 1},
    "beam": {"do_sample": False, "num_beams": 8, "num_return_sequences": 8},  # enough for some to end alike, all returned
    "sampling": {"do_sample": True, "num_beams": 1, "top_k": 0},
    "static cache": {"do_sample": False, "num_beams": 1, "cache_implementation": "static"},
}


@dataclass(frozen=True)
class Check:
    """What the self-check of an attachment found.

    Attributes:
        model (str): the class of the model.
        states (dict[str, bool]): for each stack that branches read, whether its layer states are those that the model itself
            returns (`output_hidden_states`), bit for bit.
        outputs (bool): whether the model's outputs are, bit for bit, what they are without branches, and after them.
        generation (dict[str, bool | None]): the same of each way of generating; None where the model has it not.
        answers (bool): whether every branch answered, about the texts that were generated where it follows these.
    """

    model: str
    states: dict[str, bool]
    outputs: bool
    generation: dict[str, bool | None]
    answers: bool

    @property
    def passed(self) -> bool:
        """Whether all of it holds."""
        generation = all(equal for equal in self.generation.values() if equal is not None)
        return all(self.states.values()) and self.outputs and generation and self.answers

    def __str__(self) -> str:
        """One sentence."""
        parts = {"layer states": all(self.states.values()), "outputs": self.outputs, "answers": self.answers, **self.generation}
        wrong = [name for name, equal in parts.items() if equal is False]
        held = [name for name, equal in parts.items() if equal]
        return f"{self.model}: " + (f"{', '.join(wrong)} differ" if wrong else f"{', '.join(held)} are as they should be")


def check(attachment: Attachment, stacks: Mapping[str, Trunked], inputs: Mapping[str, Any] | None) -> Check:
    """As `Attachment.check`."""
    model, inner = attachment.model, model_within(attachment.model)
    if model.training:
        raise BadInput("check: found a model in training mode, whose dropout changes passes; expected one after model.eval()")
    given = dict(_drawn(inner, next(iter(stacks.values())).device) if inputs is None else inputs)

    def forward(**more: Any) -> Any:
        return model(**given, **more)

    with torch.no_grad(), _same_draws():
        states = {stack: _states_equal(model, stack, trunked, forward) for stack, trunked in stacks.items()}
        outputs, answers = _unchanged(attachment, forward)
        ways: dict[str, bool | None] = dict.fromkeys(WAYS)
        generates = getattr(model, "can_generate", bool)()
        followed = [stack for stack, trunked in stacks.items() if trunked.caches and "input_ids" in given]
        prompt = None if inner.config.is_encoder_decoder or not followed else _real(given)

        def held(output: Any) -> bool:
            return all(_held(attachment.tokens_of(stack), output.sequences, prompt) for stack in followed)

        for way, settings in WAYS.items() if generates else ():

            def generate(settings: Mapping[str, Any] = settings) -> Any:
                return _generated(model, given, settings)

            try:
                _bits(generate)
            except (ValueError, NotImplementedError, TypeError):  # such as a static cache that the class has not
                continue
            ways[way], answered = _unchanged(attachment, generate, held)
            answers = answers and answered
    return Check(type(model).__name__, states, outputs, ways, answers)


def _states_equal(model: nn.Module, stack: Any, trunked: Trunked, forward: Callable[..., Any]) -> bool:
    found: dict[int, Tensor] = {}
    with read_layers(model, range(len(trunked.taps.states) + 1), found.__setitem__, stack=stack):
        output = forward(output_hidden_states=True)
    expected = next((own for key in STATES[stack] if (own := output.get(key)) is not None), ())
    return len(found) == len(expected) and all(torch.equal(found[i], state) for i, state in enumerate(expected))


def _unchanged(
    attachment: Attachment, run: Callable[[], Any], held: Callable[[Any], bool] = lambda output: True
) -> tuple[bool, bool]:
    """Whether a run gives the same bits before, within and after a block, and whether all branches answer in it, about what it
    returned (`held`).
    """
    plain = _bits(run)
    with attachment, _same_draws():
        output = run()
    answers = all(len(attachment[name]) for name in attachment) and held(output)
    return _same(plain, list(_tensors(output))) and _same(plain, _bits(run)), answers


def _real(given: Mapping[str, Any]) -> Tensor:
    mask = given.get("attention_mask")
    return torch.ones_like(given["input_ids"], dtype=torch.bool) if mask is None else mask > 0


def _held(tokens: Sequence[np.ndarray | None], sequences: Tensor, prompt: Tensor | None) -> bool:
    """Whether the sequences (N, T) that were generated are those that branches have read, but for the last token of each.

    Args:
        tokens: that were read, of each row of the last pass. Where there are beams, all are returned that its rows became, and
            not in their order.
        sequences: with the prompts, where the model continues these.
        prompt: bool (B, P), where real tokens of the prompts are; None where the model writes texts of their own.
    """
    rows = sequences[:, :-1].cpu().numpy()
    real = np.ones(rows.shape, bool)
    if prompt is not None:
        real[:, : prompt.shape[1]] = np.repeat(prompt.cpu().numpy(), len(rows) // len(prompt), axis=0)
    read = {one.tobytes() for one in tokens if one is not None}
    return len(tokens) == len(rows) and all(row[own].tobytes() in read for row, own in zip(rows, real, strict=True))


def _bits(run: Callable[[], Any]) -> list[Tensor]:
    with _same_draws():
        return list(_tensors(run()))


def _generated(model: Any, given: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    own = {key: value for key, value in given.items() if not key.startswith("decoder_")}
    pad = getattr(model.generation_config, "pad_token_id", None)
    lengths = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "pad_token_id": 0 if pad is None else pad}
    return model.generate(**own, **settings, **lengths, output_scores=True, return_dict_in_generate=True)


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors of what a model returns, in order; caches, which are no outputs, are left out."""
    if isinstance(value, Tensor):
        yield value
    elif hasattr(value, "get_seq_length"):
        return
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)


def _same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) > 0 and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@contextmanager
def _same_draws() -> Iterator[None]:
    """Random numbers as after one seed, and those of the program as if none had been drawn."""
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng())
        torch.manual_seed(0)
        yield


def _drawn(inner: Any, device: torch.device) -> dict[str, Tensor]:
    """Two texts of drawn ids, the second padded on the left where the model generates behind it, else right; or two clips."""
    config = inner.config
    generator = torch.Generator().manual_seed(0)
    if ARCHITECTURES[config.model_type].front is not None:
        dtype = next(inner.parameters()).dtype
        clips = _clips(inner, generator).items()
        return {key: value.to(device, dtype if value.is_floating_point() else None) for key, value in clips}
    vocabulary = inner.get_input_embeddings().num_embeddings
    special = {getattr(config, key, None) for key in ("pad_token_id", "eos_token_id", "bos_token_id")}
    usual = torch.tensor([i for i in range(min(vocabulary, 2000)) if i not in special])
    ids = usual[torch.randint(len(usual), (2, 9), generator=generator)]
    real = torch.ones_like(ids)
    left = inner.can_generate() and not config.is_encoder_decoder
    gap = slice(0, 3) if left else slice(6, 9)
    real[1, gap] = 0
    ids[1, gap] = config.pad_token_id if isinstance(getattr(config, "pad_token_id", None), int) else 0
    if config.is_encoder_decoder:  # of which some classify by the token that ends a text
        ids[0, 8] = ids[1, 5] = config.eos_token_id
    found = {"input_ids": ids, "attention_mask": real}
    if config.is_encoder_decoder and hasattr(inner, "get_decoder") and type(inner).__name__.endswith(("Generation", "Model")):
        found["decoder_input_ids"] = ids[:, :4].clone()
    return {key: value.to(device) for key, value in found.items()}


def _clips(inner: Any, generator: torch.Generator) -> dict[str, Tensor]:
    """Two clips of noise, the second half as long: behind it silence, or padding where the model has a mask for it."""
    config = inner.config
    if hasattr(config, "max_source_positions"):
        frames = 2 * config.max_source_positions
        features = torch.rand(2, config.num_mel_bins, frames, generator=generator)
        features[1, :, frames // 2 :] = -1.5  # what its feature extractor makes of silence
        found = {"input_features": features}
        if hasattr(inner, "get_decoder") and config.is_encoder_decoder and not type(inner).__name__.endswith("Classification"):
            found["decoder_input_ids"] = torch.full((2, 4), config.decoder_start_token_id)
        return found
    samples = torch.randn(2, 8000, generator=generator)
    if config.feat_extract_norm != "layer":
        return {"input_values": samples}
    real = torch.ones(2, 8000, dtype=torch.long)
    real[1, 4000:] = 0
    return {"input_values": samples * real, "attention_mask": real}
