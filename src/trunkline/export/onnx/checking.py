"""Whether a graph answers as torch does: it is run on texts as predict.py runs it, and compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trunkline.data.columns import clean
from trunkline.data.corpus import Corpus, segment
from trunkline.data.sources import read_table
from trunkline.data.table import Table
from trunkline.errors import TrunklineError
from trunkline.export.onnx.predict import Graph, decode, of_words, words_of
from trunkline.export.onnx.together import Together
from trunkline.export.onnx.traced import MergedStates
from trunkline.model.apply import collect_logits
from trunkline.model.bundle import Bundle

TEXTS = 64  # of the embedded data, where no others are given
TOLERANCE = 1e-4
BATCH = 16


@dataclass(frozen=True)
class Agreement:
    """How a task's answers by the graph agree with those of torch.

    Attributes:
        texts: how many were compared.
        same: of them, those with the same answer: label, labels, spans, or a number equal to 1e-3 of its deviation.
        difference: the largest one of a logit.
        trained_in: the precision that the branch was trained in, where that is not fp32.
        own_texts, own_same: as `texts` and `same`, against the answers in that precision.
    """

    texts: int
    same: int
    difference: float
    trained_in: str | None = None
    own_texts: int = 0
    own_same: int = 0


def sample(pairs: bool, texts: Sequence[str] | None = None) -> Corpus:
    """Texts to compare on: those given, or some of the embedded data, and all of them as one, which is cut."""
    texts = _embedded("snips:test") if texts is None else texts
    return _corpus([*texts, " ".join(texts)], pairs)


def other_texts(pairs: bool, texts: Sequence[str] | None = None) -> Corpus:
    """Texts to calibrate int8 with: those given, or some of the embedded data that `sample` does not have."""
    return _corpus(_embedded("snips") if texts is None else list(texts), pairs)


def _embedded(source: str) -> list[str]:
    found = read_table(source).columns["text"]
    return found[:: max(1, len(found) // TEXTS)][:TEXTS]


def _corpus(texts: list[str], pairs: bool) -> Corpus:
    texts = [clean(text) for text in texts]  # as the script does
    second = [*texts[1:], texts[0]] if pairs else None
    return Corpus(Table("texts", {"text": texts}), texts, second, [segment(text) for text in texts])


def compare(together: Together, folder: Path, corpus: Corpus, *, exact: bool, where: Path) -> dict[str, Agreement]:
    """Compare the graph in `folder` with torch, by task.

    Args:
        together: what it was made of.
        folder: that predict.py would be in.
        corpus: as of `sample`.
        exact: whether logits have to be equal to TOLERANCE and all answers the same.
        where: what messages call the folder.

    Raises:
        TrunklineError: they are not, or the graph gives what is no number.
    """
    graph = _opened(folder, where)
    expected, own = _by_torch(together, corpus), _in_own_precision(together, corpus)
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in together.branches}
    largest = dict.fromkeys(together.branches, 0.0)
    for begin in range(0, len(corpus), BATCH):
        some = slice(begin, begin + BATCH)
        with _running(where):
            read, logits = graph.logits(corpus.texts[some], None if corpus.pairs is None else corpus.pairs[some])
        for (name, task), rows in zip(graph.about["tasks"].items(), logits, strict=True):
            for number, (text, one, x) in enumerate(zip(corpus.texts[some], read, rows, strict=True), start=begin):
                found = of_words(x, words_of(text, task), one) if "words" in task else x
                largest[name] = max(largest[name], _difference(found, expected[name][0][number], exact))
                answers[name].append(decode(x, task, text, one))
    agreements = {}
    for name, branch in together.branches.items():
        scale = branch.task.scale
        same = _count(answers[name], expected[name][1], scale)
        if not largest[name] < np.inf or (exact and same < len(corpus)):
            said = f"{len(corpus) - same} of {len(corpus)} texts get another answer than torch gives them"
            if not largest[name] < np.inf:
                said = f"its logits for {len(corpus)} texts differ from torch's by more than {TOLERANCE:g}"
            raise TrunklineError(f"{where}: task {name!r}: {said}; nothing was written")
        trained = own.get(name)
        agreements[name] = Agreement(
            len(corpus),
            same,
            largest[name],
            *((_trained_in(branch), len(trained), _count(answers[name], trained, scale)) if trained is not None else ()),
        )
    return agreements


def _opened(folder: Path, where: Path) -> Graph:
    with _running(where):
        return Graph(folder)


@contextmanager
def _running(where: Path) -> Iterator[None]:
    """Say in one sentence what onnxruntime, which has kinds of error of its own, does not run."""
    try:
        yield
    except Exception as error:
        what = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise TrunklineError(f"{where}: onnxruntime cannot run the graph ({what}); nothing was written") from error


def _by_torch(together: Together, corpus: Corpus) -> dict[str, tuple[list[np.ndarray], list[dict[str, Any]]]]:
    """By task, the logits of each text and its answer, in float32 and with long texts cut, but for tasks that join windows."""
    encodings, logits = {}, dict[str, np.ndarray]()
    for joined in (False, True):
        members = {name: branch for name, branch in together.branches.items() if branch.task.answers.joined is joined}
        encodings[joined] = encoded = together.trunk.encode(
            corpus.texts, pairs=corpus.pairs, units=corpus.units, max_length=together.max_length, windows=joined
        )
        logits |= collect_logits(
            {name: (branch.task, together.modules[name]) for name, branch in members.items()},
            MergedStates(together.traced, together.trunk, encoded),
            encoded,
            precision="fp32",
            device=torch.device("cpu"),
        )
    found = {}
    for name, branch in together.branches.items():
        offsets = branch.task.answers(encodings[branch.task.answers.joined]).offsets
        decoded = branch.decode(torch.from_numpy(logits[name]), offsets)
        own = list(logits[name]) if offsets is None else np.split(logits[name], offsets[1:-1])
        found[name] = (own, branch.task.present(decoded, corpus))
    return found


def _in_own_precision(together: Together, corpus: Corpus) -> dict[str, list[dict[str, Any]]]:
    """The answers of the branches that were not trained in fp32, as Trunkline gives them, but for the text that is cut."""
    own = {name: branch for name, branch in together.branches.items() if _trained_in(branch) != "fp32"}
    if not own:
        return {}
    pairs = None if corpus.pairs is None else corpus.pairs[:-1]
    answers = Bundle(together.trunk, own).predict_written(corpus.texts[:-1], pairs, empty_texts="read")
    return {name: [answer[name] for answer in answers] for name in own}


def _trained_in(branch: Any) -> str:
    """The precision of the states and the branch: fp32, bf16 or int8."""
    states = branch.precision if branch.source.trunk is not None else branch.trunk.dtype
    return states if states != "fp32" else branch.precision


def _difference(found: np.ndarray, expected: np.ndarray, exact: bool) -> float:
    """The largest one; infinity for what is no number, has another shape or, with `exact`, differs by more than allowed."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return np.inf
    if exact and not np.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
        return np.inf
    return float(np.abs(found - expected).max(initial=0))


def _count(found: list[dict[str, Any]], expected: list[dict[str, Any]], scale: tuple[float, float] | None) -> int:
    """How many answers of `expected`, of the first texts, are the same."""
    return sum(_same(one, other, scale) for one, other in zip(found, expected, strict=False))


def _same(one: Mapping[str, Any], other: Mapping[str, Any], scale: tuple[float, float] | None) -> bool:
    if scale is not None:
        return abs(one["value"] - other["value"]) <= 1e-3 * scale[1]
    if "spans" in one:
        return [_span(span) for span in one["spans"]] == [_span(span) for span in other["spans"]]
    return one["labels"] == other["labels"] if "labels" in one else one["label"] == other["label"]


def _span(span: Mapping[str, Any]) -> tuple[int, int, str]:
    return span["start"], span["end"], span["label"]
