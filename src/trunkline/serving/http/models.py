"""What clients send and are sent, as `/openapi.json` describes it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

Absent = SkipJsonSchema[None]  # null is taken as absent
Share = Annotated[float, Field(ge=0, le=1)]
_FIRST = Field(fail_fast=True)  # nothing is said of a list but the first thing that is wrong with it
Texts = Annotated[list[str], _FIRST]
Unit = Annotated[tuple[int, int], _FIRST]

_ONE_OF: dict[str, Any] = {"oneOf": [{"required": ["text"]}, {"required": ["texts"]}]}
_ASKED: list[Any] = [
    {"text": "play some jazz"},
    {"texts": ["play some jazz", "book a table for two in Paris"], "tasks": ["intent"], "top_k": 3},
]
_PREDICTION: dict[str, Any] = {
    "intent": {"label": "PlayMusic", "score": 0.998213},
    "slots": {"spans": [{"start": 10, "end": 14, "label": "genre", "text": "jazz", "score": 0.91}]},
}


def _whole(value: Any) -> Any:
    """1.0 as 1: JSON Schema has it as an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class PredictRequest(BaseModel):
    """Texts, and what is to be said of them."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, json_schema_extra={**_ONE_OF, "examples": _ASKED}
    )
    text: str | Absent = Field(None, description="One text.")
    texts: Annotated[list[str | Texts], _FIRST] | Absent = Field(
        None, description="Several texts; where a task tags words, strings or lists of words, not both."
    )
    pair: str | Absent = Field(None, description="The second text of `text`, where a task reads pairs.")
    pairs: Texts | Absent = Field(None, description="The second text of each of `texts`, where a task reads pairs.")
    units: Annotated[list[Unit], _FIRST] | Annotated[list[Annotated[list[Unit], _FIRST]], _FIRST] | Absent = Field(
        None,
        description="The character spans [start, end] of the words of `text`, or a list of such spans for each text, for tasks "
        "that tag words.",
    )
    tasks: Annotated[list[str], Field(min_length=1, fail_fast=True)] | Absent = Field(
        None, description="Names of tasks; absent: all."
    )
    scores: bool = Field(False, description="Add the score of every label.")
    top_k: Annotated[int, BeforeValidator(_whole), Field(ge=1)] | Absent = Field(
        None, description="Add the scores of so many best labels."
    )
    threshold: Share | Absent = Field(
        None, description="Score from which on a label of a multilabel task holds, in place of the fitted thresholds."
    )
    min_confidence: Share | Absent = Field(
        None, description="Give no answer where the confidence is below it: `label` is null then, and `abstained` true."
    )
    layers: bool = Field(False, description="Add the share of each layer in what each task reads.")
    long_texts: Literal["cut", "windows", "refuse"] = Field(
        "cut",
        description="What becomes of a text that is longer than a task reads: cut; read in windows whose logits are averaged; "
        "or refused. Tasks that tag words read all of it unless it is refused.",
    )
    empty_texts: Literal["skip", "refuse"] = Field(
        "skip", description="Blank texts have empty predictions, whose parts are null, or are refused."
    )
    timeout: Annotated[float, Field(gt=0)] | Absent = Field(
        None,
        description="Seconds until the answer is worth nothing any more; where it is longer than what the server was started "
        "with, that.",
    )


class Span(BaseModel):
    """Words with a label: their characters (end exclusive), and the mean score of the words."""

    start: int
    end: int
    label: str
    text: str
    score: float


class TaskAnswer(BaseModel):
    """What one task says of a text; which parts there are depends on the kind of the task. All are null for a blank text."""

    label: str | None = Field(None, description="sequence: the label")
    score: float | None = Field(None, description="sequence: the calibrated probability of the label")
    scores: dict[str, float] | None = Field(
        None, description="sequence, multilabel: by label, best first with top_k; where scores or top_k asks for them"
    )
    labels: list[str] | None = Field(None, description="multilabel: the labels that hold")
    spans: list[Span] | None = Field(None, description="token: the spans, in order")
    tags: list[str] | None = Field(None, description="token, where the texts are lists of words: a tag (IOB2) for each word")
    value: float | None = Field(None, description="regression: the number")
    abstained: bool | None = Field(None, description="with min_confidence: whether the answer was withheld")
    confidence: float | None = Field(None, description="multilabel, with min_confidence: in all labels together")
    left_out: int | None = Field(None, description="token, with min_confidence: spans that were withheld")


class Seconds(BaseModel):
    """Seconds until the texts were in a batch, and from then until all were answered."""

    queued: float
    computed: float


class PredictAnswer(BaseModel):
    """The predictions for a request."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "trunk": "minilm",
                    "predictions": [_PREDICTION],
                    "long_texts": [],
                    "tokens": 5,
                    "seconds": {"queued": 0.0012, "computed": 0.0087},
                }
            ]
        }
    )
    trunk: str
    predictions: list[dict[str, TaskAnswer]] = Field(description="For each text, the answer of each task by its name.")
    long_texts: list[int] = Field(description="Numbers, from 0, of the texts that were cut or read in windows.")
    layers: dict[str, dict[str, float] | None] = Field(
        default_factory=dict,
        description="If asked for: by task, the share of each layer; null for a method that has no such shares.",
    )
    tokens: int = Field(description="Tokens that were read.")
    seconds: Seconds


class TaskFacts(BaseModel):
    """A task that is served."""

    name: str
    kind: Literal["sequence", "multilabel", "token", "regression"]
    labels: list[str] | None = Field(description="Of a token task, the kinds of spans; null for a regression.")
    method: str
    max_length: int = Field(description="Tokens that it reads at once.")
    long_texts: Literal["first", "mean", "max"] | None = Field(
        description="What it was trained to read of a longer text: its first window, or all windows, by the mean or the "
        "maximum of their logits; null for a token task, which reads all of it."
    )
    pairs: bool = Field(description="Whether it reads a second text.")
    backend: str = Field(description="What computes the trunk for it.")
    dtype: str = Field(description="The precision in which the trunk is computed for it: fp32, bf16 or int8.")
    trainable_parameters: int
    metrics: dict[str, Any] = Field(description="Of the saved branch, by split.")
    layers: dict[str, float] | None = Field(description="Share of each layer in what it reads.")
    card: str = Field(description="What there is to know about it, in Markdown.")


class TrunkFacts(BaseModel):
    """The trunk that all tasks share."""

    name: str
    hidden_size: int
    layers: int
    backend: str | None = Field(description="What computes it; null where that differs between tasks, or the precision does.")
    dtype: str | None = Field(description="The precision in which it is computed; null likewise.")


class TasksAnswer(BaseModel):
    """The trunk and the tasks that are served."""

    trunk: TrunkFacts
    tasks: list[TaskFacts]


class BranchFolder(BaseModel):
    """A branch, or a run with a branch, in the folder that was named at start."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"branch": "topics-2f6c1a9b"}]})
    branch: str = Field(description="The name of its folder.")


class Health(BaseModel):
    """Whether the server lives, or takes requests."""

    status: Literal["alive", "ready"]
