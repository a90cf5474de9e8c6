"""The model card of an exported branch: a README.md that says what it is and how it is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from trunkline.trunk.load import Trunk
from trunkline.trunk.source import hub_place, public_name

TAGS = {"text": "text-classification", "unit": "token-classification"}


def write_card(
    folder: Path,
    library: str,
    loaded_by: str,
    level: str,
    trunk: Trunk,
    title: str,
    facts: Mapping[str, Mapping[str, Any]],
    code: Sequence[str],
) -> None:
    """README.md: what it is, which classes load it, by which lines of Python, and tables of the given facts.

    `level` is the head's: "text" or "unit".
    """
    about: dict[str, Any] = {"library_name": library, "pipeline_tag": TAGS[level], "tags": ["trunkline"]}
    if place := hub_place(trunk.name, trunk.revision):
        about["base_model"] = place[0]
    lines = [f"---\n{yaml.safe_dump(about, sort_keys=False)}---\n\n# {title}\n"]
    lines.append(f"Trained with Trunkline on {public_name(trunk.name, trunk.revision)}; load it with `{loaded_by}`.\n")
    lines.append("\n".join(["```python", *code, "```\n"]))
    for section, values in facts.items():
        rows = "\n".join(f"| {key} | {value} |" for key, value in _flat(values))
        lines.append(f"## {section[:1].upper() + section[1:]}\n\n| | |\n|---|---|\n{rows}\n")
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
