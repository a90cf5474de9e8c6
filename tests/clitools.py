"""Running commands as a user does, and made-up data for them: every text has a mood, a score, topics and perhaps a city."""

from __future__ import annotations

import csv
import functools
import json
import random
from pathlib import Path
from typing import Any

import typer.testing
from tiny import WORDS
from typer.testing import CliRunner

from trunkline.cli import app

CITIES = ("paris", "tokyo")
MOODS = {"happy": "positive", "great": "positive", "sad": "negative", "awful": "negative"}
FILLER = [word for word in WORDS if word not in CITIES and word not in MOODS and len(word) > 1]

# A runner would make all commands out of the app anew for every call, which takes longer than most of them run. A process of a
# user's makes them once, too.
typer.testing._get_command = functools.cache(typer.testing._get_command)


def made_up(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows with one mood word (`mood`, and `stars` as a number of two digits), perhaps a city (`spans`), and some topics."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        words = draw.choices(FILLER, k=draw.randint(4, 9))
        mood = draw.choice(list(MOODS))
        words.insert(draw.randrange(len(words)), mood)
        if draw.random() < 0.6:
            words.insert(draw.randrange(len(words)), draw.choice(CITIES))
        text, spans = " ".join(words), []
        for place, word in enumerate(words):
            if word in CITIES:
                start = len(" ".join(words[:place])) + (place > 0)
                spans.append({"start": start, "end": start + len(word), "label": "city"})
        score = {"great": 9.5, "happy": 7.5, "sad": 3.5, "awful": 1.5}[mood] + draw.randint(-9, 9) / 10
        topics = sorted({word for word in words if word in ("film", "music", "table")})
        rows.append({"id": number, "text": text, "mood": MOODS[mood], "score": score, "spans": spans, "topics": topics})
    return rows


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The text as `review`, and what a CSV file can hold: id, mood, score, topics joined by '|'."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "review", "mood", "score", "topics"])
        writer.writerows([r["id"], r["text"], r["mood"], r["score"], "|".join(r["topics"])] for r in rows)
    return path


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def invoke(*arguments: object, input: str | bytes | None = None) -> Any:
    """Run a command in this process; the result has exit_code, stdout and stderr."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=input)


def done(*arguments: object, input: str | bytes | None = None) -> Any:
    """Run a command that has to succeed."""
    result = invoke(*arguments, input=input)
    assert result.exit_code == 0, result.stderr
    return result


def fails(code: int, *arguments: object, input: str | bytes | None = None) -> str:
    """Run a command that has to fail with `code`; return its one sentence."""
    result = invoke(*arguments, input=input)
    assert result.exit_code == code, (result.exit_code, result.stdout, result.stderr)
    assert result.stdout == "" and "Traceback" not in result.stderr
    (sentence,) = [line for line in result.stderr.splitlines() if line.startswith("trunkline: ")]
    return sentence.removeprefix("trunkline: ")
