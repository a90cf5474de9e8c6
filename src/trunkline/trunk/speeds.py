"""What a compiled trunk, and int8, would bring on this machine: a block of the trunk's shape, measured once (fastest.py)."""

from __future__ import annotations

from typing import Any

from trunkline.trunk.fastest import Shape, measured, sides
from trunkline.trunk.load import Trunk

TAKES = "about 10 s"  # of a block of minilm's shape; 30 s of a block ten times as large
SAID, INT8_SAID = 1.2, 1.5  # a gain that is less is not worth a sentence; int8 needs another training


def shape_of(trunk: Trunk) -> Shape:
    """The shape of a trunk's blocks, as its config has it."""
    config: Any = trunk.model.config
    names = ("intermediate_size", "encoder_ffn_dim", "ffn_dim", "hidden_dim", "d_ff", "n_inner")
    inner = next((value for name in names if isinstance(value := getattr(config, name, None), int)), 4 * trunk.hidden_size)
    heads = getattr(config, "num_attention_heads", None)
    if not isinstance(heads, int) or trunk.hidden_size % heads:
        heads = max(number for number in range(1, trunk.hidden_size // 64 + 2) if trunk.hidden_size % number == 0)
    return Shape(trunk.hidden_size, heads, inner)


def compiles() -> bool:
    """Whether a backend is installed."""
    return any(backend != "torch" for backend, _ in sides())


def speeds(trunk: Trunk, measure: bool = True) -> dict[str, float]:
    """How many times as fast as torch in fp32 a block of the trunk's shape is computed here, by "BACKEND DTYPE".

    Args:
        trunk: on the CPU, of texts; empty for others, as backends run there only and compile what reads texts.
        measure: whether to take the time (`TAKES`) where it was not measured before; False: empty then.
    """
    if trunk.device.type != "cpu" or trunk.reads != "text":
        return {}
    found = measured(trunk.device, shape_of(trunk), int8=True, measure=measure)
    return {name: round(found["torch fp32"] / value, 2) for name, value in found.items() if value > 0}


def advice(trunk: Trunk, found: dict[str, float]) -> list[str]:
    """Sentences on what is clearly faster than what computes the trunk now.

    Args:
        trunk: as it runs.
        found: its `speeds`.
    """
    now = found.get(f"{trunk.backend} {trunk.dtype}")
    if now is None:
        return []
    said = []
    compiled = {name: value for name, value in found.items() if name.endswith(" fp32") and not name.startswith("torch")}
    best = max(compiled, key=compiled.__getitem__, default=None)
    if best is not None and compiled[best] > SAID * now:
        backend = best.split()[0]
        said.append(
            f"compiled by {backend} in fp32 the trunk would run {compiled[best] / now:.1f} times as fast: trunk.backend: "
            f"{backend} in training, or --backend {backend}"
        )
    quantised = {name: value for name, value in found.items() if name.endswith(" int8")}
    best = max(quantised, key=quantised.__getitem__, default=None)
    if best is not None and quantised[best] > INT8_SAID * now:
        backend = best.split()[0]
        said.append(
            f"in int8 ({backend}) the trunk would run {quantised[best] / now:.1f} times as fast; its states differ, so train "
            f"on them with trunk.backend: {backend} and trunk.dtype: int8, or see --allow-precision-change"
        )
    return said
