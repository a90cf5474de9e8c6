"""Many callers, one pass: requests are admitted, tokenised, put into batches with others, computed and presented.

Threads, each of which takes what has come since it last looked: one tokenises, one computes (the only one that runs the trunk;
on a CPU there may be more, see workers.py), one decodes, and one decodes what takes long, which nothing else then waits for. A
request has the plan of branches as it was when the request came; branches are added, replaced and removed by replacing the plan
as a whole.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from trunkline.errors import BadInput, TrunklineError, unknown_name
from trunkline.model.arguments import asked
from trunkline.model.branch import Branch
from trunkline.model.bundle import Bundle
from trunkline.model.plan import Plan
from trunkline.serving.admission import Admission, weight
from trunkline.serving.batch import Finished, Groups, present, run_batch
from trunkline.serving.check import check_branch, warm_up
from trunkline.serving.observed import Computed, Observer, Presented, Tokenised
from trunkline.serving.request import Answer, Expired, Job, Request
from trunkline.serving.text_group import Part, Place, TooLong, parts
from trunkline.serving.waiting import Waiting
from trunkline.tasks.stopping import Stopped, stopping

log = logging.getLogger("trunkline.serving")


@dataclass(frozen=True)
class Limits:
    """What an engine takes in and puts together.

    Attributes:
        queue_tokens: tokens of the requests that are in the engine from which on more are refused.
        batch_tokens: tokens of a batch, padding included; more where many texts wait (see `Waiting`).
        delay: seconds that a text may wait for others to fill its batch, while others are being tokenised.
        workers: threads that compute, each a batch of its own.
    """

    queue_tokens: int = 16_384
    batch_tokens: int = 512
    delay: float = 0.005
    workers: int = 1


class Engine:
    """Answers requests of any number of threads, from batches that it makes of all of them.

    All branches are run once before it takes requests, and so is one that is added: no request waits for what is compiled.

    Args:
        bundle: the branches that it begins with.
        limits: of its queue and its batches.
        observe: told what has been done, in the thread that did it; it must not block.
    """

    def __init__(self, bundle: Bundle, limits: Limits = Limits(), observe: Observer = lambda event: None) -> None:
        if bundle.trunk.reads != "text":
            way = "serving answers texts; `trunkline predict` reads audio files"
            raise BadInput(f"the trunk {bundle.trunk.name} reads audio, and {way}")
        self.limits, self.observe = limits, observe
        self.admission = Admission(limits.queue_tokens, limits.workers)
        self._bundle = bundle.only(bundle.branches)
        warm_up(self._bundle)
        self._changing = threading.Lock()  # of branches
        self._arrived: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._waiting: Waiting[Place] = Waiting(limits.batch_tokens, limits.delay, keep=self._keep)
        self._counting = threading.Lock()  # of the answers that are missing, and of the workers
        self._working = limits.workers
        self._computed: queue.SimpleQueue[Finished | None] = queue.SimpleQueue()
        self._slow: queue.SimpleQueue[Finished | None] = queue.SimpleQueue()
        loops: dict[str, Callable[[], None]] = {
            "tokenise": self._tokenise,
            **{f"compute-{number}": self._compute for number in range(limits.workers)},
            "present": partial(self._present, self._computed),
            "present-slow": partial(self._present, self._slow),
        }
        self._threads = [threading.Thread(target=loop, name=f"trunkline-{name}", daemon=True) for name, loop in loops.items()]
        for thread in self._threads:
            thread.start()

    # What callers use

    @property
    def bundle(self) -> Bundle:
        """The branches that new requests see; not to be changed but by `add`, `replace` and `remove`."""
        return self._bundle

    @property
    def branches(self) -> Mapping[str, Branch]:
        """The branches that new requests see, by name."""
        return self._bundle.branches

    @property
    def alive(self) -> bool:
        """Whether all of its threads run."""
        return all(thread.is_alive() for thread in self._threads)

    def submit(self, request: Request) -> Future[Answer]:
        """Take in a request. A future that is cancelled costs nothing from then on but the batch that it may be in.

        Raises:
            BadInput: what is no text, an unknown task, second texts that are missing or not read.
            Overloaded: the queue is full.
            Closed: the engine has been closed.

        The future raises Expired once its timeout has passed, BadInput for a long text that is refused, TrunklineError where
        computing failed.
        """
        plan = self._bundle.plan
        names = _names(plan, request)
        given = asked(
            request.texts,
            request.pairs,
            request.units,
            partial(plan.check_pairs, names=names),
            request.empty_texts,
            any(plan.branches[name].task.answers.units for name in names),
        )
        characters = sum(weight(text[: plan.weight(text)]) for text in (*given.texts, *(given.pairs or ())))
        room = self.admission.enter(self.admission.estimated(characters, len(given.texts)))
        job = Job(request, given, plan, names, room)
        job.predictions = [{name: dict.fromkeys(plan.branches[name].task.parts) for name in names} for _ in given.texts]
        job.future.add_done_callback(lambda future: self.admission.leave(room))
        self._arrived.put(job)
        return job.future

    def answer(self, request: Request) -> Answer:
        """As `submit`, and wait for the answer."""
        return self.submit(request).result()

    def add(self, name: str, branch: Branch) -> None:
        """Add a branch for the requests that come from now on, once it has been checked on sample texts.

        Raises:
            BadInput: it belongs to another trunk, there is one of that name, or it answers wrongly beside the others.
        """
        self._change(name, branch, lambda bundle: bundle.add(name, branch))

    def replace(self, name: str, branch: Branch) -> None:
        """Replace a branch, as `add`; BadInput if there is none of that name."""
        self._change(name, branch, lambda bundle: bundle.replace(name, branch))

    def remove(self, name: str) -> None:
        """Remove a branch. Requests that are in the engine still get its answers. BadInput if there is none of that name."""
        self._change(name, None, lambda bundle: bundle.remove(name))

    def _change(self, name: str, branch: Branch | None, change: Callable[[Bundle], Any]) -> None:
        with self._changing:
            bundle = self._bundle.only(self._bundle.branches)
            change(bundle)
            if branch is not None:
                check_branch(bundle, name)
            for sentence in bundle.findings[len(self._bundle.findings) :]:
                log.info(sentence)
            self._bundle = bundle

    def close(self, timeout: float | None = None) -> bool:
        """Take no more requests, and wait until all that are in the engine are answered, or for `timeout` seconds.

        Returns:
            bool: whether they were; what was not raises Closed.
        """
        drained = self.admission.close(timeout)
        self._arrived.put(None)
        if drained:
            for thread in self._threads:
                thread.join()
        return drained

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # Its threads

    def _keep(self, text: Place) -> bool:
        if text.job.expired:
            _fail(text.job, Expired("the request's timeout passed before its texts were read"))
        return not text.job.dropped

    def _tokenise(self) -> None:
        for jobs in _together(self._arrived):
            some = list(parts((job for job in jobs if not job.dropped), _characters))
            for job in jobs:
                if job.remaining == 0:  # no text, or all are blank
                    self._finish(job)
            self._waiting.expect(len(some))
            for part in some:
                self._put(part)
                self._waiting.expect(-1)
        self._waiting.close()

    def _put(self, part: Part) -> None:
        """Tokenise some texts and put them into the queue; a request with a text that is refused does not take others along."""
        began = time.perf_counter()
        while part.rows:
            try:
                texts = part.tokenised()
            except TooLong as error:
                _fail(error.job, error)
                part.rows = [(job, number) for job, number in part.rows if not job.dropped]
                continue
            except Exception as error:
                for job, _ in part.rows:
                    _fail(job, _told(error))
                return
            tokens = sum(text.tokens for text in texts)
            for job in {job for job, _ in part.rows if not job.untokenised}:
                self.admission.counted(job.room, job.steps)
            self._waiting.put(texts)
            self.observe(Tokenised(len(texts), tokens, time.perf_counter() - began))
            return

    def _compute(self) -> None:
        groups = Groups()
        while (taken := self._waiting.take()) is not None:
            (texts, tokens), now = taken, time.monotonic()
            for text in texts:
                text.job.first_batch = text.job.first_batch or now
            self._run(texts, groups, tokens)
        with self._counting:
            self._working -= 1
            last = not self._working
        if last:
            self._computed.put(None)
            self._slow.put(None)

    def _run(self, texts: list[Place], groups: Groups, batch_tokens: int) -> None:
        try:
            finished, measured = run_batch(texts, groups, batch_tokens)
        except Exception as error:
            jobs = list(dict.fromkeys(text.job for text in texts))
            if len(jobs) == 1:
                _fail(jobs[0], _told(error))
                return
            for job in jobs:  # what is wrong with one request is not the others' fault
                self._run([text for text in texts if text.job is job], groups, batch_tokens)
            return
        self.admission.computed(measured.tokens, measured.seconds)
        with self._counting:
            for text in texts:
                text.job.remaining -= 1
            for one in finished:
                for text in one.texts:
                    text.job.remaining += 1
        for one in finished:
            (self._slow if one.slow else self._computed).put(one)
        self.observe(Computed(measured.texts, measured.tokens, measured.padded, measured.seconds))

    def _present(self, computed: queue.SimpleQueue[Finished | None]) -> None:
        while (one := computed.get()) is not None:
            if _unwanted(one):
                continue
            try:
                for name in one.names:
                    began = time.perf_counter()
                    with stopping(partial(_unwanted, one)):
                        found = present(one, name)
                    for text, prediction in zip(one.texts, found, strict=True):
                        text.job.predictions[text.number][name] = prediction
                    seconds = time.perf_counter() - began
                    self.admission.decoded(seconds)
                    self.observe(Presented(name, len(one.texts), seconds))
            except Stopped:
                continue
            except Exception as error:
                for text in one.texts:
                    _fail(text.job, _told(error))
            with self._counting:
                for text in one.texts:
                    text.job.remaining -= 1
                done = {text.job for text in one.texts if text.job.remaining == 0}
            for job in done:
                self._finish(job)

    def _finish(self, job: Job) -> None:
        now = time.monotonic()
        first = job.first_batch or now
        branches = {name: job.plan.branches[name] for name in job.names}
        answer = Answer(job.predictions, branches, tuple(sorted(job.long_texts)), job.tokens, first - job.began, now - first)
        with suppress(InvalidStateError):  # cancelled, or failed already
            job.future.set_result(answer)


def _together(arrived: queue.SimpleQueue[Job | None]) -> Iterator[list[Job]]:
    """What has arrived, all that is there at a time, until None arrives."""
    while (first := arrived.get()) is not None:
        jobs, ended = [first], False
        with suppress(queue.Empty):
            while not ended:
                job = arrived.get_nowait()
                if job is None:
                    ended = True
                else:
                    jobs.append(job)
        yield jobs
        if ended:
            return


def _characters(job: Job, number: int) -> int:
    return job.plan.weight(job.asked.texts[number]) + (job.plan.weight(job.asked.pairs[number]) if job.asked.pairs else 0)


def _names(plan: Plan, request: Request) -> tuple[str, ...]:
    if request.tasks is None:
        reading = {name for one in plan.passes if one.pairs for name in one.branches} if request.pairs is None else set()
        return tuple(name for name in plan.branches if name not in reading) or tuple(plan.branches)
    asked_for = set(request.tasks)
    if unknown := sorted(asked_for - set(plan.branches)):
        raise unknown_name("task", unknown[0], plan.branches, whole=True)
    if not asked_for:
        raise BadInput("tasks: found none, expected at least one, or no tasks for all of them")
    return tuple(name for name in plan.branches if name in asked_for)


def _unwanted(finished: Finished) -> bool:
    """Whether nobody waits any more for an answer for one of its texts."""
    for job in {text.job for text in finished.texts}:
        if job.expired:
            _fail(job, Expired("the request's timeout passed before its texts were answered"))
    return all(text.job.dropped for text in finished.texts)


def _fail(job: Job, error: Exception) -> None:
    with suppress(InvalidStateError):
        job.future.set_exception(error)


def _told(error: Exception) -> Exception:
    """What a caller may see of an error: a sentence of ours; others are logged by their kind alone."""
    if isinstance(error, TrunklineError):
        return error
    log.error("a batch failed with %s", type(error).__name__, exc_info=log.isEnabledFor(logging.DEBUG))
    return TrunklineError(f"the texts could not be computed ({type(error).__name__})")
