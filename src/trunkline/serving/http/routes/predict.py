"""`POST /v1/predict`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from trunkline.errors import BadInput, listed
from trunkline.model.words import joined, tags_of
from trunkline.serving.http.bodies import JsonRoute, is_heavy, json_response, off_loop
from trunkline.serving.http.cards import trunk_name
from trunkline.serving.http.errors import Refused
from trunkline.serving.http.models import PredictAnswer, PredictRequest
from trunkline.serving.http.naming import alone, alone_with_lists, named, several
from trunkline.serving.http.routes.documented import errors
from trunkline.serving.http.service import Service, facts, layer_shares
from trunkline.serving.http.shaping import Shape, rounded
from trunkline.serving.request import Answer, Request

MANY = 32  # texts from which on their answers are written in another thread


def router(service: Service) -> APIRouter:
    """The route of predictions."""
    made = APIRouter(route_class=JsonRoute, tags=["predict"])

    @made.post(
        "/v1/predict",
        summary="Predict",
        response_model=PredictAnswer,
        responses=errors(408, 413, 415, 422, 429, 500, 503, 504),
        operation_id="predict",
    )
    async def predict(request: HttpRequest, body: PredictRequest) -> Response:
        """Answer for texts, by every task or by some, in one pass of the trunk."""
        asked, heavy = as_request(body, service), is_heavy(request) or len(body.texts or ()) > MANY
        shape = Shape(body.scores, body.top_k, body.threshold, body.min_confidence)
        shape.check(service.engine.branches, body.tasks)
        told = facts(request)
        told["texts"] = len(asked.texts)
        wrapped = asked.units is not body.units
        naming = several if body.text is None else alone if wrapped else alone_with_lists
        await off_loop(heavy, service.check, asked, naming)
        with named(naming):
            answer = await service.answer(request, asked, heavy)
        told.update(tokens=answer.tokens, queued=answer.queued, computed=answer.computed)
        return await off_loop(heavy, _response, service, answer, shape, body)

    return made


def as_request(body: PredictRequest, service: Service) -> Request:
    """What the engine is asked; BadInput where keys do not go together."""
    if not service.engine.branches:
        raise Refused(503, "unavailable", "no task is served now; PUT /v1/tasks/NAME adds one")
    if (body.text is None) == (body.texts is None):
        raise BadInput(f"found {'text and texts' if body.text is not None else 'neither text nor texts'}, expected one of them")
    if body.text is not None and body.pairs is not None:
        raise BadInput("found pairs with text, expected pair")
    if body.texts is not None and body.pair is not None:
        raise BadInput("found pair with texts, expected pairs")
    if body.tasks is not None and len(body.tasks) > (served := len(service.engine.branches)):
        raise BadInput(f"tasks: found {len(body.tasks)}, expected at most the {served} that are served")
    if body.tasks is not None and not set(body.tasks) <= set(service.engine.branches):
        known = listed(sorted(service.engine.branches), quoted=False, whole=True)
        raise BadInput(f"tasks: found a name that no task has, expected some of {known}")
    if body.tasks is not None and len(set(body.tasks)) < len(body.tasks):
        raise BadInput("tasks: found one more than once, expected each once")
    return Request(
        body.texts if body.text is None else [body.text],
        body.pairs if body.pair is None else [body.pair],
        _units(body),
        body.tasks,
        body.empty_texts,
        body.long_texts,
        service.timeout(body.timeout),
    )


def _units(body: PredictRequest) -> Any:
    """The spans of the words of each text; those of a single text may stand alone."""
    units = body.units
    alone = units is not None and (not units or isinstance(units[0], tuple))
    if alone and units and body.text is None:
        raise BadInput("units: found the spans of one text with texts, expected a list of spans for each")
    return [units] if alone and body.text is not None else units


def _response(service: Service, answer: Answer, shape: Shape, body: PredictRequest) -> Response:
    tasks = {name: branch.task for name, branch in answer.branches.items()}
    predictions = [
        {name: shape.answer(tasks[name], prediction) for name, prediction in text.items()} for text in answer.predictions
    ]
    if words := [text for text in body.texts or () if not isinstance(text, str)]:  # then all of them are
        for name in (name for name, task in tasks.items() if task.answers.units):
            for text, units in zip(predictions, joined(words)[1], strict=True):
                spans = text[name]["spans"]
                text[name]["tags"] = None if spans is None else tags_of(spans, units)
    value: dict[str, Any] = {
        "trunk": trunk_name(service.engine.bundle.trunk),
        "predictions": predictions,
        "long_texts": answer.long_texts,
    }
    if body.layers:
        value["layers"] = rounded(layer_shares(answer.branches))
    value |= {"tokens": answer.tokens, "seconds": {"queued": round(answer.queued, 6), "computed": round(answer.computed, 6)}}
    return json_response(value)
