"""The Open Inference Protocol (KServe, Triton), version 2, over HTTP: texts in as BYTES, answers out as JSON in BYTES,
each as JSON or in binary form.

Each task is a model. Its inputs are `text` and, where it reads pairs, `pair`; its output `prediction` has the JSON object of
`POST /v1/predict` for each text.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import to_json
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

import trunkline
from trunkline.errors import BadInput
from trunkline.model.branch import Branch
from trunkline.serving.http.bodies import JsonRoute, json_response
from trunkline.serving.http.models import Texts
from trunkline.serving.http.routes.binary_tensors import binary_response, with_strings
from trunkline.serving.http.routes.documented import errors
from trunkline.serving.http.routes.other_clients import answers
from trunkline.serving.http.routes.tasks import known_branch
from trunkline.serving.http.service import Service
from trunkline.serving.http.shaping import Shape

PLATFORM = "trunkline"
SHAPE = Shape(scores=True)


class Tensor(BaseModel):
    """Texts, one for each element."""

    model_config = ConfigDict(extra="forbid")
    name: str
    shape: Annotated[list[int], Field(min_length=1, max_length=2, fail_fast=True)]
    datatype: Literal["BYTES"]
    data: Texts | Annotated[list[Texts], Field(fail_fast=True)]
    parameters: dict[str, Any] | None = Field(None, description="What else there is to say of the tensor; not read.")

    def texts(self) -> list[str]:
        """The elements, in order; BadInput where `shape` is another one."""
        flat = [one for row in self.data for one in (row if isinstance(row, list) else [row])]
        size = 1
        for extent in self.shape:
            size *= extent
        if size != len(flat) or min(self.shape) < 0:
            raise BadInput(f"inputs: found {len(flat)} elements, expected as many as its shape says")
        return flat


def _no_classes(value: Any) -> None:
    if value is not None:
        raise ValueError("none, as the output has the score of every label")


class OutputOptions(BaseModel):
    """How an output is sent; others are refused, as nothing would come of them."""

    model_config = ConfigDict(extra="forbid")
    binary_data: bool | None = Field(None, description="In binary form.")
    content_type: Literal["str"] | None = Field(None, description="As MLServer's clients call strings.")
    classification: Annotated[SkipJsonSchema[None], BeforeValidator(_no_classes)] = None  # `class_count` of Triton's client


class Wanted(BaseModel):
    """An output that is asked for."""

    model_config = ConfigDict(extra="forbid")
    name: str
    parameters: OutputOptions | None = None


class RequestOptions(BaseModel):
    """How outputs are sent where they do not say so themselves; others are refused, as nothing would come of them."""

    model_config = ConfigDict(extra="forbid")
    binary_data_output: bool | None = Field(None, description="In binary form.")
    content_type: Literal["str"] | None = Field(None, description="As MLServer's clients call strings.")


class InferRequest(BaseModel):
    """Texts for one task."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["play some jazz"]}]}]
        },
    )
    id: str | None = None
    inputs: Annotated[list[Tensor], Field(min_length=1, max_length=2, fail_fast=True)]
    outputs: Annotated[list[Wanted], Field(fail_fast=True)] | None = None
    parameters: RequestOptions | None = None


class InferRoute(JsonRoute):
    """Reads tensors in binary form, too."""

    unpacked = staticmethod(with_strings)


def router(service: Service) -> APIRouter:
    """The routes of the protocol."""
    made, infer = (
        APIRouter(tags=["Open Inference Protocol"]),
        APIRouter(route_class=InferRoute, tags=["Open Inference Protocol"]),
    )

    @made.get("/v2", operation_id="v2_server", summary="Describe the server", responses=errors())
    async def server() -> dict[str, Any]:
        """Name, version and extensions."""
        return {"name": PLATFORM, "version": trunkline.__version__, "extensions": ["binary_tensor_data"]}

    @made.get("/v2/health/live", operation_id="v2_live", summary="Whether the server lives", responses=errors())
    async def live() -> dict[str, bool]:
        """As /livez, for those with a key."""
        return {"live": service.engine.alive}

    @made.get("/v2/health/ready", operation_id="v2_ready", summary="Whether requests are taken", responses=errors(503))
    async def ready() -> Response:
        """As /readyz."""
        return json_response({"ready": service.ready}, 200 if service.ready else 503)

    @made.get(
        "/v2/models/{name:path}/ready", operation_id="v2_model_ready", summary="Whether a task is served", responses=errors(404)
    )
    async def model_ready(name: str) -> dict[str, Any]:
        """A task that is served is ready."""
        known_branch(service, name)
        return {"name": name, "ready": service.ready}

    @made.get("/v2/models/{name:path}", operation_id="v2_model", summary="Describe a task", responses=errors(404))
    async def model(name: str) -> dict[str, Any]:
        """Its inputs and its output."""
        return _described(name, known_branch(service, name))

    @infer.post(
        "/v2/models/{name:path}/infer",
        operation_id="v2_infer",
        summary="Predict, by one task",
        responses=errors(404, 408, 413, 415, 422, 429, 500, 503, 504),
    )
    async def inferred(request: HttpRequest, name: str, body: InferRequest) -> Response:
        """An object of JSON for each text."""
        branch = known_branch(service, name)
        given = {tensor.name: tensor.texts() for tensor in body.inputs}
        expected = [tensor["name"] for tensor in _described(name, branch)["inputs"]]
        if sorted(given) != sorted(expected) or len(given) < len(body.inputs):
            raise BadInput(f"inputs: found {len(body.inputs)}, expected those called {' and '.join(expected)}")
        if body.outputs is not None and any(wanted.name != "prediction" for wanted in body.outputs):
            raise BadInput("outputs: found another one, expected prediction")
        task, found = await answers(service, request, name, given["text"], given.get("pair"), _naming)
        data = [to_json(SHAPE.answer(task, one)).decode() for one in found]
        output = {"name": "prediction", "shape": [len(data)], "datatype": "BYTES", "data": data}
        made_id = {} if body.id is None else {"id": body.id}
        answer = {"model_name": name, **made_id, "outputs": [output]}
        return binary_response(answer) if _binary(body) else json_response(answer)

    both = APIRouter()
    both.include_router(infer)
    both.include_router(made)
    return both


def _naming(what: str, row: int | None) -> str:
    return what.removesuffix("s") + ("" if row is None else f"[{row}]")


def _binary(body: InferRequest) -> bool:
    """Whether the output is asked for in binary form."""
    output = next(iter(body.outputs or ()), None)
    asked = output.parameters.binary_data if output is not None and output.parameters is not None else None
    if asked is None and body.parameters is not None:
        asked = body.parameters.binary_data_output
    return bool(asked)


def _described(name: str, branch: Branch) -> dict[str, Any]:
    inputs = ["text", "pair"] if branch.text_pair is not None else ["text"]
    return {
        "name": name,
        "versions": [],
        "platform": PLATFORM,
        "inputs": [{"name": one, "datatype": "BYTES", "shape": [-1]} for one in inputs],
        "outputs": [{"name": "prediction", "datatype": "BYTES", "shape": [-1]}],
    }
