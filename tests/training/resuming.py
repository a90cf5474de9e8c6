"""What the attempts at one run did, from their events: that the same bits come out does not show that anything was resumed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from trunkline.errors import TrunklineError
from trunkline.events import BatchEnded, CheckpointSaved, Event, Resumed, StageStarted

Note = tuple  # ("batch", epoch, batch), ("checkpoint", step), ("resumed", step) or ("stage", name)


def note(event: Event) -> Note | None:
    match event:
        case BatchEnded(epoch=epoch, batch=batch):
            return "batch", epoch, batch
        case CheckpointSaved(step=step):
            return "checkpoint", step
        case Resumed(step=step):
            return "resumed", step
        case StageStarted(name=name):
            return "stage", name
    return None


def count_resumed(attempts: list[list[Note]]) -> int:
    """How many attempts resumed a checkpoint; fails if one trains a batch that a checkpoint or a finished stage had."""
    kept: set[tuple] = set()
    count, saved = 0, None
    for told in attempts:
        stage, since = "", []
        for what, *rest in told:
            if what == "stage":
                kept |= {*since}  # the stage before, if this attempt trained one, is finished
                if rest[0] != stage:
                    since = []
                (stage,) = rest
            elif what == "batch":
                assert (stage, *rest) not in kept, f"batch {rest} of stage {stage!r} was trained again"
                since.append((stage, *rest))
            elif what == "checkpoint":
                kept |= {*since}
                since, saved = [], (stage, rest[0])
            else:
                assert saved is not None and saved[0] == stage and rest[0] >= saved[1] > 0, "resumed elsewhere than it stood"
                count += 1
    return count


def attempt(values: dict, run: Path, cache: Path, folder: Path) -> None:
    """Fit in this process, started for it: what is noted goes to `folder/out`, line by line, and stderr to `folder/err`."""
    import torch

    from trunkline.training.fit import fit

    os.environ["TRUNKLINE_CACHE"] = str(cache)
    torch.set_num_threads(1)  # the last bits depend on it
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        os.dup2(err.fileno(), 2)

        def tell(event: Event) -> None:
            if noted := note(event):
                print(json.dumps(noted), file=out, flush=True)

        try:
            fit(values, run_dir=run, subscribers=[tell])
        except (TrunklineError, KeyboardInterrupt) as error:
            print(json.dumps(["error", str(error)]), file=out, flush=True)
            sys.exit(1)
