"""Claim: full fine-tuning and LoRA train at least 1.5x as many examples per second as transformers' Trainer does.

Sides: the training steps of `trunkline fit` (`precision: auto`) and of `Trainer` as users run it (its default precision,
fp32; batches padded to their longest text; for LoRA a peft model), the same minilm, texts of Emotion, batch size (16),
learning rate and number of steps. The claim is about the lesser of the two ratios. Beside it: the Trainer in bf16, and
padding to the model's maximum length as document C did (target 10x). Not in the time: loading, tokenising, evaluation and
saving. Peak memory is that of a process of its own for each side, which trains one epoch, evaluates, saves and takes the best
weights: `trunkline fit`, and `Trainer` with `load_best_model_at_end`.
"""

from __future__ import annotations

import gc
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import finish, parser, result
from shapes import shared_data, write_csv

from trunkline.data.sources import read_table
from trunkline.events import quiet
from trunkline.training.config import resolve
from trunkline.training.cost import peak_memory
from trunkline.training.fit import fit
from trunkline.training.run import Run
from trunkline.trunk.source import find_source

BATCH = 16
METHODS: dict[str, dict[str, Any]] = {
    "full": {"name": "full"},
    "lora": {"name": "lora", "r": 8, "targets": "linear"},
}
SIDES = {
    "trunkline": {},
    "trainer": {"bf16": False},
    "trainer bf16": {"bf16": True},
    "trainer, padded to the maximum": {"bf16": False, "padding": "max_length"},
}


def validation() -> str:
    """Where the validation texts are."""
    return str(shared_data("emotion", "validation.jsonl.gz"))


def subset(folder: Path, rows: int) -> str:
    """Write `rows` of the training texts, drawn at random, to a file."""
    table = read_table(str(shared_data("emotion", "train.jsonl.gz")))
    path = folder / f"rows-{rows}.csv"
    write_csv(path, table.select(random.Random(0).sample(range(len(table)), rows)), ("text", "label"))
    return str(path)


def ours(method: dict[str, Any], train: str, folder: Path, *, whole: bool = False) -> Callable[[], float]:
    """A function that trains one epoch of the file and returns the seconds of its steps; `whole`: it is a whole fit."""
    training = {"epochs": 1} if whole else {"epochs": 1000, "evaluate_every": 10**9}
    values = {
        "trunk": "minilm",
        "data": {"train": train, "validation": validation()},
        "tasks": {"emotion": {"kind": "sequence", "label": "label"}},
        "method": method,
        "training": {"batch_size": BATCH, "learning_rate": 1e-4, "schedule": "linear", **training},
    }
    if whole:
        return lambda: fit(values, run_dir=folder / "run").cost["epochs"][0]["seconds"]
    loop = Run(resolve(values), quiet).loop(folder / f"run-{method['name']}-{Path(train).stem}")

    def epoch() -> float:
        loop.epoch()
        return loop.cost.epochs[-1].seconds

    return epoch


def theirs(
    method: str, train: str, folder: Path, *, bf16: bool, padding: str | bool = False, whole: bool = False
) -> Callable[[], float]:
    """The same with transformers' Trainer, written as its documentation shows."""
    from datasets import Dataset
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments, set_seed
    from transformers.trainer_callback import PrinterCallback

    set_seed(0)
    place = find_source("minilm", None).folder
    tables = {"train": read_table(train), "validation": read_table(validation())}
    labels = sorted(set(tables["train"].columns["label"]))
    tokenizer = AutoTokenizer.from_pretrained(place)
    model = AutoModelForSequenceClassification.from_pretrained(place, num_labels=len(labels))
    longest = model.config.max_position_embeddings
    data = {
        split: Dataset.from_dict(
            {
                **tokenizer(table.columns["text"], truncation=True, padding=padding, max_length=longest),
                "labels": [labels.index(label) for label in table.columns["label"]],
            }
        )
        for split, table in tables.items()
    }
    if method == "lora":
        names = ["query", "key", "value", "dense"]
        model = get_peft_model(
            model, LoraConfig(task_type=TaskType.SEQ_CLS, r=8, lora_alpha=16, lora_dropout=0.1, target_modules=names)
        )
    when = "epoch" if whole else "no"
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"), per_device_train_batch_size=BATCH, num_train_epochs=1, learning_rate=1e-4,
        bf16=bf16, save_strategy=when, eval_strategy=when, load_best_model_at_end=whole, report_to=[], disable_tqdm=True,
        logging_strategy="no", use_cpu=not torch.cuda.is_available(),
    )  # fmt: skip
    trainer = Trainer(
        model=model, args=arguments, train_dataset=data["train"], eval_dataset=data["validation"], processing_class=tokenizer
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, which is for the result
    return lambda: trainer.train().metrics["train_runtime"]


def make(side: str, name: str, train: str, folder: Path, *, whole: bool = False) -> Callable[[], float]:
    if side == "trunkline":
        return ours(METHODS[name], train, folder, whole=whole)
    return theirs(name, train, folder, whole=whole, **SIDES[side])


def memory(side: str, name: str, steps: int) -> int:
    """Peak bytes of a process that runs this side alone."""
    command = [sys.executable, __file__, "--alone", side, name, "--steps", str(steps)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    options = parser(__doc__, repeats=3)
    options.add_argument("--steps", type=int, default=60, help="steps of a side in a round (60)")
    options.add_argument("--alone", nargs=2, metavar=("SIDE", "METHOD"), help="run one side and print its peak memory")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TRUNKLINE_CACHE"] = str(folder / "cache")
        train = subset(folder, arguments.steps * BATCH)
        if arguments.alone:
            make(*arguments.alone, train, folder, whole=True)()
            print(peak_memory(torch.device("cpu")))
            return
        few = subset(folder, 4 * BATCH)  # what is padded to the maximum takes too long for more
        runs, ratios = [], []
        for method in METHODS:
            seconds: dict[str, list[float]] = {}
            sides = {side: make(side, method, few if "maximum" in side else train, folder) for side in SIDES}
            for turn in range(-1, arguments.repeats):
                for side in sides if turn % 2 == 0 else reversed(sides):
                    taken = sides[side]()
                    if turn >= 0:
                        rows = 4 * BATCH if "maximum" in side else arguments.steps * BATCH
                        seconds.setdefault(side, []).append(rows / taken)
            del sides
            gc.collect()
            for side, rates in seconds.items():
                ratio = statistics.median(a / b for a, b in zip(seconds["trunkline"], rates, strict=True))
                targets = {"trainer": ">= 1.5", "trainer, padded to the maximum": ">= 10"}
                peak = None if "maximum" in side else memory(side, method, arguments.steps)
                runs.append(
                    {"side": side, "method": method, "examples per second": statistics.median(rates), "trunkline is": ratio,
                     "target": targets.get(side), "peak memory MB": None if peak is None else round(peak / 1e6), "rates": rates}
                )  # fmt: skip
                if side == "trainer":
                    ratios.append(ratio)
    finish(result("tuner_training", min(ratios), ">= 1.5", runs), as_json=arguments.json)


if __name__ == "__main__":
    main()
