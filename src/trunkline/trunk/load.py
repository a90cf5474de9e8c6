"""Loading a trunk: a pretrained transformer and its tokenizer or feature extractor, frozen, from an alias, a folder or the hub.

Safetensors only, never code from a checkpoint. Only what the states need is kept: no pooler, no head, no decoder when the
encoder is read.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from trunkline.errors import BadInput
from trunkline.inputs.audio import AudioProcessor
from trunkline.inputs.cutting import Cut
from trunkline.inputs.encoded import Encoded
from trunkline.trunk.architectures import Architecture, StackName, architecture_of, find_taps
from trunkline.trunk.backends import Ranges, find_backend
from trunkline.trunk.compiled import CompiledTrunk, precision_name
from trunkline.trunk.fingerprint import (
    Fingerprint,
    config_digest,
    extractor_digest,
    tokenizer_digest,
    tokenizer_settings_digest,
    weights_digest,
)
from trunkline.trunk.machine import DTYPES, pick_device, pick_dtype
from trunkline.trunk.pretrained import cast, load_extractor, load_model, load_tokenizer, quiet_loading, read_model_config
from trunkline.trunk.processing import of_audio, of_text
from trunkline.trunk.source import Source, find_source, read_config, stored_dtype
from trunkline.trunk.stream import put_hooks


def load_trunk(
    name: str | Path,
    *,
    revision: str | None = None,
    stack: StackName = "encoder",
    dtype: str = "auto",
    device: str | torch.device = "auto",
    backend: str = "torch",
    ranges: Ranges | None = None,
) -> Trunk:
    """Load a trunk, ready to run.

    Args:
        name (str | Path): an alias ("minilm"), a folder, or a hub id; tried in this order.
        revision (str | None): commit, tag or branch of a hub id. What was found is in `Trunk.revision`.
        stack: "decoder" reads the decoder of an encoder-decoder model (bart, mbart, t5) instead of its encoder.
        dtype: precision of weights and states: "fp32", "bf16" or "auto", the faster of the two here (of a backend: fp32); a
            backend may have "int8" too.
        device: "auto" is CUDA where there is any, else the CPU.
        backend: "torch", or the name of one that compiles the trunk for this machine's CPU (see `backends`).
        ranges: for int8, those of a calibration; without them, `Trunk.compiled` is to be calibrated before the trunk runs.

    Raises:
        BadInput: nothing of that name, an unknown architecture, pickled or incomplete weights, no fast tokenizer or no feature
            extractor, or a backend that is unknown, not installed, without that precision, or for texts alone.
        TrunklineError: the hub is needed and cannot be reached.
    """
    source = find_source(name, revision)
    row = _row_of(source)
    if stack not in row.stacks:
        raise BadInput(
            f"stack {stack!r} was requested, but {row.model_type} has {' and '.join(row.stacks)} only",
            key="trunk",
            found=repr(str(name)),
        )
    if backend != "torch" and row.front is not None:
        expected = f"torch, as a {row.model_type} reads audio, and backends compile what reads texts"
        raise BadInput(found=backend, expected=expected, key="backend")
    stored = stored_dtype(source.folder)
    place, precision = pick_place(dtype, device, backend)
    with quiet_loading():
        config = read_model_config(source.folder)
        tokenizer = load_tokenizer(source.folder, config) if row.front is None else load_extractor(source.folder)
        model = load_model(source.folder, config, row, stack, stored)
    if backend == "torch":
        return Trunk(source, row, stack, model, tokenizer, stored=stored, dtype=precision, device=place)
    trunk = Trunk(source, row, stack, model, tokenizer, stored=stored, dtype="fp32", device=place)
    trunk.dtype, trunk.compiled = precision, CompiledTrunk(trunk, backend, precision, ranges)
    return trunk


def reads_audio(name: str | Path, revision: str | None = None) -> bool:
    """Whether the trunk of that name reads audio, told from its config.json alone.

    Raises:
        BadInput, TrunklineError: as `load_trunk`, where there is no such trunk.
    """
    return _row_of(find_source(name, revision)).front is not None


def count_layers(name: str | Path, revision: str | None = None, stack: StackName = "encoder") -> int:
    """How many blocks the trunk of that name has, told from its config.json alone: its last layer.

    Raises:
        BadInput, TrunklineError: as `load_trunk`, where there is no such trunk.
    """
    config = read_model_config(find_source(name, revision).folder)
    of_stack = getattr(config, f"{stack}_layers", None)  # of models that have both
    return int(config.num_hidden_layers if of_stack is None else of_stack)


def _row_of(source: Source) -> Architecture:
    return architecture_of(read_config(source.folder).get("model_type"), f"{source.folder / 'config.json'}: model_type")


def pick_place(dtype: str, device: str | torch.device, backend: str) -> tuple[torch.device, str]:
    """Where and in which precision a trunk runs; BadInput for what this machine or the backend does not have."""
    if backend == "torch":
        place = pick_device(device)
        return place, pick_dtype(dtype, place)
    precision = "fp32" if dtype == "auto" else dtype
    find_backend(backend, precision)
    place = pick_device("cpu" if device == "auto" else device)
    if place.type != "cpu":
        raise BadInput(f"{str(device)!r}: backend {backend} runs on the CPU only; expected cpu or auto", key="device")
    return place, precision


class Trunk:
    """A frozen transformer and its tokenizer or feature extractor. Made by `load_trunk`.

    Attributes:
        name (str): the alias, hub id or absolute folder it was loaded from.
        revision (str | None): the hub's commit.
        folder (Path): where its files are.
        architecture (str): model_type, e.g. "bert"; `row` is its row of the table.
        stack (str): "encoder" or "decoder".
        model: the module that runs (of an encoder-decoder, the encoder alone unless the decoder is read); without weights
            where a backend computes.
        reads (str): "text", or "audio": then what is said of texts and tokens here goes for clips and rows of states.
        tokenizer: its fast tokenizer, or its feature extractor.
        processor: what makes token ids of texts (or rows of clips) and batches of these; threads may share it.
        dtype (str): "fp32" or "bf16", or "int8" of a backend.
        compiled (CompiledTrunk | None): what computes the states where torch does not.
        device (torch.device): where it runs.
        hidden_size (int): K, the width of a layer state.
        num_layers (int): l; there are states 0 to l.
        longest_input (int | None): most tokens the model has positions for, special tokens included; None if unbounded.
        max_length (int): the default length: `longest_input`, the tokenizer's own bound or 512, whichever is least; of audio
            `longest_input`, or what 30 s have.
        taps: where the states come out (see `architectures.Taps`).
    """

    def __init__(
        self,
        source: Source,
        row: Architecture,
        stack: StackName,
        model: PreTrainedModel,
        tokenizer: Any,
        *,
        stored: torch.dtype,
        dtype: str,
        device: torch.device,
        again: Callable[[], PreTrainedModel] | None = None,
    ) -> None:
        config = model.config
        self.name, self.revision, self.architecture, self.stack = source.name, source.revision, row.model_type, stack
        self.folder, self.row = source.folder, row
        self.tokenizer, self.dtype, self.device = tokenizer, dtype, device
        self.compiled: CompiledTrunk | None = None
        self._stored = stored
        self._again = again  # makes the model once more, where it is not what the folder holds
        # Narrowing loses the bits that the fingerprint is made of, so it is taken before; widening keeps them all.
        narrows = torch.promote_types(stored, DTYPES[dtype]) != DTYPES[dtype]
        self._weights = weights_digest(model, stored) if narrows else None
        self.model = cast(model, DTYPES[dtype]).requires_grad_(False).eval().to(device)
        self.taps = find_taps(self.model, stack)
        put_hooks(self.taps)  # before any thread runs it
        self.hidden_size: int = config.hidden_size
        self.num_layers = len(self.taps.states)
        accepted = inspect.signature(self.model.forward).parameters
        # A cache of keys and values is of use to generation only.
        self.call_options = {"use_cache": False} if "use_cache" in accepted else {}
        made = (
            of_text(row, self.model, tokenizer, accepted, stack)
            if row.front is None
            else of_audio(row, config, tokenizer, source.folder, source.name)
        )
        self.reads: Literal["text", "audio"] = "text" if row.front is None else "audio"
        self.processor, self.longest_input, self.max_length = made.processor, made.longest_input, made.max_length
        self.vocabulary, self.pad_id = made.vocabulary, made.pad_id

    @property
    def backend(self) -> str:
        """The name of what computes the states."""
        return "torch" if self.compiled is None else self.compiled.name

    @property
    def precision(self) -> str:
        """`dtype`, of int8 with the sha256 of its calibration. States of one precision are equal but for rounding."""
        return precision_name(self.dtype, None if self.compiled is None else self.compiled.ranges)

    @property
    def computed_in(self) -> str:
        """What the numbers of a state depend on besides the fingerprint: precision, backend, and the calibration of int8."""
        return self.dtype if self.compiled is None else self.compiled.computed_in

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """sha256 of the weights that run, as stored, of the tokenizer and of the settings; independent of path and `dtype`."""
        if self.reads == "audio":
            tokenizer = settings = extractor_digest(self.tokenizer)
        else:
            tokenizer = tokenizer_digest(self.tokenizer)
            settings = tokenizer_settings_digest(self.tokenizer, takes_types=self.processor.with_segments)
        weights = self._weights or weights_digest(self.model, self._stored)
        return Fingerprint(weights, tokenizer, config_digest(self.model.config), settings)

    @contextmanager
    def weights_set_aside(self, used: Iterable[Tensor]) -> Iterator[None]:
        """Within the block, the weights that share no memory with one of `used` take none; then they are read again from disk.

        For the time in which a changed copy is trained: the trunk itself cannot run within the block. After an error they
        stay away.

        Raises:
            BadInput: the files cannot be read again, or hold other weights than before.
        """
        found = self.fingerprint  # while the weights are at hand
        kept = {tensor.data_ptr() for tensor in used}
        away = {name: p for name, p in self.model.named_parameters() if p.data_ptr() not in kept}
        for parameter in away.values():
            parameter.data = parameter.data.new_empty(0)
        yield
        if not away:
            return
        read = dict(cast(self._read_again(found), DTYPES[self.dtype]).named_parameters())
        for name, parameter in away.items():
            parameter.data = read[name].data.to(self.device)

    def put_weights_away(self) -> None:
        """Free the memory of the weights, where a backend has what it needs of them; torch cannot run the trunk any more."""
        assert self.fingerprint  # while they are at hand
        self.model.to("meta")

    def read_weights_again(self) -> None:
        """Undo `put_weights_away`, if it was called; `model` and `taps` are new objects then.

        Raises:
            BadInput: the files cannot be read again, or hold other weights than before.
        """
        if not any(parameter.is_meta for parameter in self.model.parameters()):
            return
        model = self._again() if self._again else self._read_again(self.fingerprint)
        model = cast(model, torch.float32).requires_grad_(False).eval()
        taps = find_taps(model, self.stack)
        put_hooks(taps)
        self.model, self.taps = model, taps

    def _read_again(self, found: Fingerprint) -> PreTrainedModel:
        with quiet_loading():
            model = load_model(self.folder, self.model.config, self.row, self.stack, self._stored)
        if weights_digest(model, self._stored) != found.weights:
            raise BadInput(f"{self.folder}: the weights of {self.name} have changed on disk since they were loaded")
        return model

    def encode(
        self,
        texts: Sequence[Any],
        *,
        pairs: Sequence[str] | None = None,
        units: Sequence[Sequence[tuple[int, int]]] | None = None,
        max_length: int | None = None,
        windows: bool = False,
    ) -> Encoded:
        """Tokenise texts for this trunk in one way (see `Cut`); `max_length` None means `self.max_length`.

        Args:
            texts: strings, or clips as `Clip.of` takes them.

        Raises:
            BadInput: `max_length` is more than the model has positions for, or the tokenizer gives ids it does not know; a clip
                that cannot be read.
        """
        cut = Cut(self.max_length if max_length is None else max_length, windows)
        return self.encode_each(texts, [cut], pairs=pairs, units=units)[0]

    def encode_each(
        self,
        texts: Sequence[Any],
        cuts: Sequence[Cut],
        *,
        pairs: Sequence[str] | None = None,
        units: Sequence[Sequence[tuple[int, int]]] | None = None,
    ) -> list[Encoded]:
        """Tokenise texts once and cut them in each of the ways asked for (see `TextProcessor.encode`, `AudioProcessor.encode`).

        Raises:
            BadInput: as `encode`.
        """
        for cut in cuts:
            if self.longest_input is not None and cut.max_length > self.longest_input:
                found = f"found {cut.max_length}; expected at most {self.longest_input}, the positions of {self.name}"
                raise BadInput(found, key="max_length")
        made = self.processor.encode(texts, cuts, pairs=pairs, units=units)
        worst = max((int(encoded.ids.max(initial=0)) for encoded in made), default=0)
        if self.reads == "text" and worst >= self.vocabulary:
            raise BadInput(
                f"trunk {self.name}: its tokenizer produces id {worst}, "
                f"but the model's vocabulary has {self.vocabulary} entries"
            )
        return made

    def collate(
        self, encoded: Encoded, sequences: Sequence[int] | np.ndarray, pad_to_multiple_of: int = 1
    ) -> dict[str, Tensor]:
        """Make a padded batch of some sequences, in their order, on the trunk's device.

        It is padded on the side on which the trunk's tokenizer pads (right for the models that support no other). Tokens keep
        the positions they have without padding.

        Returns:
            input_ids and attention_mask, int64 (B, T) with T the longest, rounded up to a multiple of `pad_to_multiple_of`
            where the model has positions for that; token_type_ids (B, T) for pairs, where the model has them; position_ids
            (B, T) where padding on the left needs them. Of audio, what `AudioProcessor.collate` returns, features in the
            precision of the trunk.
        """
        batch = self.processor.collate(encoded, sequences, pad_to_multiple_of)
        inputs = {key: torch.from_numpy(value).to(self.device) for key, value in batch.items()}
        return {key: value.to(DTYPES[self.dtype]) if value.is_floating_point() else value for key, value in inputs.items()}

    def passes(self, encoded: Encoded, sequences: np.ndarray) -> list[np.ndarray]:
        """Which of some sequences (B,) may share a pass, as places among them; one array if all of them may, as texts do."""
        if isinstance(self.processor, AudioProcessor):
            return self.processor.passes(encoded, sequences)
        return [np.arange(len(sequences))]

    def real(self, inputs: Mapping[str, Tensor], lengths: np.ndarray) -> Tensor:
        """Where the rows of sequences of these lengths are in a pass over the batch `inputs`, (B, T), 0 or false elsewhere."""
        if isinstance(self.processor, AudioProcessor):
            return torch.from_numpy(self.processor.real(lengths)).to(self.device)
        return inputs["attention_mask"]

    def __repr__(self) -> str:
        size = f"layers={self.num_layers}, width={self.hidden_size}"
        return f"Trunk({self.name!r}, {self.architecture}, {size}, {self.dtype}, {self.device})"
