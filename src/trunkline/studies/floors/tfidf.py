"""TF-IDF with a linear model: what is right by the words of a text alone, without any trunk.

Terms are one or two words in a row (those of data/corpus.py in lower case; in Chinese and Japanese single characters), or two
to five characters in a row within words (sklearn's ``char_wb``), which help where words have endings, are joined or are not
spaced: what is better on validation. Weights are (1 + log tf) idf, and each text is scaled to length 1.

Of pairs a and b, the features are (a, b, |a - b|, a * b), as of Conneau et al. 2017 (arXiv 1705.02364, section 3.1).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from trunkline.data.corpus import Corpus, segment
from trunkline.studies.floors.base import Floor, Measured, Subject, floors
from trunkline.studies.floors.linear import Features, best_linear, regression_of, unsuited
from trunkline.tasks import Task
from trunkline.training.prepare import Prepared

GRID = (0.1, 1.0, 10.0, 100.0, 1000.0)
CHARACTERS = 10_000_000  # of the training texts, beyond which n-grams of characters would take minutes and gigabytes


@floors.register("tfidf")
class TfIdf(Floor):
    """TF-IDF with logistic or ridge regression."""

    name = "tfidf"

    @staticmethod
    def title(task: Task) -> str:
        return f"TF-IDF with {regression_of(task)}"

    @staticmethod
    def unsuited(group: Prepared, task: Task) -> str | None:
        return unsuited(task) if group.data.audio is None else "audio clips have no words"

    @staticmethod
    def measure(subject: Subject) -> Measured:
        corpus = subject.train.corpus
        size = sum(len(text) for texts in (corpus.texts, corpus.pairs or ()) for text in texts)
        forms = ["words", *(["characters"] if size <= CHARACTERS else [])]
        return best_linear(subject, [({"n-grams of": form}, partial(_features, subject, form)) for form in forms], GRID)


def _features(subject: Subject, form: str) -> Features:
    """By split, the weights of the n-grams that the training texts have."""
    shape: dict[str, Any] = {"ngram_range": (1, 2), "tokenizer": _words, "token_pattern": None}
    if form == "characters":
        shape = {"ngram_range": (2, 5), "analyzer": "char_wb"}
    weights = TfidfVectorizer(sublinear_tf=True, **shape)
    train = subject.train.corpus
    weights.fit([*train.texts, *(train.pairs or ())])
    return {name: _of_texts(weights, split.corpus) for name, split in subject.group.splits.items()}


def _of_texts(weights: TfidfVectorizer, corpus: Corpus) -> sparse.csr_matrix:
    first = weights.transform(corpus.texts)
    if corpus.pairs is None:
        return first
    second = weights.transform(corpus.pairs)
    return sparse.hstack([first, second, abs(first - second), first.multiply(second)], format="csr")


def _words(text: str) -> list[str]:
    return [text[start:end] for start, end in segment(text)]
