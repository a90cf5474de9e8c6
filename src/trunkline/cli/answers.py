"""Predictions as people read them on a terminal: a text, and below it what each branch says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trunkline.cli import show
from trunkline.errors import ascii_controls

if TYPE_CHECKING:
    from rich.console import Console

NO_TEXT = "(no text)"


def show_answers(console: Console, texts: Sequence[str], answers: Sequence[Mapping[str, Mapping[str, Any]]]) -> None:
    """Print each text, and the prediction of every branch below it."""
    from rich.padding import Padding
    from rich.text import Text

    for text, answer in zip(texts, answers, strict=True):
        console.print(Text(ascii_controls(text) or NO_TEXT), soft_wrap=True)
        lines = [f"{name}: {ascii_controls(sentence(found))}" for name, found in answer.items()]
        console.print(Padding(Text("\n".join(lines), style="cyan"), (0, 0, 0, 4), expand=False))


def sentence(answer: Mapping[str, Any]) -> str:
    """One prediction on one line: a label with its probability, labels, the spans, or a number."""
    main = next(iter(answer.values()))
    if answer.get("abstained"):
        return f"no answer ({answer['confidence' if 'confidence' in answer else 'score']:.0%})"
    if main is None:
        return NO_TEXT
    if "spans" in answer:
        spans = [f"{span['label']}: {span['text']}" for span in main]
        less = [f"{count} less confident left out"] if (count := answer.get("left_out")) else []
        return " \u00b7 ".join([*(spans or ["no spans"]), *less])
    if "labels" in answer:
        return ", ".join(main) or "none of the labels"
    if "value" in answer:
        return show.number(main)
    shown = f"{main} ({answer['score']:.0%})"
    others = [f"{label} {score:.0%}" for label, score in sorted(answer.get("scores", {}).items(), key=lambda one: -one[1])]
    return f"{shown}: {', '.join(others)}" if others else shown
