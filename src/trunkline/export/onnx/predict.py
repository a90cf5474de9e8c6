"""Predict with the graph beside this file (pip install numpy onnxruntime tokenizers).

python predict.py TEXT..., or python predict.py TEXT SECOND_TEXT..., two arguments for each pair, where the graph reads pairs.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, pre_tokenizers


def clean(text: str) -> str:
    """The text with halves of surrogate pairs, which the tokenizer refuses, as U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def viterbi(x: np.ndarray, crf: dict[str, Any]) -> list[int]:
    """The best tags for the logits (words, C) by a CRF."""
    best, came = np.float32(crf["start"]) + x[0], []
    for row in x[1:]:
        paths = best[:, None] + np.float32(crf["transitions"])  # (from, to)
        came.append(paths.argmax(0))
        best = paths.max(0) + row
    tags = [int((best + np.float32(crf["end"])).argmax())]
    for step in reversed(came):
        tags.append(int(step[tags[-1]]))
    return tags[::-1]


def words_of(text: str, task: dict[str, Any]) -> list[tuple[int, int]]:
    """The words that a token task tags, as (start, end) in the text."""
    split = pre_tokenizers.Split(Regex(task["words"]), "removed", invert=True)
    return [span for _, span in split.pre_tokenize_str(text)]


def of_words(x: np.ndarray, words: list[tuple[int, int]], read: Any) -> np.ndarray:
    """The logits (words, C) of a text: those of each word's first token; O is sure for a word that has none or was cut off."""
    starts, ends = np.array(read.offsets).T
    real = (np.array([side == 0 for side in read.sequence_ids])) & (starts < ends)
    first = np.searchsorted(np.maximum.accumulate(np.where(real, ends, 0)), [word[0] for word in words], side="right")
    found = np.zeros((len(words), x.shape[1]), np.float32)
    found[:, 0] = 30
    for place, ((_, end), row) in enumerate(zip(words, first, strict=True)):
        if row < len(starts) and starts[row] < end:
            found[place] = x[row]
    return found


def spans(x: np.ndarray, words: list[tuple[int, int]], text: str, task: dict[str, Any]) -> list[dict[str, Any]]:
    """The spans that the logits (words, C) of tags O, B-one, I-one, B-two, I-two, ... say; a score is a mean over words."""
    tags = [] if not words else viterbi(x, task["crf"]) if "crf" in task else x.argmax(-1).tolist()
    scores = softmax(x / np.float32(task["temperature"])).max(-1) if words else []
    found: list[dict[str, Any]] = []
    for (start, end), tag, before, score in zip(words, tags, [0, *tags], scores, strict=False):
        if tag and tag % 2 == 0 and before in (tag - 1, tag):
            found[-1] |= {"end": end, "score": [*found[-1]["score"], float(score)]}
        elif tag:
            found.append({"start": start, "end": end, "label": task["labels"][tag][2:], "score": [float(score)]})
    for span in found:
        span |= {"text": text[span["start"] : span["end"]], "score": sum(span["score"]) / len(span["score"])}
        if "crf" in task:  # its probabilities are not those of the logits alone
            del span["score"]
    return found


def decode(x: np.ndarray, task: dict[str, Any], text: str, read: Any) -> dict[str, Any]:
    """What the logits of one text say: (C,), of a token task (T, C)."""
    labels, scaled = task["labels"], x / np.float32(task["temperature"])
    if task["kind"] == "regression":
        return {"value": float(x[0]) * task["deviation"] + task["mean"]}
    if task["kind"] == "sequence":
        return {"label": labels[x.argmax()], "scores": dict(zip(labels, softmax(scaled).tolist(), strict=True))}
    if task["kind"] == "multilabel":
        scores = np.exp(-np.logaddexp(0, -scaled))
        held = scores >= np.float32(task["thresholds"])
        return {"labels": [labels[i] for i in held.nonzero()[0]], "scores": dict(zip(labels, scores.tolist(), strict=True))}
    words = words_of(text, task)
    return {"spans": spans(of_words(x, words, read), words, text, task)}


def made_one(x: np.ndarray, windows: list[int], how: str | None) -> np.ndarray:
    """The logits of texts from those of all of their windows, so many each; of a task that reads the first, those of that."""
    begins = np.cumsum([0, *windows[:-1]])
    if how is None:
        return x[begins]
    if how == "max":
        return np.maximum.reduceat(x, begins)
    return np.add.reduceat(x, begins) / np.array(windows, np.float32)[:, None]


class Graph:
    def __init__(self, folder: Path) -> None:
        import onnxruntime

        self.about = json.loads((folder / "decoding.json").read_text("utf-8"))
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))  # it cuts texts at the maximum length, and pads
        self.tokenizer.encode_special_tokens = self.about["split_special_tokens"]
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.x64quantprecision", "1")  # int8 as exact on older processors
        self.session = onnxruntime.InferenceSession(str(folder / self.about["graph"]), options)

    def logits(self, texts: list[str], pairs: list[str] | None = None) -> tuple[list[Any], list[np.ndarray]]:
        """What the tokenizer makes of the texts, and the logits of each task for them."""
        if (pairs is not None) != self.about["pairs"]:
            found, expected = ("none", "the second text of each") if pairs is None else ("second texts", "none")
            raise ValueError(f"pairs: found {found}, expected {expected}, as the tasks were trained so")
        read = self.tokenizer.encode_batch(texts if pairs is None else list(zip(texts, pairs, strict=True)))
        tasks = self.about["tasks"].values()
        if not any("windows" in task for task in tasks):
            return read, self.run(read)
        windows = [[one, *one.overflowing] for one in read]
        every, counts = [window for some in windows for window in some], [len(some) for some in windows]
        parts = [self.run(every[begin : begin + 32]) for begin in range(0, len(every), 32)]
        rows = [np.concatenate(part) for part in zip(*parts, strict=True)]
        return read, [made_one(x, counts, task.get("windows")) for x, task in zip(rows, tasks, strict=True)]

    def run(self, read: list[Any]) -> list[np.ndarray]:
        """The logits of each task, for what the tokenizer made."""
        given = {
            "input_ids": [one.ids for one in read],
            "attention_mask": [one.attention_mask for one in read],
            "token_type_ids": [one.type_ids for one in read],
        }
        inputs = {name: np.array(given[name], np.int64) for name in self.about["inputs"]}
        return self.session.run(list(self.about["tasks"]), inputs)

    def predict(self, texts: list[str], pairs: list[str] | None = None) -> list[dict[str, Any]]:
        if not texts:
            return []
        texts, pairs = [clean(text) for text in texts], None if pairs is None else [clean(text) for text in pairs]
        read, logits = self.logits(texts, pairs)
        found = [(name, task, x) for (name, task), x in zip(self.about["tasks"].items(), logits, strict=True)]
        return [{name: decode(x[i], task, texts[i], read[i]) for name, task, x in found} for i in range(len(texts))]


if __name__ == "__main__":
    graph, given = Graph(Path(__file__).parent), sys.argv[1:]
    each = 2 if graph.about["pairs"] else 1
    if not given or len(given) % each:
        sys.exit(f"usage: python {sys.argv[0]} " + ("TEXT SECOND_TEXT..." if each == 2 else "TEXT..."))
    for answer in graph.predict(given[::each], given[1::2] if each == 2 else None):
        print(json.dumps(answer, ensure_ascii=False))
