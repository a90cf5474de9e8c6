"""A subscriber that raises StopRun gives the run up: at once, whatever is under way, and nothing that takes space is left."""

from __future__ import annotations

import json
import os
import signal

import pytest
from launching import free_port, one_of_two
from synthetic import config, write_rows

from trunkline.errors import TrunklineError
from trunkline.events import BatchEnded, BranchSaved, CheckpointSaved, EpochEnded, Evaluated, Publisher, RunEnded, StopRun
from trunkline.training import resumable
from trunkline.training.fit import fit
from trunkline.training.resumable import Interrupted


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", 80)


class Stopping:
    """A subscriber that gives the run up at the event of a type with this number, and keeps all that it is told."""

    def __init__(self, kind: type, number: int = 1) -> None:
        self.kind, self.number, self.told = kind, number, []

    def __call__(self, event) -> None:
        self.told.append(event)
        if isinstance(event, self.kind) and self.count(self.kind) == self.number:
            raise StopRun("it is not worth it")

    def count(self, kind: type) -> int:
        return sum(isinstance(event, kind) for event in self.told)


def left(run) -> list[str]:
    """The files of a run, but for its mark and its lock."""
    return sorted(
        path.name for path in run.rglob("*") if path.is_file() and path.name not in ("run.json", ".lock", "events.jsonl")
    )


SLOW = pytest.mark.slow


@pytest.mark.parametrize("kind", [Evaluated, BranchSaved, *(pytest.param(one, marks=SLOW) for one in (BatchEnded, EpochEnded))])
def test_it_stops_at_once_and_leaves_no_more_than_the_config(kind, tiny_trunk_dir, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(resumable, "SAVING_SHARE", 1e9)  # a checkpoint after every evaluation
    stopping, others = Stopping(kind, 2 if kind is not BranchSaved else 1), []
    with pytest.raises(StopRun, match="it is not worth it"):
        fit(
            config(tiny_trunk_dir, rows, tasks=("mood",)),
            run_dir=tmp_path,
            progress=False,
            subscribers=[stopping, others.append],
        )
    assert left(tmp_path) == ["config.yaml"]
    assert others == stopping.told and stopping.told[-1] == RunEnded(tmp_path, "stopped")
    if kind is not BranchSaved:
        assert stopping.count(CheckpointSaved) == (0 if kind is BatchEnded else 1)
        assert isinstance(stopping.told[-2], kind if kind is not Evaluated else EpochEnded)


@pytest.mark.slow
def test_the_same_fit_trains_it_from_its_beginning_and_to_the_same_result(tiny_trunk_dir, rows, tmp_path):
    values = config(tiny_trunk_dir, rows, tasks=("mood",))
    with pytest.raises(StopRun):
        fit(values, run_dir=tmp_path / "a", progress=False, subscribers=[Stopping(Evaluated, 3)])
    again = fit(values, run_dir=tmp_path / "a", progress=False)
    assert again.summary["history"] == fit(values, run_dir=tmp_path / "b", progress=False).summary["history"]


@pytest.mark.slow
def test_what_the_user_keeps_in_the_folder_stays(tiny_trunk_dir, rows, tmp_path):
    def keep(event) -> None:
        if isinstance(event, Evaluated):
            (tmp_path / "notes.txt").write_text("mine")
            raise StopRun("enough")

    with pytest.raises(StopRun):
        fit(config(tiny_trunk_dir, rows, tasks=("mood",)), run_dir=tmp_path, progress=False, subscribers=[keep])
    assert left(tmp_path) == ["config.yaml", "notes.txt"]


@pytest.mark.slow
def test_a_run_of_stages_is_given_up_as_a_whole(tiny_trunk_dir, rows, tmp_path):
    values = config(tiny_trunk_dir, rows, tasks=("mood", "cities"), epochs=1, regime="separate")
    values["method"] = {"name": "lora", "r": 2}
    stopping = Stopping(Evaluated, 2)
    with pytest.raises(StopRun):
        fit(values, run_dir=tmp_path, progress=False, subscribers=[stopping])
    assert stopping.count(BranchSaved) == 2  # of the first stage, in its folder and in that of the results
    assert left(tmp_path) == ["config.yaml"]


def interrupted_and_given_up(values: dict, run) -> None:
    def both(event) -> None:
        if isinstance(event, Evaluated):
            os.kill(os.getpid(), signal.SIGTERM)
            raise StopRun("enough")

    with pytest.raises(Interrupted):
        fit(values, run_dir=run, progress=False, subscribers=[both])


def test_an_interrupt_comes_first_so_that_ctrl_c_stops_what_runs_many_fits(processes, tiny_trunk_dir, rows, tmp_path):
    values = config(tiny_trunk_dir, rows, tasks=("mood",))
    one = processes.Process(target=interrupted_and_given_up, args=(values, tmp_path))
    one.start()
    one.join(120)
    assert one.exitcode == 0
    assert "state.json" in left(tmp_path)


def test_publishers_within_publishers_pass_it_on_and_other_errors_stop_nothing():
    told = []

    def broken(event) -> None:
        raise ValueError("a text")

    inner = Publisher([broken, Stopping(BatchEnded), told.append])
    outer = Publisher([inner, told.append])
    event = BatchEnded(0, 1, 2, {})
    with pytest.raises(StopRun):
        outer(event)
    assert told == [event, event]
    outer(event)
    assert len(told) == 4


def stop_in_the_main_process(values: dict, run: str, stopped: bool) -> None:
    stopping = Stopping(Evaluated, 2)
    with pytest.raises(StopRun) as caught:
        fit(values, run_dir=run, progress=False, subscribers=[stopping])
    with open(f"{run}.{os.environ['RANK']}.json", "w") as file:
        json.dump([str(caught.value), stopping.count(Evaluated)], file)


@pytest.mark.slow
def test_all_processes_of_a_launch_stop_together(processes, tiny_trunk_dir, rows, tmp_path):
    values, run, port = config(tiny_trunk_dir, rows, tasks=("mood",)), tmp_path / "run", free_port()
    both = [
        processes.Process(target=one_of_two, args=(rank, port, stop_in_the_main_process, values, run, True)) for rank in (0, 1)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join(120)
        assert one.exitcode == 0
    assert json.loads((tmp_path / "run.0.json").read_text()) == ["it is not worth it", 2]
    assert json.loads((tmp_path / "run.1.json").read_text()) == ["the run was given up by the main process", 0]
    assert left(run) == ["config.yaml"]


def test_it_is_an_error_in_one_sentence():
    assert isinstance(StopRun("enough"), TrunklineError) and str(StopRun("enough")) == "enough"
