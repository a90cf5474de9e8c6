"""A student that two processes of one launch train is that of one process whose steps take the mean of two batches."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import load_file
from studenttools import resolved, values
from synthetic import write_rows
from test_processes import launch

from trunkline.errors import BadInput
from trunkline.training.clock import Clock
from trunkline.training.distillation.distillation import Distillation
from trunkline.training.distillation.distilling import distill
from trunkline.training.resumable import Interrupted, StopRequest


def train(given: dict, out: str, stopped: bool) -> None:
    if stopped:
        StopRequest.made = property(lambda self: True, lambda self, value: None)
    try:
        distill(given, out=out, progress=False)
    except Interrupted:
        assert stopped
    else:
        assert not stopped


@pytest.fixture
def given(tiny_trunk_dir, tmp_path):
    made = values(tiny_trunk_dir, write_rows(tmp_path / "rows.jsonl", 105), epochs=2, batch_tokens=128)
    made["student"] |= {"hidden_size": 16}  # so that its projection is joined, too
    return made


@pytest.mark.slow
def test_two_processes_train_the_mean_of_two_batches(processes, given, tmp_path):
    launch(processes, given, tmp_path / "two", work=train)
    made = Distillation(resolved(given), lambda event: None, Clock())
    loop, epochs, odd = made.loop(tmp_path / "none"), given["training"]["epochs"], False
    for epoch in range(epochs):
        batches = loop.batches(epoch)
        rounds = math.ceil(len(batches) / 2)
        odd = odd or len(batches) % 2 == 1  # the last step has a batch for one process alone
        for number in range(rounds):
            pair = batches[2 * number : 2 * number + 2]
            for batch in pair:
                (loop.comparison.total(loop._losses("train", batch)) / len(pair)).backward()
            loop.learner.step((epoch + number / rounds) / epochs)
    assert odd
    two, ours = load_file(tmp_path / "two" / "model.safetensors"), made.student.model.state_dict()
    for name, weight in two.items():
        torch.testing.assert_close(weight, ours[name], rtol=1e-3, atol=1e-5)
    found = json.loads((tmp_path / "two" / "result.json").read_text())["history"][-1]["validation"]
    assert found == pytest.approx(loop.judge(), rel=1e-3)


@pytest.mark.slow
def test_two_processes_resume_with_the_same_bits_and_one_does_not(processes, given, tmp_path):
    launch(processes, given, tmp_path / "whole", work=train)
    launch(processes, given, tmp_path / "student", stopped=True, work=train)
    with pytest.raises(BadInput, match="made by 2 processes, found 1; start as many as before"):
        distill(given, out=tmp_path / "student", progress=False)
    launch(processes, given, tmp_path / "student", work=train)
    whole, resumed = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "student"))
    assert whole == resumed
