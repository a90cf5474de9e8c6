"""Make the saved runs, branches, adapter folders, states store and checkpoint beside this file, and the answers they give.

They were made with the code of commit e8ad30c, the last one that wrote schema 1, and are kept as they are: what users have
saved must load and answer the same with every later version. Made again, they would be of the version that makes them.

    PYTHONPATH=src:tests:tests/training python tests/saved/make.py
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PLACE = "/saved"  # stands for the folder they were made in; the tests put the trunk's own place there
SMALL = {"dim": 8, "heads": 2, "feed_forward": 16, "dropout": 0.1}
TEXTS = [
    "the film was great",
    "a bad list of rain in tokyo for you",
    "add music to paris table",
    "slow",
    "we feel happy today in paris tokyo and it was not very awful so play the song tomorrow",
    "",
]
PARTS = {
    "mood": {"kind": "sequence", "label": "label"},
    "cities": {"kind": "token", "tokens": "tokens", "tags": "tags", "crf": True},
    "topics": {"kind": "multilabel", "labels": "topics"},
    "stars": {"kind": "regression", "target": "stars"},
}
# By run: its method, its tasks, and what of `training` is not as in `config`.
RUNS = {
    "adalayers": ({"name": "adalayers", "alpha": 4, **SMALL}, ("mood", "cities", "topics", "stars"), {}),
    "positions": ({"name": "adalayers", "alpha": 4, "positions": True, **SMALL}, ("mood",), {}),
    "without-positions": ({"name": "adalayers", "alpha": 4, "positions": False, **SMALL}, ("cities",), {}),
    "text-encoder": ({"name": "adalayers", "head": "encoder", "encoder_layers": 2, **SMALL}, ("mood",), {}),
    "word-attention": ({"name": "adalayers", "head": "attention", **SMALL}, ("cities",), {}),
    "linear": ({"name": "adalayers", "head": "linear", "activation": "relu", "layers": [1, 2], **SMALL}, ("mood",), {}),
    "single_layer": ({"name": "single_layer", "layer": 1, **SMALL}, ("mood", "cities"), {}),
    "probe": ({"name": "probe"}, ("mood", "cities", "stars"), {}),
    "scalar_mix": ({"name": "scalar_mix", "layer_norm": True}, ("topics", "cities"), {}),
    "pairs": ({"name": "adalayers", "layers": "1-2", **SMALL}, ("mood", "stars"), {}),
    "bf16": ({"name": "adalayers", "alpha": 4, **SMALL}, ("mood",), {"precision": "bf16"}),
    "full": ({"name": "full", "top": 1}, ("mood", "cities"), {"regime": "sequential"}),
    "joint": ({"name": "bitfit"}, ("mood", "stars"), {"regime": "joint", "loss_weights": "uncertainty"}),
    "lora": ({"name": "lora", "r": 2, "targets": "qv"}, ("mood",), {}),
    "dora": ({"name": "lora", "r": 2, "dora": True, "rslora": True, "head": {"name": "adalayers", **SMALL}}, ("mood",), {}),
    "ia3": ({"name": "ia3"}, ("cities",), {}),
    "prompt": ({"name": "prompt", "virtual_tokens": 3}, ("mood",), {}),
    "prefix": ({"name": "prefix", "virtual_tokens": 3}, ("mood",), {}),
    "houlsby": ({"name": "adapter", "variant": "houlsby", "reduction": 4}, ("stars",), {}),
    "fusion": ({"name": "adapter", "reduction": 4}, ("mood", "topics"), {"regime": "fusion"}),
}
STORED = "adalayers"  # the run whose states store is kept


class _Stop(BaseException):
    pass


def config(trunk: Path, rows: Path, run: str, **later: object) -> dict:
    """The config of one of RUNS over a trunk and its rows; `later`: keys of its method that commit e8ad30c did not know."""
    method, tasks, training = RUNS[run]
    return {
        "trunk": {"name": str(trunk), "dtype": "fp32", "device": "cpu"},
        "data": {"train": str(rows), "validation": "20%", "test": "20%", "text_pair": "label" if run == "pairs" else None},
        "tasks": {name: dict(PARTS[name]) for name in tasks},
        "method": {**method, **later},
        "training": {
            "epochs": 15, "batch_tokens": 128, "learning_rate": 0.02, "evaluate_every": 40, "seed": 3, "precision": "fp32",
            "states": "store" if run == STORED else "auto", **training,
        },
    }  # fmt: skip


def main() -> None:
    from synthetic import write_rows
    from tiny import tiny_bert

    work = Path(tempfile.mkdtemp())
    os.environ["TRUNKLINE_CACHE"] = str(work / "cache")
    trunk = tiny_bert(work / "trunk", layers=2, hidden=16)
    rows = write_rows(work / "rows.jsonl", 60)
    for run in RUNS:
        make_run(work, trunk, rows, run)
    interrupt(work, trunk, rows)
    exports(work, trunk)
    for file in [*work.rglob(".lock"), *work.rglob("*.lock")]:
        file.unlink(missing_ok=True)
    for file in (file for file in work.rglob("*") if file.suffix in (".json", ".yaml") and file.is_file()):
        file.write_text(file.read_text("utf-8").replace(str(work), PLACE), "utf-8")
    for name in ("trunk", "runs", "interrupted", "folders"):
        shutil.rmtree(HERE / name, ignore_errors=True)
        shutil.copytree(work / name, HERE / name)
    shutil.rmtree(HERE / "states", ignore_errors=True)
    shutil.copytree(work / "cache" / "states", HERE / "states", ignore=shutil.ignore_patterns("used"))
    shutil.rmtree(HERE / "runs" / "fusion" / "stages")  # those of one run are enough
    shutil.copy(rows, HERE)
    shutil.copy(work / "answers.json", HERE)
    shutil.rmtree(work)


def make_run(work: Path, trunk: Path, rows: Path, run: str) -> None:
    from trunkline.serving.bundle import Bundle

    from trunkline.training.fit import fit

    folder = work / "runs" / run
    if run != STORED:
        os.environ["TRUNKLINE_CACHE"] = str(work / "other-cache")
    fit(config(trunk, rows, run), run_dir=folder)
    os.environ["TRUNKLINE_CACHE"] = str(work / "cache")
    answers = json.loads((work / "answers.json").read_text()) if (work / "answers.json").exists() else {}
    for branch in sorted(folder.glob("branches/*")):
        bundle = Bundle.open(branch, device="cpu")
        pairs = TEXTS[::-1] if run == "pairs" else None
        logits = next(iter(bundle._logits(bundle._corpus(TEXTS, pairs, None), None).values()))[1]
        answers[f"{run}/branches/{branch.name}"] = {
            "predictions": [row[branch.name] for row in bundle.predict(TEXTS, pairs)],
            "logits": logits.tolist(),
        }
    (work / "answers.json").write_text(json.dumps(answers).replace(', "', ',\n"') + "\n")


def interrupt(work: Path, trunk: Path, rows: Path) -> None:
    """Stop a run after its first epoch, as a kill would have."""
    from trunkline.events import EpochEnded
    from trunkline.training.fit import fit

    def stop(event: object) -> None:
        if isinstance(event, EpochEnded):
            raise _Stop

    values = config(trunk, rows, "positions")
    values["training"]["evaluate_every"] = 1
    try:
        fit(values, run_dir=work / "interrupted", subscribers=[stop])
    except _Stop:
        return
    raise AssertionError("the run was not interrupted")


def exports(work: Path, trunk: Path) -> None:
    """Folders in the format of the adapters package."""
    from trunkline.serving.export import export_branch
    from trunkline.training.branch import load_branch

    for run, task in (("houlsby", "stars"), ("fusion", "mood")):
        branch = load_branch(work / "runs" / run / "branches" / task, device="cpu")
        export_branch(branch, work / "folders" / run)
    for card in (work / "folders").rglob("README.md"):
        card.unlink()


if __name__ == "__main__":
    main()
