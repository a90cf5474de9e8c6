"""Which layers of a trunk a config names: numbers, ranges, and counting from the top."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trunkline.errors import BadInput

if TYPE_CHECKING:
    from trunkline.branches.fold import TrunkShape


def choose_layers(chosen: list[int] | str | None, trunk: TrunkShape, lowest: int = 0) -> tuple[int, ...]:
    """Return the layers that `method.layers` names, rising.

    Args:
        chosen: layer numbers (negative ones count from the top, -1 is the last), a range such as "0-6" or "3-",
            several parts joined by commas ("0,4-6"), or None for all states 0..l.
        trunk: the trunk to choose from.
        lowest: that there is to choose; 1 leaves the embeddings out.

    Raises:
        BadInput: nothing chosen, no such layer, one named twice, or not a range.
    """
    top, where = trunk.num_layers, "method.layers"
    if chosen is None:
        return tuple(range(lowest, top + 1))
    if isinstance(chosen, str):
        numbers = [number for part in chosen.split(",") for number in _range(part.strip(), trunk, where, lowest)]
    else:
        numbers = [choose_layer(number, trunk, where, lowest) for number in chosen]
    if not numbers:
        raise BadInput(f"no layer is selected, expected at least one of {lowest} to {top}", key=where)
    if len(set(numbers)) < len(numbers):
        raise BadInput(f"found {chosen!r}, which contains a layer twice; expected each once", key=where)
    return tuple(sorted(numbers))


def choose_layer(layer: int, trunk: TrunkShape, where: str = "method.layer", lowest: int = 0) -> int:
    """Return `layer` as a number lowest..l; negative ones count from the top (-1 is the last). BadInput if it is not there."""
    top = trunk.num_layers
    least = lowest - top - 1
    if not (lowest <= layer <= top or least <= layer < 0):
        raise BadInput(
            f"found layer {layer}, expected {lowest} to {top} (or -1 to {least}, from the top) for this trunk", key=where
        )
    return layer % (top + 1)


def _range(part: str, trunk: TrunkShape, where: str, lowest: int) -> list[int]:
    """The layers of one part of a range text: "3", "-1", "0-6", "3-"."""
    first, dash, last = part.partition("-") if part.count("-") == 1 and not part.startswith("-") else (part, "", "")
    try:
        start = choose_layer(int(first), trunk, where, lowest)
        end = start if not dash else choose_layer(int(last), trunk, where, lowest) if last else trunk.num_layers
    except ValueError as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(
            f"found {part!r}, expected layer numbers or a range such as '{lowest}-{trunk.num_layers}'", key=where
        ) from None
    if end < start:
        raise BadInput(f"found the range {part!r}, which ends before it starts", key=where)
    return list(range(start, end + 1))
