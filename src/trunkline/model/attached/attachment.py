"""Branches ride on a model that a user's own code runs for a purpose of its own, and never change what it gives.

The layer states of each pass are read the moment they exist (trunk/stream.py); one carry for each branch is kept, and no state.
"""

from __future__ import annotations

import copy
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from trunkline.branches import SideBranch
from trunkline.branches.group import reads_per_token
from trunkline.errors import BadInput, TrunklineError, unknown_name
from trunkline.model.apply import frozen_group
from trunkline.model.attached.answers import answers_of
from trunkline.model.attached.calls import Call
from trunkline.model.attached.checks import Check, check
from trunkline.model.attached.clips import Repeats, read_clips
from trunkline.model.attached.findings import of_passes, of_states
from trunkline.model.attached.follower import Ends, StackFollower
from trunkline.model.attached.given import refuse_compiled, refuse_prompts
from trunkline.model.attached.matching import Trunked
from trunkline.model.attached.seen import Riders, Seen
from trunkline.model.attached.steps import Step
from trunkline.model.attached.streaming import refuse_second, stream
from trunkline.model.attached.texts import Read, Reader
from trunkline.model.branch import Branch
from trunkline.trunk.architectures import model_within
from trunkline.trunk.stream import following


class Attachment(Mapping[str, list[Any]]):
    """Branches on a user's model; made by `attach`. Within a `with` block it reads the passes that this thread runs.

    It is a mapping: by the name of a branch, its answers for all texts of the block so far, in order; see `attach`.

    Attributes:
        branches (Mapping[str, Branch]): by name.
        result: what the call of the last `stream` returned.
    """

    def __init__(
        self,
        model: nn.Module,
        branches: Mapping[str, Branch],
        stacks: Mapping[str, Trunked],
        tokenizer: Any,
        texts: Sequence[str] | None,
        callback: Callable[[Step], Any] | None,
        min_confidence: float | None,
        said: Sequence[str],
    ) -> None:
        self.model, self.branches, self.result = model, dict(branches), None
        self._stacks, self._callback, self._least = stacks, callback, min_confidence
        self._reader = None if tokenizer is None else Reader(tokenizer, texts)
        self._ends, self._said = Ends(model_within(model), tokenizer), tuple(said)
        self._riders = {stack: _riders(self._of(stack), trunked.device) for stack, trunked in stacks.items()}
        self._followers: dict[str, StackFollower] = {}
        self._stream: tuple[Callable[[Step], None], Callable[[], None]] | None = None  # has every step; ends the call
        self._block: ExitStack | None = None
        self._lock = threading.Lock()
        self._steps = 0

    def __enter__(self) -> Attachment:
        """Begin to read, without the answers of an earlier block. BadInput within such a block, also of another thread."""
        with self._lock:
            if self._block is not None:
                raise BadInput("attach: this attachment is in use; expected another one for another block or thread")
            refuse_compiled(self.model)
            refuse_prompts(self.model)
            for trunked in self._stacks.values():
                trunked.check_unmoved()
            self._block, self._steps, self.result = ExitStack(), 0, None
            self._followers = {stack: self._follower(stack) for stack in self._stacks}
        for stack, trunked in self._stacks.items():
            self._block.enter_context(following(trunked.taps, self._riders[stack].wanted, self._followers[stack]))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        """End reading; nothing follows the model any more, also after an error. The call of a stream that is open ends."""
        assert self._block is not None
        if self._stream is not None:
            told, end = self._stream
            end()
            self.unlisten(told)
        self._block.close()
        for follower in self._followers.values():
            follower.settle()
        self._block = None
        if kind is None:
            for sentence in self.findings[len(self._said) :]:
                warnings.warn(sentence, stacklevel=2)
            for trouble in (follower.trouble for follower in self._followers.values() if follower.trouble is not None):
                warnings.warn(f"there are no answers: {trouble}", stacklevel=2)

    def __getitem__(self, name: str) -> list[Any]:
        """The answers of a branch for each text so far.

        Raises:
            BadInput: no branch has this name; a pass could not be read; texts that do not fit what the model was given.
            TrunklineError: a branch failed on a pass.
        """
        if name not in self.branches:
            raise unknown_name("branch", name, self.branches, whole=True)
        branch, found = self.branches[name], []
        words = branch.task.answers.units
        with self._trusted(branch.trunk.stack).lock:
            for seen, reads in self._each(branch.trunk.stack, words):
                found += answers_of(branch, seen, seen.logits()[name], reads, self._least)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.branches)

    def __len__(self) -> int:
        return len(self.branches)

    def __repr__(self) -> str:
        """The class of the model and the names of the branches: one line."""
        return f"Attachment({type(self.model).__name__}, branches: {', '.join(self.branches)})"

    @property
    def texts(self) -> list[str | None]:
        """The texts that answers are about, in order: those that were given, or decoded by the tokenizer. None for a text
        without a token, and for all where there is no tokenizer. Of a model with two stacks, those of the first that is read;
        of a decoder, the given ones only where it was given these.
        """
        found: list[str | None] = []
        for seen, reads in self._each(next(iter(self._stacks)), True):
            rows: list[str | None] = [None] * len(seen.real)
            for row, read in zip(seen.answered.tolist(), reads or (), strict=False):
                rows[row] = read.text
            found += rows
        return found

    @property
    def tokens(self) -> list[np.ndarray | None]:
        """The ids that answers are about, int64 (tokens,) for each text; None where the model was given embeddings."""
        return self.tokens_of(next(iter(self._stacks)))

    @property
    def findings(self) -> tuple[str, ...]:
        """What there is to say about the answers, a sentence each."""
        said = list(self._said)
        given = 0 if self._reader is None else len(self._reader.texts or ())
        for number, (stack, follower) in enumerate(self._followers.items()):
            if self._block is None:  # until then there may be more
                which = f"the {stack}" if len(self._followers) > 1 else "the model"
                said += of_passes(follower, which, 0 if number else given)
            said += of_states(follower, self._of(stack), audio=self._stacks[stack].row.front is not None)
        return tuple(said)

    def stream(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Iterator[Step]:
        """Run `call(*args, **kwargs)`, such as `model.generate`, in a thread, and yield what the branches say after each pass.

        To be used within the block. What the call returns is in `result` after the last step. Leaving the loop early ends the
        call with the next pass, and so does the end of the block. Until then, what this thread runs itself is not read.

        Raises:
            BadInput: outside of the block, or while another stream is open.
        """
        if self._block is None:
            raise BadInput("stream: found no block, expected it within `with attach(...) as taps:`")
        refuse_second(self)
        return stream(self, call, args, kwargs)

    def check(self, inputs: Mapping[str, Any] | None = None) -> Check:
        """Compare, for one batch, what this model gives with and without the branches, and the states they read with its own.

        Args:
            inputs: what the model is called with; by default a batch of drawn token ids with padding.

        Raises:
            BadInput: within the block.
        """
        if self._block is not None:
            raise BadInput("check: found a block that reads the model, expected the call before it")
        return check(self, self._stacks, inputs)

    def tokens_of(self, stack: str) -> list[np.ndarray | None]:
        """As `tokens`, of one stack."""
        with (follower := self._trusted(stack)).lock:
            each = [(one, row) for one in follower.seen for row in range(len(one.real))]
            return [None if one.ids is None else one.ids[row][one.real[row]] for one, row in each]

    @property
    def streams(self) -> bool:
        """Whether a stream is open."""
        return self._stream is not None

    @property
    def followers(self) -> tuple[StackFollower, ...]:
        """Those of the block, one for each stack that branches read."""
        return tuple(self._followers.values())

    def listen(self, told: Callable[[Step], None], end: Callable[[], None]) -> None:
        """Let `told` have every step, until `end` is called as the block ends; for `stream`."""
        self._stream = told, end
        for stack, follower in self._followers.items():
            follower.told = self._tell(stack)

    def unlisten(self, told: Callable[[Step], None]) -> None:
        """Undo `listen`, unless another one has done so."""
        if self._stream is not None and self._stream[0] is told:
            self._stream = None
            for stack, follower in self._followers.items():
                follower.told = None if self._callback is None else self._tell(stack)

    def _of(self, stack: str) -> dict[str, Branch]:
        return {name: branch for name, branch in self.branches.items() if branch.trunk.stack == stack}

    def _follower(self, stack: str) -> StackFollower:
        trunked = self._stacks[stack]
        told = None if self._callback is None else self._tell(stack)
        read = Call.read if trunked.row.front is None else partial(read_clips, config=trunked.config)
        repeats = None if trunked.row.front is None else Repeats(model_within(self.model))
        riders, taps, caches = self._riders[stack], trunked.taps, trunked.caches
        ends, precision = self._ends, trunked.precision
        return StackFollower(riders, ends, precision, taps, caches=caches, read=read, repeats=repeats, told=told)

    def _tell(self, stack: str) -> Callable[[Seen, int, int], None]:
        branches = self._of(stack)

        def told(seen: Seen, start: int, count: int) -> None:
            try:
                step = Step(branches, seen, self._steps, start, count)
            except TrunklineError as error:  # told when answers are asked for
                self._followers[stack].trouble = error
                return
            self._steps += 1
            if self._callback is not None:
                with self._unheard():
                    self._callback(step)
            if self._stream is not None:
                self._stream[0](step)

        return told

    @contextmanager
    def _unheard(self) -> Iterator[None]:
        """Passes that a callback runs are not read: it would be called after each of them, without an end."""
        for follower in self.followers:
            follower.paused = True
        try:
            yield
        finally:
            for follower in self.followers:
                follower.paused = False

    def _trusted(self, stack: str) -> StackFollower:
        """What a stack's follower has seen, if all of it could be read."""
        if not self._followers:
            raise BadInput("attach: found no block yet, expected answers to be read within `with attach(...)` or after it")
        follower = self._followers[stack]
        follower.verify()
        if follower.trouble is not None:
            raise follower.trouble
        return follower

    def _each(self, stack: str, words: bool) -> Iterator[tuple[Seen, list[Read] | None]]:
        """Every batch of texts, and, if words are asked for and can be told, those of the texts that have tokens."""
        first = 0
        for seen in self._trusted(stack).seen:
            reads = None
            if words and self._reader is not None and seen.ids is not None:
                rows = seen.answered.tolist()
                ids = [seen.ids[row][seen.real[row]] for row in rows]
                decoder = stack == "decoder"
                reads = [self._reader.read(own, first + row, decoder=decoder) for own, row in zip(ids, rows, strict=True)]
            yield seen, reads
            first += len(seen.real)


def _riders(branches: Mapping[str, Branch], device: Any) -> Riders:
    groups = []
    for precision in dict.fromkeys(branch.precision for branch in branches.values()):
        members = {name: branch for name, branch in branches.items() if branch.precision == precision}
        by_token: dict[str, SideBranch] = {}
        whole: dict[str, SideBranch] = {}
        for name, branch in members.items():
            (by_token if reads_per_token(branch.module) else whole)[name] = _on(branch.module, device)
        groups.append((frozen_group(by_token, precision), frozen_group(whole, precision)))
    return Riders(groups)


def _on(module: SideBranch, device: Any) -> SideBranch:
    """The module on a device; a copy if it is elsewhere, as others may use it there."""
    there = next((parameter.device for parameter in module.parameters()), device)
    return module if there == device else copy.deepcopy(module).to(device)
