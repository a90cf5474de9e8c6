"""A sweep goes on where it was stopped, shares its trials, and keeps apart what is not its own. Runs have known scores here."""

from __future__ import annotations

import datetime
import json
import logging
import multiprocessing
import os
import signal
import time

import optuna
import pytest
import yaml
from sweeptools import EPOCHS, Ended, planned, score_of, values

from trunkline.errors import BadInput, TrunklineError
from trunkline.files import NotWritten
from trunkline.studies.sweep import trials
from trunkline.studies.sweep.search import Sweep
from trunkline.training.config import load_config

FEW = {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}}


def complete(sweep: Sweep) -> list[tuple]:
    """Parameters and value of the trials that have one, in their order."""
    return [(one.params, one.value) for one in trials.complete(sweep.study, best_first=False)]


@pytest.fixture
def given(tiny_trunk_dir, sweep_rows):
    return values(tiny_trunk_dir, sweep_rows, space=FEW, trials=4, seed=1)


def stop_at(*calls: int, error: type[BaseException] = KeyboardInterrupt):
    """Raises in these calls of `fit`, counted over all."""
    seen = iter(range(10**6))

    def before(config) -> None:
        if next(seen) in calls:
            raise error("stopped")

    return before


def test_a_sweep_that_is_stopped_goes_on_with_the_trial_that_was_under_way(given, known_scores, tmp_path):
    given["sweep"]["trials"] = 3
    given["training"]["epochs"] = 2
    whole = Sweep(planned(given), tmp_path / "whole")
    whole.search()
    known_scores.before = stop_at(0, 2, 3)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            Sweep(planned(given), tmp_path / "stopped").search()
    stopped = Sweep(planned(given), tmp_path / "stopped")
    facts = stopped.search().facts
    assert complete(stopped) == complete(whole) and len(complete(whole)) == 3
    assert facts["trials"] == {"total": 3, "complete": 3, "pruned": 0, "failed": 0}
    assert (tmp_path / "stopped" / "best.yaml").read_text().splitlines()[1:] == (
        tmp_path / "whole" / "best.yaml"
    ).read_text().splitlines()[1:]


@pytest.mark.slow
def test_a_larger_number_of_trials_continues_and_a_finished_sweep_trains_nothing(given, known_scores, tmp_path):
    given["sweep"]["trials"] = 2
    Sweep(planned(given), tmp_path / "sweep").search()
    given["sweep"]["trials"] = 4
    Sweep(planned(given), tmp_path / "sweep").search()
    whole = Sweep(planned(given), tmp_path / "whole")
    whole.search()
    again = Sweep(planned(given), tmp_path / "sweep")
    assert complete(again) == complete(whole)
    trained, ended = len(known_scores.configs), Ended()
    again.search(ended)
    assert not ended and len(known_scores.configs) == trained + 1  # the repeated run, which `fit` finds finished
    given["sweep"]["trials"] = 1
    assert Sweep(planned(given), tmp_path / "sweep").search(ended).facts["trials"]["total"] == 4 and not ended


@pytest.mark.slow
def test_another_seed_or_sampler_continues_too(given, known_scores, tmp_path):
    Sweep(planned(given), tmp_path / "sweep").search()
    given["sweep"] |= {"trials": 6, "sampler": "random", "seed": 9, "pruner": "median"}
    assert Sweep(planned(given), tmp_path / "sweep").search().facts["trials"]["total"] == 6


@pytest.mark.slow
def test_a_run_that_fails_counts_and_says_why_in_the_folder_alone(given, known_scores, tmp_path):
    given["sweep"]["trials"] = 2
    given["training"]["epochs"] = 1
    known_scores.before = stop_at(1, error=ValueError)
    sweep, ended = Sweep(planned(given), tmp_path / "sweep"), Ended()
    facts = sweep.search(ended).facts
    assert facts["trials"] == {"total": 2, "complete": 1, "pruned": 0, "failed": 1}
    assert facts["failed"] == {"1": "ValueError"} and ended[1].state == "failed" and ended[1].why == "ValueError"
    assert Sweep(planned(given), tmp_path / "sweep").search().facts["failed"] == {"1": "ValueError"}
    assert b"stopped" not in (tmp_path / "sweep" / "sweep.db").read_bytes()


@pytest.mark.slow
def test_a_full_disk_stops_the_sweep_and_costs_no_trial(given, known_scores, tmp_path):
    known_scores.before = stop_at(2, error=lambda text: NotWritten("runs: cannot be written (No space left on device)"))
    with pytest.raises(TrunklineError, match="No space left on device"):
        Sweep(planned(given), tmp_path / "sweep").search()
    assert Sweep(planned(given), tmp_path / "sweep").search().facts["trials"] == {
        "total": 4,
        "complete": 4,
        "pruned": 0,
        "failed": 0,
    }


@pytest.mark.slow
def test_a_sweep_without_any_score_says_why(given, known_scores, tmp_path):
    known_scores.before = stop_at(*range(10), error=lambda text: TrunklineError("the loss of task mood is nan in step 1"))
    with pytest.raises(TrunklineError, match=r"none of 4 trials has a score \(the loss of task mood is nan in step 1\)"):
        Sweep(planned(given), tmp_path / "sweep").search()


@pytest.mark.slow
def test_the_best_so_far_is_always_on_disk_as_a_config_that_fit_takes(given, known_scores, tmp_path):
    reached, best = [], []

    def see(event) -> None:
        if isinstance(event, trials.TrialEnded):
            reached.append(event.value)
            config = load_config(tmp_path / "sweep" / "best.yaml")
            best.append(score_of(config, EPOCHS))
            assert config.data.test == 0.2 and config.data.set_aside is None and event.best[0] == max(reached)

    sweep = Sweep(planned(given), tmp_path / "sweep")
    sweep.search(see)
    assert best == [max(reached[: count + 1]) for count in range(4)]
    assert "sweep" not in yaml.safe_load((tmp_path / "sweep" / "best.yaml").read_text())


@pytest.mark.slow
def test_the_best_is_trained_again_with_each_seed_on_the_same_splits(given, known_scores, tmp_path):
    given["sweep"]["seeds"] = 3
    facts = Sweep(planned(given), tmp_path / "sweep").search().facts
    repeated = known_scores.configs[-3:]
    assert list(facts["repeated"]) == ["3", "4", "5"]
    assert [config.training.seed for config in repeated] == [3, 4, 5]
    assert {config.training.data_seed for config in known_scores.configs} == {3}
    assert {config.data.test for config in repeated} == {0.2}
    assert {(config.data.test, config.data.set_aside) for config in known_scores.configs[:-3]} == {(None, 0.2)}
    rate = facts["best"]["settings"]["training.learning_rate"]
    assert {config.training.learning_rate for config in repeated} == {rate}


@pytest.mark.slow
def test_without_a_test_split_nothing_is_trained_again_unless_several_seeds_ask_for_it(given, known_scores, tmp_path):
    del given["data"]["test"]
    facts = Sweep(planned(given), tmp_path / "a").search().facts
    assert facts["repeated"] == {} and facts["tasks"] == {} and len(known_scores.configs) == 4
    given["sweep"]["seeds"] = [1, 7]
    assert list(Sweep(planned(given), tmp_path / "a").search().facts["repeated"]) == ["1", "7"]


@pytest.mark.slow
def test_another_space_or_config_is_another_sweep_in_folder_and_storage(given, known_scores, tmp_path):
    given["sweep"]["storage"] = f"sqlite:///{tmp_path}/shared.db"
    Sweep(planned(given), tmp_path / "first").search()
    changes = [
        lambda other: other["sweep"].update(space={"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}),
        lambda other: other["training"].update(epochs=3),
        lambda other: other["data"].update(validation="10%"),
        lambda other: other["sweep"].update(weights={"mood": 2}),
    ]
    for change in changes:
        other = json.loads(json.dumps(given))
        change(other)
        with pytest.raises(
            BadInput, match=r"first: contains a sweep of another space, another config, another trunk or other data"
        ):
            Sweep(planned(other), tmp_path / "first")
        with pytest.raises(
            BadInput, match=r"found a sweep 'sweep' of another space, another config, another trunk or other data in sqlite"
        ):
            Sweep(planned(other), tmp_path / "second")
        os.system(f"rm -r {tmp_path / 'second'}")
    assert Sweep(planned(given, "other"), tmp_path / "third").search().facts["trials"]["total"] == 4


def test_the_same_sweep_of_data_that_lie_elsewhere_is_the_same(given, known_scores, sweep_rows, tmp_path):
    first = planned(given)
    (tmp_path / "copy.jsonl").write_bytes(sweep_rows.read_bytes())
    given["data"]["train"] = str(tmp_path / "copy.jsonl")
    assert planned(given).fingerprint == first.fingerprint
    (tmp_path / "copy.jsonl").write_bytes(sweep_rows.read_bytes().replace(b"paris", b"tokyo"))
    assert planned(given).fingerprint != first.fingerprint


@pytest.mark.slow
def test_a_study_of_somebody_else_is_left_alone(given, tmp_path):
    url = f"sqlite:///{tmp_path}/theirs.db"
    theirs = optuna.create_study(storage=url, study_name="sweep")
    theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    given["sweep"]["storage"] = url
    with pytest.raises(BadInput, match=r"found a sweep 'sweep' that Trunkline has not made in sqlite"):
        Sweep(planned(given), tmp_path / "sweep")
    assert len(optuna.load_study(study_name="sweep", storage=url).trials) == 1


def test_a_folder_that_a_kill_left_before_its_mark_is_taken(given, tmp_path):
    for name in ("runs", "failed", "locks"):
        (tmp_path / "sweep" / name).mkdir(parents=True)
    (tmp_path / "sweep" / "locks" / "folder").touch()
    (tmp_path / "sweep" / ".sweep.json.trunkline-0a1b2c3d.tmp").write_text("{")
    Sweep(planned(given), tmp_path / "sweep")
    assert (tmp_path / "sweep" / "sweep.json").is_file()


def test_a_folder_of_something_else_is_left_alone(given, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"is not a sweep, but contains 'mine.txt'; expected a new or empty folder"):
        Sweep(planned(given), tmp_path)
    assert os.listdir(tmp_path) == ["mine.txt"]


def _search(given, path, ended) -> None:
    with ended.open("a") as file:
        Sweep(planned(given), path).search(
            lambda event: print(event.number, file=file, flush=True) if isinstance(event, trials.TrialEnded) else None
        )


def start(*arguments):
    one = multiprocessing.get_context("fork").Process(target=_search, args=arguments)
    one.start()
    return one


@pytest.mark.slow
def test_two_processes_share_the_trials_of_a_sweep(given, known_scores, tmp_path):
    given["sweep"]["trials"] = 10
    known_scores.before = lambda config: time.sleep(0.2)
    both = [start(given, tmp_path / "sweep", tmp_path / name) for name in ("a", "b")]
    for one in both:
        one.join(300)
        assert one.exitcode == 0
    told = [{int(line) for line in (tmp_path / name).read_text().splitlines()} for name in ("a", "b")]
    assert told[0] | told[1] == set(range(10)) and not told[0] & told[1] and all(told)
    found = complete(Sweep(planned(given), tmp_path / "sweep"))
    assert len({params["training.learning_rate"] for params, _ in found}) == 10


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_a_killed_process_costs_no_trial(sampler, given, known_scores, tmp_path):
    if sampler == "grid":
        given["sweep"]["space"] = {"learning_rate": [1e-4, 1e-3, 1e-2, 1e-1]}
    given["sweep"] |= {"sampler": sampler, "trials": 4}
    whole = Sweep(planned(given), tmp_path / "whole")
    whole.search()
    for number in range(3):
        known_scores.before = stop_at(number if number else 0, error=lambda text: os.kill(os.getpid(), signal.SIGKILL))
        one = start(given, tmp_path / "sweep", tmp_path / "told")
        one.join(300)
        assert one.exitcode == -signal.SIGKILL
    known_scores.before = lambda config: None
    killed = Sweep(planned(given), tmp_path / "sweep")
    facts = killed.search().facts
    assert facts["trials"] == {"total": 4, "complete": 4, "pruned": 0, "failed": 0}
    if sampler == "tpe":
        assert complete(killed) == complete(whole)
    else:
        assert sorted(complete(killed), key=str) == sorted(complete(whole), key=str)


@pytest.mark.slow
def test_a_trial_of_another_machine_without_a_sign_of_life_is_begun_again(given, known_scores, tmp_path):
    sweep = Sweep(planned(given), tmp_path / "sweep")
    own = sweep.storage.optuna
    for number in range(2):  # as a process of another machine leaves them
        trial = sweep.study.ask()
        trial.set_user_attr(trials.FOLDER, "another")
        trial.suggest_float("training.learning_rate", 1e-4, 1e-1, log=True)
        trial.report(0.25, 1)
        own.record_heartbeat(number + 1)
    said, ended = [], Ended()
    long_ago = datetime.datetime(2000, 1, 1)

    def alive(later: bool) -> None:
        import sqlalchemy

        with own.engine.begin() as connection:
            which = "" if later else " WHERE trial_id = 1"
            connection.execute(sqlalchemy.text(f"UPDATE trial_heartbeats SET heartbeat = '{long_ago}'{which}"))

    alive(False)

    def say(sentence: str) -> None:
        said.append(sentence)
        alive(True)  # the other one dies while it is waited for

    facts = sweep.search(ended, say).facts
    assert said[0] == "waiting for the trials of other processes"
    assert facts["trials"] == {"total": 4, "complete": 4, "pruned": 0, "failed": 0}
    states = [one.state.name for one in sweep.study.trials]
    assert states == ["FAIL", "FAIL", "COMPLETE", "COMPLETE", "COMPLETE", "COMPLETE"]
    first, second = sweep.study.trials[:2]
    again = [one for one in sweep.study.trials[2:] if one.params in (first.params, second.params)]
    assert len(again) == 2 and all(one.intermediate_values[1] == 0.25 for one in again)


@pytest.mark.slow
def test_a_trial_that_another_process_took_for_dead_goes_on_and_is_not_told_twice(given, known_scores, tmp_path):
    sweep = Sweep(planned(given), tmp_path / "sweep")
    seen = iter(range(10))

    def suspended(config) -> None:
        if next(seen) == 1:
            trials.begin_again(sweep.study, 1)

    known_scores.before = suspended
    facts = sweep.search().facts
    assert facts["trials"] == {"total": 4, "complete": 4, "pruned": 0, "failed": 0}
    assert [one.state.name for one in sweep.study.trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert sweep.study.trials[1].params == sweep.study.trials[2].params


@pytest.mark.slow
def test_a_trial_whose_end_is_known_is_not_begun_again(given, known_scores, tmp_path):
    """As where its process ends it between two looks of another one."""
    sweep = Sweep(planned(given), tmp_path / "sweep")
    sweep.search()
    for number in range(4):
        trials.begin_again(sweep.study, number)
    assert len(sweep.study.trials) == 4


@pytest.mark.slow
def test_a_storage_that_goes_away_is_one_sentence_and_the_same_call_resumes(given, known_scores, tmp_path):
    sweep = Sweep(planned(given), tmp_path / "sweep")
    file, aside = tmp_path / "sweep" / "sweep.db", tmp_path / "aside.db"

    def away(config) -> None:
        if len(known_scores.configs) == 2:
            sweep.storage.optuna.engine.dispose()
            file.rename(aside)
            file.mkdir()

    known_scores.before = away
    with pytest.raises(
        TrunklineError, match=r"sweep.db: the storage cannot be used \(unable to open database file\)"
    ) as caught:
        sweep.search()
    assert "\n" not in str(caught.value)
    file.rmdir()
    aside.rename(file)
    assert Sweep(planned(given), tmp_path / "sweep").search().facts["trials"]["complete"] == 4


@pytest.mark.slow
def test_what_is_stored_has_no_path_and_no_text(given, known_scores, sweep_rows, tmp_path):
    Sweep(planned(given), tmp_path / "sweep").search()
    stored = (tmp_path / "sweep" / "sweep.db").read_bytes()
    assert b"learning_rate" in stored
    for private in (str(sweep_rows), str(tmp_path), os.uname().nodename):
        assert private.encode() not in stored


@pytest.mark.slow
def test_optuna_logs_nothing_of_a_sweep_and_its_log_is_as_it_was(given, known_scores, tmp_path):
    logged = []
    handler = logging.Handler()
    handler.emit = logged.append
    logging.getLogger("optuna").addHandler(handler)
    optuna.logging.set_verbosity(optuna.logging.INFO)
    try:
        known_scores.before = stop_at(1, error=ValueError)
        Sweep(planned(given), tmp_path / "sweep").search()
        assert optuna.logging.get_verbosity() == optuna.logging.INFO and not logged
    finally:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        logging.getLogger("optuna").removeHandler(handler)
