"""Small data sets with a rule in them, so that a test can ask whether something was learned."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tiny import WORDS

CITIES = ("paris", "tokyo")
MOODS = {"good": "positive", "great": "positive", "bad": "negative", "awful": "negative"}
FILLER = [word for word in WORDS if word not in CITIES and word not in MOODS and len(word) > 1]


def row(random_: random.Random, least: int = 2, most: int = 9) -> dict:
    """A text with one mood word (its label) and perhaps a city (a span), words in any order."""
    words = random_.choices(FILLER, k=random_.randint(least, most))
    mood = random_.choice(list(MOODS))
    words.insert(random_.randrange(len(words) + 1), mood)
    if random_.random() < 0.6:
        words.insert(random_.randrange(len(words) + 1), random_.choice(CITIES))
    tags = ["B-city" if word in CITIES else "O" for word in words]
    topics = sorted({word for word in words if word in ("film", "music", "table")})
    stars = {"good": 4.0, "great": 5.0, "bad": 2.0, "awful": 1.0}[mood]
    return {"text": " ".join(words), "tokens": words, "tags": tags, "label": MOODS[mood], "topics": topics, "stars": stars}


def write_rows(path: Path, count: int, seed: int = 0, **lengths: int) -> Path:
    """Write `count` rows as JSON lines; return the path."""
    random_ = random.Random(seed)
    path.write_text("".join(json.dumps(row(random_, **lengths)) + "\n" for _ in range(count)), encoding="utf-8")
    return path


def config(trunk: Path, train: Path, *, tasks: tuple[str, ...] = ("mood", "cities"), **training) -> dict:
    """A run over such rows; `tasks` among mood, cities, topics, stars."""
    known = {
        "mood": {"kind": "sequence", "label": "label"},
        "cities": {"kind": "token", "tokens": "tokens", "tags": "tags"},
        "topics": {"kind": "multilabel", "labels": "topics"},
        "stars": {"kind": "regression", "target": "stars"},
    }
    return {
        "trunk": {"name": str(trunk), "dtype": "fp32", "device": "cpu"},
        "data": {"train": str(train), "validation": "20%", "test": "20%"},
        "tasks": {name: known[name] for name in tasks},
        "method": {"name": "adalayers", "dim": 16, "heads": 2, "alpha": 4, "dropout": 0.1},
        "training": {"epochs": 4, "batch_tokens": 256, "learning_rate": 0.01, "patience": None, "seed": 3, **training},
    }
