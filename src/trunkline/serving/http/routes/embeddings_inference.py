"""`/predict` of Hugging Face's text-embeddings-inference, a server for one classifier, and `/models/{name}/predict`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from trunkline.errors import BadInput
from trunkline.serving.http.bodies import JsonRoute, json_response
from trunkline.serving.http.routes.documented import errors
from trunkline.serving.http.routes.other_clients import answers, only_task, ranked
from trunkline.serving.http.service import Service
from trunkline.serving.text_group import TooLong

Sequence = Annotated[list[str], Field(min_length=1, max_length=2, fail_fast=True)]


class PredictBody(BaseModel):
    """A text, a list of one text or of a text and its second one, or a batch of such lists."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"inputs": "play some jazz"}]})
    inputs: str | Sequence | Annotated[list[Sequence], Field(min_length=1, fail_fast=True)]
    raw_scores: bool = Field(False, description="Not to be had: the scores are probabilities.")
    truncate: bool | None = Field(False, description="Cut texts that are too long; they are refused otherwise.")
    truncation_direction: Literal["Left", "Right"] | None = Field(
        None, description="That of the trunk's tokenizer, nearly always Right; another one is not to be had."
    )


def router(service: Service) -> APIRouter:
    """The routes of text-embeddings-inference."""
    made = APIRouter(route_class=JsonRoute, tags=["text-embeddings-inference"])
    documented: dict[str, Any] = {"responses": errors(404, 408, 413, 415, 422, 429, 500, 503, 504)}

    async def predicted(request: HttpRequest, body: PredictBody, name: str) -> Response:
        if body.raw_scores:
            raise BadInput("raw_scores: found true, expected false, as the scores are probabilities")
        side = service.engine.bundle.trunk.tokenizer.truncation_side.capitalize()
        if body.truncation_direction not in (None, side):
            raise BadInput(f"truncation_direction: found another one, expected {side}, as the trunk's tokenizer cuts texts so")
        batch = bool(body.inputs) and isinstance(body.inputs[0], list)
        rows: list[list[str]] = body.inputs if batch else [[body.inputs] if isinstance(body.inputs, str) else body.inputs]  # type: ignore[assignment, list-item]
        if len({len(row) for row in rows}) > 1:
            raise BadInput("inputs: found texts with and without a second one, expected one kind in a batch")
        pairs = [row[1] for row in rows] if len(rows[0]) == 2 else None

        def naming(what: str, row: int | None) -> str:
            return f"inputs[{row}]" if batch and row is not None else "inputs"

        try:
            task, found = await answers(
                service, request, name, [row[0] for row in rows], pairs, naming, "cut" if body.truncate else "refuse"
            )
        except TooLong as error:
            raise error.other_way("truncate: true") from None
        shown = [ranked(task, one) for one in found]
        return json_response(shown if batch else shown[0])

    @made.post("/predict", operation_id="predict_only", summary="Classify, by the only classifier", **documented)
    async def of_only_task(request: HttpRequest, body: PredictBody) -> Response:
        """Scores of all labels, the best first."""
        return await predicted(request, body, only_task(service, ("sequence", "multilabel"), "/predict"))

    @made.post("/models/{name:path}/predict", operation_id="predict_of_task", summary="Classify, by one task", **documented)
    async def of_task(request: HttpRequest, name: str, body: PredictBody) -> Response:
        """Scores of all labels, the best first."""
        return await predicted(request, body, name)

    return made
