"""What is logged of a run, by name: its parameters, and numbers at steps. The names are the same in every tool.

    train/TASK/loss              mean of the training batches since the evaluation before
    validation/TASK/METRIC       at every evaluation
    layers/TASK/03               share of layer 3 in what the branch reads
    learning_rate/TASK           of the last step
    epoch, epoch/seconds, epoch/evaluation_seconds, epoch/tokens_per_second
    final/SPLIT/TASK/METRIC      of the weights that are kept, at the end
    cost/seconds, cost/peak_memory_bytes, cost/trained_parameters

Of a run of several stages all but the last two begin with STAGE/, as the steps of each stage begin at 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from trunkline.events import EpochEnded, Evaluated, RunStarted

LONGEST = 500  # characters of a parameter, as older MLflow servers take; config.yaml has all of it


def parameters(event: RunStarted) -> dict[str, Any]:
    """The resolved config, flat (`training.epochs`), and the numbers of trained parameters. Lists are JSON.

    Its trackers are left out: they are no part of what was trained, and an address may be private.
    """
    config = {key: value for key, value in event.config.items() if key != "trackers"}
    counts = {f"trained_parameters.{name}": count for name, count in event.trained_parameters.items()}
    return {**dict(_flat(config, "")), **counts, "identity": event.identity}


def _flat(values: Mapping[str, Any], place: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        key = f"{place}{name}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}.")
        elif isinstance(value, (bool, int, float)):
            yield key, value
        elif value is not None:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield key, text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def of_evaluation(event: Evaluated) -> dict[str, float]:
    """The numbers of an evaluation."""
    found: dict[str, Any] = {"epoch": event.epoch}
    for task, judged in event.tasks.items():
        found[f"train/{task}/loss"] = judged["train_loss"]
        found |= {f"validation/{task}/{metric}": value for metric, value in judged["validation"].items()}
        found |= {f"layers/{task}/{int(layer):02d}": share for layer, share in judged["layers"].items()}
    found |= {f"learning_rate/{task}": rate for task, rate in event.learning_rates.items()}
    return _numbers(found)


def of_epoch(event: EpochEnded) -> dict[str, float]:
    """The numbers of an epoch."""
    speed = event.tokens / event.seconds if event.seconds else None
    return _numbers(
        {
            "epoch/seconds": event.seconds,
            "epoch/evaluation_seconds": event.evaluation_seconds,
            "epoch/tokens_per_second": speed,
        }
    )


def of_result(summary: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of result.json that say how good and how costly a run was."""
    cost = summary["cost"]
    found = {
        "cost/seconds": cost["seconds"],
        "cost/peak_memory_bytes": cost["peak_memory_bytes"],
        "cost/trained_parameters": cost["trained_parameters_total"],
    }
    for task, judged in summary["tasks"].items():
        for split in ("validation", "test"):
            found |= {f"final/{split}/{task}/{metric}": value for metric, value in judged.get(split, {}).items()}
    return _numbers(found)


def _numbers(found: Mapping[str, Any]) -> dict[str, float]:
    """Those that are numbers: a score may be undefined, and some metrics are tables."""
    plain = {key: value for key, value in found.items() if isinstance(value, (int, float)) and not isinstance(value, bool)}
    return {key: value for key, value in plain.items() if math.isfinite(value)}
