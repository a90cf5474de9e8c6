"""A sweep under way: Optuna decides what is tried, `fit` trains it, any number of processes share it.

DIR/sweep.json        the mark: the folder is a sweep's
DIR/sweep.db          the trials, unless the config names another storage
DIR/runs/KEY/         the runs of trials, and those of the best one; KEY is a digest of the config, so none is trained twice
DIR/failed/NUMBER.json    why a trial has no score
DIR/locks/            held by processes that train something
DIR/best.yaml         the config of a run with the best settings
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trunkline.claiming import foreign_entry
from trunkline.errors import BadInput, TrunklineError
from trunkline.events import StopRun, Subscriber, quiet
from trunkline.files import read_object, write_errors, write_json
from trunkline.studies.sweep import trials
from trunkline.studies.sweep.goal import Reporter
from trunkline.studies.sweep.plan import Plan
from trunkline.studies.sweep.storage import Storage, pruner, quiet_optuna
from trunkline.studies.sweep.trials import TrialEnded, TrialStarted
from trunkline.studies.sweep.winner import Winner, write_best
from trunkline.studies.units import reason
from trunkline.training.checkpoint import noted_history
from trunkline.training.fit import fit
from trunkline.training.rundir import check_path

if TYPE_CHECKING:
    import optuna

MARK = "sweep.json"
_FOLDERS = ("runs", "failed", "locks")
_HOLDS = "a sweep: best.yaml, sweep.db and the folders runs, failed and locks here are its own"
WAIT = 1.0  # seconds between looks at trials of other processes

Say = Callable[[str], None]


class _Failed(Exception):
    """The run of a trial has failed; why is noted."""


class Sweep:
    """A plan with its folder and its storage. Making it marks the folder and the study in the storage, and trains nothing.

    Args:
        plan: what is searched.
        path: the folder.

    Raises:
        BadInput: the folder or the storage holds something else, or cannot be used.
    """

    def __init__(self, plan: Plan, path: Path) -> None:
        self.plan, self.path = plan, path
        self._refuse_other()
        with quiet_optuna():
            if plan.config.section.storage is None:  # a file in the folder
                self._claim()
                with trials.held(path / "locks" / "storage"):
                    self._join()
            else:  # first, as nothing is written where it cannot be reached or holds another sweep
                self._join()
                self._claim()

    def search(self, publish: Subscriber = quiet, say: Say = lambda sentence: None) -> Winner:
        """Run what is left of the trials, wait for those of other processes, and train the best one again.

        Args:
            publish: told of what happens in runs, and of each trial (TrialStarted, TrialEnded).
            say: told in a sentence what is waited for or done besides.

        Raises:
            TrunklineError: no trial has a score, or the storage fails.
            KeyboardInterrupt: stopped by SIGINT or SIGTERM; the same call goes on with the trial that was under way.
        """
        with quiet_optuna(), self.storage.in_use():
            waiting = False
            while (left := self._next(publish)) != "none":
                if left == "others" and not waiting:
                    say("waiting for the trials of other processes")
                waiting = left == "others"
                if waiting:
                    time.sleep(WAIT)
            return Winner.of(self.plan, self.study, self.path, self.storage.name, publish, say)

    def _join(self) -> None:
        """Open the storage, and the sweep's study in it."""
        config, section = self.plan.config, self.plan.config.section
        self.storage = Storage(section.storage, self.path, config.where, config.base)
        stops = pruner(section.pruner, self.plan.evaluations)
        self.study = self.storage.join(config.name, self.plan.fingerprint, self.plan.goal.direction, stops)

    def next_trial(self) -> TrialEnded | None:
        """Run one trial, if one is left, and return what is told of its end; None where none came to one."""
        ended: list[TrialEnded] = []
        with quiet_optuna(), self.storage.in_use():
            self._next(lambda event: ended.append(event) if isinstance(event, TrialEnded) else None)
        return ended[0] if ended else None

    def _refuse_other(self) -> None:
        """Raise BadInput where the folder holds something else, or the sweep of another config. Nothing is written."""
        path = self.path
        check_path(path, "sweep")
        expected = "expected a new or empty folder, or that of a sweep"
        if path.exists() and not path.is_dir():
            raise BadInput(f"{path}: is a file; {expected}")
        other = foreign_entry(path, MARK, [f"{name}/" for name in _FOLDERS]) if path.is_dir() else None
        if other is not None and not (path / MARK).is_file():
            raise BadInput(f"{path}: is not a sweep, but contains {other.name!r}; {expected}")
        if (path / MARK).is_file() and read_object(path / MARK).get("fingerprint") != self.plan.fingerprint:
            raise BadInput(
                f"{path}: contains a sweep of another space, another config, another trunk or other data; "
                "expected another folder, or the same config"
            )

    def _claim(self) -> None:
        """Make and mark the folder, if another process has not; BadInput as of `_refuse_other`."""
        path = self.path
        with write_errors(path):
            for name in _FOLDERS:
                (path / name).mkdir(parents=True, exist_ok=True)
            with trials.held(path / "locks" / "folder"):
                if not (path / MARK).exists():
                    mark = {"schema": 1, "written_by": "trunkline", "holds": _HOLDS, "id": secrets.token_hex(8)}
                    write_json(path / MARK, mark | {"fingerprint": self.plan.fingerprint})
        self._refuse_other()  # what another process has made in the meantime
        self._id = str(read_object(path / MARK)["id"])

    def _next(self, publish: Subscriber) -> Literal["one", "others", "none"]:
        """Run one trial; "others" where only other processes have some under way, "none" where all are over."""
        import optuna

        with ExitStack() as locks, ExitStack() as asking:  # those of a trial are held until the storage knows its end
            asking.enter_context(trials.held(self.path / "locks" / "ask"))
            trials.begin_dead_ones_again(self.study, self.path / "locks", self._id)
            known = trials.counted(self.study)
            waits = any(trial.state == optuna.trial.TrialState.WAITING for trial in known)
            if not waits and len(known) >= self.plan.trials:
                return "none" if all(trial.state.is_finished() for trial in known) else "others"
            self._sampler(0)
            began: list[int] = []
            try:
                self.study.optimize(lambda trial: self._run(trial, began, asking, locks, publish), n_trials=1, catch=(_Failed,))
            except ValueError:
                if not began or not self.study.get_trials(deepcopy=False)[began[0]].state.is_finished():
                    raise  # else taken for dead by another process, which begins it again and finds the run that was trained
            except (KeyboardInterrupt, OSError):
                if began:
                    trials.begin_again(self.study, began[0])
                raise
        return "one"

    def _sampler(self, place: int) -> None:
        section = self.plan.config.section
        self.study.sampler = trials.sampler(section.sampler, section.seed, place, self.plan.grid)

    def _run(self, trial: optuna.Trial, began: list[int], asking: ExitStack, locks: ExitStack, publish: Subscriber) -> float:
        """What Optuna calls for a trial: its score.

        Args:
            began: gets its number.
            asking: holds the lock under which trials are asked for, and is closed.
            locks: gets those of this trial.
        """
        import optuna

        began.append(trial.number)
        since = time.monotonic()
        locks.enter_context(trials.held(self.path / "locks" / str(trial.number)))
        trial.set_user_attr(trials.FOLDER, self._id)
        if self.plan.grid is None:
            self._sampler(trials.place_of(self.study, trial.number))
        settings = self.plan.space.suggest(trial)
        asking.close()
        publish(TrialStarted(trial.number, settings))
        try:
            value = self._score(trial, settings, publish, locks)
        except StopRun:
            last = self.study.get_trials(deepcopy=False)[trial.number]
            score = last.intermediate_values.get(last.last_step) if last.last_step is not None else None
            self._told(publish, trial.number, settings, "pruned", score, since)
            raise optuna.TrialPruned() from None
        except OSError:
            raise  # a full disk, say, which is not for the settings
        except Exception as error:
            why = reason(error)
            write_json(self.path / "failed" / f"{trial.number}.json", {"reason": why})
            trial.set_user_attr(trials.FAILED, True)
            self._told(publish, trial.number, settings, "failed", None, since, why)
            raise _Failed from None
        self._told(publish, trial.number, settings, "complete", value, since)
        return value

    def _score(self, trial: optuna.Trial, settings: dict[str, Any], publish: Subscriber, locks: ExitStack) -> float:
        config = self.plan.trial(settings)
        key = config.identity()[:20]
        locks.enter_context(trials.held(self.path / "locks" / key))  # two trials may have the same settings
        place = self.path / "runs" / key
        trial.set_user_attr("run", key)
        whole = len(self.plan.stages(config)) == 1  # else there is no score before the last stage
        reporter = Reporter(trial, self.plan.goal, config.training.evaluate_every, noted_history(place / "checkpoint"))
        result = fit(config, run_dir=place, progress=False, subscribers=[publish, reporter] if whole else [publish])
        if whole:
            reporter.rest(result.summary["history"])
        scores = self.plan.goal.scores(result.tasks)
        trial.set_user_attr("scores", scores)
        if (value := self.plan.goal.mean(scores)) is None:
            raise TrunklineError(f"{self.plan.goal.named()} is undefined for what this run predicts")
        return value

    def _told(
        self,
        publish: Subscriber,
        number: int,
        settings: dict[str, Any],
        state: Literal["complete", "pruned", "failed"],
        value: float | None,
        since: float,
        why: str | None = None,
    ) -> None:
        """Publish the end of a trial, and write best.yaml where it is the best so far."""
        best = next(((one.value or 0.0, one.number) for one in trials.complete(self.study, best_first=True)), None)
        if state == "complete" and value is not None and (best is None or self.plan.goal.better(value, best[0])):
            best = (value, number)
            write_best(self.plan, settings, self.path, number, value)
        done = len(trials.finished(self.study)) + 1
        seconds = time.monotonic() - since
        publish(TrialEnded(number, settings, state, value, seconds, done, max(self.plan.trials, done), best, why))
