"""Tasks that read all windows of long texts: in training against a plain loop, and then saved, reloaded and asked."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from bundletools import TEXTS, make
from clitools import done
from safetensors.torch import load_file
from synthetic import config, write_rows

from trunkline.branches import LayerState
from trunkline.errors import BadInput
from trunkline.events import quiet
from trunkline.export.branch import export_branch
from trunkline.inputs.batching import Layout
from trunkline.model.apply import collect_logits
from trunkline.model.attributions import attempted, attributions
from trunkline.model.branch import load_branch
from trunkline.model.bundle import Bundle
from trunkline.model.contributions import contributions
from trunkline.model.facts import branch_facts
from trunkline.states.live import LiveStates
from trunkline.training import forward
from trunkline.training.config import resolve
from trunkline.training.ensembling import make_ensemble
from trunkline.training.examples import gather
from trunkline.training.fit import fit
from trunkline.training.forward import batch_losses
from trunkline.training.prepare import encode_splits, prepare
from trunkline.training.run import Run
from trunkline.training.sampling import Batch, draw_batches
from trunkline.trunk.load import load_trunk

CPU = torch.device("cpu")
LONG = {"least": 12, "most": 40}  # words; 12 tokens are read at once


def values_of(trunk, rows, tasks=("mood",), long_texts="mean", method=None, **training):
    values = config(trunk, rows, tasks=tasks, **{"epochs": 1, **training})
    values["trunk"]["max_length"] = 12
    for name in set(tasks) - {"cities"}:
        values["tasks"][name]["long_texts"] = long_texts
    if method is not None:
        values["method"] = method
    return values


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Long texts, and a few short ones."""
    folder = tmp_path_factory.mktemp("rows")
    long, short = write_rows(folder / "long.jsonl", 40, **LONG), write_rows(folder / "short.jsonl", 20)
    (folder / "rows.jsonl").write_text(long.read_text() + short.read_text())
    return folder / "rows.jsonl"


@pytest.fixture(scope="module")
def trained(tiny_trunk_dir, rows, tmp_path_factory):
    """Runs by `long_texts`, from stored states in full precision."""
    folder = tmp_path_factory.mktemp("runs")
    found = {}
    for way in ("mean", "max"):
        values = values_of(tiny_trunk_dir, rows, long_texts=way, states_dtype="fp32", states="store")
        found[way] = fit(values, run_dir=folder / way)
    return found


def begun(trunk, rows, **about):
    """A run that has not begun, and its loop with dropout at 0."""
    method = {"name": "adalayers", "dim": 16, "heads": 2, "alpha": 4, "dropout": 0.0, "feature_dropout": 0.0}
    run = Run(resolve(values_of(trunk, rows, **{"method": method, "states": "live", **about})), quiet)
    return run, run.loop(rows.parent / "nothing")


@pytest.mark.parametrize("way", ["mean", "max"])
def test_losses_and_gradients_are_those_of_a_loop_over_texts_and_windows(tiny_trunk_dir, rows, way):
    run, loop = begun(tiny_trunk_dir, rows, tasks=("mood", "stars"), long_texts=way)
    (source,), parts = loop.sources, loop.parts()
    encoded, batches = source.train.encoded, draw_batches(loop.sources, run.config.training, 0)
    assert sorted(i for batch in batches for i in batch.sequences) == list(range(len(encoded.lengths)))
    for batch in batches:  # within the bound, the windows of a text together and in order
        assert encoded.lengths[batch.sequences].max() * len(batch.sequences) <= 256
        texts = encoded.text_of[batch.sequences]
        assert [np.flatnonzero(encoded.text_of == text).tolist() for text in dict.fromkeys(texts)] == [
            batch.sequences[texts == text].tolist() for text in dict.fromkeys(texts)
        ]
    plain = copy.deepcopy(parts)
    batch = max(batches, key=lambda batch: len(set(encoded.text_of[batch.sequences])))
    losses = batch_losses(batch, parts, device=CPU, precision="fp32")
    torch.stack(list(losses.values())).sum().backward()
    texts = list(dict.fromkeys(encoded.text_of[batch.sequences].tolist()))
    for name, part in plain.items():
        logits = []
        for text in texts:
            own = [alone(run.trunk, encoded, part.branch, i) for i in np.flatnonzero(encoded.text_of == text)]
            total = own[0]
            for more in own[1:]:
                total = total + more if way == "mean" else torch.maximum(total, more)
            logits.append(total / len(own) if way == "mean" else total)
        targets = source.train.supervision[name].targets.values[texts]
        loss = part.criterion.loss(torch.cat(logits), torch.from_numpy(targets)) + part.branch.penalty()
        torch.testing.assert_close(losses[name], loss, rtol=1e-4, atol=1e-5)
        loss.backward()
        for mine, theirs in zip(parts[name].branch.parameters(), part.branch.parameters(), strict=True):
            if theirs.grad is not None:
                torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-5)


def read_alone(trunk, encoded, branch, sequence):
    """What a branch has read of one window by itself."""
    layout, carry = Layout(torch.from_numpy(encoded.lengths[[sequence]])), [None]

    def receive(layer, own):
        carry[0] = branch.read(carry[0], layer, LayerState(own, layout))

    LiveStates(trunk, encoded).feed(np.array([sequence]), branch.wanted(), receive)
    return carry[0]


def alone(trunk, encoded, branch, sequence):
    """The logits of one window by itself."""
    carry = read_alone(trunk, encoded, branch, sequence)
    return branch.finish(carry, Layout(torch.from_numpy(encoded.lengths[[sequence]])))


@pytest.mark.parametrize("method", ["adalayers", "full"])
def test_a_text_that_is_too_long_for_a_batch_is_read_in_parts_and_learned_from_whole(tiny_trunk_dir, rows, method, monkeypatch):
    """With the draws of dropout that it has without: parts are read again on the way back."""
    about = {"regime": "joint"} if method == "full" else {}
    _, loop = begun(tiny_trunk_dir, rows, tasks=("mood", "cities"), method={"name": method}, **about)
    (source,), parts = loop.sources, loop.parts()
    encoded = source.train.encoded
    batch = Batch(source, np.concatenate([np.flatnonzero(encoded.text_of == text) for text in (7, 2)]))

    def train(mode):
        for learner in loop.learners.values():
            learner.train(mode)

    def gradients(**bounds):
        torch.manual_seed(5)
        losses = batch_losses(batch, parts, device=CPU, precision="fp32", **bounds)
        torch.stack(list(losses.values())).sum().backward()
        found = [p.grad for learner in loop.learners.values() for p in learner.parameters() if p.grad is not None]
        for learner in loop.learners.values():
            learner.clear()
        return losses, found

    train(True)
    passes, read = [], forward._read
    monkeypatch.setattr(forward, "_read", lambda *given: passes.append(tuple(given[2])) or read(*given))
    losses, found = gradients(bounds=(36, None))
    there, back = passes[: len(passes) // 2], passes[len(passes) // 2 :]
    assert len(there) >= 3 and sorted(there) == sorted(back) and all(len(sequences) <= 3 for sequences in there)
    monkeypatch.setattr(forward, "checkpoint", lambda call, *given, **how: call(*given))
    expected, theirs = gradients(bounds=(36, None))
    assert all(torch.equal(losses[name], expected[name]) for name in losses)
    for one, two in zip(found, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)
    train(False)  # without dropout, the same as at once
    for one, two in zip(gradients(bounds=(36, None))[1], gradients()[1], strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def test_short_texts_give_bit_for_bit_what_the_first_window_gives(tiny_trunk_dir, tmp_path):
    short = write_rows(tmp_path / "rows.jsonl", 25, most=7)
    found = {}
    for way in ("first", "mean", "max"):
        values = values_of(tiny_trunk_dir, short, long_texts=way)
        values["trunk"]["max_length"] = 30
        result = fit(values, run_dir=tmp_path / way)
        assert not [said for said in result.findings if "windows" in said]
        found[way] = load_file(tmp_path / way / "branches" / "mood" / "weights.safetensors"), result.tasks["mood"]["test"]
    for way in ("mean", "max"):
        assert all(torch.equal(value, found["first"][0][name]) for name, value in found[way][0].items())
        assert found[way][1] == found["first"][1]


def test_what_was_trained_is_what_is_saved_and_asked_and_texts_do_not_depend_on_others(trained, rows):
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    for way, result in trained.items():
        path = result.path / "branches" / "mood"
        assert load_branch(path).task.config.long_texts == way == branch_facts(path)["long_texts"]
        bundle = Bundle.open(path)
        texts = [line["text"] for line in lines]
        together = bundle.predict_proba(texts)["mood"]
        for text in (0, 17, 50):
            np.testing.assert_allclose(bundle.predict_proba(texts[text])["mood"], together[text], atol=1e-5)
        branch = bundle.branches["mood"]
        encoded = bundle.trunk.encode([texts[0]], max_length=12, windows=True)
        assert len(encoded.lengths) > 2
        with torch.no_grad():
            windows = torch.cat([alone(bundle.trunk, encoded, branch.module, i) for i in range(len(encoded.lengths))])
        logits = windows.mean(0) if way == "mean" else windows.amax(0)
        expected = branch.probabilities(logits[None])[0]
        np.testing.assert_allclose(together[0], expected, atol=1e-5)
        said = {"mean": "longer ones in windows, whose logits are averaged", "max": "of whose logits the largest of each label"}
        assert said[way] in " ".join(done("info", path).stdout.split())


def test_shares_of_several_processes_add_up_to_the_same_answers(trained, rows):
    """The largest of sums is not the sum of the largest: texts are made of windows once all of these are there."""
    texts = [json.loads(line)["text"] for line in rows.read_text().splitlines()]
    for result in trained.values():
        bundle = Bundle.open(result.path)
        branch, encoded = bundle.branches["mood"], bundle.trunk.encode(texts, max_length=12, windows=True)

        def collected(*share, branch=branch, encoded=encoded, trunk=bundle.trunk):
            feed, asked = LiveStates(trunk, encoded), {"mood": (branch.task, branch.module)}
            return collect_logits(asked, feed, encoded, precision="fp32", device=CPU, batch_tokens=64, share=share)["mood"]

        rows_of = collected(0, 2) + collected(1, 2)
        assert len(rows_of) == len(encoded.lengths) > len(texts)
        np.testing.assert_allclose(branch.task.answers(encoded).combined(rows_of), collected(0, 1), atol=1e-6)


def test_the_run_says_how_many_texts_are_read_in_windows(trained):
    said = [one for one in trained["mean"].findings if "windows" in one]
    assert len(said) == 3 and all(
        "texts are longer than 12 tokens and are read as" in one and "for mood" in one for one in said
    )


def test_states_from_the_store_and_from_the_trunk_teach_the_same(tiny_trunk_dir, rows, trained, tmp_path):
    live = fit(values_of(tiny_trunk_dir, rows, states="live"), run_dir=tmp_path / "live")
    one, two = (load_file(path / "branches" / "mood" / "weights.safetensors") for path in (live.path, trained["mean"].path))
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-3, atol=1e-4)


def test_tasks_that_cut_and_tasks_that_do_not_share_texts_whatever_side_is_cut(tiny_trunk_dir, rows):
    values = values_of(tiny_trunk_dir, rows, tasks=("mood", "stars", "cities"))
    values["tasks"]["stars"]["long_texts"] = "first"
    prepared = prepare(resolve(values))[0]
    run = Run(resolve(values), quiet)
    for side in ("right", "left"):
        run.trunk.tokenizer.truncation_side = side
        encode_splits(prepared, run.trunk, 12)
        split = prepared.splits["train"]
        encoded, supervision = split.encoded, split.supervision(prepared.tasks)
        windows = run.trunk.encode(split.corpus.texts, max_length=12, windows=True)
        read = encoded.select(np.flatnonzero(supervision["mood"].answers.read))
        assert read.ids.tolist() == windows.ids.tolist() and read.offsets.tolist() == windows.offsets.tolist()
        cut = run.trunk.encode(split.corpus.texts, max_length=12)
        read = encoded.select(np.flatnonzero(supervision["stars"].answers.read))
        assert read.ids.tolist() == cut.ids.tolist()
    run.trunk.tokenizer.truncation_side = "right"


def test_windows_are_examples_with_the_label_of_their_text(tiny_trunk_dir, rows):
    _, loop = begun(tiny_trunk_dir, rows, method={"name": "head2toe"})
    (source,) = loop.sources
    part = loop.parts()["mood"]
    found = gather(source.train, part, part.branch.examines(), 3, ())
    supervision = source.train.supervision["mood"]
    order = np.random.default_rng(3).permutation(len(supervision.supervised))
    assert found.targets.tolist() == supervision.targets.values[supervision.encoded.text_of[order]].tolist()
    assert len(found.targets) == len(found.states[1]) > len(supervision.targets.values)
    assert torch.isfinite(found.loss(torch.zeros(5, 2), torch.arange(5)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["head2toe", "variability", "routing", "ladder", "scalar_mix", "probe", "ensemble", "lora", "prefix"]
)
def test_every_method_learns_and_answers_from_all_windows(tiny_trunk_dir, rows, method, tmp_path):
    result = fit(values_of(tiny_trunk_dir, rows, method={"name": method}, batch_tokens=48), run_dir=tmp_path / "run")
    bundle = Bundle.open(result.path)
    text = json.loads(rows.read_text().splitlines()[0])["text"]
    whole, cut = (bundle.predict_proba(one)["mood"] for one in (text, " ".join(text.split()[:9])))
    assert np.isfinite(whole).all() and not np.allclose(whole, cut)
    if method == "lora":
        with pytest.raises(
            BadInput, match=r"reads all windows .* which no other library does; expected a branch with long_texts"
        ):
            export_branch(bundle.branches["mood"], tmp_path / "exported")


@pytest.mark.parametrize(("key", "what"), [("text_pair", "pairs of texts"), ("audio", "audio clips")])
def test_what_is_not_divided_is_refused(rows, key, what):
    values = values_of("minilm", rows)
    values["data"][key] = "other"
    with pytest.raises(BadInput, match=rf"tasks\.mood\.long_texts: found mean, expected first, as {what} are cut"):
        resolve(values)


def test_an_ensemble_of_means_is_one_and_the_largest_logits_are_refused(tiny_trunk_dir, rows, trained, tmp_path):
    paths = {way: result.path / "branches" / "mood" for way, result in trained.items()}
    with pytest.raises(BadInput, match=r"long_texts: max, and the largest of summed logits .* first or mean$"):
        make_ensemble([paths["max"], paths["mean"]], tmp_path / "max")
    other = fit(values_of(tiny_trunk_dir, rows, seed=8), run_dir=tmp_path / "other").path / "branches" / "mood"
    made = make_ensemble([paths["mean"], other], tmp_path / "made", validation=str(rows))
    text = json.loads(rows.read_text().splitlines()[0])["text"]
    assert made.branch.task.long_texts == "mean"
    assert np.isfinite(Bundle.open(tmp_path / "made").predict_proba(text)["mood"]).all()


@pytest.mark.parametrize("way", ["mean", "max"])
@pytest.mark.parametrize("method", ["routing", "adalayers"])
def test_contributions_to_the_logits_of_a_text_are_those_of_its_windows(tiny_trunk_dir, method, way):
    trunk = load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu")
    branch, alike = (make(trunk, "sequence", method=method, max_length=12, long_texts=one) for one in (way, "first"))
    text = TEXTS[1]  # 50 words, all different, so that no two windows have the same logits
    encoded = trunk.encode([text], max_length=12, windows=True)
    windows = [trunk.tokenizer.decode(ids[1:-1]) for ids in np.split(encoded.ids, encoded.offsets[1:-1])]
    short, whole = contributions(Bundle(trunk, {"mood": branch}), "mood", ["so good", text])
    parts = contributions(Bundle(trunk, {"mood": alike}), "mood", ["so good", *windows])
    assert len(windows) > 3 and whole.tokens == [token for part in parts[1:] for token in part.tokens]
    with torch.no_grad():
        best = torch.cat([alone(trunk, encoded, branch.module, i) for i in range(len(windows))]).argmax(0).numpy()
    counts = [1 / len(windows) if way == "mean" else best == i for i in range(len(windows))]
    expected = np.concatenate([part.values * count for part, count in zip(parts[1:], counts, strict=True)])
    np.testing.assert_allclose(whole.values, expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(short.values, parts[0].values, rtol=1e-3, atol=1e-5)


def test_attributions_are_refused_for_a_text_of_several_windows(tiny_trunk_dir):
    pytest.importorskip("captum")
    trunk = load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu")
    bundle = Bundle(trunk, {"mood": make(trunk, "sequence", method="probe", max_length=12, long_texts="mean")})
    with pytest.raises(BadInput, match=r"text 2: branch 'mood' reads all windows .*, and attributions are of one; expected"):
        attributions(bundle, "mood", ["so good", "so good " * 20])
    short, refused = attempted(bundle, "mood", ["so good", "so good " * 20])
    assert short.words == attributions(bundle, "mood", ["so good"])[0].words
    assert "text 2: branch 'mood' reads all windows" in str(refused)
