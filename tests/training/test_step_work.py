"""What is counted of a training step."""

from __future__ import annotations

import pytest
import torch
from synthetic import config, write_rows

from trunkline.branches import head_stack
from trunkline.events import quiet
from trunkline.training.config import resolve
from trunkline.training.run import Run
from trunkline.training.sampling import Batch, draw_batches
from trunkline.training.work import BYTES, CALL, FLOPS, OPTIMISER, Work, reading_seconds, step_seconds, usual_batch


def test_a_matrix_product_is_counted_in_closed_form():
    x, w = torch.ones(7, 5), torch.ones(5, 3)
    with Work() as work:
        y = x @ w
        y.view(-1)  # nothing is moved
    assert y.shape == (7, 3)
    assert work.seconds == pytest.approx(CALL + 4 * (7 * 5 + 5 * 3 + 7 * 3) / BYTES + 2 * 7 * 5 * 3 / FLOPS, rel=1e-12)


def test_what_is_read_of_a_store_and_of_a_trunk():
    stored = reading_seconds(1000, 7, 384, False, 6)
    assert stored == pytest.approx(3 * 1000 * 7 * 384 * 2 / BYTES)
    # A block of width K has about 12 K^2 weights: 4 of attention, 8 of the feed-forward maps.
    assert reading_seconds(1000, 7, 384, True, 6) - stored == pytest.approx(1000 * 6 * 2 * 12 * 384**2 / FLOPS)


@pytest.fixture(scope="module")
def counted(tiny_trunk_dir, tmp_path_factory):
    """By method, what a step costs: of a batch, and of another with half of its texts."""
    folder = tmp_path_factory.mktemp("work")
    rows = write_rows(folder / "rows.jsonl", 150)
    methods = {
        "small": {"name": "adalayers", "dim": 16, "heads": 2},
        "large": {"name": "adalayers", "dim": 64, "heads": 2},
        "layer": {"name": "single_layer", "dim": 16, "heads": 2},
        "probe": {"name": "probe"},
        "positions": {"name": "adalayers", "dim": 16, "heads": 2, "positions": True},
        "routing": {"name": "routing", "vectors": 8},
    }
    found, weights = {}, {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUNKLINE_CACHE", str(folder / "cache"))
        values = config(tiny_trunk_dir, rows, tasks=("mood",))
        base = Run(resolve(values), quiet)
        for name, method in methods.items():
            run = base.varied(resolve({**values, "method": method}))
            loop = run.loop(folder)
            part = loop.learners["mood"].parts["mood"]
            [source] = loop.sources
            batch = usual_batch(source, draw_batches(loop.sources, run.config.training, 0), run.layers)
            half = usual_batch(source, [Batch(source, batch.sequences[: len(batch.sequences) // 2])], run.layers)
            before = {key: value.clone() for key, value in part.branch.state_dict().items()}
            state = torch.random.get_rng_state()
            head_stack._sinusoids.cache_clear()  # the first step of a process makes the table, and those after it find it
            found[name] = [step_seconds(part, "mood", one, torch.device("cpu"), "fp32") for one in (batch, batch, half)]
            assert torch.equal(torch.random.get_rng_state(), state)
            assert all(torch.equal(value, before[key]) for key, value in part.branch.state_dict().items())
            assert all(weight.grad is None for weight in part.branch.parameters())
            weights[name] = sum(weight.numel() for weight in part.branch.parameters())
    return found, weights


def test_the_count_is_the_same_each_time_and_grows_with_the_batch(counted):
    found, weights = counted
    for name, (first, again, half) in found.items():
        assert first == again
        assert OPTIMISER * weights[name] / BYTES < half < first


def test_what_takes_longer_costs_more(counted):
    cost = {name: own[0] for name, own in counted[0].items()}
    assert cost["probe"] < cost["layer"] < cost["small"] < cost["large"] < cost["routing"]
