"""branch.json: what is in it, field by field, and how it and the weights beside it are read and written together.

Schema 2 holds the sha256 of the weights, and the weights' metadata a digest of what branch.json means; schema 1 had neither.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors.torch import save_file
from torch import Tensor

from trunkline.errors import BadInput
from trunkline.files import read_object, safe_name
from trunkline.model.checking import validate_section
from trunkline.model.decision import Decision
from trunkline.model.folders import not_a_branch
from trunkline.saved import SHA256, Weights, branch_meant, check_together, save_weights
from trunkline.trunk.architectures import StackName

SCHEMA = 2
READS = (1, 2)
JSON, WEIGHTS = "branch.json", "weights.safetensors"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Number = int | float | None
Scores = dict[str, Number | dict[str, dict[str, Number]]]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class TrunkFields(_Strict):
    """`trunk` of branch.json: a `TrunkRef`."""

    name: str = Field(min_length=1)
    revision: str | None
    stack: StackName
    dtype: Literal["fp32", "bf16", "int8"]
    weights: Sha256
    tokenizer: Sha256
    config: Sha256 | None = None
    tokenizer_settings: Sha256 | None = None
    num_layers: int = Field(ge=1, le=10_000)
    hidden_size: int = Field(ge=1, le=1 << 20)
    backend: str = "torch"
    ranges: dict[str, Annotated[list[float], Field(min_length=2, max_length=2)]] | None = None

    @model_validator(mode="after")
    def _calibrated(self) -> TrunkFields:
        if (self.dtype == "int8") != (self.ranges is not None):
            raise ValueError("dtype int8 has ranges, and no other has")
        if any(low >= high for low, high in (self.ranges or {}).values()):
            raise ValueError("ranges: expected the lesser number first")
        return self


class BranchFields(_Strict):
    """branch.json; the sections `task` and `method` are checked by those whose they are."""

    schema_version: Literal[READS] = Field(alias="schema")  # type: ignore[valid-type]
    name: str
    kind: str
    task: dict[str, Any]
    method: dict[str, Any]
    trunk: TrunkFields
    max_length: int = Field(ge=3, le=1 << 31)
    precision: Literal["fp32", "bf16"]
    decision: Decision | None = None  # none in branches saved before there was one, and of a regression
    pooler: bool = False
    text: str
    text_pair: str | None = None
    metrics: dict[str, Scores] = {}
    cost: dict[str, int | float] = {}
    versions: dict[str, str] = {}
    weights_sha256: Sha256 | None = None


def read_branch_file(path: Path) -> tuple[dict[str, Any], Weights]:
    """Return what branch.json of the directory `path` holds, checked, and the weights beside it, not loaded yet.

    Raises:
        BadInput: one of the two is missing or broken, another schema, a field of another type or out of its range, or the two
            were not saved together.
    """
    file = path / JSON
    if not path.is_dir() or not file.exists():
        raise not_a_branch(path)
    described = read_object(file)
    if described.get("schema") not in READS:
        raise BadInput(
            f"{file}: found schema {described.get('schema')!r}, this version of Trunkline reads {' and '.join(map(str, READS))}"
        )
    validate_section(BranchFields, described, str(file), "", strict=True)
    safe_name(described["name"], f"{file}: name")
    weights = Weights.open(path / WEIGHTS)
    if (described["schema"] == 1) != (SHA256 not in described):
        raise BadInput(
            f"{file}: found schema {described['schema']}, which does not fit {SHA256}; copy the original branch again"
        )
    check_together(file, described, branch_meant(described), weights)
    return described, weights


def write_branch_file(folder: Path, described: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write branch.json and the weights into `folder`, which is there."""
    described = json.loads(json.dumps(described, allow_nan=False))
    if described["schema"] == 1:  # relabelled: it stays what it is, as another schema would mean other arithmetic
        save_file(tensors, folder / WEIGHTS)
    else:
        described[SHA256] = save_weights(folder / WEIGHTS, tensors, branch_meant(described))
    text = json.dumps(described, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / JSON).write_text(text, "utf-8")
