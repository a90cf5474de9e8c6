import threading

import torch

from trunkline.seeding import seeded


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
