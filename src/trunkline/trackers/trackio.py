"""`trackio`: a run in Trackio's database on this machine: in $TRACKIO_DIR, else below Hugging Face's cache.

Nothing is sent to a Space or a server, whatever the environment says. Trackio would also ask Hugging Face who the owner of a
stored token is, and log that: here it does not.
"""

from __future__ import annotations

import contextlib
import io
import re
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from trunkline.events import Event
from trunkline.trackers.base import TrackerConfig, library, trackers
from trunkline.trackers.recording import Beginning, Outcome, Recording


class TrackioConfig(TrackerConfig):
    name: Literal["trackio"] = "trackio"
    project: str = "trunkline"
    run: str | None = None


@trackers.register("trackio")
class Trackio:
    """See the module's docstring."""

    Config: ClassVar[type[TrackerConfig]] = TrackioConfig

    def __init__(self, config: TrackioConfig) -> None:
        self._recording = Recording(config, _Run(config, library("trackio", "trackio")))

    def __call__(self, event: Event) -> None:
        self._recording(event)


class _Run:
    """The tool of `Recording`."""

    def __init__(self, config: TrackioConfig, module: Any) -> None:
        self._config, self._module = config, module
        self._run: Any = None
        self._step = 0

    def begin(self, run: Beginning) -> str:
        found = run.known or secrets.token_hex(16)
        # Not trackio.init, which reads from the environment where to send runs, prints, and makes the run that of the process.
        self._run = _local(self._module)(
            url=None,
            project=self._config.project,
            client=None,
            name=self._config.run or run.path.name,
            run_id=found,
            config=dict(run.parameters),
        )
        return found

    def log(self, numbers: Mapping[str, float], step: int, row: int) -> None:
        self._run.log(dict(numbers), step=step)
        self._step = step

    def keep(self, texts: Mapping[str, str], folders: Mapping[str, Path]) -> None:
        artifact = self._module.Artifact(re.sub(r"[^\w.-]", "_", f"run-{self._run.name}"), "run")
        with tempfile.TemporaryDirectory() as folder:
            for name, text in texts.items():
                (Path(folder) / name).write_text(text, encoding="utf-8")
            artifact.add_dir(folder)
            for name, files in folders.items():
                artifact.add_dir(files, name=name)
            self._run.log_artifact(artifact)

    def end(self, outcome: Outcome) -> None:
        self._run.log({"outcome": outcome}, step=self._step)
        with contextlib.redirect_stdout(io.StringIO()):  # where the result of a command goes
            self._run.finish()


def _local(module: Any) -> Any:
    """Its class of runs without the question whose token is stored on this machine."""

    class Local(module.Run):
        def _get_username(self) -> None:
            return None

    return Local
