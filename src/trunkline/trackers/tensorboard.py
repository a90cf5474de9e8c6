"""`tensorboard`: event files that TensorBoard shows; parameters and the final state stand under its tab HParams.

They lie in `tensorboard/` of the run's directory, or in a folder named after that below the `folder` that is given. TensorBoard
keeps no artefacts. The files are written by torch's own writer, and nothing is sent anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from trunkline.events import Event
from trunkline.trackers.base import TrackerConfig, library, trackers
from trunkline.trackers.recording import Beginning, Outcome, Recording


class TensorBoardConfig(TrackerConfig):
    PATHS: ClassVar[tuple[str, ...]] = ("folder",)

    name: Literal["tensorboard"] = "tensorboard"
    folder: str | None = None


@trackers.register("tensorboard")
class TensorBoard:
    """See the module's docstring."""

    Config: ClassVar[type[TrackerConfig]] = TensorBoardConfig

    def __init__(self, config: TensorBoardConfig) -> None:
        library("tensorboard", "tensorboard")
        self._recording = Recording(config, _EventFiles(config, library("torch.utils.tensorboard", "tensorboard")))

    def __call__(self, event: Event) -> None:
        self._recording(event)


class _EventFiles:
    """The tool of `Recording`."""

    def __init__(self, config: TensorBoardConfig, module: Any) -> None:
        self._folder, self._module = config.folder, module
        self._writer: Any = None
        self._step, self._ends = 0, None

    def begin(self, run: Beginning) -> str:
        folder = run.path / "tensorboard" if self._folder is None else Path(self._folder) / run.path.name
        again = run.known == str(folder) and folder.exists()
        # Of a folder in which another run has begun, TensorBoard then shows only what comes from now on.
        self._writer = self._module.SummaryWriter(str(folder), purge_step=None if again else 0)
        hparams = library("torch.utils.tensorboard.summary", "tensorboard").hparams
        described, started, self._ends = hparams(dict(run.parameters), dict.fromkeys(run.monitored))
        for one in (described, started):
            self._writer.file_writer.add_summary(one)
        self._writer.flush()
        return str(folder)

    def log(self, numbers: Mapping[str, float], step: int, row: int) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()
        self._step = step

    def keep(self, texts: Mapping[str, str], folders: Mapping[str, Path]) -> None:
        pass

    def end(self, outcome: Outcome) -> None:
        self._writer.add_text("outcome", outcome, self._step)
        if outcome != "interrupted":  # such a run has not ended
            self._writer.file_writer.add_summary(_ended(self._ends, outcome))
        self._writer.close()


def _ended(summary: Any, outcome: Outcome) -> Any:
    """The end of a session as torch writes it, which is always a success, with the outcome that there was."""
    data = library("tensorboard.plugins.hparams.plugin_data_pb2", "tensorboard").HParamsPluginData
    status = library("tensorboard.plugins.hparams.api_pb2", "tensorboard").Status
    plugin = summary.value[0].metadata.plugin_data
    content = data.FromString(plugin.content)
    content.session_end_info.status = status.Value("STATUS_SUCCESS" if outcome == "finished" else "STATUS_FAILURE")
    plugin.content = content.SerializeToString()
    return summary
