"""What `method: auto` chooses, and that it resumes to the same bits."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from autotools import FAMILY, SMALL, auto_config, candidate, use_family, use_reference
from resuming import attempt
from synthetic import write_rows

from trunkline import fit
from trunkline.errors import BadInput
from trunkline.events import BatchEnded, SearchEnded
from trunkline.studies.checks import check
from trunkline.studies.config import study_of
from trunkline.studies.plan import Plan, units
from trunkline.training.config import resolve
from trunkline.training.depths import fit_depths
from trunkline.training.feeds import Feeds
from trunkline.training.label_errors import find_label_errors
from trunkline.training.resumable import Interrupted


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", 120)


def outcome(path: Path, result) -> tuple:
    """All that must not depend on where a run was stopped."""
    weights = {file.parent.name: file.read_bytes() for file in path.glob("branches/*/weights.safetensors")}
    return weights, result.summary["auto"]["tasks"], result.summary["history"]


def test_it_resumes_to_the_same_bits_wherever_it_was_stopped(signalled, tiny_trunk_dir, rows, tmp_path, monkeypatch):
    use_family(monkeypatch)
    values = auto_config(tiny_trunk_dir, rows, epochs=2)
    expected = outcome(tmp_path / "whole", fit(values, run_dir=tmp_path / "whole", progress=False))
    run, seen = tmp_path / "stopped", []

    def stop(event):
        """Early in the search; in its second epoch; and in the training of the best, twice."""
        seen.append(event)
        ended = any(isinstance(one, SearchEnded) for one in seen)
        if isinstance(event, BatchEnded) and (event.epoch, event.batch, ended) in stops:
            os.kill(os.getpid(), signal.SIGTERM)

    for where in ((0, 2, False), (1, 1, False), (0, 1, True), (1, 2, True)):
        stops, seen = {where}, []
        with pytest.raises(Interrupted):
            fit(values, run_dir=run, progress=False, subscribers=[stop])
        assert (run / "search" / "search.json").exists() == where[2]
        if where == (1, 1, False):
            assert next(event.epoch for event in seen if isinstance(event, BatchEnded)) == 0
            assert next(event.batch for event in seen if isinstance(event, BatchEnded)) == 3  # the two before were kept
        if where == (1, 2, True):
            assert sum(isinstance(event, BatchEnded) for event in seen if seen.index(event) < _ended(seen)) == 0
    # Killed between the record of the search and the removal of its checkpoint.
    (run / "search" / "checkpoint").mkdir()
    found = fit(values, run_dir=run, progress=False)
    assert outcome(run, found) == expected
    assert sorted(path.name for path in (run / "search").iterdir()) == ["search.json"]
    other = {**values, "training": {**values["training"], "seed": 4}}
    with pytest.raises(BadInput, match="another config"):
        fit(other, run_dir=run, progress=False)
    fit(other, run_dir=run, fresh=True, progress=False)


def _ended(seen) -> int:
    return next(number for number, event in enumerate(seen) if isinstance(event, SearchEnded))


def _killed(values, run, cache, folder) -> None:
    """Fit in this process, with the small family."""
    with pytest.MonkeyPatch.context() as patch:
        use_family(patch)
        attempt(values, run, cache, folder)


@pytest.mark.slow
def test_it_can_be_killed_at_any_moment(tiny_trunk_dir, rows, tmp_path, processes, monkeypatch):
    use_family(monkeypatch)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    values = auto_config(tiny_trunk_dir, rows, tasks=("mood", "cities"), epochs=3)
    began = time.monotonic()
    expected = outcome(tmp_path / "whole", fit(values, run_dir=tmp_path / "whole", progress=False))
    took, draw = time.monotonic() - began, random.Random(0)
    run, cache, killed = tmp_path / "killed", tmp_path / "cache", 0
    for _ in range(8):
        folder = tmp_path / "attempt"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        process = processes.Process(target=_killed, args=(values, run, cache, folder), daemon=True)
        process.start()
        process.join(took * draw.uniform(0.1, 1.2))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
    assert killed > 0
    monkeypatch.setenv("TRUNKLINE_CACHE", str(cache))
    assert outcome(run, fit(values, run_dir=run, progress=False)) == expected
    torch.set_num_threads(threads)


def test_a_linear_candidate_is_taken_where_it_is_best(tiny_trunk_dir, tmp_path, monkeypatch):
    """Labels are in single words, a linear map of the mean finds them, and what has more weights has hardly begun to learn."""
    slow = [candidate("adalayers", 1e-6, **SMALL), candidate("single_layer", 1e-6, layer=3, **SMALL)]
    use_family(monkeypatch, [candidate("probe", 1e-6, layer=3), candidate("probe", 3e-2, layer=1), *slow], slow[0])
    values = auto_config(tiny_trunk_dir, write_rows(tmp_path / "rows.jsonl", 300), epochs=8)
    found = fit(values, run_dir=tmp_path / "run", progress=False)
    own = found.summary["auto"]["tasks"]["mood"]
    assert own["chosen"] == "probe, layer 1, rate 0.03" and found.tasks["mood"]["method"] == "probe"
    assert found.tasks["mood"]["reads"] == [1]
    scores = {row["name"]: row["validation"] for row in own["candidates"]}
    assert max(scores, key=scores.__getitem__) == own["chosen"] and scores[own["chosen"]] > 0.8


class OnlyLayer:
    """A feed in which one layer says what the trunk computed, and the others are noise."""

    def __init__(self, feed, layer: int) -> None:
        self.inner, self.layer = feed, layer
        self.lengths, self.layers, self.hidden_size = feed.lengths, feed.layers, feed.hidden_size

    def feed(self, sequences, layers, receive) -> None:
        def passed(layer, rows):
            if layer != self.layer:
                draw = torch.Generator().manual_seed(1000 * layer + int(sequences[0]))
                rows = torch.randn(rows.shape, generator=draw).to(rows)
            receive(layer, rows)

        self.inner.feed(sequences, layers, passed)


def test_a_layer_in_the_middle_is_found_where_it_alone_has_the_signal(tiny_trunk_dir, tmp_path, monkeypatch):
    opened = Feeds.open

    def noisy(self, split, *more):
        feed, noted = opened(self, split, *more)
        return OnlyLayer(feed, 2), noted

    monkeypatch.setattr(Feeds, "open", noisy)
    layers = [candidate("probe", 3e-2, layer=layer) for layer in (3, 2, 1)]
    others = [candidate("single_layer", 1e-2, layer=layer, **SMALL) for layer in (3, 2, 1)]
    reference = candidate("adalayers", 1e-2, **SMALL)
    use_family(monkeypatch, [*layers, *others, reference], reference)
    values = auto_config(tiny_trunk_dir, write_rows(tmp_path / "rows.jsonl", 300), epochs=8)
    del values["data"]["test"]  # which is read without a feed of this kind
    found = fit(values, run_dir=tmp_path / "run", progress=False)
    own = found.summary["auto"]["tasks"]["mood"]
    scores = {row["name"]: row["validation"] for row in own["candidates"]}
    linear = {row["name"]: row["rounds"] for row in own["candidates"] if row["kind"] == "linear"}
    assert max(linear, key=linear.__getitem__) == "probe, layer 2, rate 0.03"
    assert scores["probe, layer 2, rate 0.03"] > max(scores[one.name] for one in (layers[0], layers[2])) + 0.1
    rounds = {row["name"]: row["rounds"] for row in own["candidates"]}
    assert rounds[others[1].name] > 0
    assert found.tasks["mood"]["validation"]["accuracy"] >= scores["probe, layer 2, rate 0.03"]
    weights = found.tasks["mood"]["layers"]
    assert max(weights, key=weights.__getitem__) == "2"


def test_a_rate_of_the_config_is_that_of_all_candidates(tiny_trunk_dir, rows, tmp_path, monkeypatch):
    seen = []

    def family(trunk, output, rate=None):
        seen.append(rate)
        return [candidate("adalayers", rate, **SMALL)]

    monkeypatch.setattr("trunkline.training.auto.search.family", family)
    use_reference(monkeypatch, FAMILY[3])
    values = auto_config(tiny_trunk_dir, rows, epochs=1)
    assert resolve(values).training.learning_rate is None
    values["training"]["learning_rate"] = 0.02
    found = fit(values, run_dir=tmp_path / "run", progress=False)
    assert seen == [0.02]
    own = found.summary["auto"]["tasks"]["mood"]
    assert own["finalists"] == {"deep": own["chosen"]} and own["candidates"][0]["learning_rate"] == 0.02


def test_what_fails_at_one_rate_may_be_trained_at_another(tiny_trunk_dir, rows, tmp_path, monkeypatch):
    broken, other = candidate("adalayers", 1e30, **SMALL), candidate("single_layer", 1e-2, layer=2, **SMALL)
    use_family(monkeypatch, [broken, other], broken)
    found = fit(auto_config(tiny_trunk_dir, rows, epochs=2, clip_norm=None), run_dir=tmp_path / "run", progress=False)
    known = {row["name"]: row for row in found.summary["auto"]["tasks"]["mood"]["candidates"]}
    same = known[candidate("adalayers", 1e-2, **SMALL).name]
    assert "failed" in known[broken.name] and "trained" not in known[broken.name]
    assert "failed" not in same and same["trained"] is not None


def test_a_task_that_no_candidate_learns_is_told(tiny_trunk_dir, rows, tmp_path, monkeypatch):
    broken = candidate("adalayers", 1e30, **SMALL)
    use_family(monkeypatch, [broken], broken)
    values = auto_config(tiny_trunk_dir, rows, epochs=1, clip_norm=None)
    with pytest.raises(Exception, match="loss of task") as error:
        fit(values, run_dir=tmp_path / "run", progress=False)
    assert "mood" in str(error.value) and not (tmp_path / "run" / "result.json").exists()


def test_where_no_method_is_chosen_auto_is_refused(tiny_trunk_dir, rows):
    values = auto_config(tiny_trunk_dir, rows)
    refused = r"method\.name: found auto, expected a method by name"
    with pytest.raises(BadInput, match=refused):
        find_label_errors(values)
    with pytest.raises(BadInput, match=refused):
        fit_depths(values)
    with pytest.raises(BadInput, match=r"method\.head: found auto, expected plain or a side branch"):
        resolve({**values, "method": {"name": "lora", "head": "auto"}})
    with pytest.raises(BadInput, match="found auto, expected a side branch"):
        resolve({**values, "method": {"name": "ensemble", "members": ["auto"]}})
    with pytest.raises(BadInput, match="dim"):
        resolve({**values, "method": {"name": "auto", "dim": 3}})


def test_a_study_may_have_it_among_its_methods(tiny_trunk_dir, rows):
    values = auto_config(tiny_trunk_dir, rows, epochs=1)
    del values["method"]
    plan = Plan(study_of({**values, "methods": ["probe", "adalayers", "auto"], "study": {"seeds": 1}}))
    check(plan)
    planned = units(plan.searches())
    assert [(unit.stacked, [run.cell.method for run in unit.runs]) for unit in planned] == [
        (True, ["probe", "adalayers"]),
        (False, ["auto"]),
    ]
