"""The sections of a config that are the same for every method and kind of task: `trunk`, `data` and `training`."""

from __future__ import annotations

import math
import re
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trunkline.data.empty import EmptyTexts
from trunkline.data.formats import formats
from trunkline.tasks.labels import MissingList
from trunkline.training.subset import PATTERN, parse
from trunkline.trunk.backends import backends

Share = float
Weight = Annotated[float, Field(ge=0)]
Regime = Literal["separate", "joint", "sequential", "fusion"]


def share(value: object) -> object:
    """A share as a number, where `value` is one ("10%" or 0.1); anything else is returned as it is.

    Raises:
        ValueError: a share that is not between 0 and 1.
    """
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", value)):
        value = float(match[1]) / 100
    if isinstance(value, float) and not 0 < value < 1:
        raise ValueError("a share must lie between 0% and 100%")
    return value


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


class TrunkSection(Section):
    """Which transformer to read, and what computes it."""

    LATER: ClassVar[tuple[str, ...]] = ("backend", "calibration")

    name: str = "minilm"  # embedded alias | hub id | path
    revision: str | None = None  # a commit of the hub, to pin it
    stack: Literal["encoder", "decoder"] = "encoder"  # for models that have both
    # Of the trunk's computation; auto: the faster of fp32 and bf16 on this machine, of a backend fp32. int8: of openvino.
    dtype: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    # What computes a frozen trunk: torch | openvino | onnx, which compile it for the processor | auto, the fastest here.
    backend: str = "torch"
    calibration: str | None = None  # int8: a run or branch whose calibration is used; None: sampled from the training texts
    device: str = "auto"
    max_length: int | None = Field(None, ge=3)  # tokens; None: the trunk's longest input

    @field_validator("backend")
    @classmethod
    def _known_backend(cls, value: str) -> str:
        known = ["auto", "torch", *backends.names()]
        if value not in known:
            raise ValueError(f"expected one of {', '.join(known)}")
        return value

    @model_validator(mode="after")
    def _fitting_backend(self) -> TrunkSection:
        if self.dtype == "int8" and self.backend == "torch":
            raise ValueError("dtype: int8 needs a backend that has it; backend: openvino does")
        if self.calibration is not None and self.dtype != "int8":
            raise ValueError("calibration is for dtype: int8 only")
        return self


class DataSection(Section):
    """Where the texts and labels come from. A share such as `10%` is drawn from `train` by the seed."""

    LATER: ClassVar[tuple[str, ...]] = ("weight", "format", "missing", "empty_texts", "unseen_labels", "audio", "set_aside")

    train: str | list[str]
    validation: str | list[str] | Share = "10%"
    test: str | list[str] | Share | None = None
    # Of `train`: drawn as a test split of this share would be, and neither trained on nor judged.
    set_aside: str | Share | None = None
    # Train on so many rows, drawn by the seed, fewer among more; or on so many of each class (training/subset.py).
    rows: Annotated[int, Field(ge=1)] | Annotated[str, Field(pattern=PATTERN)] | None = None
    text: str = "text"  # the column with the text
    text_pair: str | None = None  # the column with the second text of a pair
    audio: str | None = None  # for trunks that read audio: the column with names of files, relative to the data file
    weight: str | None = None  # the column of `train` with what the loss of a row is multiplied by
    empty_texts: EmptyTexts = "skip"  # rows with no text: skipped and reported, or refused
    unseen_labels: Literal["count", "refuse"] = "count"  # of validation and test, that train does not have: errors, or refused
    format: str | None = None  # of the files, where their suffix does not say it
    missing: MissingList | None = None  # strings that stand for a missing value beside labels too; empty: none does

    @field_validator("format")
    @classmethod
    def _known_format(cls, value: str | None) -> str | None:
        if value is not None and value not in formats.names():
            raise ValueError(f"expected one of {', '.join(formats.names())}")
        return value

    @field_validator("rows", mode="before")
    @classmethod
    def _drawn(cls, value: object) -> object:
        return None if value is None else parse(value).value

    @field_validator("validation", "test", "set_aside")
    @classmethod
    def _share(cls, value: object) -> object:
        return share(value)

    @field_validator("set_aside")
    @classmethod
    def _only_share(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError("expected a share such as 10%")
        return value

    @property
    def read(self) -> str:
        """The column of what is read: texts, or audio clips."""
        return self.text if self.audio is None else self.audio

    @model_validator(mode="after")
    def _texts_or_audio(self) -> DataSection:
        if self.audio is not None and self.text_pair is not None:
            raise ValueError("give audio or text_pair, not both: clips have no second texts")
        return self

    @model_validator(mode="after")
    def _something_left(self) -> DataSection:
        if self.set_aside is not None and isinstance(self.test, float):
            raise ValueError("give set_aside or a share as test, not both: the one is drawn in the place of the other")
        named = {"validation": self.validation, "test": self.test, "set_aside": self.set_aside}
        shares = {name: share for name, share in named.items() if isinstance(share, float)}
        if sum(shares.values()) >= 1:
            found = " and ".join(f"{share:g}" for share in shares.values())
            raise ValueError(f"found shares of {found} for {' and '.join(shares)}, expected a sum below 1")
        return self


class TrainingSection(Section):
    """How the weights are found. The same for every method, so that methods can be compared."""

    LATER: ClassVar[tuple[str, ...]] = ("data_seed", "shard")
    ANY: ClassVar[tuple[str, ...]] = ("gradient_checkpointing",)  # keys that change how a result is computed, and not it

    epochs: int = Field(10, ge=1)
    batch_tokens: int | None = Field(None, ge=8)  # padded tokens in a batch; None: by the training rows (fitting_tokens)
    batch_size: int | None = Field(None, ge=1)  # texts in a batch, instead of batch_tokens
    accumulation: int = Field(1, ge=1)  # batches per step of the optimiser
    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: float | None = Field(None, gt=0)  # at its peak; None: the method's own (its config's LEARNING_RATE)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["one_cycle", "linear", "cosine", "plateau", "constant"] = "one_cycle"
    warmup: float = Field(0.1, ge=0, lt=1)  # share of all steps; one_cycle: share until the peak
    plateau_patience: int = Field(3, ge=1)  # evaluations without a better score before the rate is halved
    clip_norm: float | None = Field(1.0, gt=0)
    evaluate_every: Literal["epoch"] | int = "epoch"  # or a number of steps
    patience: int | None = Field(5, ge=1)  # evaluations without a better score before a task stops; None: never
    # Of a trunk that a tuner changes: keep only the inputs of blocks, and compute the rest again on the way back.
    gradient_checkpointing: bool = False
    # Of a trunk that a tuner changes: divide weights, gradients and moments among the processes of a launch (FSDP).
    shard: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # of the side branches; auto: as the trunk
    states: Literal["auto", "store", "live"] = "auto"
    states_dtype: Literal["bf16", "fp32", "int8"] = "bf16"
    states_budget_gb: float | None = Field(None, gt=0, le=1e9)
    seed: int = Field(0, ge=0, lt=2**32)  # as numpy takes it
    # Of the shares that are drawn for validation and test, and of the order of batches. None: `seed`.
    data_seed: int | None = Field(None, ge=0, lt=2**32)
    # How tasks share a trunk that a tuner changes. Side branches do not change theirs, so they are always separate.
    regime: Regime = "separate"
    mixing: Literal["rows", "proportional", "sqrt", "temperature", "uniform"] = (
        "rows"  # joint: all tasks of a row, or one a batch
    )
    temperature: float = Field(2.0, ge=1)  # of mixing: temperature: tasks are drawn in proportion to size^(1 / temperature)
    loss_weights: Literal["uncertainty"] | dict[str, Weight] | None = None  # joint: of each task's loss, 1 by default
    order: list[str] | Literal["all"] | None = None  # sequential: of the tasks, as given by default; all: every order in turn

    @property
    def drawn_by(self) -> int:
        """The seed of drawn shares and of the order of batches."""
        return self.seed if self.data_seed is None else self.data_seed

    def evaluations(self, steps: int) -> int:
        """How often a training of all epochs is judged, of `steps` steps each."""
        return self.epochs if self.evaluate_every == "epoch" else math.ceil(self.epochs * steps / self.evaluate_every)

    def stops_after(self, steps: int) -> int | None:
        """`patience` where it can end a training early whose epochs have `steps` steps: one evaluation is the best so far."""
        return self.patience if self.patience is not None and self.patience + 1 < self.evaluations(steps) else None

    @model_validator(mode="after")
    def _one_batch_measure(self) -> TrainingSection:
        if self.batch_size is not None and self.batch_tokens is not None:
            raise ValueError("give batch_tokens or batch_size, not both")
        return self

    @field_validator("evaluate_every")
    @classmethod
    def _positive(cls, value: object) -> object:
        if isinstance(value, int) and value < 1:
            raise ValueError("expected 'epoch' or a number of steps of at least 1")
        return value
