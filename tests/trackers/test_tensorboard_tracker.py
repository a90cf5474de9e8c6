"""The tracker `tensorboard`, its event files read back with TensorBoard's own reader."""

from __future__ import annotations

import pytest
from trackedruns import bytes_below, evaluated, needs, of_test, stopped_after, tell, tracker

from trunkline.events import RunEnded
from trunkline.training.fit import fit

pytestmark = needs("tensorboard", "tensorboard")


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    return found.Reload()


def scalars(folder):
    found = read(folder)
    return {name: [(one.step, one.value) for one in found.Scalars(name)] for name in found.Tags()["scalars"]}


def session(folder, kind):
    """What stands under the tab HParams: `session_start_info` or `session_end_info`."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    content = read(folder).PluginTagToContent("hparams")
    return getattr(HParamsPluginData.FromString(content[f"_hparams_/{kind}"]), kind)


def outcome(folder):
    return read(folder).Tensors("outcome/text_summary")[-1].tensor_proto.string_val[0].decode()


def holds_all(found, summary):
    expected = evaluated(summary) | {name: {None: value} for name, value in of_test(summary).items()}
    for name, pairs in expected.items():
        assert [value for _, value in found[name]] == pytest.approx(list(pairs.values()))
        assert None in pairs or [step for step, _ in found[name]] == list(pairs)


def test_a_run_by_its_config(trained, tmp_path):
    result = fit({**trained.values, "trackers": "tensorboard"}, run_dir=tmp_path / "run", progress=False)
    folder = tmp_path / "run" / "tensorboard"
    holds_all(scalars(folder), result.summary)
    found = session(folder, "session_start_info").hparams
    given = {name: value.number_value or value.string_value for name, value in found.items()}
    assert given["training.epochs"] == 3 and given["method.name"] == "adalayers" and given["training.learning_rate"] == 0.01
    assert session(folder, "session_end_info").status == 1 and outcome(folder) == "finished"  # STATUS_SUCCESS
    stored = bytes_below(folder)
    assert not any(text.encode() in stored for text in trained.texts())


def test_a_run_that_is_resumed_adds_what_is_new(told, tmp_path):
    tell(tracker("tensorboard", folder=str(tmp_path / "logs")), told.interrupted())
    folder = tmp_path / "logs" / "a-run"
    assert outcome(folder) == "interrupted" and "_hparams_/session_end_info" not in read(folder).PluginTagToContent("hparams")
    tell(tracker("tensorboard", folder=str(tmp_path / "logs")), told.events)
    holds_all(scalars(folder), told.summary)
    assert outcome(folder) == "finished" and len(list(folder.iterdir())) == 2


def test_a_run_that_is_trained_afresh_replaces_what_is_shown(told):
    tell(tracker("tensorboard"), told.until_epoch(2))
    (told.path / "tracked.json").unlink()
    tell(tracker("tensorboard"), [*told.until_epoch(1), RunEnded(told.path, "failed")])
    folder = told.path / "tensorboard"
    first = {entry["step"] for entry in told.summary["history"] if entry["epoch"] == 1}
    assert {step for step, _ in scalars(folder)["validation/mood/accuracy"]} == first
    assert session(folder, "session_end_info").status == 2 and outcome(folder) == "failed"  # STATUS_FAILURE


def test_one_that_fails_does_not_stop_training(trained, tmp_path, caplog):
    (tmp_path / "logs").write_text("mine")
    values = {**trained.values, "trackers": [{"name": "tensorboard", "folder": str(tmp_path / "logs")}, "jsonl"]}
    result = fit(values, run_dir=tmp_path / "run", progress=False)
    assert result.summary["tasks"]["mood"]["test"] == trained.summary["tasks"]["mood"]["test"]
    assert caplog.text.count("TensorBoard failed at RunStarted") == 1 and "training continues" in caplog.text
    assert (tmp_path / "logs").read_text() == "mine" and '"RunEnded"' in (tmp_path / "run" / "events.jsonl").read_text()


@pytest.mark.slow
def test_a_run_that_was_killed_is_continued(trained, tmp_path):
    stopped_after(trained, 2, tmp_path / "run", trackers="tensorboard")
    fit({**trained.values, "trackers": "tensorboard"}, run_dir=tmp_path / "run", progress=False)
    holds_all(scalars(tmp_path / "run" / "tensorboard"), trained.summary)
