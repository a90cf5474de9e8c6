"""What huggingface_hub's `InferenceClient` speaks: `POST /models/{name}`, and `POST /` where there is one task.

`InferenceClient(base_url).text_classification(text)` and `.token_classification(text)`; the form of the answers is that of
transformers' pipelines.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from trunkline.errors import BadInput
from trunkline.serving.http.bodies import JsonRoute, json_response
from trunkline.serving.http.models import Texts
from trunkline.serving.http.routes.documented import errors
from trunkline.serving.http.routes.other_clients import answers, only_task, ranked
from trunkline.serving.http.service import Service
from trunkline.tasks import Task

KINDS = ("sequence", "multilabel", "token")
OTHERS = {True: ("top_k", "function_to_apply"), False: ("aggregation_strategy", "ignore_labels", "stride")}  # useless to a kind
APPLIED = {"sequence": "softmax", "multilabel": "sigmoid"}  # what makes the scores of a kind


class Parameters(BaseModel):
    """Options of the pipelines; those that a task has no use for are refused."""

    model_config = ConfigDict(extra="forbid")
    top_k: Annotated[int, Field(ge=1)] | None = None
    function_to_apply: str | None = None
    aggregation_strategy: str | None = None
    ignore_labels: Texts | None = None
    stride: int | None = None


class Inputs(BaseModel):
    """A text or several."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"inputs": "play some jazz"}]})
    inputs: str | Annotated[list[str], Field(min_length=1, fail_fast=True)]
    parameters: Parameters | None = None


def router(service: Service) -> APIRouter:
    """The routes of `InferenceClient`."""
    made = APIRouter(route_class=JsonRoute, tags=["Hugging Face"])
    documented: dict[str, Any] = {"responses": errors(404, 408, 413, 415, 422, 429, 500, 503, 504)}

    async def predicted(request: HttpRequest, body: Inputs, name: str) -> Response:
        texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs

        def naming(what: str, row: int | None) -> str:
            return "inputs" if row is None or isinstance(body.inputs, str) else f"inputs[{row}]"

        task, found = await answers(service, request, name, texts, None, naming)
        shown = [_shown(task, one, body.parameters or Parameters()) for one in found]
        # A classification is a list for each text, of one text too; the spans of one text are not.
        return json_response(shown[0] if isinstance(body.inputs, str) and task.kind == "token" else shown)

    @made.post("/models/{name:path}", operation_id="pipeline_of_task", summary="Answer as a pipeline", **documented)
    async def of_task(request: HttpRequest, name: str, body: Inputs) -> Response:
        """Classify texts, or find spans in them, by one task."""
        return await predicted(request, body, name)

    @made.post("/", operation_id="pipeline", summary="Answer as a pipeline, of the only task", **documented)
    async def of_only_task(request: HttpRequest, body: Inputs) -> Response:
        """Classify texts, or find spans in them, by the only task that does so."""
        return await predicted(request, body, only_task(service, KINDS, ""))

    return made


def _shown(task: Task, prediction: dict[str, Any], parameters: Parameters) -> list[dict[str, Any]]:
    for key in OTHERS[task.kind == "token"]:
        if getattr(parameters, key) is not None:
            raise BadInput(f"parameters.{key}: found one, expected none, as the task is of kind {task.kind}")
    if task.kind != "token":
        wanted = parameters.function_to_apply
        if wanted not in (None, APPLIED.get(task.kind)):
            raise BadInput(f"parameters.function_to_apply: found another one, expected {APPLIED.get(task.kind, 'none')}")
        return ranked(task, prediction, parameters.top_k)
    if parameters.aggregation_strategy == "none":
        raise BadInput("parameters.aggregation_strategy: found none, expected another one, as the answers are spans of words")
    ignored = set(parameters.ignore_labels or ())
    return [
        {
            "entity_group": span["label"],
            "score": round(span["score"], 6),
            "word": span["text"],
            "start": span["start"],
            "end": span["end"],
        }
        for span in prediction["spans"]
        if span["label"] not in ignored
    ]
