"""A study on disk without a trained model: data, and runs whose answers are made up but fit the data."""

from __future__ import annotations

import json

import numpy as np
import yaml
from studyfacts import facts

from trunkline.training.answered import KeptAnswers, save_answers
from trunkline.training.config import resolve
from trunkline.training.prepare import prepare, split_digest

INTENTS = ("alarm_set", "music_play", "news|*query*", "weather & <b>wind</b>", r"\email_send{}")
HOSTILE = "<script>alert(1)</script> | `x` \\input{a} $ & % # [b](http://c) \x1b[31m"
METHODS = ("probe", "adalayers")


def study_folder(folder):
    """Write results.json of a study of two tasks with a run of METHODS each; return its facts."""
    draw = np.random.default_rng(1)
    paths = {name: folder / "data" / f"{name}.jsonl" for name in ("train", "test")}
    for number, (name, count) in enumerate((("train", 60), ("test", 40))):
        paths[name].parent.mkdir(parents=True, exist_ok=True)
        rows = [_row(number * 1000 + row) for row in range(count)]
        paths[name].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = facts(labels=INTENTS, sizes=("all",), seeds=1, tests=40)
    found["tasks"]["slots"]["labels"] = ["place", "time"]
    for cell in found["cells"]:
        for task, own in cell["tasks"].items():
            if task == "slots":
                own["by_label"] = {
                    label: own["by_label"][old] for label, old in zip(("place", "time"), list(own["by_label"]), strict=False)
                }
        if cell["method"] in METHODS:
            _run(folder, cell, paths, draw)
    leader = next(cell for cell in found["cells"] if cell["method"] == "adalayers")
    for task in leader["tasks"].values():
        task["validation"] = 0.99  # whose errors are shown
    (folder / "results.json").write_text(json.dumps(found), encoding="utf-8")
    return found


def _row(number):
    place = ("Paris", "Rome", "Oslo")[number % 3]
    tokens = ["wake", "me", "in", place, "at", "noon", str(number)]
    text = " ".join(tokens) + (f" {HOSTILE}" if number % 10 == 0 else "")
    return {
        "text": text, "intent": INTENTS[number % len(INTENTS)], "tokens": tokens,
        "tags": ["O", "O", "O", "B-place", "O", "B-time", "O"],
    }  # fmt: skip


def _run(folder, cell, paths, draw):
    values = {
        "trunk": "minilm",
        "data": {"train": str(paths["train"]), "validation": "20%", "test": str(paths["test"])},
        "tasks": {
            "intent": {"kind": "sequence", "label": "intent"},
            "slots": {"kind": "token", "tokens": "tokens", "tags": "tags"},
        },
        "method": cell["method"],
    }
    config = resolve(values)
    [group] = prepare(config)
    run = folder / f"runs/{cell['method']}"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(yaml.safe_dump(config.as_dict(), sort_keys=False), encoding="utf-8")
    digests = {name: split_digest(split) for name, split in group.splits.items()}
    result = {"identity": "x", "trunk": {}, "rows": {}, "tasks": {}, "cost": {}, "digests": digests}
    (run / "result.json").write_text(json.dumps(result), encoding="utf-8")
    for name, task in group.tasks.items():
        targets = group.splits["test"].targets[name]
        wrong = draw.random(len(targets.values)) < 0.2
        values = np.where(wrong, (targets.values + 1) % (len(task.labels)), targets.values)
        kept = KeptAnswers(
            task.kind, task.monitor, task.own_labels, None, [], targets.values, values, targets.present, targets.offsets
        )
        save_answers(run, name, kept)
        cell["tasks"][name]["by_seed"] = [{**cell["tasks"][name]["by_seed"][0], "run": f"runs/{cell['method']}"}]
