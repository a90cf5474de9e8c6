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

from collections.abc import Mapping
from typing import Any

from trunkline.tasks import Task
from trunkline.training.stages import Stage, stage_alone


def transfer(stages: list[Stage], scored: list[dict[str, Any]], known: Mapping[str, Task]) -> list[dict[str, Any]]:
    """Return, for each order of the tasks, its accuracy matrix and the three means, on test (on validation without one).

    Args:
        stages: of the run.
        scored: for each stage, by task, its metrics by split.
        known: the tasks by name; each is compared by what it monitors, with the sign turned where less of that is better.

    Returns:
        list: ``{"order", "metric", "matrix", "alone", "forgetting", "backward_transfer", "forward_transfer"}``;
        `matrix[i][j]` is None where task j had not been trained yet or its score is undefined (a correlation with
        something constant); the means are None for a single task, and where a score that they need is undefined.
    """

    def score(stage: Stage, task: str) -> float | None:
        metrics = scored[stages.index(stage)].get(task)
        return None if metrics is None else (metrics.get("test") or metrics["validation"])[known[task].monitor]

    reports = []
    for order in sorted({stage.order for stage in stages if stage.order is not None}):
        own = [stage for stage in stages if stage.order == order]
        tasks = [stage.tasks[0] for stage in own]
        matrix = [[score(stage, task) for task in tasks] for stage in own]
        alone = [score(stage_alone(stages, task), task) for task in tasks]
        last = len(tasks) - 1
        before, after = range(last), range(1, len(tasks))
        signs = [1 if known[task].higher_is_better else -1 for task in tasks]

        def gain(later: float | None, j: int, earlier: float | None, signs: list[int] = signs) -> float | None:
            return None if later is None or earlier is None else signs[j] * (later - earlier)

        def lost(j: int, matrix: list[list[float | None]] = matrix, last: int = last) -> float | None:
            gains = [gain(matrix[last][j], j, matrix[i][j]) for i in range(j, last)]
            known = [value for value in gains if value is not None]
            return -min(known) if len(known) == len(gains) else None

        reports.append(
            {
                "order": tasks,
                "metric": {task: known[task].monitor for task in tasks},
                "matrix": matrix,
                "alone": alone,
                "forgetting": _mean([lost(j) for j in before]),
                "backward_transfer": _mean([gain(matrix[last][j], j, matrix[j][j]) for j in before]),
                "forward_transfer": _mean([gain(matrix[j][j], j, alone[j]) for j in after]),
            }
        )
    return reports


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
