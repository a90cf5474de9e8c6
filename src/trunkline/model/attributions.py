"""Which words of a text an answer rests on: integrated gradients through a branch and its trunk (the extra `explain`).

Sundararajan, Taly and Yan 2017, "Axiomatic Attribution for Deep Networks" (arXiv 1703.01365), by captum. A text x of T tokens
is the word embeddings that go into the trunk, and F(x) the logit of one label. The attribution of a token is

    sum over the width of (x - x') * integral from 0 to 1 of dF/dx at x' + a (x - x')        (eq. 1)

The baseline x' has the embedding of the padding token (where there is none, of the one that ends texts) in the place of every
token but special ones. Not zeros: there the norms that many models begin with have no gradient.
Together the tokens get F(x) - F(x'), but for the error of the integral, which is reported (`delta`). F is computed in float32
(from_embeddings.py), so that F(x) may differ from predictions by rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trunkline.data.corpus import segment
from trunkline.errors import BadInput, unknown_name
from trunkline.inputs.cutting import Cut
from trunkline.model.arguments import asked
from trunkline.model.bundle import Bundle
from trunkline.model.from_embeddings import FromEmbeddings, Logit, NoWord

STEPS = 50  # of the integral; Gauss-Legendre quadrature needs few


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
        predicted: the label with the largest logit, of a token task the tag of that word (with a CRF, before the CRF).
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
    predicted: str
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
            those of lists of words); None: the word that is most probably not tagged O, and its most probable tag but O.
        steps: of the integral.

    Raises:
        BadInput: captum is not installed, no branch of that name, no such label or word, a trunk that reads audio or whose
            decoder is read, a text of several windows where the branch reads all of these, and what `Bundle.predict` refuses.
    """
    return [
        one
        for one in _each(bundle, name, texts, pairs, label, units, steps, whole=True)
        if not isinstance(one, BadInput)  # all of which are raised
    ]


def attempted(
    bundle: Bundle, name: str, texts: Sequence[str], pairs: Sequence[str] | None = None
) -> list[Attribution | BadInput]:
    """As `attributions`, with an error in the place of a text that has none: one of several windows, or without words."""
    return list(_each(bundle, name, texts, pairs, None, None, STEPS, whole=False))


def _each(
    bundle: Bundle,
    name: str,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    label: str | None,
    units: Sequence[int | None] | None,
    steps: int,
    *,
    whole: bool,
) -> Iterator[Attribution | BadInput]:
    """The attributions of each text, or why it has none, which is raised if all of them are wanted (`whole`)."""
    method = _method()
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise BadInput(f"steps: found {steps!r}, expected a whole number of at least 1")
    plan = bundle.only(name).plan
    (one,), (branch,) = plan.passes, plan.branches.values()
    if one.trunk.reads != "text":
        raise BadInput(f"branch {name!r}: its trunk {one.trunk.name} reads audio, and attributions are of words")
    if label is not None and label not in branch.task.labels:
        raise unknown_name("label", label, branch.task.labels, whole=True)
    if units is not None and (branch.task.answers.level != "unit" or len(units) != len(texts)):
        raise BadInput(f"units: found {len(units)} numbers of words, expected one for each text of a task that tags words")
    given = asked([texts] if isinstance(texts, str) else texts, pairs, None, plan.check_pairs, "read", plan.reads_words)
    if not given.texts:
        return
    words = given.units or [segment(text) for text in given.texts]
    runner = FromEmbeddings(one, branch)
    second = given.pairs if one.pairs else None
    encoded = one.trunk.encode_each(given.texts, [Cut(one.cut.max_length)], pairs=second, units=words)[0]
    long = np.flatnonzero(encoded.longer) if branch.task.answers.joined else np.zeros(0, np.int64)
    reads = f"reads all windows of a long text (long_texts: {branch.task.long_texts})"
    expected = f"texts of at most {one.cut.max_length} tokens"
    refused = {
        text: BadInput(f"text {text + 1}: branch {name!r} {reads}, and attributions are of one; expected {expected}")
        for text in long.tolist()
    }
    if whole and refused:
        raise next(iter(refused.values()))
    for text, own in enumerate(words):
        if text in refused:
            yield refused[text]
            continue
        try:
            asking = runner.asking(encoded, text, None if units is None else units[text], label)
        except NoWord as error:
            if whole:
                raise
            yield error
            continue
        values, output, baseline, delta = asking.attributed(method, steps)
        by_word, others = _by_word(asking, values, own, given.texts[text])
        said, unit, tagged = given.texts[text], asking.unit, None
        if unit is not None:
            tagged = next(word for word in by_word if word.start is not None and word.start <= own[unit][0] < (word.end or 0))
        about = (said, asking.label, asking.predicted, unit, output, baseline, delta)
        yield Attribution(*about, asking.tokens, values, by_word, others, tagged)


def _by_word(asking: Logit, values: np.ndarray, units: Sequence[tuple[int, int]], text: str) -> tuple[list[Word], float]:
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


def _method() -> Callable[..., Any]:
    try:
        from captum.attr import IntegratedGradients
    except ImportError:
        raise BadInput("token attributions need captum: pip install 'trunkline[explain]'") from None
    return IntegratedGradients
