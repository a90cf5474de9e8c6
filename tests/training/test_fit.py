import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mutations import resave
from safetensors.torch import load_file, save_file
from synthetic import config, write_rows

from trunkline.errors import BadInput, TrunklineError
from trunkline.events import AlreadyFinished, EpochEnded, EvaluationProgress, Event, TrainingStarted, quiet
from trunkline.model.branch import load_branch
from trunkline.model.bundle import Bundle
from trunkline.training.config import resolve
from trunkline.training.fit import fit
from trunkline.training.run import Run


@pytest.fixture
def rows(tmp_path):
    return write_rows(tmp_path / "rows.jsonl", 400)


def weights_of(result):
    return {name: load_file(path / "weights.safetensors") for name, path in result.branches.items()}


def effective(weights):
    """Weights that answers depend on: the bias of attention's keys changes none, so rounding alone moves it."""
    found = dict(weights)
    for name in [name for name in found if name.endswith("in_proj_bias")]:
        query, _, value = found.pop(name).chunk(3)
        found |= {f"{name}.query": query, f"{name}.value": value}
    return found


def same(left, right):
    return left.keys() == right.keys() and all(
        left[task].keys() == right[task].keys() and all(torch.equal(left[task][key], right[task][key]) for key in left[task])
        for task in left
    )


def test_four_kinds_of_task_learn_on_one_trunk_in_one_run(tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 600)
    tasks = ("mood", "cities", "topics", "stars")
    result = fit(config(tiny_trunk_dir, rows, tasks=tasks, epochs=14), run_dir=tmp_path / "run")
    assert result.tasks["mood"]["test"]["accuracy"] > 0.9
    assert result.tasks["cities"]["test"]["f1"] > 0.9
    assert result.tasks["topics"]["test"]["f1_micro"] > 0.9
    assert result.tasks["stars"]["test"]["pearson"] > 0.9
    cost = result.cost
    stored = [item for path in result.branches.values() for item in load_file(path / "weights.safetensors").items()]
    measured = ("path.mean", "path.scale")  # before training, by nothing that is trained
    assert cost["trained_parameters_total"] == sum(value.numel() for name, value in stored if not name.endswith(measured))
    assert len(cost["epochs"]) == 14 and all(epoch["tokens_per_second"] > 0 for epoch in cost["epochs"])
    tokens = {epoch["tokens"] for epoch in cost["epochs"]}
    assert len(tokens) == 1  # every epoch reads every text once
    assert json.loads((tmp_path / "run" / "result.json").read_text())["tasks"] == result.tasks


def test_same_seed_same_bits_and_another_seed_other_ones(tiny_trunk_dir, rows, tmp_path):
    first = fit(config(tiny_trunk_dir, rows), run_dir=tmp_path / "a")
    again = fit(config(tiny_trunk_dir, rows), run_dir=tmp_path / "b")
    other = fit(config(tiny_trunk_dir, rows, seed=4), run_dir=tmp_path / "c")
    assert same(weights_of(first), weights_of(again)) and not same(weights_of(first), weights_of(other))
    assert first.tasks["mood"]["test"] == again.tasks["mood"]["test"]


def test_a_finished_run_is_not_trained_again_unless_asked(tiny_trunk_dir, rows, tmp_path):
    events = []
    arguments = {"run_dir": tmp_path / "run", "subscribers": [lambda event: events.append(type(event))]}
    first = fit(config(tiny_trunk_dir, rows), **arguments)
    assert EpochEnded in events and AlreadyFinished not in events
    events.clear()
    second = fit(config(tiny_trunk_dir, rows), **arguments)
    assert EpochEnded not in events and AlreadyFinished in events and second.summary == first.summary
    events.clear()
    older = Run(resolve(config(tiny_trunk_dir, rows)), quiet).older_identity
    (tmp_path / "run" / "result.json").write_text(json.dumps({**first.summary, "identity": older}))
    fit(config(tiny_trunk_dir, rows), **arguments)
    assert EpochEnded not in events and older != first.summary["identity"]
    events.clear()
    fit(config(tiny_trunk_dir, rows), fresh=True, **arguments)
    assert EpochEnded in events


def test_changed_data_is_another_run_and_never_an_old_result(tiny_trunk_dir, rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = fit(config(tiny_trunk_dir, rows, epochs=1))
    with open(rows, "a") as file:
        file.write(rows.read_text().splitlines()[0] + "\n")
    second = fit(config(tiny_trunk_dir, rows, epochs=1))
    assert first.path != second.path
    with pytest.raises(BadInput, match="other data"):
        fit(config(tiny_trunk_dir, rows, epochs=1), run_dir=first.path)


def test_a_task_learns_the_same_alone_and_beside_another_without_dropout(tiny_trunk_dir, rows, tmp_path):
    def run(tasks, name):
        values = config(tiny_trunk_dir, rows, tasks=tasks)
        values["method"]["dropout"] = 0.0
        values["data"] = {"train": str(rows), "validation": str(rows)}  # no draw, which depends on the first task
        return fit(values, run_dir=tmp_path / name)

    alone, beside = weights_of(run(("cities",), "alone")), weights_of(run(("mood", "cities"), "beside"))
    torch.testing.assert_close(effective(alone["cities"]), effective(beside["cities"]), rtol=1e-3, atol=1e-4)


def test_store_and_live_give_the_same_training_to_rounding(tiny_trunk_dir, rows, tmp_path):
    runs = {
        states: fit(config(tiny_trunk_dir, rows, states=states, states_dtype="fp32", epochs=2), run_dir=tmp_path / states)
        for states in ("store", "live")
    }
    stored, live = weights_of(runs["store"]), weights_of(runs["live"])
    for task in stored:
        torch.testing.assert_close(effective(stored[task]), effective(live[task]), rtol=1e-3, atol=1e-4)
    assert runs["live"].cost["states_bytes"] == 0 < runs["store"].cost["states_bytes"]


def test_rows_without_a_label_are_skipped_by_that_task_alone(tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 300)
    holed = []
    for i, line in enumerate(rows.read_text().splitlines()):
        values = json.loads(line)
        if i % 3 == 0:
            values["label"] = None
        if i % 4 == 0:
            values["tags"] = None
        holed.append(json.dumps(values))
    rows.write_text("\n".join(holed) + "\n")
    result = fit(config(tiny_trunk_dir, rows, epochs=10), run_dir=tmp_path / "run")
    assert result.tasks["mood"]["test"]["accuracy"] > 0.85 and result.tasks["cities"]["test"]["f1"] > 0.8


def test_accumulated_batches_are_one_large_batch(tiny_trunk_dir, rows, tmp_path):
    def run(name, **training):
        values = config(tiny_trunk_dir, rows, tasks=("mood",), epochs=1, clip_norm=None, **training)
        values["method"]["dropout"] = 0.0
        values["data"] = {"train": str(rows), "validation": str(rows)}
        values["training"].pop("batch_tokens")
        return fit(values, run_dir=tmp_path / name)

    # 400 rows in one step of Adam: the mean of 4 batches of 100 is the batch of 400
    whole, parts = run("whole", batch_size=400), run("parts", batch_size=100, accumulation=4)
    left, right = weights_of(whole)["mood"], weights_of(parts)["mood"]
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=1e-2, atol=1e-3)
    assert len(parts.summary["history"]) == 1 and parts.summary["history"][0]["step"] == 1


def test_batches_are_chosen_from_the_rows_that_are_trained_on(tiny_trunk_dir, rows, tmp_path):
    def chosen(**changes):
        values = config(tiny_trunk_dir, rows, tasks=("mood",))
        values["training"]["batch_tokens"] = changes.pop("batch_tokens", None)
        values["data"] |= changes
        run = Run(resolve(values), quiet)
        lengths = run.groups[0].splits["train"].encoded.lengths
        return run.config.training.batch_tokens, int(np.ceil(8 * lengths.mean())), len(run.loop(tmp_path / "run").batches(0))

    tokens, of_eight, batches = chosen()  # 240 rows: 64 batches would have fewer than 8 texts each
    assert tokens == of_eight and 30 <= batches <= 36
    fewer, of_eight, batches = chosen(rows=40)
    assert fewer == of_eight and 5 <= batches <= 7
    assert chosen(batch_tokens=100)[0] == 100
    values = config(tiny_trunk_dir, rows, tasks=("mood",), epochs=1)
    values["training"]["batch_tokens"] = None
    done = fit(values, run_dir=tmp_path / "done")
    assert yaml.safe_load((tmp_path / "done" / "config.yaml").read_text())["training"]["batch_tokens"] == tokens
    again = fit(tmp_path / "done" / "config.yaml", run_dir=tmp_path / "done")
    assert again.summary == done.summary, "what was chosen makes it no other run"


def test_early_stopping_keeps_the_best_weights(tiny_trunk_dir, rows, tmp_path):
    values = config(tiny_trunk_dir, rows, tasks=("mood",), epochs=30, patience=2, schedule="constant", learning_rate=0.05)
    told: list[Event] = []
    result = fit(values, run_dir=tmp_path / "run", subscribers=[told.append])
    assert [(event.patience, event.varying) for event in told if isinstance(event, TrainingStarted)] == [(2, True)]
    judged = [entry["tasks"]["mood"]["validation"] for entry in result.summary["history"]]
    scores = [(values["accuracy"], -values["loss"]) for values in judged]  # of equal scores, that with the smaller loss
    assert len(scores) < 30
    best = scores.index(max(scores))
    assert len(scores) == best + 3  # two evaluations without a better score, then stop
    assert result.tasks["mood"]["validation"]["accuracy"] == judged[best]["accuracy"]
    assert result.cost["steps_to_best"]["mood"] == result.summary["history"][best]["step"]


def test_evaluation_every_n_steps_and_on_another_metric(tiny_trunk_dir, rows, tmp_path):
    values = config(tiny_trunk_dir, rows, tasks=("mood",), epochs=2, evaluate_every=3)
    values["tasks"]["mood"]["metric"] = "loss"
    values["training"]["patience"] = 1000
    told: list[Event] = []
    result = fit(values, run_dir=tmp_path / "run", subscribers=[told.append])
    assert [event.patience for event in told if isinstance(event, TrainingStarted)] == [None], "it cannot end early"
    steps = [entry["step"] for entry in result.summary["history"]]
    assert steps[:-1] == list(range(3, max(steps[:-1]) + 1, 3))  # and once more at the end
    whole = [event.split for event in told if isinstance(event, EvaluationProgress) and event.done == event.total]
    assert whole == ["validation"] * (len(steps) + 1) + ["test"], "the best weights are judged on both once more"
    assert {event.total for event in told if isinstance(event, EvaluationProgress)} == {80}
    losses = [entry["tasks"]["mood"]["validation"]["loss"] for entry in result.summary["history"]]
    assert result.tasks["mood"]["validation"]["loss"] == min(losses)


def test_a_run_shorter_than_the_first_evaluation_is_judged_at_its_end(tiny_trunk_dir, rows, tmp_path):
    result = fit(config(tiny_trunk_dir, rows, tasks=("mood",), epochs=16, evaluate_every=10_000), run_dir=tmp_path / "run")
    assert len(result.summary["history"]) == 1 and result.cost["steps_to_best"]["mood"] > 0
    assert result.tasks["mood"]["test"]["accuracy"] > 0.8  # the trained weights, not those of the start


def test_a_loss_that_is_no_number_stops_with_a_sentence_and_keeps_the_last_good_checkpoint(tiny_trunk_dir, rows, tmp_path):
    values = config(
        tiny_trunk_dir, rows, tasks=("mood",), epochs=50, schedule="constant", warmup=0.0, clip_norm=None, learning_rate=1e38
    )
    values["training"]["evaluate_every"] = 1
    with pytest.raises(TrunklineError, match=r"task mood .*no checkpoint was made yet.*learning_rate"):
        fit(values, run_dir=tmp_path / "run")


def test_a_loss_that_breaks_later_keeps_the_last_good_checkpoint(tiny_trunk_dir, rows, tmp_path, monkeypatch):
    from trunkline.tasks.sequence import SequenceCriterion

    real, calls = SequenceCriterion.loss, []

    def breaks(self, logits, targets, groups=None, weights=None):
        if self.training:  # not the loss of an evaluation
            calls.append(len(targets))
        return real(self, logits, targets, groups) * (float("nan") if len(calls) == 8 else 1.0)

    monkeypatch.setattr(SequenceCriterion, "loss", breaks)
    values = config(tiny_trunk_dir, rows, tasks=("mood",), evaluate_every=2)
    with pytest.raises(TrunklineError, match=r"the loss of task mood is nan in step \d+; the last good checkpoint is in"):
        fit(values, run_dir=tmp_path / "run")
    kept = load_file(tmp_path / "run" / "checkpoint" / "tensors.safetensors")
    assert all(torch.isfinite(value).all() for value in kept.values())


def test_a_branch_copied_elsewhere_predicts_the_same_and_refuses_another_trunk(tiny_trunk_dir, rows, tmp_path):
    from tiny import tiny_bert

    result = fit(config(tiny_trunk_dir, rows, epochs=2), run_dir=tmp_path / "run")
    texts = ["great film in paris", "awful music", "", "paris tokyo good"]
    before = Bundle.open(result.branches.values()).predict(texts)
    for name, path in result.branches.items():
        shutil.copytree(path, tmp_path / "elsewhere" / name)
    shutil.copytree(tiny_trunk_dir, tmp_path / "trunk-copy")
    moved = Bundle.open([tmp_path / "elsewhere" / name for name in result.branches], trunk=str(tmp_path / "trunk-copy"))
    assert moved.predict(texts) == before
    stranger = tiny_bert(tmp_path / "stranger", seed=1)
    with pytest.raises(BadInput, match="give the trunk it belongs to"):
        Bundle.open(result.branches.values(), trunk=str(stranger))


@pytest.fixture(scope="module")
def trained(tiny_trunk_dir, tmp_path_factory):
    """The branch of a run of one epoch, made once; `branch` is a copy for a test to change."""
    home = tmp_path_factory.mktemp("trained")
    rows = write_rows(home / "rows.jsonl", 400)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUNKLINE_CACHE", str(home / "cache"))
        return fit(config(tiny_trunk_dir, rows, tasks=("mood",), epochs=1), run_dir=home / "run").branches["mood"]


@pytest.fixture
def branch(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "mood")


@pytest.mark.parametrize("damage", ["missing", "extra", "shape", "nan", "truncated", "schema", "json", "no task"])
def test_a_damaged_branch_is_refused_with_one_sentence(branch, damage):
    load_branch(branch)
    file, meta = branch / "weights.safetensors", branch / "branch.json"
    weights, described = load_file(file), json.loads(meta.read_text())
    name = sorted(weights)[0]
    if damage == "missing":
        del weights[name]
    elif damage == "extra":
        weights["branch.more"] = torch.zeros(2)
    elif damage == "shape":
        weights[name] = torch.zeros(1, 1, 1, 1)
    elif damage == "nan":
        weights[name] = torch.full_like(weights[name], float("nan"))
    save_file(weights, file)
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-8])
    elif damage == "schema":
        meta.write_text(json.dumps({**described, "schema": 99}))
    elif damage == "json":
        meta.write_text(meta.read_text()[:-20])
    elif damage == "no task":
        described.pop("task")
        meta.write_text(json.dumps(described))
    with pytest.raises(BadInput) as error:
        load_branch(branch)
    assert "\n" not in str(error.value) and str(branch) in str(error.value)


def test_a_method_that_does_not_fit_its_branch_is_told_with_the_file(branch):
    described = json.loads((branch / "branch.json").read_text())
    for changed, sentence in (
        (described["method"] | {"heads": 3}, "method.heads: found 3 heads for dim 16"),
        (described["method"] | {"layers": [1, 99]}, "method.layers: found layer 99, expected 0 to 3"),
        (described["method"] | {"dim": True}, "method.dim: found true, expected a whole number"),
        ({"dim": 16}, "method is missing or malformed (KeyError)"),
    ):
        resave(branch, described | {"method": changed})
        with pytest.raises(BadInput) as error:
            load_branch(branch)
        assert str(error.value).startswith(f"{branch / 'branch.json'}: {sentence}") and "\n" not in str(error.value)


def test_bad_data_is_refused_before_anything_is_written(tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 50)
    bad = tmp_path / "bad.jsonl"
    row = {"text": "x", "tokens": ["x"], "tags": ["O", "O"], "label": "positive"}
    bad.write_text(rows.read_text() + json.dumps(row) + "\n")
    values = config(tiny_trunk_dir, rows)
    values["data"]["validation"] = str(bad)
    with pytest.raises(BadInput, match=r"bad.jsonl line 51.*tags"):
        fit(values, run_dir=tmp_path / "run")
    assert not Path(tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("section", "overrides", "sentence"),
    [
        ("method: {layers: [1, 99]}", [], "FILE: method.layers: found layer 99, expected 0 to 3"),
        ("method: {dim: 16}", ["method.heads=3"], "override 'method.heads=3': method.heads: found 3 heads for dim 16"),
        ("method: {name: probe, pooling: token}", [], "FILE: method.pooling: found token, expected"),
        (
            "",
            ["tasks.mood.label_list=[a, a]"],
            "override 'tasks.mood.label_list=[a, a]': tasks.mood.label_list: found 'a' twice",
        ),
        ("", ["tasks.mood.metric=acuracy"], "override 'tasks.mood.metric=acuracy': tasks.mood.metric: unknown name 'acuracy'"),
        ("", ["trunk.device=tpu9"], "override 'trunk.device=tpu9': trunk.device: unknown name 'tpu9'"),
        ("", ["trunk.max_length=999"], "override 'trunk.max_length=999': trunk.max_length: found 999; expected at most 64"),
    ],
)
def test_what_fits_not_the_trunk_or_the_data_names_the_config_too(tiny_trunk_dir, rows, tmp_path, section, overrides, sentence):
    file = tmp_path / "films.yaml"
    file.write_text(
        f"trunk: {{name: {tiny_trunk_dir}, dtype: fp32, device: cpu}}\ndata: {{train: rows.jsonl}}\n"
        f"tasks: {{mood: {{kind: sequence, label: label}}}}\n{section}\n"
    )
    with pytest.raises(BadInput) as error:
        fit(file, overrides=overrides, run_dir=tmp_path / "run")
    assert str(error.value).startswith(sentence.replace("FILE", str(file))) and not (tmp_path / "run").exists()


def test_long_texts_keep_their_spans_past_the_trunks_longest_input(tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 400, least=2, most=90)  # the trunk takes 64 tokens
    result = fit(config(tiny_trunk_dir, rows, tasks=("cities",), epochs=8), run_dir=tmp_path / "run")
    assert result.tasks["cities"]["test"]["f1"] > 0.9
    text = " ".join(["film"] * 200 + ["paris"])
    [answer] = Bundle.open(result.branches["cities"]).predict([text])
    assert [text[span["start"] : span["end"]] for span in answer["cities"]["spans"]] == ["paris"]


def test_shares_are_of_the_source_and_not_of_what_is_left(tiny_trunk_dir, rows, tmp_path):
    values = config(tiny_trunk_dir, rows, tasks=("mood",), epochs=1)
    counts = fit(values, run_dir=tmp_path / "run").summary["rows"]  # 400 rows, 20 % each
    assert counts["test"] == pytest.approx(80, abs=1) and counts["validation"] == pytest.approx(80, abs=1)
    assert sum(counts.values()) == 400


def test_a_trunk_that_has_moved_is_asked_for(tmp_path):
    from tiny import tiny_bert

    trunk, rows = tiny_bert(tmp_path / "trunk"), write_rows(tmp_path / "rows.jsonl", 60)
    run = fit(config(trunk, rows, tasks=("mood",), epochs=1), run_dir=tmp_path / "run")
    trunk.rename(tmp_path / "moved")
    with pytest.raises(BadInput, match=r"branches/mood needs its trunk: .*--trunk"):
        Bundle.open(run.path)
    assert Bundle.open(run.path, trunk=str(tmp_path / "moved")).predict(["good film"])


def test_several_branches_in_one_pass_answer_as_each_alone(tiny_trunk_dir, rows, tmp_path):
    result = fit(config(tiny_trunk_dir, rows, tasks=("mood", "cities", "topics"), epochs=3), run_dir=tmp_path / "run")
    texts = [json.loads(line)["text"] for line in rows.read_text().splitlines()[:50]]
    together = Bundle.open(result).predict(texts)
    assert Bundle.open([result]).predict(texts) == Bundle.open(result.branches).predict(texts) == together
    for name, path in result.branches.items():
        for one, all_ in zip(Bundle.open(path).predict(texts), together, strict=True):
            left, right = one[name], all_[name]
            assert left.keys() == right.keys()
            if name == "cities":
                assert [s["start"] for s in left["spans"]] == [s["start"] for s in right["spans"]]
            else:
                key = "label" if name == "mood" else "labels"
                assert left[key] == right[key]
                assert left["scores"] == pytest.approx(right["scores"], abs=1e-5)


@pytest.mark.parametrize(
    ("method", "output"),
    [
        ({"name": "adalayers", "dim": 16, "heads": 2}, "head.linear"),
        ({"name": "probe"}, "head.linear"),
        ({"name": "lora", "r": 2}, "model.classifier"),
        ({"name": "lora", "r": 2, "head": {"name": "adalayers", "dim": 16, "heads": 2}}, "head.linear"),
    ],
)
def test_a_head_for_several_labels_begins_with_how_often_each_occurs(method, output, tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 300)
    values = {**config(tiny_trunk_dir, rows, tasks=("topics",)), "method": method}
    run = Run(resolve(values), quiet)
    labels = [json.loads(line)["topics"] for line in rows.read_text().splitlines()]
    (learner,) = run.first[0].values()
    biases = learner.parts["topics"].branch.get_submodule(output).bias
    for label, bias in zip(learner.parts["topics"].task.labels, torch.sigmoid(biases).tolist(), strict=True):
        assert bias == pytest.approx(np.mean([label in row for row in labels]), abs=0.05)  # a part of them is for validation
