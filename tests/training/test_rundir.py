"""What of a directory is a run's own: the rest is not touched, whatever is trained there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from synthetic import config, write_rows
from tiny import tiny_bert

from trunkline.errors import BadInput, TrunklineError
from trunkline.events import EpochEnded, Evaluated, Event, RunStarted, StageStarted
from trunkline.files import atomic_directory
from trunkline.model.bundle import Bundle
from trunkline.training import rundir
from trunkline.training.fit import fit


@pytest.fixture(scope="module")
def values(tmp_path_factory) -> dict:
    home = tmp_path_factory.mktemp("home")
    rows = write_rows(home / "rows.jsonl", 60)
    return config(tiny_bert(home / "trunk"), rows, tasks=("mood",), epochs=1)


@pytest.fixture(scope="module")
def staged(values) -> dict:
    tasks = {"mood": values["tasks"]["mood"], "stars": {"kind": "regression", "target": "stars"}}
    return {**values, "tasks": tasks, "method": {"name": "bitfit"}, "training": {**values["training"], "regime": "sequential"}}


@pytest.fixture(scope="module")
def finished(values, tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUNKLINE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return fit(values, run_dir=tmp_path_factory.mktemp("run") / "run").path


@pytest.fixture
def run(finished, tmp_path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


class Stopped(BaseException):
    pass


def stopped(values: dict, path: Path, kind: type[Event] = Evaluated, **options) -> None:
    """Fit, and stop as a kill would at the first event of a kind: with a checkpoint if there was a step before."""

    def stop(event):
        if isinstance(event, kind):
            raise Stopped

    with pytest.raises(Stopped):
        fit(values, run_dir=path, subscribers=[stop], **options)


def everything(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


FOLDERS = {
    "project": ["branches/my_work.txt", ".data.old/work.txt", "stages/one.txt", "checkpoint/two.txt"],
    "sources": ["config.yaml"],
    "runs": ["a-12345678/run.json", "a-12345678/branches/.mood.trunkline-01234567.tmp/branch.json"],
    "notes": [".notes.txt.abcdefgh.tmp"],
    "other tool's run": ["run.json", "checkpoint/model.bin"],
}


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("held", FOLDERS.values(), ids=FOLDERS)
def test_a_folder_with_other_things_is_refused_and_stays_as_it_is(held, fresh, values, tmp_path):
    for name in held:
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / name).write_text("mine")
    before = everything(tmp_path / "p")
    with pytest.raises(BadInput, match=r"p: is not a Trunkline run, but contains '.*'; expected a new or empty folder"):
        fit(values, run_dir=tmp_path / "p", fresh=fresh)
    assert everything(tmp_path / "p") == before
    with pytest.raises(BadInput, match="is a file"):
        fit(values, run_dir=tmp_path / "p" / held[0], fresh=fresh)


def test_a_run_of_an_earlier_version_is_known_by_what_it_left(values, run, tmp_path):
    """Such a run has no mark: it may be finished, on its way, stopped before its first checkpoint, or between two renames."""
    (run / "run.json").unlink()
    assert fit(values, run_dir=run).summary == json.loads((run / "result.json").read_text())
    for name, kind in (("way", EpochEnded), ("renames", EpochEnded), ("begun", RunStarted)):
        stopped({**values, "training": {**values["training"], "evaluate_every": 1}}, path := tmp_path / name, kind)
        (path / "run.json").unlink()
        if name == "renames":
            (path / ".checkpoint.a1_b2c3d.old").mkdir()
            (path / "checkpoint").rename(path / ".checkpoint.a1_b2c3d.old" / "was")
        assert rundir.is_run(path)
        with rundir.claimed(path):
            rundir.tidy(path)
        assert (path / "checkpoint" / "state.json").is_file() == (name != "begun")
        assert rundir.is_run(path) and {entry.name for entry in path.iterdir()} <= {
            "run.json", ".lock", "config.yaml", "checkpoint",
        }  # fmt: skip


def test_an_empty_folder_becomes_a_run_and_two_processes_do_not_share_it(tmp_path):
    (tmp_path / "run").mkdir()
    with rundir.claimed(tmp_path / "run"):
        assert rundir.is_run(tmp_path / "run")
        with pytest.raises(TrunklineError, match="another process is training this run"), rundir.claimed(tmp_path / "run"):
            pass


def test_other_files_may_lie_beside_a_run_but_not_in_what_it_replaces(values, run):
    (run / "predictions.jsonl").write_text("mine")
    (run / ".notes.old").write_text("mine")
    for place in ("branches/my_work.txt", "branches/mood/notes.txt", "stages/README", "checkpoint/best.bin"):
        mine = run / place
        mine.parent.mkdir(exist_ok=True)
        mine.write_text("mine")
        before = everything(run)
        with pytest.raises(BadInput, match=rf"run: found '{place}', which was not written by a run"):
            fit(values, run_dir=run, fresh=True)
        fit(values, run_dir=run)  # finished, so nothing is replaced
        assert everything(run) == before
        mine.unlink()
    (run / "branches" / "linked").symlink_to(run.parent)
    with pytest.raises(BadInput, match="found 'branches/linked'"):
        fit(values, run_dir=run, fresh=True)
    (run / "branches" / "linked").unlink()
    events = []
    fit(values, run_dir=run, fresh=True, subscribers=[lambda event: events.append(type(event).__name__)])
    assert "EpochEnded" in events and (run / "predictions.jsonl").read_text() == (run / ".notes.old").read_text() == "mine"


def test_a_fit_in_the_parent_directory_leaves_another_run_alone(values, run, tmp_path):
    """The inner run is writing: what it has begun is not to be swept by the outer one."""
    inner = run / "runs" / "inner"
    stopped({**values, "training": {**values["training"], "evaluate_every": 1}}, inner, EpochEnded)
    with atomic_directory(inner / "checkpoint") as written:
        (written / "state.json").write_text("half")
        (inner / "branches").mkdir()
        shutil.copytree(run / "branches" / "mood", left := inner / "branches" / ".mood.trunkline-89abcdef.tmp")
        before = everything(inner)
        for fresh in (False, True):
            fit(values, run_dir=run, fresh=fresh)
            assert everything(inner) == before and written.is_dir() and left.is_dir()
        with pytest.raises(BadInput, match="is not a Trunkline run, but contains 'run'"):
            fit(values, run_dir=tmp_path)


@pytest.mark.parametrize("place", ["branches/mood-keep", "branches/.mood.20261128.old", "checkpoint/keep", "stages/mood"])
def test_fresh_refuses_a_copy_that_is_no_task_or_stage_of_the_run(place, values, run):
    shutil.copytree(run / "branches" / "mood", run / place)
    if not place.startswith("branches"):
        for file in (run / place).iterdir():
            file.unlink()
    before = everything(run)
    with pytest.raises(BadInput, match=f"found '{place}', which is not a task or stage of this run"):
        fit(values, run_dir=run, fresh=True)
    fit(values, run_dir=run)
    assert everything(run) == before


def test_without_a_file_that_names_the_tasks_fresh_refuses_and_either_one_is_enough(values, run):
    for file in ("result.json", "config.yaml"):
        (run / file).rename(run / f"my {file}")
    before = everything(run)
    with pytest.raises(BadInput, match=r"found 'branches/mood', and neither result\.json nor config\.yaml lists"):
        fit(values, run_dir=run, fresh=True)
    assert everything(run) == before
    shutil.copy(run / "my config.yaml", run / "config.yaml")
    assert fit(values, run_dir=run, fresh=True).branches


@pytest.mark.parametrize("until", [2, None])
def test_fresh_knows_the_stages_of_a_run_by_its_files_and_refuses_copies_of_them(staged, until, tmp_path):
    calls = []

    def stop(event):
        calls.append(type(event))
        if until and calls.count(StageStarted) == until:
            raise Stopped

    with contextlib.suppress(Stopped):
        fit(staged, run_dir=tmp_path / "run", subscribers=[stop])
    assert (tmp_path / "run" / "result.json").exists() == (until is None)
    for copied in ("stages/alone-stars-keep", "stages/alone-stars/keep"):
        name = "stages/alone-stars" + ("/stars" if copied.count("/") > 1 else "")
        shutil.copytree(tmp_path / "run" / name, tmp_path / "run" / copied)
        before = everything(tmp_path / "run")
        with pytest.raises(BadInput, match=f"found '{copied}', which is not a task or stage of this run"):
            fit(staged, run_dir=tmp_path / "run", fresh=True)
        assert everything(tmp_path / "run") == before
        shutil.rmtree(tmp_path / "run" / copied)
    rundir.clear(tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"run.json", ".lock", "config.yaml"}


def test_hidden_files_that_look_like_those_of_earlier_versions_stay(values, run):
    """Such names had eight letters or digits at their end, which a date is, too."""
    for name in (".config.yaml.20240101.old", ".result.json.20240101.tmp", ".stage.json.20240101.tmp"):
        (run / name).write_text("mine")
    for name in ("branches/.mood.20261128.old", ".checkpoint.20261128.old", ".mood.20261128.old/was", ".data.20240101.tmp"):
        shutil.copytree(run / "branches" / "mood", run / name)
    before = everything(run)
    fit(values, run_dir=run)
    assert everything(run) == before
    (run / "branches" / ".mood.20261128.old").rename(run / "mine")
    before = everything(run)
    fit(values, run_dir=run, fresh=True)
    assert before.keys() == everything(run).keys()


@pytest.mark.parametrize("found", [{"identity": 1, "tasks": 2, "trunk": 3}, {"identity": "x", "tasks": {}, "trunk": {}}])
@pytest.mark.parametrize("file", ["result.json", "checkpoint/state.json"])
def test_a_file_with_the_keys_of_a_run_and_other_values_makes_no_run(found, file, values, tmp_path):
    (tmp_path / "p" / file).parent.mkdir(parents=True)
    (tmp_path / "p" / file).write_text(json.dumps(found))
    with pytest.raises(BadInput, match="p: is not a Trunkline run, but contains"):
        fit(values, run_dir=tmp_path / "p", fresh=True)
    assert (tmp_path / "p" / file).read_text() == json.dumps(found) and not (tmp_path / "p" / "run.json").exists()


def test_a_folder_that_cannot_be_one_is_refused_in_one_sentence(values, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for given in ({"name": "x" * 247}, {"run_dir": "y" * 256}, {"run_dir": "\u6587" * 86}):
        with pytest.raises(BadInput, match=r"^the run's folder '.{40}'...: found a name of 25\d bytes, expected at most 255$"):
            fit(values, **given)
    with pytest.raises(BadInput, match=r"^the run's folder '.{40}'...: found a path of 50\d\d bytes, expected at most 4095$"):
        fit(values, run_dir="/".join(["z" * 200] * 25))
    for place in ("file/run", "a\0b"):
        with pytest.raises(BadInput, match=r"^the run's folder '.*': cannot be one \("):
            fit(values, run_dir=place)
    assert os.listdir(tmp_path) == ["file"]


def test_the_config_of_another_run_stays(values, tmp_path):
    stopped({**values, "training": {**values["training"], "evaluate_every": 1}}, path := tmp_path / "run", EpochEnded)
    before = everything(path)
    with pytest.raises(BadInput, match="run: contains a run with another config, other data or another trunk"):
        fit({**values, "training": {**values["training"], "seed": 8}}, run_dir=path)
    assert everything(path) == before and "checkpoint/state.json" in before


def test_a_stage_of_another_run_is_not_replaced(staged, tmp_path):
    calls = []

    def stop(event):
        calls.append(type(event))
        if calls.count(StageStarted) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        fit(staged, run_dir=tmp_path / "run", subscribers=[stop])
    shutil.rmtree(tmp_path / "run" / "checkpoint")
    before = everything(tmp_path / "run")
    with pytest.raises(
        BadInput, match=r"contains a run with another config, .*; give another folder, or train again with --fresh"
    ):
        fit({**staged, "training": {**staged["training"], "seed": 8}}, run_dir=tmp_path / "run")
    assert everything(tmp_path / "run") == before
    (tmp_path / "run" / "stages" / "alone-stars" / "stage.json").write_text("{")
    with pytest.raises(BadInput, match=r"stage.json: cannot be read as JSON .*; train again with --fresh \("):
        fit(staged, run_dir=tmp_path / "run")


def test_a_finished_run_without_its_branches_says_what_to_do(values, run):
    shutil.rmtree(run / "branches" / "mood")
    with pytest.raises(BadInput, match=r"mood: this branch is missing, though its run is finished; restore it, or .*--fresh"):
        fit(values, run_dir=run)
    with pytest.raises(
        BadInput, match=r"run: this run is finished, but its branches are missing; restore them, or .*`trunkline fit --fresh`"
    ):
        Bundle.open(run)
    assert fit(values, run_dir=run, fresh=True).path == run and Bundle.open(run).predict(["a film"])


def test_a_stage_whose_branch_is_gone_is_trained_again_and_all_of_them_if_asked(staged, tmp_path):
    calls = []

    def stop(event):
        if isinstance(event, StageStarted):
            calls.append(event.name)
            if calls == ["alone-stars", "1-mood", "2-stars"]:
                raise Stopped

    with pytest.raises(Stopped):
        fit(staged, run_dir=tmp_path / "run", subscribers=[stop])
    shutil.rmtree(tmp_path / "run" / "stages" / "1-mood" / "mood")
    fit(staged, run_dir=tmp_path / "run", subscribers=[stop])
    assert calls[3:] == ["1-mood", "2-stars"]
    again = fit(staged, run_dir=tmp_path / "run", fresh=True, subscribers=[stop])
    assert calls[5:] == ["alone-stars", "1-mood", "2-stars"] and len(again.branches) == 2


def test_the_name_of_a_run_is_no_path(values, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=r"name: found '\.\./x'"):
        fit(values, name="../x")
    assert os.listdir(tmp_path) == []


def test_the_resolved_config_is_what_a_run_before_its_first_checkpoint_is_known_by(values, tmp_path):
    """A config that somebody wrote is not taken for one: it rarely has every section, and lies beside no lock."""
    for text, lock, known in (
        (yaml.safe_dump({key: {} for key in ("trunk", "data", "tasks", "method", "training")}), True, True),
        (yaml.safe_dump({key: {} for key in ("trunk", "data", "tasks", "method", "training")}), False, False),
        (yaml.safe_dump({key: {} for key in ("data", "tasks")}), True, False),
        ("[", True, False),
    ):
        folder = tmp_path / f"{lock}{len(text)}"
        folder.mkdir()
        (folder / "config.yaml").write_text(text)
        if lock:
            (folder / ".lock").touch()
        assert rundir.is_run(folder) == known
