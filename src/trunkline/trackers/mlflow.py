"""`mlflow`: a run in MLflow's database `mlflow.db` beside the run's directory, or at the `uri` of a server or another database.

The artefacts of that database lie in `mlartifacts/` beside it. Only the client of MLflow is used, never its active run, which
may be one of the program that trains. Its telemetry is off (MLFLOW_DISABLE_TELEMETRY, unless that is set).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from trunkline.events import Event
from trunkline.trackers.base import TrackerConfig, library, trackers
from trunkline.trackers.recording import Beginning, Outcome, Recording

STATES = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
SWITCHES = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # where the result of a command goes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # 7 would keep training waiting for minutes once where a server is gone
}
MOST_NUMBERS, MOST_PARAMETERS = 1000, 100  # in one request


class MLflowConfig(TrackerConfig):
    name: Literal["mlflow"] = "mlflow"
    uri: str | None = None
    experiment: str = "trunkline"
    run: str | None = None


@trackers.register("mlflow")
class MLflow:
    """See the module's docstring."""

    Config: ClassVar[type[TrackerConfig]] = MLflowConfig

    def __init__(self, config: MLflowConfig) -> None:
        for name, value in SWITCHES.items():
            os.environ.setdefault(name, value)
        module = library("mlflow", "mlflow")
        if config.uri is None:
            library("sqlalchemy", "mlflow")
            library("alembic", "mlflow")
        self._recording = Recording(config, _Run(config, module))

    def __call__(self, event: Event) -> None:
        self._recording(event)


class _Run:
    """The tool of `Recording`."""

    def __init__(self, config: MLflowConfig, module: Any) -> None:
        self._config, self._module = config, module
        self._entities = library("mlflow.entities", "mlflow")
        self._client: Any = None
        self._id = ""

    def begin(self, run: Beginning) -> str:
        folder = run.path.parent
        uri = self._config.uri or f"sqlite:///{folder / 'mlflow.db'}"
        artefacts = None if self._config.uri else (folder / "mlartifacts").as_uri()
        self._client = self._module.MlflowClient(tracking_uri=uri)
        if run.known is not None and self._is_there(run.known):
            self._client.update_run(run.known, status="RUNNING")
            self._id = run.known
            return self._id
        made = self._client.create_run(self._experiment(artefacts), run_name=self._config.run or run.path.name)
        self._id = made.info.run_id
        parameters = [self._entities.Param(_name(key), str(value)) for key, value in run.parameters.items()]
        for some in _portions(parameters, MOST_PARAMETERS):
            self._client.log_batch(self._id, params=some)
        return self._id

    def _is_there(self, run: str) -> bool:
        try:
            return bool(self._client.get_run(run).info.lifecycle_stage == "active")
        except self._module.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    def _experiment(self, artefacts: str | None) -> str:
        """The id of the experiment, which another run may be making at the same time."""
        name = self._config.experiment
        if found := self._client.get_experiment_by_name(name):
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name, artifact_location=artefacts))
        except self._module.MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return str(self._client.get_experiment_by_name(name).experiment_id)

    def log(self, numbers: Mapping[str, float], step: int, row: int) -> None:
        now = int(time.time() * 1000)
        metrics = [self._entities.Metric(_name(key), value, now, step) for key, value in numbers.items()]
        for some in _portions(metrics, MOST_NUMBERS):
            self._client.log_batch(self._id, metrics=some)

    def keep(self, texts: Mapping[str, str], folders: Mapping[str, Path]) -> None:
        for name, text in texts.items():
            self._client.log_text(self._id, text, name)
        for name, folder in folders.items():
            self._client.log_artifacts(self._id, str(folder), name)

    def end(self, outcome: Outcome) -> None:
        self._client.set_terminated(self._id, STATES[outcome])


def _name(name: str) -> str:
    """A name with the characters that MLflow takes."""
    return re.sub(r"[^\w./: -]", "_", name)


def _portions(many: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(many), size):
        yield many[start : start + size]
