"""`PUT` and `DELETE /v1/tasks/{name}`: tasks added, replaced and removed while others are answered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import IO, Any

from fastapi import APIRouter
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from trunkline.model.branch import Branch
from trunkline.model.branch_file import JSON, WEIGHTS
from trunkline.serving.http.bodies import json_response, off_loop, read_json
from trunkline.serving.http.cards import task_facts
from trunkline.serving.http.errors import Gone, Refused, remember, stopping
from trunkline.serving.http.models import BranchFolder, TaskFacts
from trunkline.serving.http.routes.documented import errors
from trunkline.serving.http.routes.tasks import known_branch
from trunkline.serving.http.service import Service, facts
from trunkline.serving.http.uploads import fit_name, load_folder, load_sent

FIELDS = {"branch": JSON, "weights": WEIGHTS, JSON: JSON, WEIGHTS: WEIGHTS}  # of a form, and the file that each holds
_FILE = {"type": "string", "contentMediaType": "application/octet-stream"}
_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {"schema": BranchFolder.model_json_schema()},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "branch": {**_FILE, "description": "branch.json"},
                    "weights": {**_FILE, "description": "weights.safetensors"},
                },
                "required": ["branch", "weights"],
            }
        },
    },
}


def router(service: Service) -> APIRouter:
    """The routes that ask for an admin key."""
    made = APIRouter(tags=["tasks"])
    remember(BranchFolder)

    @made.put(
        "/v1/tasks/{name:path}",
        response_model=TaskFacts,
        responses={201: {"model": TaskFacts, "description": "Added."}, **errors(403, 408, 413, 415, 422, 500, 503)},
        openapi_extra={"requestBody": _BODY},
        operation_id="put_task",
        summary="Add or replace a task",
    )
    async def put_task(name: str, request: Request) -> Response:
        """Serve a branch under this name: one in the folder that was named at start, or one that is sent as its two files,
        which is kept in memory only. It is checked on sample texts before any request sees it.
        """
        if name not in service.engine.branches:
            fit_name(name, "the name of the task")
        if request.headers.get("content-type", "").lower().startswith("multipart/"):
            async with _sent(request) as files:
                answer = await _put(service, name, load_sent, files)
        else:
            body = await read_json(request, BranchFolder)
            answer = await _put(service, name, load_folder, service.settings.branches, body.branch, name)
        facts(request)["task"] = name  # of a task that is served, and so one that may be logged
        return answer

    @made.delete(
        "/v1/tasks/{name:path}",
        status_code=204,
        responses=errors(403, 404, 422, 503),
        operation_id="delete_task",
        summary="Remove a task",
    )
    async def delete_task(name: str, request: Request) -> Response:
        """Serve this task no more. Requests that are being answered still get its answers; nothing is removed from disk."""
        async with service.changing:
            if service.stopping:
                raise stopping()
            known_branch(service, name)
            await off_loop(True, service.engine.remove, name)
            service.metrics.forget(name)
        facts(request)["task"] = name
        return Response(status_code=204)

    return made


async def _put(service: Service, name: str, load: Any, *given: Any) -> Response:
    engine = service.engine
    async with service.changing:  # one at a time: which of two comes last is then what is served
        if service.stopping:
            raise stopping()
        branch: Branch = await off_loop(True, load, *given, engine.bundle)
        there = name in engine.branches
        await off_loop(True, engine.replace if there else engine.add, name, branch)
        planned = engine.bundle.plan.pass_of(name)
    return json_response(task_facts(name, planned), 200 if there else 201)


@asynccontextmanager
async def _sent(request: Request) -> AsyncIterator[Mapping[str, IO[bytes]]]:
    """The two files of a form, on disk while they are used."""
    try:
        form = await request.form(max_files=2, max_fields=0)
    except ClientDisconnect:
        raise Gone("the connection was closed before the body was sent") from None
    except (HTTPException, FormParserError):
        raise Refused(400, "bad_input", f"the body: found no form with the two files {JSON} and {WEIGHTS}") from None
    try:
        files = {FIELDS[key]: part.file for key, part in form.multi_items() if key in FIELDS and isinstance(part, UploadFile)}
        if len(files) != 2 or len(form.multi_items()) != 2:
            raise Refused(422, "bad_input", f"the form: expected the files branch ({JSON}) and weights ({WEIGHTS}) alone")
        yield files
    finally:
        await form.close()
