"""Steps of a call that runs in a thread of its own, as they come."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import torch

from trunkline.errors import BadInput
from trunkline.trunk.stream import is_followed_here, listeners_of_this_thread

if TYPE_CHECKING:
    from trunkline.model.attached.attachment import Attachment
    from trunkline.model.attached.steps import Step


class _Left(BaseException):
    """Ends the call when nobody takes its steps any more."""


class _Over:
    """The call has ended: what it returned, or raised."""

    def __init__(self, result: Any = None, error: BaseException | None = None) -> None:
        self.result, self.error = result, error


def refuse_second(attachment: Attachment) -> None:
    """BadInput where the passes of this thread are not read: those of another stream are, until it ends."""
    if attachment.streams or not all(map(is_followed_here, attachment.followers)):
        raise BadInput(
            "stream: found another one that is open, or a block of another thread; expected one stream at a time, taken to its "
            "end or closed before the next, in the thread of the block"
        )


def stream(attachment: Attachment, call: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Step]:
    """As `Attachment.stream`. The call is never more than a step ahead of who takes them."""
    refuse_second(attachment)
    steps: queue.Queue[Step | _Over] = queue.Queue(maxsize=1)
    left = threading.Event()
    take, modes = listeners_of_this_thread(), _modes()

    def told(step: Step) -> None:
        if not left.is_set():
            steps.put(step)
        if left.is_set():  # by now
            raise _Left

    def work() -> None:
        take()
        try:
            with modes():
                over = _Over(call(*args, **kwargs))
        except BaseException as error:  # whatever it is, it is raised where the steps are taken
            over = _Over(error=error)
        steps.put(over)

    def end() -> None:
        left.set()
        while thread.is_alive():
            with suppress(queue.Empty):
                steps.get(timeout=0.01)  # what it waits to hand over

    def end_with_block() -> None:
        end()
        with suppress(queue.Empty):
            steps.get_nowait()
        error = BadInput("stream: found no block any more, expected its steps to be taken before the block ends")
        steps.put(_Over(error=error))

    attachment.listen(told, end_with_block)
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="trunkline-attach", daemon=True)
    thread.start()
    try:
        while not isinstance(got := steps.get(), _Over):
            yield got
        if got.error is not None:
            raise got.error
        attachment.result = got.result
    finally:
        end()
        attachment.unlisten(told)
        take()  # this thread is listened to again


def _modes() -> Callable[[], ExitStack]:
    """What enters, in another thread, the modes of torch that this thread is in: they are not part of its context."""
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    devices = [device for device in ("cpu", "cuda") if torch.is_autocast_enabled(device)]
    dtypes = {device: torch.get_autocast_dtype(device) for device in devices}

    def entered() -> ExitStack:
        stack = ExitStack()
        stack.enter_context(torch.inference_mode(inference))
        stack.enter_context(torch.set_grad_enabled(grad))
        for device, dtype in dtypes.items():
            stack.enter_context(torch.autocast(device, dtype))
        return stack

    return entered
