import pytest
import torch
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from trunkline.training.schedule import factor

STEPS = 40


def rates(make):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scheduler = make(optimizer)
    seen = []
    for _ in range(STEPS):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.25])
def test_linear_and_cosine_are_those_of_transformers(warmup):
    ours = [factor("linear", step / STEPS, warmup) for step in range(STEPS)]
    assert ours == pytest.approx(rates(lambda o: get_linear_schedule_with_warmup(o, int(warmup * STEPS), STEPS)))
    ours = [factor("cosine", step / STEPS, warmup) for step in range(STEPS)]
    assert ours == pytest.approx(rates(lambda o: get_cosine_schedule_with_warmup(o, int(warmup * STEPS), STEPS)))


def test_one_cycle_is_that_of_torch_in_the_limit_of_many_steps():
    # torch counts to the last step, we to the end of it: the two meet as the steps grow in number.
    steps, weight = 20_000, torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=steps, pct_start=0.3)
    for step in range(steps):
        if step % 500 == 0:
            assert factor("one_cycle", step / steps, 0.3) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-3)
        optimizer.step()
        scheduler.step()


def test_every_schedule_stays_between_zero_and_the_peak():
    for schedule in ("one_cycle", "linear", "cosine", "constant", "plateau"):
        values = [factor(schedule, step / 1000, 0.1) for step in range(1000)]
        assert min(values) >= 0 and max(values) <= 1 + 1e-12 and max(values) > 0.999
