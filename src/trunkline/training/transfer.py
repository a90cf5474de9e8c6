"""What a sequence of tasks forgets and hands on, from the scores of all tasks after every stage.

With R[i][j] the score of task j after stage i (stages and tasks in the order of the sequence, T of them), and S[j] the score
of task j trained alone on the untouched trunk:

    forgetting          mean over j < T of max over i < T of R[i][j] - R[T][j] (Chaudhry et al. 2018, arXiv 1801.10112)
    backward transfer   mean over j < T of R[T][j] - R[j][j]                   (Lopez-Paz and Ranzato 2017, arXiv 1706.08840)
    forward transfer    mean over j > 1 of R[j][j] - S[j]

A head that has not been trained says nothing, so forward transfer is measured after a task's own stage, against training
it alone.
"""

from __future__ import annotations

from typing import Any

from trunkline.training.stages import Stage, stage_alone


def transfer(stages: list[Stage], scored: list[dict[str, Any]], monitors: dict[str, str]) -> list[dict[str, Any]]:
    """Return, for each order of the tasks, its accuracy matrix and the three means, on test (on validation without one).

    Args:
        stages: of the run.
        scored: for each stage, by task, its metrics by split.
        monitors: by task, the metric that is compared.

    Returns:
        list: ``{"order", "metric", "matrix", "alone", "forgetting", "backward_transfer", "forward_transfer"}``;
        `matrix[i][j]` is None where task j had not been trained yet, and the means are None for a single task.
    """

    def score(stage: Stage, task: str) -> Any:  # float, or None where the task was not trained yet
        metrics = scored[stages.index(stage)].get(task)
        return None if metrics is None else (metrics.get("test") or metrics["validation"])[monitors[task]]

    reports = []
    for order in sorted({stage.order for stage in stages if stage.order is not None}):
        own = [stage for stage in stages if stage.order == order]
        tasks = [stage.tasks[0] for stage in own]
        matrix = [[score(stage, task) for task in tasks] for stage in own]
        alone = [score(stage_alone(stages, task), task) for task in tasks]
        last = len(tasks) - 1
        before, after = range(last), range(1, len(tasks))
        reports.append(
            {
                "order": tasks,
                "metric": {task: monitors[task] for task in tasks},
                "matrix": matrix,
                "alone": alone,
                "forgetting": _mean([max(matrix[i][j] for i in range(j, last)) - matrix[last][j] for j in before]),
                "backward_transfer": _mean([matrix[last][j] - matrix[j][j] for j in before]),
                "forward_transfer": _mean([matrix[j][j] - alone[j] for j in after]),
            }
        )
    return reports


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
