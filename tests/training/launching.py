"""Two processes of one launch, as a launcher would start them; and the torchrun command itself."""

from __future__ import annotations

import json
import os
import socket
import traceback
from pathlib import Path

import torch
from safetensors.torch import load_file
from tiny import tiny_bert


def one_of_two(rank: int, port: int, work, values: dict, run: Path, stopped: bool) -> None:
    """What a launcher tells a process by its environment; stderr goes beside the run."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}", "ACCELERATE_USE_CPU": "true"}
    os.environ["TRUNKLINE_CACHE"] = str(run.parent / "cache")
    with open(f"{run}.{rank}.err", "w") as err:
        os.dup2(err.fileno(), 2)
        try:
            work(values, str(run), stopped)
        except BaseException:
            traceback.print_exc(file=err)
            os._exit(1)  # not waiting for the other one


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(processes, values: dict, run: Path, stopped: bool = False, *, work) -> list:
    """Two processes of one launch that call `work(values, run, stopped)`; each writes its stderr to `RUN.RANK.err`."""
    port = free_port()
    both = [
        processes.Process(target=one_of_two, args=(rank, port, work, values, run, stopped), daemon=True) for rank in range(2)
    ]
    for process in both:
        process.start()
    return both


def launch(processes, values: dict, run: Path, stopped: bool = False, *, work) -> None:
    """As `start`, to the end of both, which have to succeed."""
    both = start(processes, values, run, stopped, work=work)
    for process in both:
        process.join(300)
    said = [Path(f"{run}.{rank}.err").read_text() for rank in range(2)]
    assert [process.exitcode for process in both] == [0, 0], "\n".join(said)


def sober_trunk(root: Path) -> Path:
    """A tiny trunk that drops nothing, as the draws of a process are its own."""
    folder = tiny_bert(root / "sober")
    described = json.loads((folder / "config.json").read_text())
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(described | none))
    return folder


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    """All weights of the branches of a run, by task and name."""
    files = run.glob("branches/*/*.safetensors")
    return {f"{file.parent.name}/{key}": value for file in files for key, value in load_file(file).items()}
