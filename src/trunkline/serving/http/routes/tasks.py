"""`/v1/tasks`: which tasks are served."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from starlette.responses import Response

from trunkline.model.branch import Branch
from trunkline.serving.http.bodies import json_response, off_loop
from trunkline.serving.http.cards import Catalogue
from trunkline.serving.http.errors import Refused, of_status
from trunkline.serving.http.models import TaskFacts, TasksAnswer
from trunkline.serving.http.routes.documented import errors
from trunkline.serving.http.service import Service


def router(service: Service) -> APIRouter:
    """The routes of tasks."""
    made, catalogue = APIRouter(tags=["tasks"]), Catalogue()

    @made.get("/v1/tasks", response_model=TasksAnswer, responses=errors(), operation_id="list_tasks", summary="List the tasks")
    async def list_tasks() -> Response:
        """The trunk and all tasks that are served, with their model cards."""
        bundle = service.engine.bundle
        return json_response(await off_loop(True, catalogue.of_bundle, bundle))

    @made.get(
        "/v1/tasks/{name:path}",
        response_model=TaskFacts,
        responses=errors(404, 422),
        operation_id="show_task",
        summary="Describe a task",
    )
    async def show_task(name: str) -> Response:
        """One task, with its model card."""
        plan = service.engine.bundle.plan
        check_known(plan.branches, name)
        return json_response(await off_loop(True, catalogue.of_task, name, plan))

    return made


def known_branch(service: Service, name: str) -> Branch:
    """The branch of a task; Refused as by `check_known`."""
    branches = service.engine.branches
    check_known(branches, name)
    return branches[name]


def check_known(branches: Mapping[str, Branch], name: str) -> None:
    """Refuse a name that no task has, and an address below a task that there is not."""
    if name in branches:
        return
    if any(name.startswith(f"{known}/") for known in branches):  # names may hold a slash, so the routes take it for one
        raise of_status(404)
    raise Refused(404, "not_found", "there is no task of that name; GET /v1/tasks lists those that there are")
