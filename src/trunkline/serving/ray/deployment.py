"""The serving engine as a Ray Serve deployment: replicas that each hold the bundle, with the HTTP of `trunkline serve`.

serve run trunkline.serving.ray:application branches=runs/demo-1a2b3c4d num_replicas=2
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from trunkline.cluster import require_ray
from trunkline.errors import BadInput
from trunkline.model.folders import is_branch_or_run, no_branch

if TYPE_CHECKING:
    from ray.serve import Application

    from trunkline.serving.engine import Engine
    from trunkline.serving.http.app import App

ONGOING = 1024  # requests of a replica: its engine batches what is there, and refuses with 429 what is too much


class Asked(BaseModel):
    """What a deployment is made of.

    branches: runs or branches, on a disk that all machines share; in one string they are separated by commas.
    trunk, backend, dtype: as of `Bundle.open`.
    keys: a file of keys that are asked for, as of `trunkline serve`; TRUNKLINE_KEYS of the replicas counts, too.
    timeout, queue_tokens, batch_tokens: as of `trunkline serve`, of each replica.
    num_replicas, num_cpus, num_gpus: as Ray Serve takes them; a replica computes with num_cpus threads.
    """

    model_config = ConfigDict(extra="forbid")

    branches: list[str] = Field(min_length=1)
    trunk: str | None = None
    backend: str | None = None
    dtype: str | None = None
    keys: str | None = None
    timeout: float = Field(30.0, gt=0)
    queue_tokens: int = Field(16_384, ge=1)
    batch_tokens: int = Field(512, ge=1)
    num_replicas: int = Field(1, ge=1)
    num_cpus: float = Field(1.0, ge=0)
    num_gpus: float = Field(0.0, ge=0)

    @field_validator("branches", mode="before")
    @classmethod
    def _separated(cls, value: object) -> object:
        return [part for part in value.split(",") if part] if isinstance(value, str) else value


def application(asked: Asked) -> Application:
    """Return what `serve.run` deploys, and what `serve run` and a config of Ray Serve call.

    Args:
        asked: what is deployed; a mapping of the same from a command line or a config.

    Raises:
        BadInput: Ray is not installed, or a path is no run or branch.
    """
    require_ray("a Ray Serve deployment")
    for path in asked.branches:
        if not is_branch_or_run(Path(path)):
            raise no_branch(path)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray import serve

    located = asked.model_copy(update={"branches": [str(Path(path).resolve()) for path in asked.branches]})
    if asked.keys is not None:
        if not Path(asked.keys).is_file():
            raise BadInput(f"keys: found no file {asked.keys}, expected one")
        located = located.model_copy(update={"keys": str(Path(asked.keys).resolve())})
    deployed = serve.deployment(
        name="trunkline",
        num_replicas=asked.num_replicas,
        max_ongoing_requests=ONGOING,
        ray_actor_options={"num_cpus": asked.num_cpus, "num_gpus": asked.num_gpus},
    )(serve.ingress()(Replica))
    return deployed.bind(located.model_dump())


class Replica:
    """One of the processes of a deployment.

    Args:
        asked: as JSON.
    """

    def __init__(self, asked: dict[str, Any]) -> None:
        import torch

        from trunkline.model.bundle import Bundle
        from trunkline.serving.engine import Engine, Limits

        self._asked = Asked(**asked)
        torch.set_num_threads(max(1, int(self._asked.num_cpus)))
        about = self._asked
        bundle = Bundle.open(about.branches, trunk=about.trunk, backend=about.backend, dtype=about.dtype)
        self._engine: Engine = Engine(bundle, Limits(about.queue_tokens, about.batch_tokens))

    def __serve_build_asgi_app__(self) -> App:
        """Called by Ray Serve, for the app of this replica. It has no admin keys: what it adds, other replicas have not."""
        from trunkline.serving.http.app import create_app
        from trunkline.serving.http.keys import Keys, from_environment
        from trunkline.serving.http.settings import Settings

        keys = None if self._asked.keys is None else Path(self._asked.keys)
        settings = Settings(keys=Keys(keys, from_environment("TRUNKLINE_KEYS"), "TRUNKLINE_KEYS"), timeout=self._asked.timeout)
        return create_app(self._engine, settings)

    def check_health(self) -> None:
        """Called by Ray Serve from time to time; what raises is replaced."""
        if not self._engine.alive:
            raise RuntimeError("a thread of the engine has ended")
