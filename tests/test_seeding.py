import threading
import traceback

import pytest
import torch

from trunkline.seeding import mixed_seed, seeded


def test_draws_depend_on_the_parts_alone_and_leave_the_generator_as_it_was():
    torch.manual_seed(1)
    before = torch.get_rng_state()

    def draw(*parts):
        with seeded(*parts):
            return torch.rand(4).tolist()

    first = draw(0, "weights")
    torch.rand(3)
    assert draw(0, "weights") == first and draw(0, "weight", "s") != first and draw(1, "weights") != first
    torch.manual_seed(1)
    draw(7)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the seed of a device that is there is set")
def test_no_stack_is_formatted_for_devices_that_are_not_there(monkeypatch):
    formatted = []
    monkeypatch.setattr(traceback, "format_stack", lambda: formatted.append(1) or [])
    with seeded(1):
        first = torch.rand(2)
    assert not formatted
    torch.manual_seed(mixed_seed(1))
    assert torch.equal(torch.rand(2), first) and formatted  # the library's own function seeds the same


def test_a_block_may_hold_another_and_keeps_other_threads_waiting():
    drawn, inside = [], threading.Event()

    def other():
        inside.wait()
        with seeded(2):
            drawn.append(torch.rand(2).tolist())

    thread = threading.Thread(target=other)
    thread.start()
    with seeded(1):
        first = torch.rand(1).item()
        inside.set()
        thread.join(0.2)
        assert not drawn
        with seeded(2):
            inner = torch.rand(2).tolist()
        second = torch.rand(1).item()
    thread.join()
    assert drawn == [inner]
    with seeded(1):
        assert torch.rand(2).tolist() == [first, second]
