"""What clients of other servers share here: one task for each address, texts in, that task's answer out."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request as HttpRequest

from trunkline.errors import BadInput
from trunkline.serving.http.bodies import is_heavy, off_loop
from trunkline.serving.http.naming import Naming, named
from trunkline.serving.http.routes.tasks import known_branch
from trunkline.serving.http.service import Service, facts
from trunkline.serving.request import LongTexts, Request
from trunkline.tasks import Task

MANY = 32  # texts from which on they are counted in another thread


async def answers(
    service: Service,
    http: HttpRequest,
    name: str,
    texts: list[str],
    pairs: list[str] | None,
    naming: Naming,
    long_texts: LongTexts = "cut",
) -> tuple[Task, list[dict[str, Any]]]:
    """The task `name`, and its prediction for each text; messages call texts as `naming` does.

    Raises:
        Refused: there is no such task, or the texts are over the limits.
        BadInput: the texts are not what the task reads.
    """
    branch = known_branch(service, name)
    if (branch.text_pair is not None) != (pairs is not None):
        found, expected = ("pairs of texts", "texts alone") if pairs is not None else ("texts alone", "pairs of texts")
        raise BadInput(f"{naming('texts', None)}: found {found}, expected {expected}, as the task was trained on these")
    asked = Request(texts, pairs, None, [name], "refuse", long_texts, service.timeout(None))
    told = facts(http)
    told["texts"] = len(texts)
    heavy = is_heavy(http) or len(texts) > MANY
    await off_loop(heavy, service.check, asked, naming)
    with named(naming):
        answer = await service.answer(http, asked, heavy)
    told.update(tokens=answer.tokens, queued=answer.queued, computed=answer.computed)
    return answer.branches[name].task, [row[name] for row in answer.predictions]


def only_task(service: Service, kinds: tuple[str, ...], address: str) -> str:
    """The task that an address without a name stands for; BadInput where there is more or less than one."""
    names = [name for name, branch in service.engine.branches.items() if branch.task.kind in kinds]
    if len(names) != 1:
        raise BadInput(f"found {len(names)} tasks that could answer, expected one; /models/NAME{address} names one of several")
    return names[0]


def ranked(task: Task, prediction: dict[str, Any], top_k: int | None = None) -> list[dict[str, Any]]:
    """The labels of a classification with their scores, the best first.

    Raises:
        BadInput: the task does not classify texts.
    """
    scores = prediction.get("scores")
    if task.kind not in ("sequence", "multilabel") or scores is None:
        raise BadInput(f"found a task of kind {task.kind}, expected one that classifies texts")
    found = sorted(scores.items(), key=lambda one: -one[1])
    return [{"label": label, "score": round(score, 6)} for label, score in found[:top_k]]
