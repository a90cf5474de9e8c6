"""A tag per unit (word) and the spans they form: IOB2 tags, by argmax or by a CRF, back to character offsets."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import model_validator
from torch import Tensor

from trunkline.data import columns
from trunkline.data.corpus import Corpus
from trunkline.data.formats.conll_tags import SAID, converted, scheme_of_column, scheme_of_lists
from trunkline.data.values.offsets import Counted
from trunkline.errors import BadInput
from trunkline.tasks import base, losses, metrics
from trunkline.tasks import labels as space
from trunkline.tasks.answers import Targets, UnitAnswers
from trunkline.tasks.base import Task, kinds
from trunkline.tasks.confidence import SpanConfidence
from trunkline.tasks.crf import CRF
from trunkline.tasks.criterion import Criterion, Decoded, as_logits, divided
from trunkline.tasks.label_quality import TagQuality
from trunkline.tasks.sequence import LossConfig
from trunkline.tasks.span_column import SpanColumn, units_of
from trunkline.tasks.spans import find_spans, repair, span_scores, tag_names
from trunkline.tasks.tokenless import decoded_units, filled, offsets_among

LEAST = 1e-12  # marginal of a tag that the rules forbid at a place: its logarithm is to stay finite


class TokenConfig(LossConfig):
    """`{kind: token, tokens: COLUMN, tags: COLUMN}` or `{kind: token, spans: COLUMN}`."""

    LATER: ClassVar[tuple[str, ...]] = (*LossConfig.LATER, "offsets")

    kind: Literal["token"] = "token"
    tokens: str | None = None
    tags: str | None = None
    spans: str | None = None
    offsets: Counted = "characters"  # what starts and ends of `spans` are counted in
    label_list: space.LabelList | None = (
        None  # the entity types in the order wanted; sorted from the training corpus where None
    )
    crf: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> TokenConfig:
        if (self.tags is None) == (self.spans is None):
            raise ValueError("expected either tags (with tokens) or spans")
        if self.tags is not None and self.tokens is None:
            raise ValueError("tags need tokens, the column of the words that they belong to")
        if self.offsets != "characters" and self.spans is None:
            raise ValueError("offsets was given, but it belongs to spans")
        if self.crf and self.loss != "cross_entropy":
            raise ValueError("a CRF has a loss of its own; expected crf: true or loss: focal, not both")
        return self


def rules(n_types: int) -> tuple[Tensor, Tensor]:
    """Return what IOB2 allows: bool (C, C), tag j after tag i, and bool (C,), tag j first; I-x follows B-x or I-x only."""
    tags = torch.arange(1 + 2 * n_types)
    types, inside = (tags - 1).div(2, rounding_mode="floor"), (tags > 0) & (tags % 2 == 0)
    return ~inside[None, :] | (types[:, None] == types[None, :]), ~inside


class TokenCriterion(Criterion):
    """Mean cross-entropy or focal loss of units, or a CRF's negative log-likelihood per unit.

    Decoded tags always keep the IOB2 rules: the CRF forbids what breaks them, and the argmax is read as conlleval reads it
    (an I- that continues nothing begins a span). The score of a unit is its tag's probability (the CRF's marginal).
    """

    def __init__(self, n_types: int, crf: bool, gamma: float) -> None:
        super().__init__()
        self.n_types, self.gamma = n_types, gamma
        self.crf = CRF(1 + 2 * n_types, *rules(n_types)) if crf else None

    def loss(self, logits: Tensor, targets: Tensor, groups: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        if self.crf is None:
            return losses.cross_entropy(logits, targets, gamma=self.gamma, rows=weights)
        if groups is None:
            raise ValueError("a CRF needs the sequence of each unit")
        return self.crf.nll(logits, targets, groups, weights)

    def decode(
        self,
        logits: np.ndarray | Tensor,
        offsets: np.ndarray | None = None,
        *,
        temperature: float | None = None,
        thresholds: np.ndarray | float | None = None,
    ) -> Decoded:
        if offsets is None:
            raise ValueError("units are decoded by text: offsets (texts + 1,) are needed")
        tensor = as_logits(logits, 1 + 2 * self.n_types)
        if self.crf is not None:
            tags, scores = self._best(tensor, offsets, scored=temperature is None)
            values = tags.cpu().numpy()
        else:
            best = torch.softmax(tensor, dim=1).max(dim=1)
            tags, scores = best.indices, best.values
            values = repair(tags.cpu().numpy(), offsets)
        if temperature is not None:
            shares = torch.from_numpy(self.probabilities(tensor, offsets, temperature=temperature))
            scores = shares.gather(1, tags.cpu()[:, None])[:, 0]
        return Decoded(values, scores.cpu().numpy(), offsets)

    def probabilities(
        self, logits: np.ndarray | Tensor, offsets: np.ndarray | None = None, *, temperature: float | None = None
    ) -> np.ndarray:
        """Return the probability of every tag at each unit, fp32 (U, tags).

        With a CRF, the marginal; a temperature divides the logarithms of the marginals of a unit, whose tags stay the CRF's.
        """
        if self.crf is None:
            tensor = as_logits(logits, 1 + 2 * self.n_types)
            return torch.softmax(divided(tensor, temperature), dim=1).cpu().numpy()
        if temperature is None:
            return self._marginals(logits, offsets).cpu().numpy()
        return torch.softmax(divided(torch.from_numpy(self.logits_to_scale(logits, offsets)), temperature), dim=1).numpy()

    def logits_to_scale(self, logits: np.ndarray | Tensor, offsets: np.ndarray | None = None) -> np.ndarray:
        if self.crf is None:
            return as_logits(logits, 1 + 2 * self.n_types).cpu().numpy()
        return self._marginals(logits, offsets).clamp_min(LEAST).log().cpu().numpy()

    def _best(self, tensor: Tensor, offsets: np.ndarray, *, scored: bool) -> tuple[Tensor, Tensor]:
        """The CRF's tags (U,) and their marginals (U,), which are of no use if they are not to be `scored`."""
        assert self.crf is not None
        decoded = decoded_units(tensor, offsets)
        if decoded is None:
            return self.crf.decode(tensor, torch.as_tensor(offsets, dtype=torch.long), scored=scored)
        some, among = tensor[torch.from_numpy(decoded).to(tensor.device)], offsets_among(decoded, offsets)
        tags, scores = self.crf.decode(some, torch.as_tensor(among, dtype=torch.long), scored=scored)
        return filled(tags, decoded, torch.tensor(0)), filled(scores, decoded, torch.tensor(1.0))

    def _marginals(self, logits: np.ndarray | Tensor, offsets: np.ndarray | None) -> Tensor:
        if offsets is None:
            raise ValueError("units are decoded by text: offsets (texts + 1,) are needed")
        assert self.crf is not None
        tensor = as_logits(logits, 1 + 2 * self.n_types)
        decoded = decoded_units(tensor, offsets)
        if decoded is None:
            return self.crf.marginals(tensor, torch.as_tensor(offsets, dtype=torch.long))
        some, among = tensor[torch.from_numpy(decoded).to(tensor.device)], offsets_among(decoded, offsets)
        found = self.crf.marginals(some, torch.as_tensor(among, dtype=torch.long))
        return filled(found, decoded, (torch.arange(tensor.shape[1]) == 0).float())


@kinds.register("token")
class TokenTask(Task):
    """Spans in a text. `labels` are the tags: O, then B-x and I-x of each entity type in order."""

    kind: ClassVar[str] = "token"
    answers = UnitAnswers
    confidence = SpanConfidence
    quality = TagQuality
    Config = TokenConfig
    default_metric = "f1"
    baseline_rule = "predicting the tag that a word most often has in the training rows"
    label_unit = "span"
    parts = ("spans",)
    config: TokenConfig
    _learned_from: Corpus | None = None  # its words are texts of the user, so what is counted of them is not saved

    @property
    def types(self) -> list[str]:
        """The entity types."""
        return [tag[2:] for tag in self.labels[1::2]]

    @property
    def own_labels(self) -> list[str]:
        return self.types

    def columns(self) -> list[str]:
        return [name for name in (self.config.tokens, self.config.tags, self.config.spans) if name is not None]

    @classmethod
    def fit(cls, name: str, config: TokenConfig, corpus: Corpus) -> TokenTask:
        seen = {tag[2:] for row in _tag_rows(name, config, corpus) if row is not None for tag in row if tag != "O"}
        # A type of the annotation is an answer even where each of its spans overlaps another: so its loss shows, and is told.
        spans = _span_column(name, config, corpus)
        placed = spans.placed(corpus) if spans is not None else []
        left_out = {label for row in placed if row is not None for _, label in row.lost}
        types = space.label_space(seen | left_out, config.label_list, f"tasks.{name}.label_list")
        if not seen:
            where = space.place(corpus.table, [config.tags or config.spans or ""])
            raise BadInput(f"{where}: found no span in any row, expected at least one")
        task = cls(name, config, tag_names(types), base.Learned())
        task.targets(corpus)  # an entity type that label_list lacks
        task.learn(corpus)
        return task

    def learn(self, corpus: Corpus) -> None:
        self._learned_from = corpus

    def baseline(self, corpus: Corpus) -> Decoded | None:
        if self._learned_from is None:
            return None
        number = {tag: i for i, tag in enumerate(self.labels)}
        seen: dict[str, Counter[int]] = defaultdict(Counter)
        rows = _tag_rows(self.name, self.config, self._learned_from)
        for words, tags in zip(_words(self._learned_from), rows, strict=True):
            for word, tag in zip(words, tags or (), strict=False):
                seen[word][number[tag]] += 1
        usual = {word: max(sorted(count), key=count.__getitem__) for word, count in seen.items()}  # of equal ones the first
        guessed = [[usual.get(word, 0) for word in words] for words in _words(corpus)]
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in guessed], dtype=np.int64)]).astype(np.int64)
        values = np.array([tag for row in guessed for tag in row], np.int64)
        return Decoded(repair(values, offsets), np.ones(len(values)), offsets)

    def check_state(self, where: str) -> None:
        if len(self.labels) < 3 or self.labels != tag_names(self.types):
            raise BadInput(f"{where}: labels: found {len(self.labels)} tags, expected O, then B- and I- of each entity type")

    def metric_names(self) -> tuple[str, ...]:
        return metrics.TOKEN

    def targets(self, corpus: Corpus, reading: space.Reading = space.STRICT) -> Targets:
        units, column = units_of(corpus), self.config.tags or self.config.spans or ""
        numbering = space.Numbering(self.types, reading, corpus, column)
        tags_of = {"O": 0}
        offsets = np.concatenate([[0], np.cumsum([len(u) for u in units], dtype=np.int64)]).astype(np.int64)
        values, present = np.zeros(offsets[-1], np.int64), np.zeros(offsets[-1], bool)
        labelled = False
        for row, tags in enumerate(_tag_rows(self.name, self.config, corpus)):
            if tags is None:
                continue
            labelled, own = True, slice(offsets[row], offsets[row + 1])
            types = list(dict.fromkeys(tag[2:] for tag in tags if tag != "O"))
            for kind, number in zip(types, numbering.of(row, types), strict=True):
                tags_of |= {f"B-{kind}": 1 + 2 * number, f"I-{kind}": 2 + 2 * number}
            values[own] = [tags_of[tag] for tag in tags]
            present[own] = True
        space.refuse_unlabelled(labelled, corpus, [column])
        numbering.check()
        return Targets(values, present, offsets, unseen=numbering.unseen, unseen_rows=len(numbering.rows))

    def for_loss(self, targets: Targets) -> Targets:
        # What is left around a span of an unknown type are still tags that may follow each other, as a CRF needs.
        return dataclasses.replace(targets, present=targets.present & (targets.values < len(self.labels)))

    def counts(self, targets: Targets) -> dict[str, int]:
        tags = targets.values[targets.present]
        return space.counted(self.types, (tags[tags % 2 == 1] - 1) // 2)  # every span has one tag B-

    def row_labels(self, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        assert targets.offsets is not None
        tags = targets.values
        begin = np.flatnonzero(targets.present & (tags % 2 == 1) & (tags < len(self.labels)))  # every span has one tag B-
        texts = np.searchsorted(targets.offsets, begin, side="right") - 1
        rows, labels = np.divmod(np.unique(texts * len(self.types) + (tags[begin] - 1) // 2), len(self.types))
        return rows, labels

    def label_findings(self, corpus: Corpus) -> list[str]:
        rows = _tag_rows(self.name, self.config, corpus)
        counts = Counter(tag[2:] for row in rows for tag in row or () if tag.startswith("B-"))
        return space.doubtful(self.name, counts, [], self.config.label_list)

    def findings(self, corpus: Corpus) -> list[str]:
        present = [row is not None for row in _tag_rows(self.name, self.config, corpus)]
        column = self.config.tags or self.config.spans or ""
        skipped = space.skipped(self.name, corpus, [column], present, self.config.missing)
        return skipped + self.changes(corpus) + self._scheme_findings(corpus)

    def _scheme_findings(self, corpus: Corpus) -> list[str]:
        """The sentence on tags that are not in IOB."""
        if self.config.tags is None or _span_column(self.name, self.config, corpus) is not None:
            return []
        said = SAID.get(scheme_of_column(columns.token_lists(corpus.table, self.config.tags)))
        return [] if said is None else [said.format(f"the tags in {corpus.table.named(self.config.tags)}")]

    def changes(self, corpus: Corpus) -> list[str]:
        spans = _span_column(self.name, self.config, corpus)
        return [] if spans is None else spans.findings(corpus, self.types)

    def with_answers(self, answers: list[Any], corpus: Corpus) -> tuple[Task, Corpus]:
        """Answers are lists of tags, one for each unit, or of spans as (start, end, label) or with these keys."""
        own: dict[str, Any] = {"tokens": None, "tags": None, "spans": None, "offsets": "characters"}
        if any(isinstance(part, str) for answer in answers if isinstance(answer, list) for part in answer[:1]):
            own |= {"tokens": "tokens", "tags": "tags"}
            words = zip(corpus.texts, units_of(corpus), strict=True)
            held = {
                "tokens": [[text[start:end] for start, end in units] for text, units in words],
                "tags": self._prefixed(answers),
            }
        else:
            own |= {"spans": "spans"}
            held = {"spans": [[_span(part) for part in one] if isinstance(one, list) else one for one in answers]}
        twin = TokenTask(self.name, self.config.model_copy(update=own), self.labels, self.learned)
        return twin, corpus.holding(held)

    def _prefixed(self, answers: list[Any]) -> list[Any]:
        """Tags without prefixes as the tags of spans that they were learned as, by the rules of files; others as they are."""
        lists = [answer for answer in answers if answer is not None]
        if not all(isinstance(answer, list) and all(isinstance(tag, str) for tag in answer) for answer in lists):
            return answers
        scheme, types = scheme_of_lists(lists), {"O", "_", *self.types}
        if scheme not in ("io", "pos") or not types.issuperset(tag for answer in lists for tag in answer):
            return answers
        return [None if answer is None else converted(answer, scheme) for answer in answers]

    def strata(self, corpus: Corpus) -> list[str]:
        rows = _tag_rows(self.name, self.config, corpus)
        return space.rarest_labels([None if row is None else {tag[2:] for tag in row if tag != "O"} for row in rows])

    def criterion(self) -> TokenCriterion:
        return TokenCriterion(len(self.types), self.config.crf, self.config.gamma or 0.0)

    def score(self, decoded: Decoded, targets: Targets) -> dict[str, Any]:
        assert targets.offsets is not None
        rows = targets.present
        offsets = np.concatenate([[0], np.cumsum(rows)])[targets.offsets]
        return metrics.token_metrics(targets.values[rows], decoded.values[rows], offsets, self.types, tuple(targets.unseen))

    def present(self, decoded: Decoded, corpus: Corpus) -> list[dict[str, Any]]:
        """Return the spans of each text in order: character offsets (end exclusive), label, text, mean score of the units."""
        units, types = units_of(corpus), self.types
        assert decoded.offsets is not None
        found = find_spans(decoded.values, decoded.offsets)
        scores = span_scores(decoded.scores, found)
        # offsets repeat where a text has no unit; "right" finds the text that really holds the unit
        texts = np.searchsorted(decoded.offsets, found.first, side="right") - 1
        at = decoded.offsets[texts]
        result: list[dict[str, Any]] = [{"spans": []} for _ in corpus.texts]
        rows = zip(*(a.tolist() for a in (texts, found.types, found.first - at, found.end - at, scores)), strict=True)
        for row, kind, first, end, score in rows:
            start, stop = units[row][first][0], units[row][end - 1][1]
            text = corpus.texts[row][start:stop]
            span = {"start": start, "end": stop, "label": types[kind], "text": text, "score": score}
            result[row]["spans"].append(span)
        return result


def _span(given: Any) -> Any:
    """A span as a column of a file holds it; what is none as it is."""
    if isinstance(given, list) and len(given) == 3:
        return dict(zip(("start", "end", "label"), given, strict=True))
    return given


def _words(corpus: Corpus) -> list[list[str]]:
    return [[text[start:end] for start, end in own] for text, own in zip(corpus.texts, units_of(corpus), strict=True)]


def _tag_rows(name: str, config: TokenConfig, corpus: Corpus) -> list[list[str] | None]:
    """Return the IOB2 tags of each row's units, None where the row has none."""
    units = units_of(corpus)
    spans = _span_column(name, config, corpus)
    if spans is None:
        assert config.tags is not None and config.tokens is not None
        rows = columns.tag_lists(corpus.table, config.tags, config.tokens, f"tasks.{name}.tags")
        for row, tags in enumerate(rows):
            if tags is not None and len(tags) != (words := len(units[row])):
                where = f"{corpus.table.where(row)}, {corpus.table.named(config.tags)}"
                raise BadInput(
                    f"{where}: found {len(tags)} tags for {words} words, expected as many; the words must be those of "
                    f"{corpus.table.named(config.tokens)}"
                )
        return rows
    return [None if own is None else own.tags for own in spans.placed(corpus)]


def _span_column(name: str, config: TokenConfig, corpus: Corpus) -> SpanColumn | None:
    """The column of spans; that of the tags, where it holds spans, as in predictions."""
    if config.spans is not None:
        return SpanColumn(name, config.spans, config.offsets, config.missing)
    assert config.tags is not None and config.tokens is not None
    if not _holds_spans(corpus, config.tags, config.tokens, config.missing):
        return None
    return SpanColumn(name, config.tags, config.offsets, config.missing)


def _holds_spans(corpus: Corpus, tags: str, tokens: str, missing: Sequence[str] | None) -> bool:
    """Whether a column for tags has lists of objects; where there are no tokens, empty lists are lists of spans too."""
    if tags not in corpus.table.columns:
        return False
    lists = [value for value in columns.cells(corpus.table, tags, missing=missing) if isinstance(value, list)]
    first = next((value for value in lists if value), None)
    return isinstance(first[0], dict) if first is not None else bool(lists) and tokens not in corpus.table.columns
