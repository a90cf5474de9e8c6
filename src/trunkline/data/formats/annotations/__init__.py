"""What annotation tools export as JSON, a file for each tool: how its rows are recognised, and what they are as plain rows.

Tools share the suffixes of JSON, so the first rows tell which one it was. A plain row has the columns that the rest of the
package reads: ``text``, ``tokens``, ``tags``, ``spans`` (``[{"start", "end", "label"}]``), ``label``, ``labels``, and whatever
else the data had.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from trunkline.data.reading.notes import Notes
from trunkline.registry import Registry

WRONG_TYPE = (TypeError, AttributeError, KeyError, IndexError)


def _nothing(rows: list[dict[str, Any]], notes: Notes) -> Collection[int]:
    """Most tools need no second look."""
    return ()


@dataclass(frozen=True)
class Tool:
    """How the export of a tool is read.

    mine (Callable[[Sequence[Any]], bool]): whether the first values of a file are of this tool; never raises.
    row (Callable[[Any, Notes], dict | None]): a value as a plain row; None leaves it out, which it has noted. Raises BadInput
        without a place, which the caller knows. What has another type than the tool writes may raise WRONG_TYPE.
    finish (Callable[[list[dict], Notes], Collection[int]]): changes rows in place, where that takes a look at all of them, and
        returns the places of those to leave out.
    """

    mine: Callable[[Sequence[Any]], bool]
    row: Callable[[Any, Notes], dict[str, Any] | None]
    finish: Callable[[list[dict[str, Any]], Notes], Collection[int]] = _nothing


tools: Registry[Tool] = Registry("annotation tool", __name__)


def tool_of(values: Sequence[Any]) -> str | None:
    """Return the name of the tool that the first values of a file come from, or None."""
    return next((name for name in tools.names() if tools.get(name).mine(values)), None)
