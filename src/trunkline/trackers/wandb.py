"""`wandb`: a run of Weights & Biases, offline unless the config says `mode: online`; `wandb sync` uploads it later.

An offline run lies in `wandb/` of the run's directory, or of the `folder` that is given. Its artefact names the branches by
their place in the run's directory and copies none of them, so they have to be there still when it is synchronised.

Of what W&B collects by itself all is off that has a switch: its error reports and analytics (WANDB_ERROR_REPORTING, unless that
is set), and the output of the terminal, git, code, packages, command line, machine and system metrics (settings of the run).
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from trunkline.events import Event
from trunkline.files import write_text
from trunkline.trackers.base import TrackerConfig, library, trackers
from trunkline.trackers.recording import Beginning, Outcome, Recording

EXIT_CODES = {"finished": 0, "interrupted": 130, "failed": 1}  # 130: of a program that SIGINT has ended
FLUSHED = 0.1  # seconds between writes to the run's file; by default 15, all of which a kill would lose
UNWANTED = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "host": "",
    "save_code": False,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


class WandBConfig(TrackerConfig):
    PATHS: ClassVar[tuple[str, ...]] = ("folder",)

    name: Literal["wandb"] = "wandb"
    project: str = "trunkline"
    run: str | None = None
    mode: Literal["offline", "online"] = "offline"
    folder: str | None = None


@trackers.register("wandb")
class WandB:
    """See the module's docstring."""

    Config: ClassVar[type[TrackerConfig]] = WandBConfig

    def __init__(self, config: WandBConfig) -> None:
        # Before the import: its analytics go by this alone, and not by the mode of a run.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._recording = Recording(config, _Run(config, library("wandb", "wandb")))

    def __call__(self, event: Event) -> None:
        self._recording(event)


class _Run:
    """The tool of `Recording`."""

    def __init__(self, config: WandBConfig, module: Any) -> None:
        self._config, self._module = config, module
        self._run: Any = None

    def begin(self, run: Beginning) -> str:
        config, offline = self._config, self._config.mode == "offline"
        found = run.known or secrets.token_hex(8)
        settings = self._module.Settings(
            mode=config.mode,
            project=config.project,
            run_name=config.run or run.path.name,
            run_id=found,
            resume="allow",
            reinit="create_new",  # a run that the user's own program has opened stays the current one
            root_dir=str(Path(config.folder) if config.folder else run.path),
            silent=offline,
            x_transaction_log_flush_interval=FLUSHED,
            **UNWANTED,
        )
        self._run = self._module.init(settings=settings, config=dict(run.parameters))
        self._run.define_metric("*", step_metric="step")
        return found

    def log(self, numbers: Mapping[str, float], step: int, row: int) -> None:
        # Rows are counted here, as a run that is resumed offline would count them from 0 again. Without `commit` the last would
        # be held back until the next comes.
        self._run.log({**numbers, "step": step}, step=row, commit=True)

    def keep(self, texts: Mapping[str, str], folders: Mapping[str, Path]) -> None:
        artifact = self._module.Artifact(re.sub(r"[^\w.-]", "_", f"run-{self._run.id}"), "run")
        # W&B would copy files to a folder of the user's for all runs; here they stay with this one.
        (own := Path(self._run.dir).parent / "artefacts").mkdir(exist_ok=True)
        for name, text in texts.items():
            write_text(own / name, text)
            artifact.add_file(str(own / name), policy="immutable")
        for name, folder in folders.items():
            for file in sorted(one for one in folder.rglob("*") if one.is_file()):  # add_dir would print
                artifact.add_file(str(file), name=f"{name}/{file.relative_to(folder).as_posix()}", policy="immutable")
        self._run.log_artifact(artifact)

    def end(self, outcome: Outcome) -> None:
        self._run.summary["outcome"] = outcome
        self._run.finish(exit_code=EXIT_CODES[outcome])
