"""Steps of a call that runs in a thread of its own, as they come."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch

from trunkline.trunk.stream import listeners_of_this_thread

if TYPE_CHECKING:
    from trunkline.model.attached.attachment import Attachment
    from trunkline.model.attached.steps import Step


class _Left(BaseException):
    """Ends the call when nobody takes its steps any more."""


class _Over:
    """The call has ended: what it returned, or raised."""

    def __init__(self, result: Any = None, error: BaseException | None = None) -> None:
        self.result, self.error = result, error


def stream(attachment: Attachment, call: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Step]:
    """As `Attachment.stream`. The call is never more than a step ahead of who takes them."""
    steps: queue.Queue[Step | _Over] = queue.Queue(maxsize=1)
    left = threading.Event()
    take, modes = listeners_of_this_thread(), _modes()

    def told(step: Step) -> None:
        if left.is_set():
            raise _Left
        steps.put(step)

    def work() -> None:
        take()
        try:
            with modes():
                over = _Over(call(*args, **kwargs))
        except BaseException as error:  # whatever it is, it is raised where the steps are taken
            over = _Over(error=error)
        steps.put(over)

    attachment.listen(told)
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="trunkline-attach", daemon=True)
    thread.start()
    try:
        while not isinstance(got := steps.get(), _Over):
            yield got
        if got.error is not None:
            raise got.error
        attachment.result = got.result
    finally:
        left.set()
        while thread.is_alive():
            try:
                steps.get(timeout=0.01)  # what it waits to hand over
            except queue.Empty:
                continue
        attachment.listen(None)
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
