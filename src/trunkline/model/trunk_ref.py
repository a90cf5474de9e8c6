"""Which trunk a branch belongs to, and what computed it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from trunkline.branches import TrunkShape
from trunkline.trunk.architectures import StackName
from trunkline.trunk.compiled import precision_name
from trunkline.trunk.load import Trunk


@dataclass(frozen=True)
class TrunkRef:
    """The trunk that a branch belongs to, with the four sha256 of its fingerprint; older branches have two of them."""

    name: str
    revision: str | None
    stack: StackName
    dtype: str  # of the trunk's computation that the branch was trained on
    weights: str
    tokenizer: str
    num_layers: int
    hidden_size: int
    config: str | None = None
    tokenizer_settings: str | None = None
    backend: str = "torch"
    ranges: dict[str, tuple[float, float]] | None = None  # of int8: its calibration (trunk/backends/openvino.py)

    @property
    def precision(self) -> str:
        """As `Trunk.precision`."""
        return precision_name(self.dtype, self.ranges)

    @property
    def reads(self) -> Literal["text", "audio"]:
        """What the trunk reads: the two sha256 are those of one feature extractor where that is audio."""
        return "audio" if self.tokenizer == self.tokenizer_settings else "text"

    @classmethod
    def of(cls, trunk: Trunk) -> TrunkRef:
        print_ = trunk.fingerprint
        return cls(
            trunk.name,
            trunk.revision,
            trunk.stack,
            trunk.dtype,
            print_.weights,
            print_.tokenizer,
            trunk.num_layers,
            trunk.hidden_size,
            print_.config,
            print_.tokenizer_settings,
            trunk.backend,
            None if trunk.compiled is None or trunk.compiled.ranges is None else dict(trunk.compiled.ranges),
        )

    def described(self) -> dict[str, Any]:
        """As branch.json has it: without what earlier versions do not know, where it is as it was for them."""
        later = {"backend": "torch", "ranges": None}
        return {name: value for name, value in asdict(self).items() if name not in later or value != later[name]}

    @property
    def shape(self) -> TrunkShape:
        return TrunkShape(self.num_layers, self.hidden_size)
