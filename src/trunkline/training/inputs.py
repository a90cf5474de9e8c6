"""Whether data are what the trunk of a run reads, and how findings call what is too long for it."""

from __future__ import annotations

from trunkline.errors import BadInput
from trunkline.inputs.audio import AudioProcessor
from trunkline.training.sections import DataSection
from trunkline.trunk.load import Trunk


def refuse_other_input(data: DataSection, trunk: Trunk) -> None:
    """Raise BadInput where a data section does not have what the trunk reads."""
    if trunk.reads == "audio" and data.audio is None:
        found = f"none, and the trunk {trunk.name} reads audio"
        raise BadInput(found=found, expected="the column with the names of audio files, instead of data.text", key="data.audio")
    if trunk.reads == "text" and data.audio is not None:
        found = f"{data.audio!r}, and the trunk {trunk.name} reads texts"
        raise BadInput(found=found, expected="data.text, or a trunk that reads audio", key="data.audio")


def longer_than(trunk: Trunk, max_length: int) -> str:
    """How a sentence calls inputs that are longer than the maximum length."""
    if isinstance(trunk.processor, AudioProcessor):
        return f"clips are longer than {trunk.processor.seconds(max_length):.4g} s"
    return f"texts are longer than {max_length} tokens"
