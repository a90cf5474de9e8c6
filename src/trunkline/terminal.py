"""Lines for a terminal or a log, and which process of a launch writes them. Loads nothing heavy."""

from __future__ import annotations

import os
import re
import textwrap

from trunkline.errors import BadInput


def leads() -> bool:
    """Whether this process writes to the terminal, of those that a launcher (torchrun, accelerate) has started together."""
    return os.environ.get("RANK", "0") == "0"


def refuse_launch(where: str, instead: str) -> None:
    """Raise BadInput within a launch of several processes, for what each of them would do by itself."""
    if (found := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
        raise BadInput(f"{where}: found a launch of {found} processes, expected {instead}")


def from_here(sentence: str) -> str:
    """A sentence with the paths below the working directory as one would type them here."""
    here = os.path.join(os.getcwd(), "")
    return re.sub(rf"(?<![^\s'\"(]){re.escape(here)}(?=[^\s/])", "", sentence) if len(here) > 1 else sentence


def wrapped(text: str, width: int | None, indent: int = 2) -> list[str]:
    """Lines of at most `width` characters; a no-break space holds two words together and comes out as a space."""
    if width is not None and len(text) > width:
        lines = textwrap.wrap(text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
    else:
        lines = [text]
    return [line.replace("\u00a0", " ") for line in lines]
