"""Which words of a text an answer rests on: integrated gradients through a branch and its trunk (the extra `explain`).

Sundararajan, Taly and Yan 2017, "Axiomatic Attribution for Deep Networks" (arXiv 1703.01365), by captum. A text x of T tokens
is the word embeddings that go into the trunk, and F(x) the logit of one label. The attribution of a token is

    sum over the width of (x - x') * integral from 0 to 1 of dF/dx at x' + a (x - x')        (eq. 1)

The baseline x' has the embedding of the padding token (0 where there is none) in the place of every token but special ones.
Together the tokens get F(x) - F(x'), but for the error of the integral, which is reported (`delta`).

All of it is computed in float32 by torch, whatever computes predictions, so that F(x) may differ from theirs by rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trunkline.branches import BranchGroup
from trunkline.data.corpus import segment
from trunkline.errors import BadInput, unknown_name
from trunkline.inputs.batching import Layout
from trunkline.inputs.cutting import Cut
from trunkline.inputs.encoded import Encoded
from trunkline.model.arguments import asked
from trunkline.model.branch import Branch
from trunkline.model.bundle import Bundle
from trunkline.model.plan import PlannedPass
from trunkline.trunk.architectures import Taps, find_taps
from trunkline.trunk.shared import shared_trunk
from trunkline.trunk.stream import put_hooks, run_layers
from trunkline.tuners.tuned import TunedTrunk

STEPS = 50  # of the integral; Gauss-Legendre quadrature needs few
TOKENS = 1024  # of the steps that are computed at once: their activations are all kept for the way back
TOLERANCE = 1e-3  # by which logits of token ids and of their embeddings may differ


@dataclass(frozen=True)
class Word:
    """A word and its attribution, the sum over its tokens: characters `start` to `end` of the text, None for a token of a
    second text.
    """

    text: str
    start: int | None
    end: int | None
    value: float


@dataclass(frozen=True)
class Attribution:
    """What the answer for one text rests on.

    Attributes:
        text: as it was read.
        label: whose logit is explained, of a token task the tag; "value" for a number.
        unit: of a token task, the number of the word whose tag it is; None otherwise. `tagged` is that word.
        output: F(x), the logit, of a regression the number in units of its column.
        baseline: F(x'), of the same.
        delta: by how much the sum of `values` is off `output - baseline`.
        tokens: T, as the tokenizer spells them, special ones too; of a long text as many as fit into one sequence.
        values: fp64 (T,), the attribution of each.
        words: in order.
        others: the sum over tokens of no word, which are special ones.
    """

    text: str
    label: str
    unit: int | None
    output: float
    baseline: float
    delta: float
    tokens: list[str]
    values: np.ndarray
    words: list[Word]
    others: float
    tagged: Word | None = None


def attributions(
    bundle: Bundle,
    name: str,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    *,
    label: str | None = None,
    units: Sequence[int | None] | None = None,
    steps: int = STEPS,
) -> list[Attribution]:
    """Attribute a logit of a branch to the tokens of each text.

    Nothing that other threads use is changed: no weight gets a gradient.

    Args:
        bundle: it has the branch.
        name: of the branch.
        texts: what it reads, in order.
        pairs: the second text of each, where the branch was trained on pairs.
        label: whose logit; by default the predicted label, of several labels the most probable one.
        units: of a token task, the number of the word whose tag is explained, for each text (words as `segment` finds them, or
            those of lists of words); None: the word that is most probably not tagged O.
        steps: of the integral.

    Raises:
        BadInput: captum is not installed, no branch of that name, no such label or word, a trunk that does not take embeddings,
            and what `Bundle.predict` refuses.
    """
    method = _method()
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise BadInput(f"steps: found {steps!r}, expected a whole number of at least 1")
    plan = bundle.only(name).plan
    (one,), (branch,) = plan.passes, plan.branches.values()
    if label is not None and label not in branch.task.labels:
        raise unknown_name("label", label, branch.task.labels, whole=True)
    if units is not None and (branch.task.answers.level != "unit" or len(units) != len(texts)):
        raise BadInput(f"units: found {len(units)} numbers of words, expected one for each text of a task that tags words")
    given = asked([texts] if isinstance(texts, str) else texts, pairs, None, plan.check_pairs, "read", plan.reads_words)
    if not given.texts:
        return []
    words = given.units or [segment(text) for text in given.texts]
    runner = _Runner(one, branch)
    second = given.pairs if one.pairs else None
    encoded = one.trunk.encode_each(given.texts, [Cut(one.cut.max_length)], pairs=second, units=words)[0]
    found = []
    for text, own in enumerate(words):
        asking = runner.asking(encoded, text, None if units is None else units[text], label)
        values, output, baseline, delta = asking.attributed(method, steps)
        by_word, others = _by_word(asking, values, own, given.texts[text])
        said, unit, tagged = given.texts[text], asking.unit, None
        if unit is not None:
            tagged = next(word for word in by_word if word.start is not None and word.start <= own[unit][0] < (word.end or 0))
        about = (said, asking.label, unit, output, baseline, delta)
        found.append(Attribution(*about, asking.tokens, values, by_word, others, tagged))
    return found


class _Runner:
    """A trunk in float32 with one branch: embeddings to logits, with gradients. It has the attributes that a pass needs."""

    def __init__(self, one: PlannedPass, branch: Branch) -> None:
        self.trunk, self.task, self.module = one.trunk, branch.task, branch.module
        with torch.no_grad():  # none to its weights
            self.group = BranchGroup({"": branch.module}, frozen=None)
        self.before, self.special = 0, _special_ids(one.trunk.tokenizer)
        if one.trunk.stack != "encoder":
            raise BadInput(f"trunk {one.trunk.name}: its decoder is read, and attributions need an encoder or a causal model")
        if isinstance(one.source, TunedTrunk):
            self.model: Any = one.source.in_float32().eval()
            self.taps: Taps = find_taps(self.model, one.trunk.stack)
            put_hooks(self.taps)
            self.before = one.source.tuner.virtual_tokens
        else:
            trunk = one.trunk
            if trunk.compiled is not None or trunk.dtype != "fp32":
                trunk = shared_trunk(trunk.folder, stack=trunk.stack, dtype="fp32", device=trunk.device)
                branch.check_trunk(trunk)
            self.model, self.taps = trunk.model, trunk.taps
        self.architecture, self.num_layers, self.call_options = (
            one.trunk.architecture,
            one.trunk.num_layers,
            one.trunk.call_options,
        )
        self.device = next(self.model.parameters()).device

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

    def asking(self, encoded: Encoded, text: int, unit: int | None, label: str | None) -> _Asking:
        """What is asked about one text of `encoded`."""
        if self.task.answers.level == "text":
            return _Asking(self, encoded, text, None, None, label)
        assert encoded.unit_rows is not None and encoded.unit_offsets is not None
        rows = encoded.unit_rows[encoded.unit_offsets[text] : encoded.unit_offsets[text + 1]]
        known = np.flatnonzero(rows >= 0)
        if unit is not None and unit not in known:
            raise BadInput(f"text {text + 1}: found no word {unit} that has tokens, expected one of 0 to {len(rows) - 1}")
        if not len(known):
            raise BadInput(f"text {text + 1}: found no word that has tokens, expected one whose tag is explained")
        places = rows - encoded.offsets[text]
        if unit is None:
            unit = int(known[self._likely(self.inputs(encoded, text), places[known])])
        return _Asking(self, encoded, text, unit, places[[unit]], label)

    @torch.no_grad()
    def _likely(self, inputs: dict[str, Tensor], places: np.ndarray) -> int:
        """Which of the words in the rows `places` is most probably not tagged O."""
        logits = self.logits(inputs, places)
        tagged = 1 - torch.softmax(logits.double(), 1)[:, 0]
        return int(tagged.argmax())

    def inputs(self, encoded: Encoded, sequence: int) -> dict[str, Tensor]:
        """One sequence, without padding."""
        return {key: value.to(self.device) for key, value in self.trunk.collate(encoded, [sequence]).items()}


class _Asking:
    """A logit of one sequence as a function of its embeddings."""

    def __init__(
        self, runner: _Runner, encoded: Encoded, sequence: int, unit: int | None, place: np.ndarray | None, label: str | None
    ) -> None:
        self.runner, self.encoded, self.sequence, self.unit, self.place = runner, encoded, sequence, unit, place
        self.inputs = runner.inputs(encoded, sequence)
        ids = self.inputs.pop("input_ids")
        self.tokens: list[str] = runner.trunk.tokenizer.convert_ids_to_tokens(ids[0].tolist())
        self.special = np.isin(ids[0].cpu().numpy(), runner.special)
        with torch.no_grad():
            embed = runner.model.get_input_embeddings()
            self.given = embed(ids)
            pad = runner.trunk.tokenizer.pad_token_id
            empty = torch.zeros_like(self.given) if pad is None else embed(torch.full_like(ids, pad))
            self.empty = torch.where(torch.from_numpy(self.special).to(empty.device)[None, :, None], self.given, empty)
            expected = runner.logits({"input_ids": ids, **self.inputs}, place)
            try:
                found = self._logits(self.given)
            except (TypeError, ValueError):
                found = torch.full_like(expected, torch.nan)
        scale = max(1.0, float(expected.abs().max()))
        if not bool(((found - expected).abs() <= TOLERANCE * scale).all()):
            name, kind = runner.trunk.name, runner.architecture
            raise BadInput(
                f"trunk {name}: as a {kind} it does not take embeddings in the place of token ids, as attributions need"
            )
        task = runner.task
        self.target = int(expected[0].argmax()) if label is None else task.labels.index(label)
        self.label = task.labels[self.target]
        self.mean, self.deviation = task.scale or (0.0, 1.0)

    def _logits(self, embeddings: Tensor) -> Tensor:
        inputs = {key: value.expand(len(embeddings), -1) for key, value in self.inputs.items()}
        return self.runner.logits({"inputs_embeds": embeddings, **inputs}, self.place)

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


def _by_word(asking: _Asking, values: np.ndarray, units: Sequence[tuple[int, int]], text: str) -> tuple[list[Word], float]:
    """The sums over the tokens of each word, and what is left."""
    encoded, sequence = asking.encoded, asking.sequence
    assert encoded.unit_rows is not None and encoded.unit_offsets is not None
    begin, end = encoded.offsets[sequence], encoded.offsets[sequence + 1]
    first = int(encoded.unit_offsets[encoded.text_of[sequence]])
    spans: dict[int, tuple[int, int]] = {}  # by its first row, a word; several that begin in one token are one
    for number, (start, stop) in enumerate(units):
        if begin <= (row := int(encoded.unit_rows[first + number])) < end:
            known = spans.get(row - begin)
            spans[row - begin] = (start, stop) if known is None else (known[0], stop)
    found: list[Word] = []
    others = waiting = 0.0  # waiting: of tokens before their word, such as a blank's
    current: int | None = None
    for row, value in enumerate(values.tolist()):
        if asking.special[row]:
            others, waiting, current = others + value + waiting, 0.0, None
        elif row in spans:
            start, stop = spans[row]
            found.append(Word(text[start:stop], start, stop, value + waiting))
            waiting, current = 0.0, len(found) - 1
        elif current is not None:
            word = found[current]
            found[current] = Word(word.text, word.start, word.end, word.value + value)
        elif found or (encoded.segments is not None and encoded.segments[begin + row]):  # the second text of a pair
            found.append(Word(asking.tokens[row], None, None, value))
        else:
            waiting += value
    return found, others + waiting


def _special_ids(tokenizer: Any) -> list[int]:
    """Ids of the tokens that are put around and between texts. Not of the one for unknown words, which stands for a word."""
    found = (getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "cls", "sep", "pad"))
    return sorted({number for number in found if number is not None})


def _method() -> Callable[..., Any]:
    try:
        from captum.attr import IntegratedGradients
    except ImportError:
        raise BadInput("token attributions need captum: pip install 'trunkline[explain]'") from None
    return IntegratedGradients
