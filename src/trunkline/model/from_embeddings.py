"""A logit of a branch as a function of the word embeddings of one text, with gradients: what attributions are made of.

A twin of the model's modules has a stand-in where its word embeddings are. Nothing of the model itself is touched, no weight
gets a gradient, and all of it is computed in float32 by torch, whatever computes predictions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trunkline.branches import BranchGroup
from trunkline.errors import BadInput
from trunkline.inputs.batching import Layout
from trunkline.inputs.encoded import Encoded
from trunkline.model.branch import Branch
from trunkline.model.plan import PlannedPass
from trunkline.trunk.architectures import Taps, find_taps, model_within
from trunkline.trunk.shared import shared_trunk
from trunkline.trunk.stream import put_hooks, run_layers
from trunkline.tuners.tuned import TunedTrunk

TOKENS = 1024  # of the steps of a path that are computed at once: their activations are all kept for the way back
TOLERANCE = 1e-3  # by which logits of token ids and of their embeddings may differ


class NoWord(BadInput):
    """A text without the word whose tag is asked about."""


class FromEmbeddings:
    """A trunk in float32 with one branch: embeddings to logits, with gradients. It has the attributes that a pass needs."""

    def __init__(self, one: PlannedPass, branch: Branch) -> None:
        self.trunk, self.task, self.module = one.trunk, branch.task, branch.module
        with torch.no_grad():  # none to its weights
            self.group = BranchGroup({"": branch.module}, frozen=None)
        self.before, self.special = 0, _special_ids(one.trunk.tokenizer)
        if one.trunk.stack != "encoder":
            raise BadInput(f"trunk {one.trunk.name}: its decoder is read, and attributions need an encoder or a causal model")
        if isinstance(one.source, TunedTrunk):
            model: Any = one.source.in_float32().eval()
            taps: Taps = find_taps(model, one.trunk.stack)
            put_hooks(taps)
            self.before = one.source.tuner.virtual_tokens
        else:
            trunk = one.trunk
            if trunk.compiled is not None or trunk.dtype != "fp32":
                trunk = shared_trunk(trunk.folder, stack=trunk.stack, dtype="fp32", device=trunk.device)
                branch.check_trunk(trunk)
            model, taps = trunk.model, trunk.taps
        self.device = next(model.parameters()).device
        self.embed: Any = model_within(model).get_input_embeddings()
        self.slot = Slot(self.embed)
        self.model, root = with_words(model, self.embed, self.slot, taps.root)
        self.taps = replace(taps, root=root)
        self.architecture, self.num_layers = one.trunk.architecture, one.trunk.num_layers
        self.call_options = one.trunk.call_options

    def logits(self, inputs: dict[str, Tensor], places: np.ndarray | None) -> Tensor:
        """(B, C) of B sequences of one length; or (B * P, C) of the words in P rows of each."""
        count, length = inputs["attention_mask"].shape
        running = self.group.start(Layout(torch.full((count,), length, device=self.device)))

        def read(layer: int, state: Tensor) -> None:
            running.read(layer, state[:, self.before :].reshape(-1, state.shape[-1]).to(self.group.device))

        run_layers(self, inputs, self.group.wanted(), read, frozen=False)
        rows = None
        if places is not None:
            rows = (torch.arange(count)[:, None] * length + torch.from_numpy(places)).flatten().to(self.group.device)
        return running.finish({"": rows})[""]

    def asking(self, encoded: Encoded, text: int, unit: int | None, label: str | None) -> Logit:
        """What is asked about one text of `encoded`: the logit of `label`, by default the predicted one; of the word `unit`, by
        default one that is most probably not tagged O, whose tag is then not O either.
        """
        if self.task.answers.level == "text":
            return Logit(self, encoded, text, None, None, label=label)
        assert encoded.unit_rows is not None and encoded.unit_offsets is not None
        rows = encoded.unit_rows[encoded.unit_offsets[text] : encoded.unit_offsets[text + 1]]
        known = np.flatnonzero(rows >= 0)
        if unit is not None and unit not in known:
            raise NoWord(f"text {text + 1}: found no word {unit} that has tokens, expected one of 0 to {len(rows) - 1}")
        if not len(known):
            raise NoWord(f"text {text + 1}: found no word that has tokens, expected one whose tag is explained")
        places = rows - encoded.offsets[text]
        if chosen := unit is None:
            unit = int(known[self._likely(self.inputs(encoded, text), places[known])])
        return Logit(self, encoded, text, unit, places[[unit]], label=label, least=int(chosen))

    @torch.no_grad()
    def _likely(self, inputs: dict[str, Tensor], places: np.ndarray) -> int:
        """Which word of the rows `places` is most probably not tagged O: if any are predicted another tag, of these."""
        logits = self.logits(inputs, places)
        tagged = 1 - torch.softmax(logits.double(), 1)[:, 0]
        return int((tagged + (logits.argmax(1) > 0)).argmax())

    def inputs(self, encoded: Encoded, sequence: int) -> dict[str, Tensor]:
        """One sequence, without padding."""
        return {key: value.to(self.device) for key, value in self.trunk.collate(encoded, [sequence]).items()}


class Slot(nn.Module):
    """Stands where the word embeddings were: gives those that it was given, or theirs."""

    def __init__(self, words: nn.Module) -> None:
        super().__init__()
        self._words = [words]  # in a list, as it is no submodule
        self.embeddings: Tensor | None = None
        self.used = False

    def forward(self, ids: Tensor) -> Tensor:
        self.used = True
        return self._words[0](ids) if self.embeddings is None else self.embeddings


def with_words(model: Any, words: Any, new: nn.Module, root: nn.Module) -> tuple[Any, nn.Module]:
    """A model with `new` in the place of its word embeddings `words`, and of modules that share their weight, and what its
    module `root` is there. Only the modules around are copied (their attributes, not their weights), so that nothing of the
    model is touched and other threads may run it.
    """
    made: dict[nn.Module, Any] = {}

    def copied(module: nn.Module) -> Any:
        if module not in made:
            found = copy.copy(module)
            found._modules = dict(module._modules)
            made[module] = made[found] = found
        return made[module]

    for name, module in list(model.named_modules(remove_duplicate=False)):
        if isinstance(module, nn.Embedding) and module.weight is words.weight:
            *path, last = name.split(".")
            parent = copied(model)
            for part in path:
                parent._modules[part] = parent = copied(parent._modules[part])
            parent._modules[last] = new
    return copied(model), made.get(root, root)


class Logit:
    """A logit of one sequence as a function of its embeddings: that of `label`, or the largest of those from `least` on."""

    def __init__(
        self,
        runner: FromEmbeddings,
        encoded: Encoded,
        sequence: int,
        unit: int | None,
        place: np.ndarray | None,
        *,
        label: str | None,
        least: int = 0,
    ) -> None:
        self.runner, self.encoded, self.sequence, self.unit, self.place = runner, encoded, sequence, unit, place
        self.inputs = runner.inputs(encoded, sequence)
        ids = self.inputs["input_ids"]
        self.tokens: list[str] = runner.trunk.tokenizer.convert_ids_to_tokens(ids[0].tolist())
        self.special = np.isin(ids[0].cpu().numpy(), runner.special)
        with torch.no_grad():
            self.given = runner.embed(ids)
            padding = runner.embed(torch.full_like(ids, runner.trunk.pad_id))
            self.empty = torch.where(torch.from_numpy(self.special).to(self.given.device)[None, :, None], self.given, padding)
            expected = runner.logits(self.inputs, place)
            off = (self._logits(self.given) - expected).abs().max()
        if not runner.slot.used or float(off) > TOLERANCE * max(1.0, float(expected.abs().max())):
            raise BadInput(
                f"trunk {runner.trunk.name}: its {runner.architecture} reads more of a token than its word embedding"
            )
        task = runner.task
        self.target = least + int(expected[0, least:].argmax()) if label is None else task.labels.index(label)
        self.label, self.predicted = task.labels[self.target], task.labels[int(expected[0].argmax())]
        self.mean, self.deviation = task.scale or (0.0, 1.0)

    def _logits(self, embeddings: Tensor) -> Tensor:
        inputs = {key: value.expand(len(embeddings), -1) for key, value in self.inputs.items()}
        self.runner.slot.embeddings = embeddings
        try:
            return self.runner.logits(inputs, self.place)
        finally:
            self.runner.slot.embeddings = None

    def output(self, embeddings: Tensor) -> Tensor:
        """F, (B,) of embeddings (B, T, E)."""
        return self._logits(embeddings)[:, self.target] * self.deviation + self.mean

    def attributed(self, method: Callable[..., Any], steps: int) -> tuple[np.ndarray, float, float, float]:
        """By token, the attribution; F at both ends, and what the sum is off."""
        size = max(1, TOKENS // self.given.shape[1])
        values = method(self.output).attribute(self.given, self.empty, n_steps=steps, internal_batch_size=size)
        by_token = values[0].double().sum(1).cpu().numpy()
        with torch.no_grad():
            output, baseline = (float(self.output(end)[0]) for end in (self.given, self.empty))
        return by_token, output, baseline, float(by_token.sum() - (output - baseline))


def _special_ids(tokenizer: Any) -> list[int]:
    """Ids of the tokens that are put around and between texts. Not of the one for unknown words, which stands for a word."""
    found = (getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "cls", "sep", "pad"))
    return sorted({number for number in found if number is not None})
